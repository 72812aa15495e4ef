#!/bin/bash
# A whole cabinet loses its power, the one that holds the API's address and a server: the server is
# back in another cabinet with its disk, and servers in other cabinets do not notice.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
holder=$(cloud_api_holder)
cabinet=${holder%h*}
other=c1
[ "$cabinet" != c1 ] || other=c2
cloud_boot here "$cabinet"
here=$address
cloud_boot there "$other"
there=$address
boot=$(cloud_boot_id "$there")
host=$(cloud_host_of here)
check "the server is in that cabinet" [ "${host%h*}" = "$cabinet" ]
cloud_mark "$here" before-the-cut

"$vling" lab power off "$cabinet"
check "the API accepts a write" cloud_wait 30 cloud_write after
check "the server is elsewhere" cloud_wait 60 cloud_runs_elsewhere here "$host"
check_not "not in the dead cabinet" [ "$(cloud_host_of here | cut -dh -f1)" = "$cabinet" ]
check "its guest has booted again" cloud_wait 90 cloud_has_booted "$here" 2
check "it lets us in at the same floating IP" cloud_wait_ssh "$here" 60
check "the file is there" [ "$(cloud_marker_of "$here")" = before-the-cut ]
check "the disk was written by one at a time" cloud_disk_is_sane "$here"
check "the other server answers" cloud_wait 30 cloud_answers "$there"
check "it is the same boot of it" [ "$(cloud_boot_id "$there")" = "$boot" ]

"$vling" lab power on "$cabinet"
hosts_up() {
    [ "$("$vling" host list -f value | awk '$3 == "up"' | wc -l)" = 9 ]
}
check "all hosts are back" cloud_wait 60 hosts_up
sleep 3
check "each server runs once" [ "$(cloud_processes . | wc -l)" = 2 ]
