#!/usr/bin/env bash
# What an event costs among 100 to 18,000 idle connections, and in the simulator among 100,000: see README.md.
#
#   ./scale.sh [--rounds N] [--seconds S] [--only SERVER,...] [--rows ROW,...]
#
# The table goes to standard output; .work/ keeps it (scale.md), the figures with every single run (scale.json) and the plots, which
# PLOTS=FOLDER puts elsewhere. Ends with 1 where the cost is not flat. SERVER_CPU and LOAD_CPU choose the two cores (0 and 1).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

servers=(floor ours)
rows=(http100 http1000 http5000 http18000 mqtt100 mqtt1000 mqtt5000 mqtt18000 sim100 sim1000 sim10000 sim100000)
rounds=3
seconds=2
idle_conns=18000
next_port=19700

. ./common.sh

main() {
    options "$@"
    need cargo taskset
    prepare

    say "building"
    cargo_build --features scale --bin floor --bin load --bin mqtt_load --bin mqtt_ours --bin ours --bin scale_sim --bin scale_table ||
        die "not everything builds: see $work/build.log"
    interleave
    tables scale_table "$rounds rounds of $seconds s" "${PLOTS:-$work}"
}

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 server=$3 count=${2##*[a-z]} command=$3
    # The floor knows nothing of sessions, and is no manager that could be simulated.
    [[ $server = ours || $row = http* ]] || return 0
    if [[ $row = sim* ]]; then
        take "$round" "$row" "$server" scale_sim "$count"
        return
    fi
    if [ "$count" -gt "$idle_conns" ]; then
        skip "$server" "$row" "the limit of open files"
        return
    fi
    [[ $row = http* ]] || command=mqtt_$server
    free_port
    launch "$work/$server.log" "$bin/$command" "$addr"
    # Where nobody does, the generator says so.
    await_listener "$work/$server.log" || true
    case $row in
    http*) load "$round" "$row" "$server" load --conns 1 --among "$count" --seconds "$seconds" ;;
    mqtt*) load "$round" "$row" "$server" mqtt_load --window 1 --among "$count" --seconds "$seconds" ;;
    esac
    stop
}

main "$@"
