#!/bin/bash
# Only vlingd of a host is killed: its guests go on undisturbed, and the new vlingd adopts them.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
cloud_boot one
host=$(cloud_host_of one)
id=$server_id
boot=$(cloud_boot_id "$address")
process=$(cloud_processes "$id")
check "one process" [ "$(echo "$process" | wc -l)" = 1 ]

# The oldest: what it starts is named like it for a moment.
daemon() {
    "$vling" lab exec "$host" pgrep -o -f '^vlingd --config'
}
another_daemon() { new=$(daemon) && [ "$new" != "$old" ]; }
for round in 1 2; do
    old=$(daemon)
    "$vling" lab exec "$host" kill -9 "$old"
    check "another vlingd runs there" cloud_wait 10 another_daemon
    sleep 2 # it renews the lease that it finds
done
cloud_answers_again() {
    [ "$(cloud_status_of one)" = ACTIVE ] && cloud_answers "$address"
}
check "the server is ACTIVE and answers" cloud_wait 30 cloud_answers_again
check "still the same process on the same host" [ "$(cloud_processes "$id")" = "$process" ]
check "still the same boot of the guest" [ "$(cloud_boot_id "$address")" = "$boot" ]

# The guard, too: it is there again.
guard() {
    "$vling" lab exec "$host" pgrep -f -- '--guard'
}
old=$(guard)
"$vling" lab exec "$host" kill -9 "$old"
has_new_guard() { new=$(guard) && [ -n "$new" ] && [ "$new" != "$old" ]; }
check "a killed guard is replaced" cloud_wait 20 has_new_guard
sleep 5
check "the guest goes on" [ "$(cloud_boot_id "$address")" = "$boot" ]

# Adopted: the new daemon can stop it and start it.
openstack server stop one
check "it stops" cloud_wait_status one SHUTOFF 60
check "no process is left" [ -z "$(cloud_processes "$id")" ]
openstack server start one
check "it starts" cloud_wait_status one ACTIVE 60
check "the guest has booted again" cloud_wait 60 cloud_has_booted "$address" 2
check "the disk was written by one at a time" cloud_wait 30 cloud_disk_is_sane "$address"

# A new guard knows the lease: the host's management cable is cut, and no vlingd is there to tell it
# anything. Its guests stop before the lease has run out, after which they may be moved.
host=$(cloud_host_of one)
process=$("$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id")
old=$("$vling" lab exec "$host" pgrep -f -- '--guard')
new_guard_there() { new=$("$vling" lab exec "$host" pgrep -f -- '--guard') && [ "$new" != "$old" ]; }
"$vling" lab exec "$host" kill -9 "$old"
check "a killed guard is replaced at once" cloud_wait 5 new_guard_there
sleep 1
cloud_stopped_at "$host" "$process" >"$work/stopped-at" &
watcher=$!
sleep 1
check "the guest runs" [ ! -s "$work/stopped-at" ]
"$vling" lab link down "$host" mgmt
"$vling" lab exec "$host" pkill -STOP -f '^vlingd --config'
wait "$watcher"
check "the guest is stopped by the new guard" [ -s "$work/stopped-at" ]
check "the server is on another host" cloud_wait 60 cloud_runs_elsewhere one "$host"
check "it was stopped in time" cloud_stopped_before_it_moved "$id" "$work/stopped-at"
"$vling" lab exec "$host" pkill -CONT -f '^vlingd --config'
"$vling" lab link up "$host" mgmt
host_is_up() {
    "$vling" host list -f value | awk -v h="$host" '$1 == h && $3 == "up" { found = 1 } END { exit !found }'
}
check "the host is back" cloud_wait 60 host_is_up

# A guard that hangs is as good as none: it is replaced, too.
hung=$("$vling" lab exec "$host" pgrep -f -- '--guard')
"$vling" lab exec "$host" kill -STOP "$hung"
old=$hung
check "a guard that hangs is replaced" cloud_wait 10 new_guard_there
