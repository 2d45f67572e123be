#!/usr/bin/env bash
# `vansire pub`, `sub` and `passwd` beside mosquitto's programs: the same command lines, at mosquitto and at `vansire`, print the same and
# end with the same code; password files of each are read by the other's server.
#
#   our_programs.sh VANSIRE     VANSIRE is the program, built
#
# Starts servers of its own on free ports of loopback, and ends them. Prints a line for each case, and ends with 1 if one failed.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

vansire=$(realpath "$1")
chmod 755 "$work"
pids=()
background=

# Ends what this script has started, by its number.
finish() {
    local pid
    for pid in "${pids[@]}" $background; do kill "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap finish EXIT

# mosquitto NAME PORT LINE...: a broker with these lines of configuration.
mosquitto_server() {
    local name=$1 port=$2
    shift 2
    printf '%s\n' "listener $port 127.0.0.1" "persistence false" "log_type subscribe" "log_type error" "log_type information" "$@" \
        >"$work/$name.conf"
    mosquitto -c "$work/$name.conf" >"$work/$name.log" 2>&1 &
    pids+=("$!")
    wait_for ' running$' "$work/$name.log"
}

# ours NAME PORT LINE...: the same of `vansire`; the lines belong to [mqtt].
vansire_server() {
    local name=$1 port=$2
    shift 2
    printf '%s\n' "http.listen = 'http://127.0.0.1:0'" "[mqtt]" "listen = 'mqtt://127.0.0.1:$port'" "$@" >"$work/$name.toml"
    env -i "$vansire" -c "$work/$name.toml" >"$work/$name.log" 2>&1 &
    pids+=("$!")
    wait_for "listening on mqtt://127.0.0.1:$port" "$work/$name.log"
}

# run PROGRAM ...: mosquitto_pub and mosquitto_sub, or ours.
run() {
    local who=$1 word=$2
    shift 2
    if [ "$who" = ours ]; then
        timeout 20 "$vansire" "$word" "$@"
    else
        timeout 20 "mosquitto_$word" "$@"
    fi
}

# ---- users, and the files that both write

cd "$work" || exit 1
printf 'secret\nsecret\n' | "$vansire" passwd -c -H sha512-pbkdf2 ours.users alice 2>/dev/null
"$vansire" passwd -b -H sha512 ours.users bob 'p:w d'
"$vansire" passwd -b ours.users carol secret
printf 'eve:clear\n' >>ours.users
"$vansire" passwd -U -H sha512-pbkdf2 ours.users 2>/dev/null
mosquitto_passwd -b -c theirs.users alice secret
mosquitto_passwd -b -H sha512 theirs.users bob 'p:w d'
"$vansire" passwd -D ours.users carol
chmod 644 ours.users theirs.users

m_open=$(free_port) v_open=$(free_port)
mosquitto_server m_open "$m_open" 'allow_anonymous true'
vansire_server v_open "$v_open"
m_ours=$(free_port) m_theirs=$(free_port) v_ours=$(free_port) v_theirs=$(free_port)
mosquitto_server m_ours "$m_ours" 'allow_anonymous false' "password_file $work/ours.users"
mosquitto_server m_theirs "$m_theirs" 'allow_anonymous false' "password_file $work/theirs.users"
vansire_server v_ours "$v_ours" "password_file = '$work/ours.users'"
vansire_server v_theirs "$v_theirs" "password_file = '$work/theirs.users'"

# login NAME PORT CODE FLAGS...
login() {
    local name=$1 port=$2 code=$3 who got
    shift 3
    for who in ours theirs; do
        got=0
        run $who pub -h 127.0.0.1 -p "$port" -t t -m x "$@" >/dev/null 2>"$work/stderr" || got=$?
        expect "$name: $who, $*" "$code" "$got"
    done
}
for at in "mosquitto, our file:$m_ours" "mosquitto, its file:$m_theirs" "vansire, our file:$v_ours" "vansire, mosquitto's file:$v_theirs"; do
    name=${at%:*} port=${at##*:}
    login "$name" "$port" 0 -u alice -P secret
    login "$name" "$port" 0 -u bob -P 'p:w d' -V 5
    login "$name" "$port" 5 -u alice -P wrong
    login "$name" "$port" 5 -u nobody -P secret
    login "$name" "$port" 135 -u alice -P wrong -V 5
    login "$name" "$port" 5
    case $name in *"our file") login "$name" "$port" 0 -u eve -P clear ;; esac
done

# ---- the same command lines

# same INPUT COMMAND...: what both print and how they end, at both servers.
same() {
    local input=$1 server port theirs ours
    shift
    for server in mosquitto vansire; do
        [ $server = mosquitto ] && port=$m_open || port=$v_open
        local args=("${@//PORT/$port}")
        theirs=$(printf '%b' "$input" | run theirs "${args[@]}" 2>"$work/stderr.theirs"; echo "exit $?")
        ours=$(printf '%b' "$input" | run ours "${args[@]}" 2>"$work/stderr.ours"; echo "exit $?")
        expect "at $server: $*" "$theirs" "$ours"
    done
}

for port in "$m_open" "$v_open"; do
    mosquitto_pub -p "$port" -r -t r/1 -m one
    mosquitto_pub -p "$port" -r -t r/2 -m '{"a":1}' -q 1
    mosquitto_pub -p "$port" -V 5 -r -t r/3 -m 'thrée' -q 2 -D publish content-type text/plain -D publish user-property k v \
        -D publish user-property k2 v2 -D publish response-topic re/x -D publish correlation-data cd \
        -D publish payload-format-indicator 1
done
all='%t|%p|%q|%r|%l|%x|%X|%C|%R|%D|%F|%P|%S|%A|%%|@@|\t|\n|'
printf 'a file\0' >"$work/file"
for version in 31 mqttv31 311 mqttv311 5 mqttv5; do
    for qos in 0 1 2; do
        same '' pub -p PORT -t a/b -m hi -V $version -q $qos
    done
    same '' sub -p PORT -t 'r/#' -V $version -q 2 -C 3 -F "$all"
    same '' sub -p PORT -t 'r/+' -V $version -C 3 -v
    same '' sub -p PORT -t nothing -V $version -W 1
done
same '' pub -p PORT -t a/b -f "$work/file" -q 1
same '' pub -p PORT -t a/b -f "$work/missing"
same 'one\ntwo\n' pub -p PORT -t a/b -l -q 1
same '' pub -p PORT -t a/b -l
same 'all' pub -p PORT -t a/b -s
same '' pub -p PORT -t a/b -s
same '' pub -p PORT -t a/b -n
same '' pub -p PORT -t a/b -m hi -r -q 1 -i me
same '' pub -p PORT -t a/b -m '' -r -q 1 -I me
same '' pub -p PORT -t a/b -m hi --repeat 3 --repeat-delay 0.1 -q 1
same '' pub -p PORT -t a/b -m hi -c -i lasting -q 1 -k 30
same '' pub -p PORT -t a/b -m hi -D publish message-expiry-interval 10 -D publish topic-alias 3
same '' pub -p PORT -t a/b -m hi -D connect session-expiry-interval 10 -D disconnect user-property a b
same '' pub -p PORT -t a/b -m hi --will-topic w --will-payload bye --will-qos 1 --will-retain
same '' pub -p PORT -t a/b -m hi --quiet -A 127.0.0.1 --nodelay -M 5
same '' pub -L mqtt://127.0.0.1:PORT/a/b -m hi
same '' pub -L mqtt://127.0.0.1:PORT -m hi
same '' pub -L http://127.0.0.1:PORT/a -m hi
for wrong in "-t a/# -m hi" "-t a -m hi -n" "-t a -m hi -q 3" "-t a -m hi -V 6" "-t a -m hi --nope" "-t a -m hi -c" "-t a -m hi -P x" \
    "-t a -m hi -i b -I c" "-t a -m hi -D publish nope 3" "-t a -m hi --will-payload x" "-t a -m hi --will-topic w/#"; do
    # shellcheck disable=SC2086 # the flags are words
    same '' pub -p PORT $wrong
done
same '' pub -p 1 -t a/b -m hi
same '' pub -h nosuch.invalid -t a/b -m hi
same '' sub -p PORT -t 'r/#' -C 2 -N
same '' sub -p PORT -t 'r/#' -T r/1 -C 1 -v
same '' sub -p PORT -t 'r/#' -R -W 1 -v
same '' sub -p PORT -t 'r/#' --retained-only -W 1 -v
same '' sub -p PORT -t 'r/#' -V 5 --retain-as-published -W 1 -v
same '' sub -p PORT -t 'r/#' -E
same '' sub -p PORT -t 'r/#' -C 3 -F '[%10t][%-10t][%1.2t][%05l][%5q]'
same '' sub -p PORT -t r/2 -C 1 -F '%p is %% of @@'
same '' sub -L mqtt://localhost:PORT/r/1 -t r/2 -C 2 -v
same '' sub -p PORT -t a -t b -U a -W 1
for wrong in "" "-t r#" "-t a -C 0" "-t a -C -1" "-t a -W 0" "-t a -c" "-t a -q 3" "-t a -F %" "-t a -F %k" "-t a -R --retained-only" \
    "-t a -V 5 -c"; do
    # shellcheck disable=SC2086 # the flags are words
    same '' sub -p PORT $wrong
done
same '' sub -p 1 -t a

# ---- messages from one to the other, at both servers

# A line per message; what is not text is in the table above.
lines=$(for n in $(seq 50); do echo "line $n"; done)
for server in mosquitto vansire; do
    [ $server = mosquitto ] && port=$m_open || port=$v_open
    for version in 31 311 5; do
        for qos in 0 1 2; do
            for from in ours theirs; do
                [ $from = ours ] && to=theirs || to=ours
                # mosquitto 2.0.11 sends its own mosquitto_sub more than the 20 messages of QoS 2 that it may have in flight,
                # whoever published (about 45 of 200 times), and mosquitto_sub gives up: there it gets room for all.
                room=()
                [ "$server$to$version$qos" = mosquittotheirs52 ] && room=(-D connect receive-maximum 100)
                # The last word of a session of its own: whoever subscribed is there when a retained message comes.
                run $from pub -p "$port" -t ready/$version -m ready -r -q 1 2>"$work/stderr"
                : >"$work/out" # what the last one wrote is not to be taken for its
                run $to sub -p "$port" -V $version -t "ready/$version" -t "m/$version/$qos/$from" -q 2 -C 51 "${room[@]}" >"$work/out" \
                    2>"$work/stderr.sub" &
                background=$!
                wait_for ready "$work/out"
                run $from pub -p "$port" -V $version -t "m/$version/$qos/$from" -q $qos -l <<<"$lines" 2>"$work/stderr"
                wait "$background"
                expect "at $server: MQTT $version, QoS $qos: 50 lines of $from" "0 ready
$lines" "$? $(cat "$work/out")"
                background=
            done
        done
    done
    # Properties of 5.0, in a message that waits.
    properties=(content-type text/plain response-topic re/x correlation-data cd payload-format-indicator 1 message-expiry-interval 1000)
    said=()
    for at in 0 2 4 6 8; do said+=(-D publish "${properties[at]}" "${properties[at + 1]}"); done
    for pair in "theirs theirs" "ours theirs" "theirs ours" "ours ours"; do
        read -r from to <<<"$pair"
        run "$from" pub -p "$port" -V 5 -t props -m 'thrée' -r -q 1 "${said[@]}" -D publish user-property k v \
            -D publish user-property k -2 2>"$work/stderr"
        expect "at $server: properties from $from to $to" "props|thrée|1|1|text/plain|re/x|cd|1|k:v k:-2|7" \
            "$(run "$to" sub -p "$port" -V 5 -t props -q 1 -C 1 -W 10 -F '%t|%p|%q|%r|%C|%R|%D|%F|%P|%S' \
                -D subscribe subscription-identifier 7 2>"$work/stderr.sub")"
    done
    # Wills of who is killed.
    for pair in "ours theirs" "theirs ours"; do
        read -r dies hears <<<"$pair"
        [ "$dies" = ours ] && program=("$vansire" sub) || program=(mosquitto_sub)
        run "$dies" pub -p "$port" -t alive -m alive -r -q 1 2>"$work/stderr"
        : >"$work/out"
        "${program[@]}" -p "$port" -t alive --will-topic "will/$dies" --will-payload gone --will-qos 1 --will-retain \
            >"$work/out" 2>"$work/stderr" &
        background=$!
        wait_for alive "$work/out"
        kill -KILL "$background"
        wait "$background" 2>/dev/null
        background=
        expect "at $server: the will of $dies" "gone" \
            "$(run "$hears" sub -p "$port" -t "will/$dies" -C 1 -W 10 2>"$work/stderr.sub")"
    done
    # A session that one begins and the other ends.
    for pair in "ours theirs" "theirs ours"; do
        read -r begins ends <<<"$pair"
        run "$begins" sub -p "$port" -c -i "s-$begins" -t s -q 2 -E 2>"$work/stderr"
        run "$begins" pub -p "$port" -t s -m kept -q 2 2>"$work/stderr"
        expect "at $server: a session that $begins began" "kept" \
            "$(run "$ends" sub -p "$port" -c -i "s-$begins" -t s -q 2 -C 1 -W 10 2>"$work/stderr")"
    done
done

exit $failed
