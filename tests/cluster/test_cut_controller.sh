#!/bin/bash
# The controller that holds the API's address loses its power: what was acknowledged is there, the
# API answers at the same address, and guests elsewhere do not notice.
. "$(dirname "$0")/lib.sh"
lab_start
cloud_prepare
holder=$(cloud_api_holder)
zone=c1
[ "${holder%h*}" != c1 ] || zone=c2
cloud_boot one "$zone"
host=$(cloud_host_of one)
boot=$(cloud_boot_id "$address")
check "the guest is in another cabinet" [ "${host%h*}" != "${holder%h*}" ]

check "a write before" cloud_write before
"$vling" lab power off "$holder"
check "a write through the same address" cloud_wait 30 cloud_write after
check "what was acknowledged is there" cloud_has before
check_not "the address has moved" [ "$(cloud_api_holder)" = "$holder" ]
check "the guest still answers" cloud_wait 30 cloud_answers "$address"
check "it is the same boot" [ "$(cloud_boot_id "$address")" = "$boot" ]
check "it is on the same host" [ "$(cloud_host_of one)" = "$host" ]

# With one controller less everything works; the one that comes back serves too.
cloud_boot two
"$vling" lab power on "$holder"
ip=10.10.${holder#c}
ip=${ip%h*}.${holder#*h}
direct() {
    OS_AUTH_URL=http://$ip:5000/v3 openstack token issue -f value -c id >/dev/null 2>&1
}
check "the controller that came back answers, too" cloud_wait 60 direct
check "and knows what happened meanwhile" cloud_has after
