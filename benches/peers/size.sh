#!/usr/bin/env bash
# Weighs programs, and times how they start: see README.md.
#
#   ./size.sh [--rounds N] [--only PROGRAM,...] [--rows ROW,...]
#
# The tables go to standard output, progress to standard error; .work/ keeps the tables (size.md), the medians with every
# single run (size.json) and the servers' logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# size/ has those of the library, vansire is the program, the others are peers.
servers=(empty http broker all vansire nginx mosquitto)
rows=(size build start)
rounds=20
seconds=1
idle_conns=1
next_port=19200

. ./common.sh
weighed=$target/size

main() {
    options "$@"
    need cargo taskset strip nm size
    prepare

    say "building"
    cargo_build --bin start --bin weigh --bin size_table || die "not everything builds: see $work/build.log"
    local name
    for name in empty http broker all vansire; do
        wanted "$name" || continue
        compile "$name" release "$weighed" || without "$name" "cannot be built: $(build_error)"
    done
    install nginx
    install mosquitto
    interleave
    tables size_table "$rounds starts each; $(rustc --version | cut -d ' ' -f 1,2)"
}

# package NAME: sets what cargo is told of a program.
package() {
    case $1 in
    vansire) package=(--manifest-path ../../Cargo.toml --features app) ;;
    empty) package=(--manifest-path size/Cargo.toml) ;;
    *) package=(--manifest-path size/Cargo.toml --features "$1") ;;
    esac
}

# compile NAME PROFILE FOLDER
compile() {
    local -a package
    package "$1"
    cargo build --locked "${package[@]}" --bin "$1" --profile "$2" --target-dir "$3" >"$work/build.log" 2>&1
}

# --- one measurement --------------------------------------------------------------------------------------------------

measure() {
    local round=$1 row=$2 name=$3
    case $row.$name in
    size.nginx | size.mosquitto | build.nginx | build.mosquitto | start.empty) ;;
    # Neither changes from round to round.
    size.*) [ "$round" != 1 ] || weigh "$name" ;;
    build.*) [ "$round" != 1 ] || time_build "$name" ;;
    start.*) start "$round" "$name" ;;
    esac
}

# weigh NAME: its length without symbols, and how many crates it is made of beside vansire.
weigh() {
    local profile
    local -a package lens=()
    package "$1"
    for profile in release small; do
        compile "$1" "$profile" "$weighed" || { skip "$1" size "cannot be built: $(build_error)"; return; }
        strip -o "$work/stripped" "$weighed/$profile/$1"
        lens+=("$(stat -c %s "$work/stripped")")
    done
    local crates
    crates=$(cargo tree --locked "${package[@]}" -e normal --prefix none --no-dedupe | { grep -v '^vansire' || true; } | sort -u | wc -l)
    note 1 size "$1" "{\"release\":${lens[0]},\"small\":${lens[1]},\"crates\":$crates}"
    if [ "$1" = http ] && wanted empty; then
        compile empty small "$weighed" || return 0
        note 1 parts http "$("$bin/weigh" "$weighed/small/empty" "$weighed/small/http")"
    fi
}

# time_build NAME: with all that it needs, on all cores, from nothing but what is downloaded.
time_build() {
    local fresh=$work/fresh began=$EPOCHREALTIME
    rm -rf "$fresh"
    if compile "$1" release "$fresh"; then
        note 1 build "$1" "{\"s\":$(awk "BEGIN { printf \"%.1f\", $EPOCHREALTIME - $began }")}"
    else
        skip "$1" build "$(build_error)"
    fi
    rm -rf "$fresh"
}

# start ROUND NAME: from the start of the process to the first reply.
start() {
    local round=$1 name=$2 first err=$work/$2.log
    local -a command
    free_port
    first=$addr
    case $name in
    http) command=(http "$first" "$weighed/release/http" "http://$first") ;;
    broker) command=(mqtt "$first" "$weighed/release/broker" "mqtt://$first") ;;
    all)
        free_port
        command=(http "$first" "$weighed/release/all" "http://$first" "mqtt://$addr")
        ;;
    vansire)
        free_port
        command=(http "$first" "$weighed/release/vansire" --http "http://$first" --mqtt "mqtt://$addr")
        ;;
    nginx)
        nginx_config "$first" >"$work/nginx-size.conf"
        command=(http "$first" "$nginx" -p "$work" -e "$err" -c "$work/nginx-size.conf")
        ;;
    mosquitto)
        printf 'listener %s %s\nallow_anonymous true\n' "${first##*:}" "${first%:*}" >"$work/mosquitto-size.conf"
        command=(mqtt "$first" "$mosquitto" -c "$work/mosquitto-size.conf")
        ;;
    esac
    try "$round" start "$name" "$err" "$bin/start" "${command[@]}" || skip "$name" start "$(last_line "$err")"
}

# As small as it gets: what Debian ships, with one worker.
nginx_config() {
    cat <<END
worker_processes 1;
daemon off;
pid "$work/nginx-size.pid";
events { worker_connections 768; }
http {
    access_log off;
    client_body_temp_path "$work/nginx-tmp";
    proxy_temp_path "$work/nginx-tmp";
    fastcgi_temp_path "$work/nginx-tmp";
    scgi_temp_path "$work/nginx-tmp";
    uwsgi_temp_path "$work/nginx-tmp";
    server {
        listen $1;
        location / { return 200 "Hello, World!"; }
    }
}
END
}

main "$@"
