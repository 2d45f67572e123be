#!/usr/bin/env bash
# Our MQTT client against mosquitto, with mosquitto's own programs as witnesses.
#
#   our_client.sh CLIENT     CLIENT is the example mqtt_client, built
#
# Starts a mosquitto of its own on a free port of loopback, and ends it. Prints a line for each case, and ends with 1 if one failed.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

client=$1
broker=
port=

# Ends what this script has started, by its number.
finish() {
    [ -z "$broker" ] || kill "$broker" 2>/dev/null
    [ -z "${background:-}" ] || kill "$background" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT

# start [LINE OF CONFIGURATION]: a broker that remembers nothing of the one before it, on the same port.
start() {
    [ -n "$port" ] || port=$(free_port)
    printf 'listener %s 127.0.0.1\npersistence false\nlog_type subscribe\nlog_type information\n%s\n' "$port" "${1:-allow_anonymous true}" >"$work/conf"
    mosquitto -c "$work/conf" >"$work/broker.log" 2>&1 &
    broker=$!
    for _ in $(seq 100); do
        grep -q ' running$' "$work/broker.log" && return
        kill -0 "$broker" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/broker.log"
    exit 1
}

stop() {
    kill "$broker"
    wait "$broker" 2>/dev/null
    broker=
}

ours() {
    timeout 20 "$client" --url "mqtt://127.0.0.1:$port" "$@" 2>"$work/stderr"
}

theirs() {
    local program=$1
    shift
    timeout 20 "$program" -h 127.0.0.1 -p "$port" "$@" 2>"$work/stderr"
}

numbers() {
    local number
    for number in $(seq "$1"); do echo "$2$number$3"; done
}

start

for version in 3 4 5; do
    for qos in 0 1 2; do
        # Ours to ours: all of them, in order. At QoS 2 no more than that.
        by=
        [ "$version" = 5 ] && by=" sent-by=vansire"
        got=$(ours --version $version --qos $qos --sub "t/#" --pub t/x --message 'm%n' --repeat 200 --count 200 | grep '^t/')
        expect "H2 H3 v$version QoS $qos: 200 messages, there and back" "$(numbers 200 't/x m' " q$qos$by")" "$got"
    done
    for qos in 0 1 2; do
        theirs mosquitto_sub -V "mqttv$([ $version = 5 ] && echo 5 || echo 311)" -i sub-$version-$qos -t w -q 2 -C 20 -W 15 -F '%p q%q' >"$work/theirs" &
        background=$!
        wait_for "sub-$version-$qos 2 w" "$work/broker.log"
        ours --version $version --qos $qos --pub w --message 'm%n' --repeat 20 >/dev/null
        wait "$background"
        background=
        expect "v$version QoS $qos: mosquitto_sub gets what we publish" "$(numbers 20 m " q$qos")" "$(cat "$work/theirs")"
    done
done

# Retained messages.
theirs mosquitto_pub -t kept/a -m one -q 1 -r
expect "H9 a retained message is there, and says so" "kept/a one q1 retained" \
    "$(ours --qos 1 --sub 'kept/#' --count 1 | grep '^kept/')"
ours --pub kept/a --message '' --retain --qos 1 >/dev/null
theirs mosquitto_pub -t kept/b -m two -q 1 -r
expect "H9 an empty one has cleared it" "kept/b two q1 retained" \
    "$(ours --qos 1 --sub 'kept/#' --count 1 | grep '^kept/')"

# Wills.
for version in 4 5; do
    for how in vanish leave; do
        theirs mosquitto_sub -i sub-$version-$how -t will/x -C 1 -W 2 >"$work/will" &
        background=$!
        wait_for "sub-$version-$how 0 will/x" "$work/broker.log"
        flag=
        [ $how = vanish ] && flag=--vanish
        ours --version $version --will will/x --pub other $flag --id "will-$how" >/dev/null
        wait "$background"
        background=
        expected=
        [ $how = vanish ] && expected=gone
        expect "H9 v$version: the will of a client that does $how" "$expected" "$(cat "$work/will")"
    done
done

# Sessions.
for version in 4 5; do
    id=sess-$version
    expect "H10 v$version: a new session" "open, session new" \
        "$(ours --version $version --id $id --keep-session 60 --qos 2 --sub 's/#' --count 0 | head -n 1)"
    theirs mosquitto_pub -t s/1 -m one -q 1
    theirs mosquitto_pub -t s/2 -m two -q 2
    expect "H10 v$version: it is there again, with what was kept" "open, session present
s/1 one q1
s/2 two q2" "$(ours --version $version --id $id --keep-session 60 --qos 2 --sub 's/#' --count 2)"
done

# 5.0: properties of others, and what the server gives.
theirs mosquitto_sub -i sub-props -V mqttv5 -t props -C 1 -W 10 -F '%P %p' >"$work/props" &
background=$!
wait_for 'sub-props 0 props' "$work/broker.log"
ours --pub props --message x --qos 1 >/dev/null
wait "$background"
background=
expect "H13 user properties arrive" "sent-by:vansire x" "$(cat "$work/props")"
ours --id props-in --sub props/in --count 1 >"$work/props" &
background=$!
wait_for '^subscribed' "$work/props"
theirs mosquitto_pub -V mqttv5 -t props/in -m y -D publish user-property k v -D publish content-type text
wait "$background"
expect "H13 and come" "props/in y q0 k=v" "$(grep '^props/' "$work/props")"
background=
expect "5.0: a name of the server's choice" "open, session new" "$(ours --id '' --sub x --count 0 | head -n 1)"

# Refused.
stop
start 'allow_anonymous false'
ours --pub x >/dev/null
expect "H1 a refusal is the end" "1 ended by the server: Not authorized (0x87)" "$? $(tail -n 1 "$work/stderr")"
ours --version 4 --pub x >/dev/null
expect "H1 v4: too" "1 ended by the server: Not authorized (0x87)" "$? $(tail -n 1 "$work/stderr")"
stop

# Connections that are lost: the broker goes and comes back, without what it knew.
start
for version in 4 5; do
    : >"$work/back" # what the last one wrote is not to be taken for its
    ours --version $version --id back-$version --sub 'back/#' --qos 1 --count 1 >"$work/back" &
    background=$!
    wait_for '^subscribed' "$work/back"
    stop
    wait_for '^lost' "$work/back"
    start
    for _ in $(seq 50); do
        theirs mosquitto_pub -t back/x -m here -q 1
        kill -0 "$background" 2>/dev/null || break
        sleep 0.2
    done
    wait "$background"
    background=
    expect "v$version: it comes back, subscribes again, and hears" "back/x here q1" "$(grep '^back/' "$work/back" | tail -n 1)"
done

# Keep-alive.
ours --alive 1 --sub quiet --count 1 --id quiet >"$work/quiet" &
background=$!
wait_for '^subscribed' "$work/quiet"
# Longer than the server waits for a client of this keep-alive.
sleep 3.2
theirs mosquitto_pub -t quiet -m still-here
wait "$background"
background=
expect "H6 a silent client stays" "quiet still-here q0" "$(tail -n 1 "$work/quiet")"

exit $failed
