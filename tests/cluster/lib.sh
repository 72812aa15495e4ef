# What the cluster tests share; sourced first. Starts in the project's folder, as root.
#   lab_start [ARGUMENTS]   a fresh lab, removed when the script ends however it ends
#   check TEXT COMMAND...   an assertion
set -eu
cd "$(dirname "$0")/../.."
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
vling=${VLING:-$PWD/build/vling}
work=$(mktemp -d)
test_name=$(basename "$0" .sh)
lab_started=

lab_end() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    jobs -p | xargs -r kill 2>/dev/null || true
    [ -z "${openstack_process:-}" ] || kill "$openstack_process" 2>/dev/null || true
    if [ -n "$lab_started" ]; then
        mkdir -p "build/cluster-logs/$test_name"
        for log in /var/lib/vling-lab/hosts/*/vlingd.log; do
            [ -f "$log" ] || continue
            cp "$log" "build/cluster-logs/$test_name/$(basename "$(dirname "$log")").log"
        done
        "$vling" lab down || status=1
    fi
    rm -rf "$work"
    exit "$status"
}

lab_start() {
    trap lab_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    lab_started=yes
    if [ -z "${openstack_process:-}" ]; then
        python3 tests/cluster/openstack_fork.py serve "$work/openstack" >"$work/openstack.ready" &
        openstack_process=$!
        disown
    fi
    "$vling" lab up "$@" || {
        status=$?
        [ "$status" != 3 ] || lab_started= # another lab is there: not ours to remove
        exit "$status"
    }
    eval "$("$vling" lab openrc)"
    . tests/cluster/cloud.sh
    cloud_wait 60 [ -s "$work/openstack.ready" ]
}

# The openstack command without its start of a second; `command openstack` is the real one.
openstack() {
    python3 -I -S tests/cluster/openstack_fork.py ask "$work/openstack" "$@"
}

check() {
    text=$1
    shift
    if "$@"; then
        echo "ok: $text"
    else
        echo "FAILED: $text ($*)" >&2
        exit 1
    fi
}

check_not() {
    text=$1
    shift
    if "$@"; then
        echo "FAILED: $text (not $*)" >&2
        exit 1
    fi
    echo "ok: $text"
}
