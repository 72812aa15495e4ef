#!/bin/bash
# A controller stands still, with everything on it, and goes on later as if nothing had been: the
# others take over meanwhile, and its copy of a guest that was moved away writes nothing any more.
# Then one where only the daemon hangs.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 1
cloud_prepare
host=$(cloud_api_holder)
other=c1h1
[ "$host" != c1h1 ] || other=c2h1
cloud_boot one "${host%h*}"
id=$server_id
check "the guest is on the holder of the API's address" [ "$(cloud_host_of one)" = "$host" ]
cloud_mark "$address" before
cloud_token
# Writes all the time, and what was acknowledged.
writer() {
    number=0
    while :; do
        number=$((number + 1))
        cloud_request POST 9696/v2.0/networks "{\"network\": {\"name\": \"w$number\"}}" |
            cloud_id >>"$work/written" || true
        sleep 0.2
    done
}
written() {
    grep -c . "$work/written"
}
wrote_more() {
    [ "$(written)" -gt $(($1 + 5)) ]
}
touch "$work/written"
writer &
check "writes before" cloud_wait 20 wrote_more 0

"$vling" lab freeze "$host"
frozen=$(date +%s)
count=$(written)
check "writes through the others meanwhile" cloud_wait 60 wrote_more "$count"
check "the server is on another host" cloud_wait 60 cloud_runs_elsewhere one "$host"
check "it has booted there" cloud_wait 90 cloud_has_booted "$address" 2
check "it lets us in" cloud_wait_ssh "$address" 60
check "the file is there" [ "$(cloud_marker_of "$address")" = before ]
still=$((10 - $(date +%s) + frozen))
[ "$still" -le 0 ] || sleep "$still"
check "the old copy is still there, frozen" \
    "$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id"

# While the new copy writes nothing, the disk must not change at all: whoever changes it is the old
# one, which knows nothing yet.
openstack server pause one
check "the new copy pauses" cloud_wait_status one PAUSED 30
disk=/var/lib/vling-lab/shared/disks/$id/root.raw
before=$(sha256sum "$disk")
"$vling" lab thaw "$host"
gone() {
    ! "$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id" >/dev/null
}
check "the old copy is destroyed" cloud_wait 60 gone
check "it has written nothing" [ "$(sha256sum "$disk")" = "$before" ]
openstack server unpause one
check "the new copy goes on" cloud_wait_status one ACTIVE 30
check "and answers" cloud_wait_answer "$address" 30

# The host serves again, and knows everything that was acknowledged.
count=$(written)
check "writes afterwards" cloud_wait 30 wrote_more "$count"
jobs -p | xargs -r kill
wait || true
networks_of() {
    cloud_request GET '9696/v2.0/networks?fields=id' '' "$1" | grep -oE '[0-9a-f-]{36}' | sort
}
knows_all() {
    networks_of "$1" >"$work/known" && [ -z "$(sort "$work/written" | comm -23 - "$work/known")" ]
}
check "the controller that stood still knows all that was acknowledged" \
    cloud_wait 60 knows_all "$host"
check "so does another one" knows_all "$other"
host_is_up() {
    "$vling" host list -f value | awk -v h="$host" '$1 == h && $3 == "up" { found = 1 } END { exit !found }'
}
check "the host is up" cloud_wait 60 host_is_up
sleep 3
check "one process, on one host" [ "$(cloud_processes "$id" | wc -l)" = 1 ]
check "not a third boot" [ "$(cloud_boots "$address")" = 2 ]

# Only the daemon hangs, on the host of the router: the guard stops its guest before that is started
# elsewhere, and its router, which the kernel goes on with, is not heard any more.
router_hosts() {
    for each in c1h1 c2h1 c3h1; do
        if "$vling" lab exec "$each" ls /run/vling/netns | grep -q '^r-'; then
            echo "$each"
        fi
    done
}
one_router() {
    [ "$(router_hosts | wc -l)" = 1 ]
}
check "one router, on one host" cloud_wait 30 one_router
host=$(router_hosts)
name=one
if [ "$(cloud_host_of one)" != "$host" ]; then
    name=two
    cloud_boot two "${host%h*}"
    id=$server_id
fi
boots=$(cloud_boots "$address")
daemon() {
    "$vling" lab exec "$host" pkill "-$1" -f '^vlingd --config'
}
external_is_up() {
    "$vling" lab exec "$host" ip -o link show dev br-ext up | grep -q br-ext
}
stopped_there() {
    pid=$("$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id") &&
        "$vling" lab exec "$host" awk '$1 == "State:" { exit $2 != "T" }' "/proc/$pid/status"
}
daemon STOP
check "the guest of a daemon that hangs is stopped" cloud_wait 20 stopped_there
check "the server is on another host" cloud_wait 60 cloud_runs_elsewhere $name "$host"
check "it was stopped before that" stopped_there
check "it has booted there, as the world sees it" cloud_wait 90 cloud_has_booted "$address" $((boots + 1))
asked_anew() {
    "$vling" lab exec internet ip neigh flush dev inet0
    cloud_answers "$address"
}
for look in 1 2 3 4 5 6; do
    check "who asks for its address finds one router, the new one ($look)" asked_anew
done
daemon CONT
check "the old copy is destroyed" cloud_wait 60 gone
check "so is the old router" cloud_wait 30 one_router
check "the host is heard outside again" cloud_wait 20 external_is_up
check "one process, on one host" [ "$(cloud_processes "$id" | wc -l)" = 1 ]

# From the disk, not from the guest's memory of it.
openstack server reboot --hard $name
check "it boots from its disk" cloud_wait 90 cloud_has_booted "$address" $((boots + 2))
check "it lets us in again" cloud_wait_ssh "$address" 60
check "the disk was written by one at a time" cloud_disk_is_sane "$address"
