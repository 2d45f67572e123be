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
next_port=18100

. ./common.sh
# The files that the server is started with; empty for none.
folder=
# What is measured: `sse`, `client`, or a server's plain replies.
kind=

main() {
    options "$@"
    need cargo curl taskset
    prepare
    make_files

    build
    install nginx
    install_cymongoose
    [ "${#servers[@]}" -gt 0 ] || die "no server is left to measure"
    interleave
    tables table "$rounds rounds of $seconds s"
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
        build_one hyper hyper sse_hyper client-hyper
        build_one actix actix
        build_one may may
    fi
    build_one ours ours sse_ours client-ours
}

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 server=$3
    local -a args takers=("${servers[@]}")
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
    client) take "$round" "$row" "$server" "client-$server" "$addr" "${args[@]}" ;;
    sse) load "$round" "$row" "$server" sse_load "${args[@]}" ;;
    *) load "$round" "$row" "$server" load "${args[@]}" ;;
    esac
    stop
}

# Starts a server on a free port, on its core; true when it gives the right answer. Sets addr and server_pids. What a client
# asks is the floor.
start() {
    local server=$1 log=$work/$1.log answer
    [ "$kind" != client ] || server=floor
    local -a command
    free_port
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
    launch "$log" "${command[@]}"
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

main "$@"
