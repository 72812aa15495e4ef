#!/bin/bash
# vlingd is killed at every moment of a server's creation and deletion: on the server's host, then
# on the controller that takes the request. Every server is soon ACTIVE, or in ERROR with a reason;
# of none is there a half; and when all are deleted nothing of them is left.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 1
cloud_prepare
# An image that takes a moment to copy.
{ cat build/vling-test.img && head -c 150M /dev/urandom; } >"$work/image"
image=$(openstack image create --file "$work/image" --disk-format raw -f value -c id big)
network=$(openstack network show -f value -c id private)
holder=$(cloud_api_holder)
host=c1h1
[ "$holder" != c1h1 ] || host=c2h1
cloud_token

# create NAME [ZONE]: prints the id.
create() {
    cloud_request POST 8774/v2.1/servers "{\"server\": {\"name\": \"$1\", \"imageRef\": \"$image\",
        \"flavorRef\": \"42\", \"networks\": [{\"uuid\": \"$network\"}], \"config_drive\": true
        ${2:+, \"availability_zone\": \"$2\"}}}" | cloud_id
}
kill_daemon() {
    "$vling" lab exec "$1" pkill -9 -f '^vlingd --config' || true # it may be dead just now
}
show() {
    cloud_request GET "8774/v2.1/servers/$1" >"$work/server"
}
# Neither in between nor in ERROR without a reason.
settled() {
    show "$1" && { grep -q '"status": *"ACTIVE"' "$work/server" ||
        grep -q '"status": *"ERROR".*"fault":' "$work/server"; }
}
deleted() {
    cloud_request DELETE "8774/v2.1/servers/$1" >/dev/null || ! show "$1"
}

ids=()
settle_and_delete() {
    cloud_wait 60 settled "$1" || return 1
    grep -o '"status": *"[A-Z]*"' "$work/server" >>"$work/ends"
    cloud_wait 20 deleted "$1"
}
# What stays after the first server of a project: its group was used.
id=$(create first)
check "a server" settle_and_delete "$id"
forgotten() { ! cloud_rows | grep -q "$id"; }
check "is forgotten" cloud_wait 30 forgotten
cloud_rows >"$work/rows-before"

for round in $(seq 16); do
    id=$(create "kill$round" "${host%h*}")
    check "$round: created" [ -n "$id" ]
    ids+=("$id")
    sleep "$(awk -v r="$round" 'BEGIN { print r * 0.13 }')"
    kill_daemon "$host"
    [ "$round" -le 2 ] || check "$round: settled and deleted" settle_and_delete "${ids[round - 3]}"
done
check "settled and deleted" settle_and_delete "${ids[14]}"
check "settled and deleted" settle_and_delete "${ids[15]}"
sort "$work/ends" | uniq -c

# The controller that takes the request.
list() {
    cloud_request GET "8774/v2.1/servers?name=taken" >"$work/list"
}
ids_listed() {
    cloud_wait 30 list && grep -oE '"id": ?"[0-9a-f-]{36}"' "$work/list" | grep -oE '[0-9a-f-]{36}'
}
for round in $(seq 10); do
    create "taken$round" >"$work/taken" &
    sleep "$(awk -v r="$round" 'BEGIN { print r * 0.006 }')"
    kill_daemon "$holder"
    wait || true
    cloud_wait 30 list
    if [ -s "$work/taken" ]; then
        check "what was acknowledged is there" grep -q "$(cat "$work/taken")" "$work/list"
    fi
    sleep 1
done
whole() {
    settled "$1" && grep -q '"OS-EXT-IPS-MAC:mac_addr"' "$work/server"
}
for id in $(ids_listed); do
    check "a server is whole" cloud_wait 60 whole "$id"
    check "it can be deleted" cloud_wait 20 deleted "$id"
done

# What is left, if anything.
left() {
    cloud_rows >"$work/rows-after" && diff "$work/rows-before" "$work/rows-after"
    ls /var/lib/vling-lab/shared/disks
    for each in c1h1 c2h1 c3h1; do
        "$vling" lab exec "$each" sh -c 'pgrep -af ^/usr/bin/qemu; ls /run/vling/guests; ls \
            /run/vling/config-drives; ip -o link | grep -o " vt[^:]*"'
    done
}
nothing_left() {
    left >"$work/left" || true
    [ ! -s "$work/left" ]
}
cloud_wait 60 nothing_left || cat "$work/left"
check "nothing is left of any of them" nothing_left
