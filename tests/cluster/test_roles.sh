#!/bin/bash
# Roles change while the daemon runs: edit the file, send SIGHUP. A host that gives up routing hands
# its router over; one that gives up computing gets no new servers.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
cloud_boot one

router_host() {
    for host in $("$vling" lab status -f value | awk '$3 == "on" { print $1 }'); do
        if "$vling" lab exec "$host" ls /run/vling/netns | grep -q '^r-'; then
            echo "$host"
        fi
    done
}

# roles HOST ROLE...: the file and the signal.
roles() {
    python3 - "/var/lib/vling-lab/hosts/$1/etc/vlingd.json" "${@:2}" <<'END'
import json, sys
config = json.load(open(sys.argv[1]))
config["roles"] = sys.argv[2:]
json.dump(config, open(sys.argv[1], "w"))
END
    "$vling" lab exec "$1" pkill -HUP -xf 'vlingd --config .*'
}

was=$(router_host)
check "one host routes" [ "$(echo "$was" | wc -w)" = 1 ]
case $was in *h1) rest="controller compute storage" ;; *) rest="compute storage" ;; esac
# shellcheck disable=SC2086
roles "$was" $rest
moved() { [ -n "$(router_host)" ] && [ "$(router_host)" != "$was" ]; }
check "its router is on another host" cloud_wait 20 moved
check "the server answers through it" cloud_wait_answer "$address" 30
shows_roles() { [ "$("$vling" host show "$was" -f json | python3 -c '
import json, sys
print("network" in str(json.load(sys.stdin)["roles"]))')" = "$1" ]; }
check "the host shows what it is" cloud_wait 10 shows_roles False

for spare in c3h2 c3h3; do
    roles "$spare" storage
done
roles c3h1 controller network storage
zone_is_gone() { ! openstack availability zone list --compute -f value | grep -q '^c3'; }
check "no host of the cabinet computes" cloud_wait 20 zone_is_gone
check "its zone is refused" sh -c "! openstack server create --image vling-test --flavor m1.micro \
    --network private --availability-zone c3 two >/dev/null 2>&1"
roles c3h2 compute network storage
zone_is_back() { ! zone_is_gone; }
check "one computes again" cloud_wait 20 zone_is_back
cloud_boot three c3
check "and gets the server" [ "$(cloud_host_of three)" = c3h2 ]

echo '{"host": "broken' >"$work/broken"
cp /var/lib/vling-lab/hosts/c3h3/etc/vlingd.json "$work/good"
cp "$work/broken" /var/lib/vling-lab/hosts/c3h3/etc/vlingd.json
"$vling" lab exec c3h3 pkill -HUP -xf 'vlingd --config .*'
says_so() { grep -q "the configuration stays as it is" /var/lib/vling-lab/hosts/c3h3/vlingd.log; }
check "a broken file is refused" cloud_wait 10 says_so
cp "$work/good" /var/lib/vling-lab/hosts/c3h3/etc/vlingd.json
check "and the daemon goes on" "$vling" lab exec c3h3 pgrep -xf 'vlingd --config .*'
