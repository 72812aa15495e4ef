#!/bin/bash
# QEMU is killed: the server runs again, with its disk. QEMU hangs: its host goes on with all others,
# and the server can be rebooted and deleted, also by a vlingd that never heard of it before.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 1 --hosts 1
cloud_prepare
cloud_boot one
id=$server_id
host=c1h1
cloud_mark "$address" before

process_of() {
    "$vling" lab exec "$host" pgrep -f "^/usr/bin/qemu.*$1"
}
signal() {
    "$vling" lab exec "$host" kill "-$1" "$(process_of "$id")"
}
is_another() {
    new=$(process_of "$id") && [ "$new" != "$1" ]
}
runs_again() {
    is_another "$1" && [ "$(cloud_status_of one)" = ACTIVE ]
}

old=$(process_of "$id")
signal KILL
check "a killed QEMU is started again" cloud_wait 30 runs_again "$old"
check "the guest has booted again" cloud_wait 90 cloud_has_booted "$address" 2
check "it lets us in" cloud_wait_ssh "$address" 60
check "the file is there" [ "$(cloud_marker_of "$address")" = before ]

# Killed whenever it runs, it is not said to be fine for ever; when the reason has gone it is again.
"$vling" lab exec "$host" mount --bind /bin/false /usr/bin/qemu-system-x86_64
signal KILL
check "that it cannot be started is told" cloud_wait 60 cloud_is one ERROR
check "and why" [ -n "$(cloud_fault_of one)" ]
"$vling" lab exec "$host" umount /usr/bin/qemu-system-x86_64
check "it comes back by itself" cloud_wait 60 cloud_is one ACTIVE
check "the guest has booted again" cloud_wait 90 cloud_has_booted "$address" 3

# Hung, while its vlingd knows it.
old=$(process_of "$id")
signal STOP
cloud_silent_now() { ! cloud_answers "$address"; }
check "the guest hangs" cloud_silent_now
openstack server create --image vling-test --flavor m1.micro --network private two >/dev/null
check "its host goes on: another server starts" cloud_wait_status two ACTIVE 60
openstack server delete --wait two
openstack server pause one
pause_failed() { cloud_is one ERROR; }
check "that it cannot be paused is told" cloud_wait 90 cloud_is one ERROR
check "and why: $(cloud_fault_of one)" [ -n "$(cloud_fault_of one)" ]
openstack server reboot --hard one
check "a hard reboot starts it again" cloud_wait 60 runs_again "$old"
check "the guest has booted again" cloud_wait 90 cloud_has_booted "$address" 4

# Hung, and a new vlingd finds it so.
old=$(process_of "$id")
signal STOP
"$vling" lab exec "$host" pkill -9 -f '^vlingd --config'
openstack_answers() { [ -n "$(cloud_status_of one 2>/dev/null)" ]; }
check "the new vlingd answers" cloud_wait 60 openstack_answers
openstack server reboot --hard one
check "a hard reboot starts it again" cloud_wait 60 runs_again "$old"
check "the guest has booted again" cloud_wait 90 cloud_has_booted "$address" 5
check "it lets us in" cloud_wait_ssh "$address" 60
check "the disk was written by one at a time" cloud_disk_is_sane "$address"

signal STOP
openstack server delete one
check "it can be deleted" cloud_wait 60 cloud_gone "$id" "$host"
