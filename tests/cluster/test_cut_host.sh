#!/bin/bash
# One host loses its power: its server runs on another one, with its disk, and the host that comes
# back does not start it a second time.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
cloud_boot one c2
host=$(cloud_host_of one)
id=$server_id
cloud_mark "$address" before-the-cut

"$vling" lab power off "$host"
check "the server is on another host" cloud_wait 60 cloud_runs_elsewhere one "$host"
check "the guest has booted again" cloud_wait 60 cloud_has_booted "$address" 2
check "it lets us in" cloud_wait_ssh "$address" 60
check "the file is there" [ "$(cloud_marker_of "$address")" = before-the-cut ]
check "the metadata came again from another host" cloud_ssh "$address" '[ "$(hostname)" = one ]'

"$vling" lab power on "$host"
host_is_up() {
    "$vling" host list -f value | awk -v h="$host" '$1 == h && $3 == "up" { found = 1 } END { exit !found }'
}
check "the host is back" cloud_wait 60 host_is_up
sleep 5
check "one process, on one host" [ "$(cloud_processes "$id" | wc -l)" = 1 ]
check "not a third boot" [ "$(cloud_boots "$address")" = 2 ]
check "the disk was written by one at a time" cloud_disk_is_sane "$address"

# With no room elsewhere it waits for its host, says so, and is well again when that one is back.
host=$(cloud_host_of one)
for other in $("$vling" host list -f value | awk '{ print $1 }'); do
    [ "$other" = "$host" ] || "$vling" host disable "$other" >/dev/null
done
"$vling" lab power off "$host"
check "no host takes it" cloud_wait 60 cloud_is one ERROR
check "and that is told: $(cloud_fault_of one)" grep -qi 'no host\|no valid host' <<<"$(cloud_fault_of one)"
"$vling" lab power on "$host"
check "it is no fault any more when its host is back" cloud_wait 60 cloud_is one ACTIVE
check "it is where it was" [ "$(cloud_host_of one)" = "$host" ]
check "the guest has booted again there" cloud_wait 90 cloud_has_booted "$address" 3
check "the disk is sane" cloud_wait 30 cloud_disk_is_sane "$address"
