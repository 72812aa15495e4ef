#!/bin/bash
# The management cable of a host is cut: the host cannot renew its lease, so its guard stops its
# guests in time, and they are started elsewhere exactly once. Their disks prove it.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
cloud_boot one c2
host=$(cloud_host_of one)
case $host in
*h1) # not a controller: move it to a plain host of the cabinet
    openstack server delete one
    for spare in 1 2 3; do
        cloud_boot "one$spare" c2
        name=one$spare
        host=$(cloud_host_of "$name")
        case $host in *h1) ;; *) break ;; esac
    done
    ;;
*) name=one ;;
esac
check_not "the server's host is no controller" [ "${host#c2h}" = 1 ]
id=$(openstack server show -f value -c id "$name")
cloud_mark "$address" before-the-cut

# Seen from inside the host, which is cut off but alive: is every process of the guest stopped?
stopped_there() {
    pid=$("$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id") || return 0
    "$vling" lab exec "$host" awk '$1 == "State:" { exit $2 != "T" }' "/proc/$pid/status"
}
guest=$("$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id")
check "one process" [ "$(echo "$guest" | wc -l)" = 1 ]
cloud_stopped_at "$host" "$guest" >"$work/stopped-at" &
watcher=$!
"$vling" lab link down "$host" mgmt
check "the guest is stopped on its old host" cloud_wait 20 stopped_there
wait "$watcher"
check "the server is on another host" cloud_wait 60 cloud_runs_elsewhere "$name" "$host"
check "it was stopped before that" cloud_stopped_before_it_moved "$id" "$work/stopped-at"
check "the guest has booted again" cloud_wait 60 cloud_has_booted "$address" 2
check "it lets us in" cloud_wait_ssh "$address" 60
check "the file is there" [ "$(cloud_marker_of "$address")" = before-the-cut ]
sleep 5
check "the old one is still stopped" stopped_there

"$vling" lab link up "$host" mgmt
gone_there() {
    ! "$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$id" >/dev/null
}
check "the old one is destroyed when the host is back" cloud_wait 30 gone_there
check "one process, on one host" [ "$(cloud_processes "$id" | wc -l)" = 1 ]
check "exactly one more boot" [ "$(cloud_boots "$address")" = 2 ]
check "the disk was written by one at a time" cloud_disk_is_sane "$address"
