#!/usr/bin/env bash
# Compares HTTP/1.1 servers, and clients, by what a request costs them: see README.md.
#
#   ./http.sh [--rounds N] [--seconds S] [--only SERVER,...] [--rows ROW,...]
#
# The table goes to standard output, progress to standard error; .work/ keeps the table (http.md), the medians with
# every single run (http.json) and the servers' logs. SERVER_CPU and LOAD_CPU choose the two cores (0 and 1).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

servers=(floor ours nginx hyper actix may cymongoose)
rows=(keepalive64 keepalive512 pipeline16 close64 static1k static100k static10m sse1000 client idle burst128)
# Those that serve files, those that serve events, and those that are clients as well.
file_servers=(ours nginx actix cymongoose)
event_servers=(floor ours hyper cymongoose)
clients=(ours hyper)
# Requests that a client makes in a round.
client_requests=100000
rounds=3
seconds=5
idle_conns=10000
idle_seconds=3
server_cpu=${SERVER_CPU:-0}
load_cpu=${LOAD_CPU:-1}

work=$PWD/.work
results=$work/results.jsonl
target=${CARGO_TARGET_DIR:-$PWD/target}
bin=$target/release
venv=$work/venv
nginx=
next_port=18100
# The files that the server is started with; empty for none.
folder=
# What is measured: `sse`, `client`, or a server's plain replies.
kind=
# The processes that run now.
server_pid=
server_pids=()
load_pid=

main() {
    options "$@"
    need cargo curl taskset
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
    make_files

    trap cleanup EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM

    build
    install_peers
    [ "${#servers[@]}" -gt 0 ] || die "no server is left to measure"
    local round row turn
    for ((round = 1; round <= rounds; round++)); do
        for row in "${rows[@]}"; do
            # Each round begins with another server, so that none has the quiet moments to itself.
            for ((turn = 0; turn < ${#servers[@]}; turn++)); do
                measure "$round" "$row" "${servers[(turn + round - 1) % ${#servers[@]}]}"
            done
        done
    done
    { versions && "$bin/table" "$results" "$work/http.json"; } | tee "$work/http.md"
}

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help)
            sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]##*/}"
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

# The files of the rows static*, as old as any that is served.
make_files() {
    mkdir -p "$work/files"
    printf 'Hello, World!' >"$work/files/index.html"
    head -c 1024 /dev/urandom >"$work/files/1k.bin"
    head -c 102400 /dev/urandom >"$work/files/100k.bin"
    head -c 10485760 /dev/urandom >"$work/files/10m.bin"
    touch -d '1 hour ago' "$work"/files/*
}

# --- what has to be there ---------------------------------------------------------------------------------------------

build() {
    say "building"
    local name
    # All peers whoever takes part, always with the same features, and vansire apart from them: cargo then builds again
    # only what has changed.
    local -a own=(floor load table sse_floor sse_load) peers=(hyper sse_hyper client-hyper actix may)
    if ! cargo_build --features hyper,actix,may $(printf -- '--bin %s ' "${own[@]}" "${peers[@]}"); then
        say "not everything builds: trying one by one"
        for name in "${own[@]}"; do
            cargo_build --bin "$name" || die "$name cannot be built: see $work/build.log"
        done
        build_one hyper sse_hyper client-hyper
        build_one actix
        build_one may
    fi
    build_one ours sse_ours client-ours
}

# build_one NAME PROGRAM...: all programs of a peer, or none.
build_one() {
    wanted "$1" || return 0
    cargo_build --features "$1" $(printf -- '--bin %s ' "$@") ||
        without "$1" "cannot be built: $(grep -m1 ^error "$work/build.log" || true)"
}

cargo_build() {
    cargo build --release --locked --target-dir "$target" --no-default-features "$@" >"$work/build.log" 2>&1
}

install_peers() {
    if wanted nginx; then
        install_nginx >"$work/nginx-install.log" 2>&1 || true
        [ -n "$nginx" ] || without nginx "cannot be installed: $(last_line "$work/nginx-install.log")"
    fi
    if wanted cymongoose; then
        install_cymongoose >"$work/cymongoose-install.log" 2>&1 ||
            without cymongoose "cannot be installed: $(last_line "$work/cymongoose-install.log")"
    fi
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

install_cymongoose() {
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv" || return
    "$venv/bin/python" -c 'import cymongoose' 2>/dev/null && return
    "$venv/bin/pip" install --disable-pip-version-check --only-binary :all: cymongoose
}

versions() {
    printf '%s; %s; Linux %s; %s rounds of %s s\n' "$(date -u +%F)" \
        "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -n 1)" "$(uname -r)" "$rounds" "$seconds"
    local name text=
    for name in "${servers[@]}"; do
        case $name in
        nginx) text+=", $("$nginx" -v 2>&1 | sed 's/.*: //')" ;;
        hyper) text+=", hyper $(locked hyper)" ;;
        actix) text+=", actix-web $(locked actix-web)" ;;
        may) text+=", may_minihttp $(locked may_minihttp)" ;;
        cymongoose) text+=", cymongoose $("$venv/bin/python" -c 'from importlib.metadata import version; print(version("cymongoose"))')" ;;
        esac
    done
    printf '%s\n\n' "${text#, }"
}

# The version of a package in Cargo.lock.
locked() {
    sed -n "/^name = \"$1\"\$/{n;s/^version = \"\(.*\)\"/\1/p;}" Cargo.lock
}

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 server=$3 out=$work/load.out err=$work/load.err
    local -a args command takers=("${servers[@]}")
    folder=
    kind=
    case $row in
    static*) takers=("${file_servers[@]}") folder=$work/files ;;
    sse*) takers=("${event_servers[@]}") kind=sse ;;
    client) takers=("${clients[@]}") kind=client ;;
    esac
    [[ " ${takers[*]} " == *" $server "* ]] || return 0
    case $row in
    sse1000) args=(--clients 1000 --seconds "$seconds") ;;
    client) args=("$client_requests") ;;
    keepalive64) args=(--conns 64 --seconds "$seconds") ;;
    keepalive512) args=(--conns 512 --seconds "$seconds") ;;
    pipeline16) args=(--conns 64 --depth 16 --seconds "$seconds") ;;
    close64) args=(--conns 64 --close --seconds "$seconds") ;;
    static1k) args=(--conns 64 --path /1k.bin --len 1024 --seconds "$seconds") ;;
    static100k) args=(--conns 64 --path /100k.bin --len 102400 --seconds "$seconds") ;;
    static10m) args=(--conns 16 --path /10m.bin --len 10485760 --seconds "$seconds") ;;
    idle) args=(--conns "$idle_conns" --idle --seconds "$idle_seconds") ;;
    burst128) args=(--conns 128 --burst --seconds "$seconds") ;;
    esac
    # A fresh process for each measurement: what one row leaves in the allocator is not there in the next.
    if ! start "$server"; then
        skip "$server" "$row" "does not start: $(last_line "$work/$server.log")"
        stop
        return
    fi
    case $kind in
    client) command=("$bin/client-$server" "$addr") ;;
    sse) command=("$bin/sse_load" --addr "$addr" --pid "$(IFS=, && echo "${server_pids[*]}")") ;;
    *) command=("$bin/load" --addr "$addr" --pid "$(IFS=, && echo "${server_pids[*]}")") ;;
    esac
    # In the background and waited for, so that a signal ends the run at once.
    taskset -c "$load_cpu" "${command[@]}" "${args[@]}" >"$out" 2>"$err" &
    load_pid=$!
    if wait "$load_pid"; then
        load_pid=
        say "round $round, $row, $server: $(<"$out")"
        printf '{"round":%s,"server":"%s","row":"%s","result":%s}\n' "$round" "$server" "$row" "$(<"$out")" >>"$results"
    else
        load_pid=
        kill -0 "$server_pid" 2>/dev/null || echo "the server ended: $(last_line "$work/$server.log")" >>"$err"
        skip "$server" "$row" "$(last_line "$err" | sed 's/^load: //')"
    fi
    stop
}

# Starts a server on a free port, on its core; true when it gives the right answer. Sets addr and server_pids. What a client
# asks is the floor.
start() {
    local server=$1 log=$work/$1.log answer
    [ "$kind" != client ] || server=floor
    local -a command
    while (exec 3<>"/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do next_port=$((next_port + 1)); done
    addr=127.0.0.1:$next_port
    next_port=$((next_port + 1))
    case $kind$server in
    ssecymongoose) command=("$venv/bin/python" sse_cymongoose.py "$addr") ;;
    sse*) command=("$bin/sse_$server" "$addr") ;;
    nginx)
        nginx_config >"$work/nginx.conf"
        command=("$nginx" -p "$work" -e "$log" -c "$work/nginx.conf")
        ;;
    cymongoose) command=("$venv/bin/python" cymongoose_server.py "$addr" ${folder:+"$folder"}) ;;
    *) command=("$bin/$server" "$addr" ${folder:+"$folder"}) ;;
    esac
    taskset -c "$server_cpu" "${command[@]}" >"$log" 2>&1 &
    server_pid=$!
    server_pids=("$server_pid")
    local try
    for ((try = 0; try < 200; try++)); do
        kill -0 "$server_pid" 2>/dev/null || return
        if [ "$kind" = sse ]; then
            # Its answers have no end.
            (exec 3<>"/dev/tcp/${addr/://}") 2>/dev/null && return
        elif answer=$(curl -sS --noproxy '*' --max-time 2 -w ' %{http_code}' "http://$addr/" 2>>"$work/curl.log"); then
            # A master may have started workers, which do the work.
            mapfile -t server_pids < <(children "$server_pid")
            [ "$answer" = "Hello, World! 200" ] && return
            echo "not the answer that was expected: $answer" >>"$log"
            return 1
        fi
        sleep 0.05
    done
    echo "no answer within 10 s" >>"$log"
    return 1
}

nginx_config() {
    cat <<END
worker_processes 1;
daemon off;
pid "$work/nginx.pid";
worker_rlimit_nofile $(ulimit -n);
events {
    # It closes idle connections of its own accord when less than a sixteenth of these is free.
    worker_connections $((idle_conns * 5 / 4));
}
http {
    access_log off;
    keepalive_requests 1000000000;
    default_type "text/plain; charset=utf-8";
    client_body_temp_path "$work/nginx-tmp";
    proxy_temp_path "$work/nginx-tmp";
    fastcgi_temp_path "$work/nginx-tmp";
    scgi_temp_path "$work/nginx-tmp";
    uwsgi_temp_path "$work/nginx-tmp";
    server {
        listen $addr backlog=4096;
        location / {
            $(if [ -n "$folder" ]; then echo "root $folder; sendfile on;"; else echo 'return 200 "Hello, World!";'; fi)
        }
    }
}
END
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

say() { printf 'http.sh: %s\n' "$*" >&2; }

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

main "$@"
