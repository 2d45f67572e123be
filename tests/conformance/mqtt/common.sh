# What our_client.sh and our_programs.sh share; they source it. Whatever they run writes its errors to $work/stderr*.
set -uo pipefail

work=$(mktemp -d)
failed=0

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# wait_for PATTERN FILE
wait_for() {
    for _ in $(seq 200); do
        grep -q -- "$1" "$2" 2>/dev/null && return
        sleep 0.05
    done
    cat "$2"
    echo "waited in vain for $1 in $2"
    exit 1
}

# expect NAME EXPECTED ACTUAL
expect() {
    if [ "$2" = "$3" ]; then
        echo "ok   $1"
    else
        echo "FAIL $1"
        printf -- '--- expected\n%s\n--- got\n%s\n--- stderr\n' "$2" "$3"
        tail -n 5 "$work"/stderr*
        failed=1
    fi
}
