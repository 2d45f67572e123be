# What mqtt.sh is made of, to be sourced by a script that has set servers, rows, rounds, seconds and idle_conns, and that
# has a function `measure ROUND ROW SERVER`.

server_cpu=${SERVER_CPU:-0}
load_cpu=${LOAD_CPU:-1}

work=$PWD/.work
target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$target/release
# The processes that run now.
server_pid=
server_pids=()
load_pid=

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help)
            sed -n '2,7s/^# \{0,1\}//p' "${0##*/}"
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

build_one() {
    wanted "$1" || return 0
    cargo_build --features "$1" --bin "$1" || without "$1" "cannot be built: $(grep -m1 ^error "$work/build.log" || true)"
}

cargo_build() {
    cargo build --release --target-dir "$target" --no-default-features "$@" >"$work/build.log" 2>&1
}

# The version of a package in Cargo.lock.
locked() {
    sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"/\1/p;}" Cargo.lock
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

# load ROUND ROW SERVER PROGRAM ARGUMENT...: runs the load generator on its core and notes what it prints.
load() {
    local round=$1 row=$2 server=$3 program=$4 out=$work/load.out err=$work/load.err
    shift 4
    # In the background and waited for, so that a signal ends the run at once.
    taskset -c "$load_cpu" "$bin/$program" --addr "$addr" --pid "$(IFS=, && echo "${server_pids[*]}")" "$@" >"$out" 2>"$err" &
    load_pid=$!
    if wait "$load_pid"; then
        load_pid=
        say "round $round, $row, $server: $(<"$out")"
        printf '{"round":%s,"server":"%s","row":"%s","result":%s}\n' "$round" "$server" "$row" "$(<"$out")" >>"$results"
    else
        load_pid=
        kill -0 "$server_pid" 2>/dev/null || echo "the server ended: $(last_line "$work/$server.log")" >>"$err"
        skip "$server" "$row" "$(last_line "$err" | sed "s/^$program: //")"
    fi
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
