#!/usr/bin/env bash
# Everything at once for half an hour, and whether anything grows or gets lost: see README.md.
#
#   ./soak.sh [--minutes N]
#
# The table goes to standard output; .work/ keeps it (soak.md), the figures (soak.json) and the server's log. Ends with 1 when a promise
# is broken. Both programs run at a low priority, on whichever core there is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

servers=(ours)
minutes=30
next_port=19500

. ./common.sh

main() {
    while [ $# -gt 0 ]; do
        case $1 in
        --minutes) minutes=${2:?--minutes: a value is missing} && shift 2 ;;
        -h | --help) sed -n '2,7s/^# \{0,1\}//p' "${0##*/}" && exit 0 ;;
        *) die "$1: unknown; --help shows what there is" ;;
        esac
    done
    [[ $minutes =~ ^[1-9][0-9]*$ ]] || die "--minutes $minutes: not a number"
    need cargo
    mkdir -p "$work"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM

    say "building"
    cargo_build --features soak --bin soak || die "it does not build: see $work/build.log"
    # Or the allocator, glibc's, would keep large buffers for good where it had them once, and where that is depends on what else there is:
    # resident memory would grow in steps, ever more rarely, though nothing leaks.
    export MALLOC_MMAP_THRESHOLD_=131072
    local -a ports
    for _ in http mqtt sntp; do free_port && ports+=("${addr##*:}"); done
    nice "$bin/soak" serve "${ports[@]}" >"$work/soak-server.log" 2>&1 &
    server_pid=$! server_pids=("$!")
    addr=127.0.0.1:${ports[1]}
    await_listener "$work/soak-server.log" || die "the server does not listen: $(last_line "$work/soak-server.log")"
    say "$minutes minutes"
    nice "$bin/soak" load "${ports[@]}" "$server_pid" $((minutes * 60)) "$work/soak.json" >"$work/load.out" &
    load_pid=$!
    local ended=0
    wait "$load_pid" || ended=$?
    load_pid=
    { printf '%s; ' "$(machine)" && cat "$work/load.out"; } | tee "$work/soak.md"
    exit "$ended"
}

main "$@"
