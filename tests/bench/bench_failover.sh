#!/bin/bash
# How long the loss of a whole cabinet is felt: the one that holds etcd's leader, the API's virtual
# IP and a server. Prints medians of several cuts, in seconds from the cut; asserts nothing.
#
#   tests/bench/bench_failover.sh [RUNS]      default: 5, about a minute each
. "$(dirname "$0")/../cluster/lib.sh"
runs=${1:-5}

etcdctl_on() {
    "$vling" lab exec "$1" env ETCDCTL_API=3 etcdctl --endpoints "https://10.10.${1:1:1}.1:2379" \
        --cacert /var/lib/vling/pki/ca.crt --cert /var/lib/vling/pki/host.crt \
        --key /var/lib/vling/pki/host.key "${@:2}"
}

# Makes etcd's member on host $1 the leader.
lead() {
    id=$(etcdctl_on "$1" member list | awk -F', ' -v h="$1" '$3 == h { print $1 }')
    for host in c1h1 c2h1 c3h1; do
        etcdctl_on "$host" move-leader "$id" >/dev/null 2>&1 && return 0
    done
    return 0 # it leads already
}

for run in $(seq "$runs"); do
    lab_start >/dev/null
    [ "$run" = 1 ] || rm -f "$work/cloud-key"
    cloud_prepare
    holder=$(cloud_api_holder)
    cabinet=${holder%h*}
    cloud_boot one "$cabinet"
    lead "$holder"
    sleep 1
    python3 tests/cluster/prober.py --vling "$vling" --address "$address" --server "$server_id" \
        --host "$(cloud_host_of one)" --cabinet "$cabinet" --timeout 120 --json |
        tee -a "$work/runs"
    "$vling" lab down
    lab_started=
done

python3 - "$work/runs" <<'END'
import json, statistics, sys
runs = [json.loads(line) for line in open(sys.argv[1])]
goals = {"API write accepted": 1.5, "VPS process started": 6.0}
print(f"{'from the cut of the cabinet to':34} {'median':>8} {'min':>8} {'max':>8}   goal")
for what in ("host declared lost", "API write accepted", "VPS process started", "guest answers"):
    times = [run[what] for run in runs if what in run]
    if times:
        goal = f"{goals[what]:.1f} s" if what in goals else ""
        print(f"{what:34} {statistics.median(times):7.2f}s {min(times):7.2f}s {max(times):7.2f}s   {goal}")
print(f"{len(runs)} runs")
END
