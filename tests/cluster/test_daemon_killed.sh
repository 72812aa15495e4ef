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

daemon() {
    "$vling" lab exec "$host" pgrep -f '^vlingd --config'
}
before=$(daemon)
for round in 1 2; do
    "$vling" lab exec "$host" kill -9 "$(daemon)"
    sleep 3
done
check "another vlingd runs there" [ "$(daemon)" != "$before" ]
cloud_answers_again() {
    [ "$(cloud_status_of one)" = ACTIVE ] && cloud_answers "$address"
}
check "the server is ACTIVE and answers" cloud_wait 30 cloud_answers_again
check "still the same process on the same host" [ "$(cloud_processes "$id")" = "$process" ]
check "still the same boot of the guest" [ "$(cloud_boot_id "$address")" = "$boot" ]

# The guard, too: it is there again, and knows the lease.
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
