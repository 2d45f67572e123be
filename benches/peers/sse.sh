#!/usr/bin/env bash
# Compares servers by what one server-sent event costs that goes to 1,000 clients: see README.md.
#
#   ./sse.sh [--rounds N] [--seconds S] [--clients N]
#
# One line of JSON for each measurement, then the medians as a table; .work/sse.jsonl keeps the lines. SERVER_CPU and
# LOAD_CPU choose the two cores (0 and 1). cymongoose takes part where http.sh has installed it, or in VENV.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

rounds=3
seconds=3
clients=1000
server_cpu=${SERVER_CPU:-0}
load_cpu=${LOAD_CPU:-1}
work=$PWD/.work
target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$target/release
venv=${VENV:-$work/venv}
servers=(floor ours hyper cymongoose)
next_port=18900
server_pid=

main() {
    while [ $# -gt 1 ]; do
        case $1 in
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --clients) clients=$2 ;;
        *) break ;;
        esac
        shift 2
    done
    [ $# -eq 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}" >&2; exit 2; }
    ulimit -n "$(ulimit -Hn)"
    mkdir -p "$work"
    : >"$work/sse.jsonl"
    trap cleanup EXIT
    cargo build --release --target-dir "$target" --no-default-features --features hyper,ours \
        --bin sse_load --bin sse_floor --bin sse_ours --bin sse_hyper
    [ -x "$venv/bin/python" ] || servers=(floor ours hyper)
    local round turn
    for ((round = 1; round <= rounds; round++)); do
        # Each round begins with another server.
        for ((turn = 0; turn < ${#servers[@]}; turn++)); do
            measure "${servers[(turn + round - 1) % ${#servers[@]}]}"
        done
    done
    medians
}

measure() {
    local server=$1 line
    local -a command=("$bin/sse_$server")
    [ "$server" != cymongoose ] || command=("$venv/bin/python" sse_cymongoose.py)
    next_port=$((next_port + 1))
    taskset -c "$server_cpu" "${command[@]}" "127.0.0.1:$next_port" >"$work/sse-$server.log" 2>&1 &
    server_pid=$!
    local try
    for ((try = 0; try < 100; try++)); do
        (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null && break
        sleep 0.05
    done
    if line=$(taskset -c "$load_cpu" "$bin/sse_load" --addr "127.0.0.1:$next_port" --clients "$clients" --seconds "$seconds" --pid "$server_pid"); then
        printf '{"server":"%s","result":%s}\n' "$server" "$line" | tee -a "$work/sse.jsonl"
    else
        echo "$server: no figure" >&2
    fi
    cleanup
}

medians() {
    local server figures
    printf '\n| server | CPU per delivered event: us |\n|---|---:|\n'
    for server in "${servers[@]}"; do
        mapfile -t figures < <(grep "\"server\":\"$server\"" "$work/sse.jsonl" | sed 's/.*"server_cpu_us_per_event":\([0-9.]*\).*/\1/' | sort -g)
        [ ${#figures[@]} -eq 0 ] || printf '| %s | %s |\n' "$server" "${figures[${#figures[@]} / 2]}"
    done
}

cleanup() {
    [ -n "$server_pid" ] || return 0
    kill -KILL "$server_pid" 2>/dev/null || true
    wait "$server_pid" 2>/dev/null || true
    server_pid=
}

main "$@"
