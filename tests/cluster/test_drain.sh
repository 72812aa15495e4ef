#!/bin/bash
# A host is drained: its servers shut down in order and go on elsewhere with their disks, its router
# moves, nothing new comes. One of them is being moved while its new host loses its power.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 2
cloud_prepare
cloud_boot one c3
host=$(cloud_host_of one)
first=$address
boot=$(cloud_boot_id "$first")
cloud_mark "$first" before
openstack server create --image vling-test --flavor m1.micro --network private \
    --availability-zone "c3:$host" -f value -c id two >/dev/null 2>&1 ||
    openstack server create --image vling-test --flavor m1.micro --network private \
        --availability-zone c3 -f value -c id two >/dev/null
cloud_wait_status two ACTIVE 90

out=$("$vling" host drain "$host" --lab)
echo "$out"
check "it says so" sh -c "echo '$out' | grep -q 'is drained'"
check_not "the server has left" [ "$(cloud_host_of one)" = "$host" ]
check "it answers" cloud_wait_ssh "$first" 90
check_not "after another boot" [ "$(cloud_boot_id "$first")" = "$boot" ]
check "with its disk" [ "$(cloud_marker_of "$first")" = before ]
check "its disk was written by one guest at a time" cloud_disk_is_sane "$first"
none_left() { [ -z "$(openstack server list --all-projects --host "$host" -f value -c ID)" ]; }
check "nothing is left there" cloud_wait 30 none_left
no_router() { ! "$vling" lab exec "$host" ls /run/vling/netns 2>/dev/null | grep -q '^r-'; }
check "no router either" cloud_wait 30 no_router
check "the events tell" sh -c "'$vling' events --lab -f value | grep -q 'which is drained'"

"$vling" host enable "$host" --lab
is_back() { [ "$("$vling" host show "$host" --lab -f json | python3 -c '
import json, sys
host = json.load(sys.stdin)
print(host["disabled"], host["draining"])')" = "False False" ]; }
check "it is taken back" is_back
