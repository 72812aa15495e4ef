#!/bin/bash
# Everything loses its power at once and gets it back: nothing acknowledged is lost and the servers
# run again.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
cloud_boot one
cloud_mark "$address" before-the-cut
openstack server create --image vling-test --flavor m1.micro --network private two -f value -c id \
    >/dev/null
cloud_wait_status two ACTIVE 90
openstack server stop two
cloud_wait_status two SHUTOFF 60

check "a write in the last moment" cloud_write last
"$vling" lab power off all
check_not "silence" cloud_answers "$address"
"$vling" lab power on all
check "the API accepts a write" cloud_wait 90 cloud_write first
check "what was acknowledged is there" cloud_has last
check "the server runs" cloud_wait 120 cloud_status_is one ACTIVE
check "its guest has booted again" cloud_wait 90 cloud_has_booted "$address" 2
check "it lets us in at the same floating IP" cloud_wait_ssh "$address" 60
check "the file is there" [ "$(cloud_marker_of "$address")" = before-the-cut ]
check "the disk was written by one at a time" cloud_disk_is_sane "$address"
check "a stopped server stays stopped" [ "$(cloud_status_of two)" = SHUTOFF ]
check "new servers can be made" cloud_boot three
