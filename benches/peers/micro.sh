#!/usr/bin/env bash
# Runs what `cargo bench` of the crate says of single packets and requests, and keeps it for all.sh: see README.md.
#
#   ./micro.sh [--rounds N] [--rows ROW,...]
#
# The table goes to standard output, progress to standard error; .work/ keeps the table (micro.md) and every run (micro.jsonl).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

servers=(ours mqttbytes)
rows=(mqtt_codec http_loop)
rounds=3
seconds=1
idle_conns=0

. ./common.sh

main() {
    options "$@"
    need cargo taskset awk
    prepare
    say "building"
    cargo_build --bin micro_table || die "the table cannot be built: see $work/build.log"
    local row round
    for row in "${rows[@]}"; do bench "$row" --no-run >"$work/build.log" 2>&1 || die "$row cannot be built: see $work/build.log"; done
    for ((round = 1; round <= rounds; round++)); do
        for row in "${rows[@]}"; do
            say "round $round, $row"
            bench "$row" -- publish keep_alive pipelined 2>"$work/build.log" | figures "$round" >>"$results"
        done
    done
    tables micro_table "$rounds rounds"
}

# bench NAME ARGUMENT...
bench() {
    local name=$1
    shift
    taskset -c "$server_cpu" cargo bench --manifest-path ../../Cargo.toml --target-dir "$target" \
        --bench "$name" "$@"
}

# divan prints a tree: the name of a function, and below it a line for each argument, with the median in the third column.
figures() {
    awk -v round="$1" '
        function ns(text,  part) {
            split(text, part, " ")
            return part[1] * (part[2] == "ns" ? 1 : part[2] == "ms" ? 1e6 : 1e3)
        }
        /^(├|╰)─/ { name = $2 }
        /(├|╰)─/ && / (ns|µs|ms) / {
            split($0, column, "│")
            # What is left of the bars in front, the name, and the fastest.
            n = split($0, word, /(├|╰)─ */)
            split(word[n], first, " ")
            row = first[1] == name ? name : name "." first[1]
            count = split(word[n], cell, "│")
            gsub(/^ +| +$/, "", cell[3])
            server = row ~ /^mqttbytes_/ ? "mqttbytes" : "ours"
            sub(/^mqttbytes_/, "", row)
            printf "{\"round\":%s,\"server\":\"%s\",\"row\":\"%s\",\"result\":{\"ns\":%s}}\n", round, server, row, ns(cell[3])
        }'
}

main "$@"
