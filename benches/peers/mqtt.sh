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

. ./common.sh
results=$work/mqtt.jsonl
mosquitto=
next_port=18800

main() {
    options "$@"
    need cargo taskset
    prepare

    build
    install_mosquitto >"$work/mosquitto-install.log" 2>&1 || true
    if wanted mosquitto && [ -z "$mosquitto" ]; then
        without mosquitto "cannot be installed: $(last_line "$work/mosquitto-install.log")"
    fi
    [ "${#servers[@]}" -gt 0 ] || die "no server is left to measure"
    interleave
    { versions && "$bin/mqtt_table" "$results" "$work/mqtt.json"; } | tee "$work/mqtt.md"
}

# --- what has to be there ---------------------------------------------------------------------------------------------

build() {
    say "building"
    # The same features whoever takes part: cargo then builds again only what has changed.
    cargo_build --features ours --bin mqtt_floor --bin mqtt_load --bin mqtt_table ||
        die "not everything builds: see $work/build.log"
    if wanted rumqttd; then
        cargo_build --features rumqttd --bin mqtt_rumqttd || without rumqttd "cannot be built: $(build_error)"
    fi
    if [ -e src/bin/mqtt_ours.rs ]; then
        cargo_build --features ours --bin mqtt_ours || without ours "cannot be built: $(build_error)"
    elif wanted ours; then
        without ours "src/bin/mqtt_ours.rs is not there"
    fi
}

build_error() { grep -m1 ^error "$work/build.log" || true; }

# Takes the mosquitto of the system, or unpacks the Debian packages under .work, where they start no service.
install_mosquitto() {
    local candidate
    for candidate in "$(command -v mosquitto || true)" /usr/sbin/mosquitto "$work/mosquitto/run"; do
        if [ -x "$candidate" ] && [ -n "$(mosquitto_version "$candidate")" ]; then
            mosquitto=$candidate
            return
        fi
    done
    local -a packages=(mosquitto libmosquitto1 libcjson1 libdlt2 libwebsockets17 libev4 libuv1 libwrap0)
    mkdir -p "$work/mosquitto"
    (
        cd "$work/mosquitto" && apt-get update || exit
        # What is not of this release, or in the system already, is not there to be fetched.
        for package in "${packages[@]}"; do apt-get download "$package" && dpkg-deb -x "$package"_*.deb .; done
        printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo %q/usr/lib/*-linux-gnu) exec %q "$@"\n' "$PWD" "$PWD/usr/sbin/mosquitto" >run
        chmod +x run
    )
    if [ -n "$(mosquitto_version "$work/mosquitto/run")" ]; then mosquitto=$work/mosquitto/run; fi
}

# It answers --help with status 3, and its version in the first line.
mosquitto_version() {
    { "$1" -h 2>&1 || true; } | sed -n '1s/^mosquitto version \([0-9.]*\).*/\1/p'
}

versions() {
    printf '%s; %s; Linux %s; %s rounds of %s s\n' "$(date -u +%F)" \
        "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" "$rounds" "$seconds"
    local name text=
    for name in "${servers[@]}"; do
        case $name in
        mosquitto) text+=", mosquitto $(mosquitto_version "$mosquitto")" ;;
        rumqttd) text+=", rumqttd $(locked rumqttd)" ;;
        esac
    done
    printf '%s\n\n' "${text#, }"
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
    local server=$1 log=$work/$1.log
    local -a command
    free_port
    case $server in
    mosquitto)
        mosquitto_config >"$work/mosquitto.conf"
        command=("$mosquitto" -c "$work/mosquitto.conf")
        ;;
    *) command=("$bin/mqtt_$server" "$addr") ;;
    esac
    launch "$log" "${command[@]}"
    local try
    for ((try = 0; try < 200; try++)); do
        kill -0 "$server_pid" 2>/dev/null || return
        (exec 3<>"/dev/tcp/127.0.0.1/${addr##*:}") 2>/dev/null && return
        sleep 0.05
    done
    echo "nobody listens after 10 s" >>"$log"
    return 1
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
