#!/usr/bin/env bash
# Compares HTTP/1.1 servers by what a request costs: see README.md.
#
#   ./http.sh [--rounds N] [--seconds S] [--only SERVER,...] [--rows ROW,...]
#
# The table goes to standard output, progress to standard error; .work/ keeps the table (http.md), the medians with
# every single run (http.json) and the servers' logs. SERVER_CPU and LOAD_CPU choose the two cores (0 and 1).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

servers=(floor ours nginx hyper actix may cymongoose)
rows=(keepalive64 keepalive512 pipeline16 close64 static1k static100k static10m idle burst128)
# Those that serve files.
file_servers=(ours nginx actix cymongoose)
rounds=3
seconds=5
idle_conns=10000
idle_seconds=3

. ./common.sh
results=$work/results.jsonl
venv=$work/venv
nginx=
next_port=18100
# The files that the server is started with; empty for none.
folder=

main() {
    options "$@"
    need cargo curl taskset
    prepare
    make_files

    build
    install_peers
    [ "${#servers[@]}" -gt 0 ] || die "no server is left to measure"
    interleave
    { versions && "$bin/table" "$results" "$work/http.json"; } | tee "$work/http.md"
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
    if ! cargo_build --features hyper,actix,may --bin floor --bin load --bin table --bin hyper --bin actix --bin may; then
        say "not everything builds: trying one by one"
        for name in floor load table; do
            cargo_build --bin "$name" || die "$name cannot be built: see $work/build.log"
        done
        for name in hyper actix may; do build_one "$name"; done
    fi
    if [ -e src/bin/ours.rs ] || [ -e src/bin/ours/main.rs ]; then
        build_one ours
    elif wanted ours; then
        without ours "src/bin/ours.rs is not there"
    fi
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

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 server=$3
    local -a args
    folder=
    if [[ $row == static* ]]; then
        [[ " ${file_servers[*]} " == *" $server "* ]] || return 0
        folder=$work/files
    fi
    case $row in
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
    load "$round" "$row" "$server" load "${args[@]}"
    stop
}

# Starts a server on a free port, on its core; true when it gives the right answer. Sets addr and server_pids.
start() {
    local server=$1 log=$work/$1.log answer
    local -a command
    free_port
    case $server in
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
        if answer=$(curl -sS --noproxy '*' --max-time 2 -w ' %{http_code}' "http://$addr/" 2>>"$work/curl.log"); then
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
