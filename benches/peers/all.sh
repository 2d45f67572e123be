#!/usr/bin/env bash
# Runs the comparisons here, one after the other, and writes docs/benchmarks.md: see README.md.
#
#   ./all.sh [--rounds N] [--seconds S] [--benches NAME,... [--rows ROW,...]]
#
# The options go to each script; without them each has its own. What was not measured stays as it is in .work/, so that it can be run
# in parts: `--benches http`, later `--benches mqtt --rows qos0` to measure a row anew; `--benches report` measures nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# That the others use; here it names the scripts.
servers=(http mqtt wakeup micro size soak scale report)
rows=()
# Those that are asked for: the others stay as they were measured before.
anew=
rounds=1
seconds=1
idle_conns=0
. ./common.sh

main() {
    local -a passed=() own=()
    local name
    while [ $# -gt 0 ]; do
        case $1 in
        --benches) own+=(--only "${@:2:1}") ;;
        --rows) anew=${2:-} ;;
        *) own+=("${@:1:2}") && passed+=("${@:1:2}") ;;
        esac
        shift $(($# > 1 ? 2 : 1))
    done
    options "${own[@]}"
    [ -z "$anew" ] || [ "${#servers[@]}" = 1 ] || die "--rows are those of one script: name it with --benches"
    mkdir -p "$work"
    for name in "${servers[@]}"; do
        [ "$name" != report ] || continue
        if [ ! -x "./$name.sh" ]; then say "there is no $name.sh"; continue; fi
        say "$name"
        run "$name"
    done
    say "building"
    cargo_build --bin report || die "not everything builds: see $work/build.log"
    "$bin/report" "$work" missed.md >"$work/benchmarks.md"
    mv "$work/benchmarks.md" ../../docs/benchmarks.md
}

# Has a script measure. Its tables are in .work/, where the report finds them.
run() {
    local name=$1
    local -a given=()
    # How long these take is their own.
    case $name in
    soak | scale | size) ;;
    *) given=("${passed[@]}") ;;
    esac
    if [ -z "$anew" ]; then
        "./$name.sh" "${given[@]}" >/dev/null || say "$name.sh has failed: the report has what it left"
        echo "benches/peers/$name.sh ${given[*]}" >"$work/$name.cmd"
        return
    fi
    cp "$work/$name.jsonl" "$work/before.jsonl"
    "./$name.sh" "${given[@]}" --rows "$anew" >/dev/null || die "$name.sh has failed"
    echo "benches/peers/$name.sh ${given[*]} --rows $anew" >>"$work/$name.cmd"
    { grep -o '"row":"[^"]*"' "$work/$name.jsonl" || true; } | sort -u >"$work/anew"
    { grep -vFf "$work/anew" "$work/before.jsonl" || true; } >"$work/kept.jsonl"
    cat "$work/$name.jsonl" >>"$work/kept.jsonl"
    mv "$work/kept.jsonl" "$work/$name.jsonl"
    local table=${name}_table
    [ "$name" != http ] || table=table
    # The lines with date and versions, then the tables of all rows.
    { sed '/^$/q' "$work/$name.md" && "$bin/$table" "$work/$name.jsonl" "$work/$name.json"; } >"$work/merged.md"
    mv "$work/merged.md" "$work/$name.md"
}

main "$@"
