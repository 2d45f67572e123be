#!/usr/bin/env bash
# Compares MQTT brokers by what a delivery costs: see README.md.
#
#   ./mqtt.sh [--rounds N] [--seconds S] [--only SERVER,...] [--rows ROW,...]
#
# The tables go to standard output, progress to standard error; .work/ keeps the tables (mqtt.md), the medians with
# every single run (mqtt.json) and the servers' logs. SERVER_CPU and LOAD_CPU choose the two cores (0 and 1).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

servers=(floor ours rumqttd mosquitto)
rows=(qos0 qos1 qos2 fanout fanin fanin1 kilobyte paced connects idle idlesub retained subs10 subs100k)
# Those for which there must be topics, or something kept: not for the floor.
broker_rows=(retained subs10 subs100k)
rounds=3
seconds=2
idle_conns=10000
next_port=18800

. ./common.sh

main() {
    options "$@"
    need cargo taskset
    prepare

    build
    install mosquitto
    [ "${#servers[@]}" -gt 0 ] || die "no server is left to measure"
    interleave
    tables mqtt_table "$rounds rounds of $seconds s"
}

# --- what has to be there ---------------------------------------------------------------------------------------------

build() {
    say "building"
    # The same features whoever takes part: cargo then builds again only what has changed.
    cargo_build --features ours --bin mqtt_floor --bin mqtt_load --bin mqtt_table ||
        die "not everything builds: see $work/build.log"
    build_one rumqttd mqtt_rumqttd
    build_one ours mqtt_ours
}

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 server=$3
    local -a args
    if [ "$server" = floor ] && [[ " ${broker_rows[*]} " == *" $row "* ]]; then return; fi
    case $row in
    qos0) args=(--qos 0 --window 256) ;;
    qos1) args=(--qos 1 --window 64) ;;
    qos2) args=(--qos 2 --window 64) ;;
    fanout) args=(--subscribers 100 --window 16) ;;
    fanin) args=(--publishers 100 --window 8) ;;
    fanin1) args=(--publishers 100 --qos 1 --window 8) ;;
    kilobyte) args=(--payload 1024 --window 256) ;;
    paced) args=(--rate 20000) ;;
    connects) args=(--connects --clients 64) ;;
    idle) args=(--idle --clients "$idle_conns") ;;
    idlesub) args=(--idle --clients "$idle_conns" --subscribe) ;;
    retained) args=(--retained --messages 100000) ;;
    subs10) args=(--subscribers 10 --filters 10 --window 64) ;;
    subs100k) args=(--subscribers 10 --filters 100000 --window 64) ;;
    esac
    # A fresh process for each measurement: what one row leaves in the allocator is not there in the next.
    if start "$server"; then
        load "$round" "$row" "$server" mqtt_load --seconds "$seconds" "${args[@]}"
    else
        skip "$server" "$row" "does not start: $(last_line "$work/$server.log")"
    fi
    stop
}

# Starts a server on a free port, on its core; true when it takes connections. Sets addr and server_pids.
start() {
    local server=$1
    local -a command
    free_port
    case $server in
    mosquitto)
        mosquitto_config >"$work/mosquitto.conf"
        command=("$mosquitto" -c "$work/mosquitto.conf")
        ;;
    *) command=("$bin/mqtt_$server" "$addr") ;;
    esac
    launch "$work/$server.log" "${command[@]}"
    await_listener "$work/$server.log"
}

# Its own limits would drop messages, its default is Nagle's algorithm, and it would keep sessions in a file.
mosquitto_config() {
    cat <<END
listener ${addr##*:} ${addr%:*}
allow_anonymous true
persistence false
set_tcp_nodelay true
max_inflight_messages 0
max_queued_messages 0
log_type error
log_type warning
END
}

main "$@"
