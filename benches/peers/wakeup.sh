#!/usr/bin/env bash
# Compares the ways from a tokio task to another thread and back: see README.md.
#
#   ./wakeup.sh [--rounds N] [--seconds S] [--only WAY,...] [--rows ROW,...]
#
# The table goes to standard output, progress to standard error; .work/ keeps the table (wakeup.md), the medians with
# every single run (wakeup.json) and the programs' logs. SERVER_CPU and LOAD_CPU choose the two cores (0 and 1).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# What is compared; the floor is two bare threads that wake each other.
servers=(floor mpsc spawn_blocking sync ours inline cymongoose)
rows=(two one commands commands1 http idle)
rounds=5
seconds=2
idle_conns=64
# Round trips, and commands, of one measurement.
trips=20000
slow_trips=1000
commands=2000000
next_port=18600

. ./common.sh

main() {
    options "$@"
    need cargo curl taskset
    prepare
    [ "$server_cpu" != "$load_cpu" ] || die "SERVER_CPU and LOAD_CPU are to be two cores"

    say "building"
    cargo_build --features wakeup --bin wakeup --bin wakeup_table --bin load || die "not everything builds: see $work/build.log"
    install_cymongoose
    interleave
    tables wakeup_table "$rounds rounds; tokio $(locked tokio)"
}

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 way=$3 both=$load_cpu,$load_cpu
    # Without a thread there is no other core; without tokio there is nobody to ask.
    case $row.$way in
    two.inline | two.sync | one.sync) return ;;
    two.cymongoose) trip "$round" "$row" "$way" "$venv/bin/python" wakeup_cymongoose.py "$slow_trips" "$load_cpu,$server_cpu" ;;
    one.cymongoose) trip "$round" "$row" "$way" "$venv/bin/python" wakeup_cymongoose.py "$slow_trips" "$both" ;;
    two.*) trip "$round" "$row" "$way" "$bin/wakeup" "$way" roundtrip --rounds "$trips" --cpus "$load_cpu,$server_cpu" ;;
    one.*) trip "$round" "$row" "$way" "$bin/wakeup" "$way" roundtrip --rounds "$trips" --cpus "$both" ;;
    commands.ours) trip "$round" "$row" "$way" "$bin/wakeup" ours commands --rounds "$commands" --cpus "$load_cpu,$server_cpu" ;;
    commands1.ours | commands1.inline)
        trip "$round" "$row" "$way" "$bin/wakeup" "$way" commands --rounds "$commands" --cpus "$both"
        ;;
    idle.sync | idle.ours | idle.inline) trip "$round" "$row" "$way" "$bin/wakeup" "$way" idle --seconds "$seconds" ;;
    http.sync | http.ours | http.inline) serve "$round" "$way" ;;
    esac
}

# trip ROUND ROW WAY COMMAND...: runs it and notes what it prints.
trip() {
    local log=$work/$3.log
    try "$1" "$2" "$3" "$log" timeout 120 "${@:4}" || skip "$3" "$2" "$(last_line "$log")"
}

# serve ROUND WAY: what an HTTP request costs the server, all its threads on one core.
serve() {
    local round=$1 way=$2 try answer=
    free_port
    launch "$work/$way.log" "$bin/wakeup" "$way" http --addr "$addr"
    for ((try = 0; try < 100; try++)); do
        answer=$(curl -sS --noproxy '*' --max-time 2 "http://$addr/" 2>>"$work/curl.log") && break
        sleep 0.05
    done
    if [ "$answer" = "Hello, World!" ]; then
        load "$round" http "$way" load --conns 64 --seconds "$seconds"
    else
        skip "$way" http "does not start: $(last_line "$work/$way.log")"
    fi
    stop
}

main "$@"
