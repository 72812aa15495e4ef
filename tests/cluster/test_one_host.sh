#!/bin/bash
# One machine alone: a cloud on SQLite, with everything but the failover. What was acknowledged is
# there after the power came back.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 1 --hosts 1
cloud_prepare
check "it is SQLite" [ "$("$vling" status -f json | python3 -c '
import json, sys
print(json.load(sys.stdin)["store"]["engine"])')" = sqlite ]
cloud_boot one
cloud_mark "$address" before-the-cut
check "a write" cloud_write last
"$vling" lab power off c1h1
"$vling" lab power on c1h1
check "the API is back" cloud_wait 60 cloud_has last
check "the server runs" cloud_wait 60 cloud_status_is one ACTIVE
check "its guest has booted again" cloud_wait 90 cloud_has_booted "$address" 2
check "it lets us in" cloud_wait_ssh "$address" 60
check "the file is there" [ "$(cloud_marker_of "$address")" = before-the-cut ]
check "the disk was written by one at a time" cloud_disk_is_sane "$address"
