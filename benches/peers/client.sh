#!/usr/bin/env bash
# Compares HTTP/1.1 clients by what a request costs them on one kept-alive connection: vansire's and hyper's.
#
#   ./client.sh [--rounds N] [--requests N]
#
# The server is the floor of http.sh. Each round runs both, and the next begins with the other. SERVER_CPU and LOAD_CPU
# choose the two cores (0 and 1); the clients run on the latter.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

rounds=9
requests=100000
server_cpu=${SERVER_CPU:-0}
client_cpu=${LOAD_CPU:-1}
clients=(ours hyper)
bin=${CARGO_TARGET_DIR:-$PWD/target}/release
addr=127.0.0.1:18099

while [ $# -gt 0 ]; do
    case $1 in
    --rounds) rounds=$2 ;;
    --requests) requests=$2 ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}" >&2 && exit 1 ;;
    esac
    shift 2
done

cargo build --release --quiet --no-default-features --features hyper,ours --bin floor --bin client-ours --bin client-hyper
taskset -c "$server_cpu" "$bin/floor" "$addr" >&2 &
server=$!
results=$(mktemp -d)
trap 'kill "$server"; rm -r "$results"' EXIT
for _ in {1..100}; do
    (exec 3<>"/dev/tcp/${addr/://}") 2>/dev/null && break
    read -rt 0.05 <> <(:) || true
done
for ((round = 0; round < rounds; round++)); do
    for ((turn = 0; turn < ${#clients[@]}; turn++)); do
        client=${clients[(turn + round) % ${#clients[@]}]}
        timeout 120 taskset -c "$client_cpu" "$bin/client-$client" "$addr" "$requests" >>"$results/$client"
    done
done

median() { cut -d' ' -f"$2" "$results/$1" | sort -n | sed -n "$(((rounds + 1) / 2))p"; }
echo "| client | CPU us/request | wall us/request |"
echo "|---|---:|---:|"
for client in "${clients[@]}"; do
    awk -v name="$client" -v cpu="$(median "$client" 1)" -v wall="$(median "$client" 2)" \
        'BEGIN { printf "| %s | %.2f | %.2f |\n", name, cpu / 1000, wall / 1000 }'
done
awk -v ours="$(median ours 1)" -v hyper="$(median hyper 1)" \
    'BEGIN { printf "\nours / hyper: %.2f of the CPU\n", ours / hyper }'
