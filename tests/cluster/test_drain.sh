#!/bin/bash
# A host is drained: its servers shut down in order and go on elsewhere with their disks, its router
# moves, nothing new comes. One of them is being moved while its new host loses its power; then there
# is no room for it elsewhere.
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

# A server that is on its way when its new host loses its power gets elsewhere.
last_event() {
    "$vling" events --lab -f json | python3 -c '
import json, sys
kind, id = sys.argv[1:]
texts = [event["text"] for event in map(json.loads, sys.stdin)
         if event["kind"] == kind and event["object"] == id]
print(texts[-1] if texts else "")' "$1" "$(openstack server show -f value -c id one)"
}
leaves() { last_event server.leaving | grep -q "^$1 "; }
leaves_for_good() { [ "$(cloud_host_of one)" != "$1" ]; }
second=$(cloud_host_of one)
"$vling" host drain "$second" --no-wait --lab
check "it leaves its second host" cloud_wait 30 leaves "$second"
third=$(last_event server.leaving | sed 's/.* //')
"$vling" lab power off "$third"
check "it has left" cloud_wait 120 leaves_for_good "$second"
gone_on() { [ "$(cloud_host_of one)" != "$third" ] && cloud_is one ACTIVE; }
check "it is not where there is no power" cloud_wait 120 gone_on
check "it answers again" cloud_wait_ssh "$first" 120
check "with its disk, again" [ "$(cloud_marker_of "$first")" = before ]
check "which is sane" cloud_disk_is_sane "$first"
"$vling" lab power on "$third"
third_is_up() { [ "$("$vling" host show "$third" --lab -f json | python3 -c '
import json, sys
print(json.load(sys.stdin)["state"])')" = up ]; }
check "its second host is back" cloud_wait 60 third_is_up

# With no room elsewhere it goes on where it is, the events say why, and it leaves when there is.
now=$(cloud_host_of one)
for other in $("$vling" host list --lab -f json | python3 -c '
import json, sys
print(*[host["id"] for host in json.load(sys.stdin)])'); do
    [ "$other" = "$now" ] || "$vling" host disable "$other" --lab >/dev/null
done
boot=$(cloud_boot_id "$first")
"$vling" host drain "$now" --no-wait --lab
stays() { last_event server.stays | grep -q "^cannot leave $now"; }
check "it is told that it cannot leave" cloud_wait 30 stays
last_event server.stays
check "it runs on" [ "$(cloud_boot_id "$first")" = "$boot" ]
"$vling" host enable "$host" --lab
there() { [ "$(cloud_host_of one)" = "$host" ]; }
check "it leaves when there is room" cloud_wait 120 there
check "and answers" cloud_wait_ssh "$first" 120
