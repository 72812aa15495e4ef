# A cloud for benchmarks, without a lab: controllers and hosts with fake drivers (nothing of what
# they say runs does), in network namespaces and a folder that are removed at the end.
#   bench_begin            the namespace, $work; everything ends with the script
#   cloud_start etcd [AGENTS]   sets $controller_pid, $agent_pids, $etcd_pid
#   cloud_start etcd3 [AGENTS]  the same with three controllers, the other two in namespaces of their own
#   cloud_start sqlite     the same without: one host that is everything
#   inside COMMAND...      runs it in the namespace
#   cloud ARGUMENTS...     tests/bench/fill.py as user admin
set -eu
cd "$(dirname "$0")/../.."
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8
vlingd=${VLINGD:-$PWD/build/vlingd}
controller_ip=10.99.0.1
admin_password=benchmark
pids=
controllers='{"host": "controller", "cabinet": "c1", "ip": "10.99.0.1"}'
others= # namespaces of the other controllers

bench_end() {
    status=$?
    trap - EXIT INT TERM
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
    done
    # Guards and etcd outlive their daemon: all that is left in our own namespace.
    for name in $others "$netns"; do
        for pid in $(ip netns pids "$name" 2>/dev/null); do
            kill -9 "$pid" 2>/dev/null || true
        done
        ip netns delete "$name" 2>/dev/null || true
    done
    rm -rf "$work"
    exit "$status"
}

bench_begin() {
    work=$(mktemp -d /tmp/vling-bench-XXXXXX)
    netns=vling-bench-$$
    trap bench_end EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    ip netns add "$netns"
    inside ip link set lo up
}

inside() {
    ip netns exec "$netns" "$@"
}

# background LOG COMMAND...: in the namespace; sets $pid.
background() {
    ip netns exec "$netns" "${@:2}" >>"$1" 2>&1 </dev/null &
    pid=$!
    disown "$pid" # no word of its end
    pids="$pid $pids"
}

# host_config NAME NUMBER ENGINE ROLES [CABINET [DEVICE]]: its addresses and its vlingd.json.
host_config() {
    mkdir -p "$work/$1/run" "$work/$1/lib"
    if [ -z "${6:-}" ]; then
        inside ip address add "10.99.0.$2/32" dev lo
        inside ip address add "10.98.0.$2/32" dev lo
    fi
    cat >"$work/$1/vlingd.json" <<END
{"host": "$1", "cabinet": "${5:-c1}", "roles": [$4], "store": "$3",
 "state_dir": "$work/$1/lib", "run_dir": "$work/$1/run",
 "mgmt": {"dev": "${6:-lo}", "ip": "10.99.0.$2"}, "tenant": {"dev": "${6:-lo}", "ip": "10.98.0.$2"},
 "compute": {"driver": "fake", "vcpus": 4096, "ram_mb": 4194304},
 "network": {"driver": "fake"}, "storage": {"driver": "fake"},
 "controllers": [$controllers]}
END
}

# wait_for SECONDS COMMAND...
wait_for() {
    end=$(($(date +%s) + $1))
    until "${@:2}" >/dev/null 2>&1; do
        if [ "$(date +%s)" -ge "$end" ]; then
            echo "waited in vain for: ${*:2}" >&2
            tail -n 5 "$work"/*/*.log >&2 || true
            return 1
        fi
        sleep 0.2
    done
}

# cloud ARGUMENTS...: tests/bench/fill.py as user admin.
cloud() {
    inside python3 tests/bench/fill.py "http://$controller_ip" "$admin_password" "$@"
}

# A bridge on which the other controllers hang.
other_controllers() {
    inside ip link add br0 type bridge
    inside ip link set br0 up
    inside ip address add 10.99.0.1/16 dev br0
    inside ip address add 10.98.0.1/16 dev br0
    for i in 2 3; do
        ip netns add "$netns-$i"
        others="$others $netns-$i"
        ip -n "$netns-$i" link set lo up
        ip -n "$netns" link add "p$i" type veth peer name e0 netns "$netns-$i"
        ip -n "$netns" link set "p$i" master br0 up
        ip -n "$netns-$i" address add "10.99.0.10$i/16" dev e0
        ip -n "$netns-$i" address add "10.98.0.10$i/16" dev e0
        ip -n "$netns-$i" link set e0 up
        controllers="$controllers, {\"host\": \"controller$i\", \"cabinet\": \"c$i\", \"ip\": \"10.99.0.10$i\"}"
    done
}

other_controller_start() {
    host_config "controller$1" "10$1" etcd '"controller"' "c$1" e0
    ip netns exec "$netns-$1" "$vlingd" join --config "$work/controller$1/vlingd.json" \
        --token "$(cat "$work/join-token")" >"$work/controller$1/join.log"
    ip netns exec "$netns-$1" "$vlingd" --config "$work/controller$1/vlingd.json" \
        >>"$work/controller$1/vlingd.log" 2>&1 </dev/null &
    pid=$!
    disown "$pid"
    pids="$pid $pids"
}

cloud_start() {
    agent_pids=
    if [ "$1" = etcd3 ]; then
        other_controllers
        host_config controller 1 etcd '"controller"' c1 br0
    elif [ "$1" = etcd ]; then # other hosts reach the store
        host_config controller 1 etcd '"controller"'
    else
        host_config controller 1 sqlite '"controller", "compute", "network", "storage"'
    fi
    echo "$admin_password" >"$work/admin-password"
    inside "$vlingd" init --config "$work/controller/vlingd.json" \
        --admin-password-file "$work/admin-password" >"$work/join-token"
    background "$work/controller/vlingd.log" "$vlingd" --config "$work/controller/vlingd.json"
    controller_pid=$pid
    if [ "$1" = etcd3 ]; then
        other_controller_start 2
        other_controller_start 3
    fi
    wait_for 60 cloud --token
    [ "$1" = sqlite ] || for i in $(seq "${2:-1}"); do
        agent_start "$i"
    done
    wait_for 60 cloud --check
    etcd_pid=$(cat "$work/controller/run/etcd.pid" 2>/dev/null || true)
}

agent_start() {
    host_config "agent$1" "$(($1 + 1))" etcd '"compute", "network", "storage"'
    inside "$vlingd" join --config "$work/agent$1/vlingd.json" --token "$(cat "$work/join-token")" \
        >"$work/agent$1/join.log"
    background "$work/agent$1/vlingd.log" "$vlingd" --config "$work/agent$1/vlingd.json"
    agent_pids="$agent_pids $pid"
}

# Resident MiB of a process, with a decimal.
resident() {
    awk '/^VmRSS:/ { printf "%.1f", $2 / 1024 }' "/proc/$1/status"
}
