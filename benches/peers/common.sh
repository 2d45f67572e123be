# What the scripts here have in common, to be sourced by one that has set servers, rows, rounds, seconds, idle_conns and next_port, and
# that has a function `measure ROUND ROW SERVER`.

script=${0##*/}
script=${script%.sh}
server_cpu=${SERVER_CPU:-0}
load_cpu=${LOAD_CPU:-1}

work=$PWD/.work
venv=$work/venv
target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$target/release
results=$work/$script.jsonl
# The programs, once they are found or installed.
nginx=
mosquitto=
# The processes that run now.
server_pid=
server_pids=()
load_pid=

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help)
            sed -n '2,7s/^# \{0,1\}//p' "$script.sh"
            exit 0
            ;;
        --rounds | --seconds | --only | --rows) [ $# -gt 1 ] || die "$1: a value is missing" ;;
        *) die "$1: unknown; --help shows what there is" ;;
        esac
        case $1 in
        --rounds) rounds=$2 ;;
        --seconds) seconds=$2 ;;
        --only) choose servers "$2" ;;
        --rows) choose rows "$2" ;;
        esac
        shift 2
    done
    [[ $rounds =~ ^[1-9][0-9]*$ ]] || die "--rounds $rounds: not a number"
    [[ $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "--seconds $seconds: not a number"
}

# choose LIST NAME,...: keeps these names of the list, and refuses one that is not in it.
choose() {
    local -n list=$1
    local -a chosen
    IFS=, read -ra chosen <<<"$2"
    local name
    for name in "${chosen[@]}"; do
        [[ " ${list[*]} " == *" $name "* ]] || die "$name: not one of ${list[*]}"
    done
    list=("${chosen[@]}")
}

# Makes room for the connections and for the results, and cleans up at the end, whatever the end is.
prepare() {
    ulimit -n "$(ulimit -Hn)"
    local limit
    limit=$(ulimit -n)
    if [ "$limit" != unlimited ] && [ "$limit" -lt $((idle_conns + 200)) ]; then
        idle_conns=$((limit - 200))
        say "the limit of $limit open files leaves $idle_conns idle connections"
    fi
    for cpu in "$server_cpu" "$load_cpu"; do
        taskset -c "$cpu" true 2>>/dev/null || die "there is no CPU $cpu: set SERVER_CPU and LOAD_CPU"
    done
    mkdir -p "$work"
    : >"$results"

    trap cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# tables PROGRAM HOW [ARGUMENT...]: what was measured and how, and its tables by this program.
tables() {
    { measured "$2" && "$bin/$1" "$results" "$work/$script.json" "${@:3}"; } | tee "$work/$script.md"
}

# measured HOW: the day, the machine and how it was used; below, the versions of the peers that took part.
measured() {
    local server version text=
    printf '%s; %s\n' "$(machine)" "$1"
    for server in "${servers[@]}"; do
        version=$(version_of "$server")
        text+=${version:+, $version}
    done
    if [ -n "$text" ]; then echo "${text#, }"; fi
    echo
}

machine() {
    printf '%s; %s; Linux %s' "$(date -u +%F)" "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)"
}

# A peer and its version; nothing for what is ours.
version_of() {
    case $1 in
    nginx) "$nginx" -v 2>&1 | sed 's/.*: //' ;;
    mosquitto) echo "mosquitto $(mosquitto_version "$mosquitto")" ;;
    cymongoose) echo "cymongoose $(cymongoose_version)" ;;
    mqttbytes) echo "mqttbytes $(cd ../.. && locked mqttbytes)" ;;
    hyper | rumqttd) echo "$1 $(locked "$1")" ;;
    actix) echo "actix-web $(locked actix-web)" ;;
    may) echo "may_minihttp $(locked may_minihttp)" ;;
    esac
}

interleave() {
    local round row turn
    for ((round = 1; round <= rounds; round++)); do
        for row in "${rows[@]}"; do
            # Each round begins with another server, so that none has the quiet moments to itself.
            for ((turn = 0; turn < ${#servers[@]}; turn++)); do
                measure "$round" "$row" "${servers[(turn + round - 1) % ${#servers[@]}]}"
            done
        done
    done
}

# --- what has to be there ---------------------------------------------------------------------------------------------

# build_one NAME PROGRAM...: all programs of a peer, or none.
build_one() {
    wanted "$1" || return 0
    local name=$1
    shift
    cargo_build --features "$name" $(printf -- '--bin %s ' "$@") || without "$name" "cannot be built: $(build_error)"
}

cargo_build() {
    cargo build --release --locked --target-dir "$target" --no-default-features "$@" >"$work/build.log" 2>&1
}

build_error() { grep -m1 ^error "$work/build.log" || true; }

# Leaves cymongoose out where it is wanted and cannot be installed.
install_cymongoose() {
    wanted cymongoose || return 0
    {
        { [ -x "$venv/bin/python" ] || python3 -m venv "$venv"; } &&
            { cymongoose_version || "$venv/bin/pip" install --disable-pip-version-check --only-binary :all: cymongoose; }
    } >"$work/cymongoose-install.log" 2>&1 ||
        without cymongoose "cannot be installed: $(last_line "$work/cymongoose-install.log")"
}

cymongoose_version() {
    "$venv/bin/python" -c 'from importlib.metadata import version; print(version("cymongoose"))'
}

# The version of a package in Cargo.lock; the latest, where peers need several.
locked() {
    sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"/\1/p;}" Cargo.lock | sort -V | tail -n 1
}

# install NAME: leaves a server of the system out where it is wanted and cannot be installed.
install() {
    wanted "$1" || return 0
    "install_$1" >"$work/$1-install.log" 2>&1 || true
    [ -n "${!1}" ] || without "$1" "cannot be installed: $(last_line "$work/$1-install.log")"
}

# Takes the nginx of the system, or unpacks the Debian package under .work, where it starts no service.
install_nginx() {
    local candidate
    for candidate in "$(command -v nginx || true)" /usr/sbin/nginx "$work/nginx/usr/sbin/nginx"; do
        if [ -x "$candidate" ] && "$candidate" -v; then
            nginx=$candidate
            return
        fi
    done
    mkdir -p "$work/nginx"
    (
        cd "$work/nginx" &&
            { apt-get download nginx || { apt-get update && apt-get download nginx; }; } &&
            dpkg-deb -x nginx_*.deb .
    ) || return
    "$work/nginx/usr/sbin/nginx" -v && nginx=$work/nginx/usr/sbin/nginx
}

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

# --- one measurement --------------------------------------------------------------------------------------------------

# Sets addr to one that nobody listens on.
free_port() {
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    addr=127.0.0.1:$next_port
    next_port=$((next_port + 1))
}

# launch LOG COMMAND...: starts a server on its core.
launch() {
    local log=$1
    shift
    taskset -c "$server_cpu" "$@" >"$log" 2>&1 &
    server_pid=$!
    server_pids=("$server_pid")
}

# await_listener LOG: waits until the server listens on addr; false when it has ended, or does not within 10 s.
await_listener() {
    local try
    for ((try = 0; try < 200; try++)); do
        kill -0 "$server_pid" 2>/dev/null || return
        (exec 3<>"/dev/tcp/${addr/://}") 2>/dev/null && return
        sleep 0.05
    done
    echo "nobody listens after 10 s" >>"$1"
    return 1
}

# load ROUND ROW SERVER PROGRAM ARGUMENT...: has a load generator measure the server.
load() {
    local generator=("${@:1:4}")
    shift 4
    take "${generator[@]}" --addr "$addr" --pid "$(IFS=, && echo "${server_pids[*]}")" "$@"
}

# take ROUND ROW SERVER PROGRAM ARGUMENT...: runs a program on the generator's core and notes what it prints.
take() {
    local round=$1 row=$2 server=$3 program=$4 err=$work/load.err
    shift 4
    try "$round" "$row" "$server" "$err" taskset -c "$load_cpu" "$bin/$program" "$@" && return
    kill -0 "$server_pid" 2>/dev/null || echo "the server ended: $(last_line "$work/$server.log")" >>"$err"
    skip "$server" "$row" "$(last_line "$err" | sed "s/^$program: //")"
}

# try ROUND ROW SERVER LOG COMMAND...: notes what the command prints; false when it fails.
try() {
    local round=$1 row=$2 server=$3 log=$4 status=0
    shift 4
    # In the background and waited for, so that a signal ends the run at once.
    "$@" >"$work/load.out" 2>"$log" &
    load_pid=$!
    wait "$load_pid" || status=$?
    load_pid=
    [ "$status" = 0 ] && note "$round" "$row" "$server" "$(<"$work/load.out")"
}

# note ROUND ROW SERVER RESULT
note() {
    say "round $1, $2, $3: $4"
    printf '{"round":%s,"server":"%s","row":"%s","result":%s}\n' "$1" "$3" "$2" "$4" >>"$results"
}

# A process and those that it started, one on each line.
children() {
    echo "$1"
    local stat pid rest
    for stat in /proc/[0-9]*/stat; do
        # "PID (NAME) STATE PARENT ...", where the name may contain anything.
        read -r rest 2>/dev/null <"$stat" || continue
        pid=${rest%% *}
        rest=${rest##*) }
        rest=${rest#* }
        [ "${rest%% *}" != "$1" ] || echo "$pid"
    done
}

# Ends the server: asks, and insists after three seconds. Its workers are children of a master that ends them.
stop() {
    [ -n "$server_pid" ] || return 0
    local pid try
    kill -TERM "$server_pid" 2>/dev/null || true
    for ((try = 0; try < 60; try++)); do
        kill -0 "${server_pids[@]}" 2>/dev/null || break
        sleep 0.05
    done
    if ((try == 60)); then
        for pid in "${server_pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    fi
    wait "$server_pid" 2>/dev/null || true
    server_pid=
    server_pids=()
}

cleanup() {
    if [ -n "$load_pid" ]; then kill -KILL "$load_pid" 2>/dev/null || true; fi
    stop
}

# --- messages ---------------------------------------------------------------------------------------------------------

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 2
}

need() {
    local tool
    for tool; do command -v "$tool" >/dev/null || die "$tool is needed and not there"; done
}

wanted() { [[ " ${servers[*]} " == *" $1 "* ]]; }

# without SERVER REASON: leaves a server out of the comparison.
without() {
    local -a kept=()
    local name
    for name in "${servers[@]}"; do [ "$name" = "$1" ] || kept+=("$name"); done
    servers=("${kept[@]}")
    skip "$1" "all rows" "$2"
}

# skip SERVER ROW REASON: says why there is no figure, here and under the table.
skip() {
    say "$1, $2: skipped: $3"
    printf '{"server":"%s","row":"%s","skip":"%s"}\n' "$1" "$2" "$(tr -d '"\\\000-\037' <<<"$3")" >>"$results"
}

last_line() {
    local line
    line=$(grep -v '^\s*$' "$1" 2>/dev/null | tail -n 1) || true
    printf '%s' "${line:-no message}"
}
