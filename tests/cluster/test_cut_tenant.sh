#!/bin/bash
# The tenant cable of the router's host is cut, then the external one of its next host: the router
# moves each time, the events tell, and the server behind it goes on undisturbed.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 2
cloud_prepare

router_host() {
    for each in c1h1 c1h2 c2h1 c2h2 c3h1 c3h2; do
        if "$vling" lab exec "$each" ls /run/vling/netns 2>/dev/null | grep -q '^r-'; then
            echo "$each"
        fi
    done
}
one_router() { [ "$(router_host | wc -l)" = 1 ]; }
check "there is one router" cloud_wait 60 one_router
first=$(router_host)
# The server is in another cabinet, else the cut would be its own.
case $first in c1*) zone=c2 ;; *) zone=c1 ;; esac
cloud_boot one "$zone"
server=$(cloud_host_of one)
boot=$(cloud_boot_id "$address")
check "the server answers" [ -n "$boot" ]

# event KIND OBJECT PATTERN: is there such an event?
event() {
    "$vling" events --lab -f json | python3 -c '
import json, sys
kind, object, pattern = sys.argv[1:]
sys.exit(not any(event["kind"] == kind and event["object"] == object and pattern in event["text"]
                 for event in map(json.loads, sys.stdin)))' "$@"
}
# On one host, which is another one.
moved_from() { one_router && [ "$(router_host)" != "$1" ]; }
host_state() {
    "$vling" host show "$1" --lab -f json | python3 -c 'import json, sys
print(json.load(sys.stdin)["state"])'
}

"$vling" lab link down "$first" tenant
check "the router has left a host without tenant plane" cloud_wait 20 moved_from "$first"
check "the server answers through another one" cloud_wait_answer "$address" 20
check "it did not boot again" [ "$(cloud_boot_id "$address")" = "$boot" ]
check "the host tells of its link" cloud_wait 10 event host.link_down "$first" tenant
check "the controllers tell of the silent plane" cloud_wait 10 event host.plane_lost "$first" tenant
check "the host is up all the same" [ "$(host_state "$first")" = up ]
check_not "no other host is told of" sh -c "'$vling' events --lab -f json |
    grep 'host.plane_lost' | grep -vq '\"$first\"'"
"$vling" lab link up "$first" tenant
check "its link is back" cloud_wait 20 event host.link_up "$first" tenant
check "it is heard again" cloud_wait 20 event host.plane_back "$first" tenant

second=$(router_host)
"$vling" lab link down "$second" ext
check "the router has left a host without external link" cloud_wait 20 moved_from "$second"
check "the server answers through the third one" cloud_wait_answer "$address" 20
check "it did not boot again" [ "$(cloud_boot_id "$address")" = "$boot" ]
check "the host tells of its link" cloud_wait 10 event host.link_down "$second" external
"$vling" lab link up "$second" ext
check "its link is back" cloud_wait 20 event host.link_up "$second" external

check "still one router" cloud_wait 20 one_router
check "the server has not moved" [ "$(cloud_host_of one)" = "$server" ]
