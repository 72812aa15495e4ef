#!/bin/bash
# Memory of a controller that holds a big cloud: 1,000 servers, 1,000 ports, 100 networks. The guests
# are entries in a table (fake drivers), the rows are real. Asserts nothing.
#
#   tests/bench/bench_memory.sh [SERVERS [NETWORKS [AGENTS]]]      default: 1000 100 4
. "$(dirname "$0")/lib.sh"
servers=${1:-1000} networks=${2:-100} agents=${3:-4}

row() {
    printf '%-36s %8s %8s   %s\n' "$@"
}

# Of several processes: the median.
resident_of() {
    for pid in "$@"; do
        resident "$pid"
        echo
    done | sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'
}

bench_begin
cloud_start etcd "$agents"
sleep 20 # what a start brings with it is over
empty=$(resident "$controller_pid") agent_empty=$(resident_of $agent_pids)
etcd_empty=$(resident "$etcd_pid")
started=$(date +%s)
cloud --servers "$servers" --networks "$networks"
took=$(($(date +%s) - started))
full=$(resident "$controller_pid")
cloud --list # as the dashboard does
listed=$(resident "$controller_pid")
sleep 30
row "MiB resident" empty full goal
row "controller (vlingd)" "$empty" "$(resident "$controller_pid")" "64 MiB"
row "  right after the last server" "" "$full" ""
row "  right after lists of everything" "" "$listed" ""
row "etcd beside it" "$etcd_empty" "$(resident "$etcd_pid")" ""
row "agent (median of $agents)" "$agent_empty" "$(resident_of $agent_pids)" "16 MiB idle"
echo "$servers servers and ports, $networks networks and subnets, $agents agents with the guests; made in $took s"
