#!/bin/bash
# A controller comes back with an empty store folder, another one with a damaged store: both get
# their data from the others while the cloud works, and then the loss of the third is survived.
. "$(dirname "$0")/lib.sh"
lab_start
check "a write" cloud_write one

member_answers() {
    "$vling" lab exec "$1" env ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2379 \
        --cacert /var/lib/vling/pki/ca.crt --cert /var/lib/vling/pki/host.crt \
        --key /var/lib/vling/pki/host.key --command-timeout 3s endpoint health >/dev/null 2>&1
}
took_part() {
    [ -e "/var/lib/vling-lab/hosts/$1/lib/etcd.joined" ]
}
for host in c1h1 c2h1 c3h1; do
    check "$host takes part" cloud_wait 30 took_part "$host"
done

"$vling" lab power off c2h1
rm -rf /var/lib/vling-lab/hosts/c2h1/lib/etcd
check "a write without it" cloud_wait 30 cloud_write two
"$vling" lab power on c2h1
check "the emptied member answers" cloud_wait 90 member_answers c2h1
check "a write with it" cloud_wait 30 cloud_write three

"$vling" lab power off c3h1
dd if=/dev/urandom of=/var/lib/vling-lab/hosts/c3h1/lib/etcd/member/snap/db bs=4096 count=8 \
    conv=notrunc status=none
"$vling" lab power on c3h1
check "the damaged member answers" cloud_wait 120 member_answers c3h1
check "its damaged data were kept aside" test -d /var/lib/vling-lab/hosts/c3h1/lib/etcd.damaged-*

"$vling" lab power off c1h1
check "a write with the two rebuilt ones" cloud_wait 30 cloud_write four
for name in one two three four; do
    check "$name is there" cloud_has "$name"
done
