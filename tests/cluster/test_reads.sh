#!/bin/bash
# Reads are answered without asking the store, by read leases between the controllers, and are all
# the same never older than what anybody was told before: while nothing happens, and while
# controllers stand still, die, are cut off from each other and are replaced.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 2
cloud_token
printf %s "$cloud_auth" >"$work/token"
urls="http://10.10.1.1:9696 http://10.10.2.1:9696 http://10.10.3.1:9696"

# history SECONDS: in the background; its words come into $work/history.
history() {
    # shellcheck disable=SC2086
    python3 tests/cluster/reads_history.py "$1" "$work/token" $urls >"$work/history" 2>&1 &
    historian=$!
}
history_ends() {
    wait "$historian"
}
# at_once HOST: how many reads of the host needed no question to the store.
at_once() {
    "$vling" lab exec "$1" curl -s --cacert /var/lib/vling/pki/ca.crt \
        --cert /var/lib/vling/pki/host.crt --key /var/lib/vling/pki/host.key \
        "https://$(cloud_ip_of "$1"):7700/v1/status" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["reads"]["at_once"])'
}
reads_of() {
    awk -v at="$1" '$1 ~ at { print $3 }' "$work/history"
}

history 8
check "one order explains all" history_ends
cat "$work/history"
for host in c1h1 c2h1 c3h1; do
    now=$(at_once "$host")
    all=$(reads_of "$(cloud_ip_of "$host"):")
    echo "$host: $now of $all reads at once"
    # Nearly all of them on a machine of its own; on a busy one promises come late.
    check "$host held a lease for many of its reads" [ "$((now * 10))" -gt "$all" ]
done

history 45
sleep 2
"$vling" lab freeze c2h1
sleep 5
"$vling" lab thaw c2h1
sleep 3
"$vling" lab exec c3h1 pkill -KILL -f "^vlingd --config"
sleep 4
"$vling" lab partition c1 c2
sleep 5
"$vling" lab heal
sleep 2
"$vling" lab power off c1h1
sleep 5
"$vling" lab power on c1h1
sleep 5
for _ in 1 2 3; do
    "$vling" lab freeze c3h1
    sleep 0.4
    "$vling" lab thaw c3h1
    sleep 0.7
done
check "one order explains all that was told meanwhile" history_ends
cat "$work/history"
check "writes went on" [ "$(awk '/^writes/ { print $2 }' "$work/history")" -gt 50 ]

history 30
sleep 2
"$vling" controller replace c2h1 c2h2 --lab
check "one order explains all while a controller is replaced" history_ends
cat "$work/history"
