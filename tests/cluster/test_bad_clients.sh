#!/bin/bash
# Uploads that are cut, slow, half closed, deaf and senseless clients, and a crowd that says nothing:
# the others are served meanwhile, nothing half made is left, and afterwards the daemon has as many
# descriptors and as little memory as before. A damaged image makes no server.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 1 --hosts 1
cloud_prepare
cloud_token
host=c1h1
shared=/var/lib/vling-lab/shared
process=$("$vling" lab exec "$host" pgrep -o -f '^vlingd --config')
image=$(cloud_request POST 9292/v2/images '{"name": "cut", "disk_format": "raw",
    "container_format": "bare"}' | cloud_id)

descriptors() {
    "$vling" lab exec "$host" sh -c "ls /proc/$process/fd | wc -l"
}
memory_kib() {
    "$vling" lab exec "$host" awk '$1 == "VmRSS:" { print $2 }' "/proc/$process/status"
}
abuse() {
    "$vling" lab exec "$host" python3 "$PWD/tests/cluster/bad_clients.py" all 10.10.1.1 \
        "$cloud_auth" "$image"
}
as_before() {
    now=$(descriptors) && [ "$now" -le "$before" ]
}
small_again() {
    # What a burst took is given back after some time; a leak is not.
    now=$(memory_kib) && [ "$now" -le $((memory + 4096)) ]
}
# What is kept for good comes with the first.
check "the daemon lives through all of them" abuse
sleep 20
before=$(descriptors)
memory=$(memory_kib)
for round in 1 2 3; do
    check "round $round" abuse
done
check "all descriptors are closed" cloud_wait 90 as_before
check "no memory is kept" cloud_wait 90 small_again
check "it is the same daemon" \
    [ "$("$vling" lab exec "$host" pgrep -o -f '^vlingd --config')" = "$process" ]

# Another address is served while one has taken all it can get.
mkfifo "$work/end"
"$vling" lab exec "$host" python3 "$PWD/tests/cluster/bad_clients.py" crowd 10.10.1.1 \
    <"$work/end" >"$work/crowd" &
exec 3>"$work/end"
crowded() { grep -q crowded "$work/crowd"; }
check "a crowd" cloud_wait 60 crowded
served() { cloud_request GET 8774/v2.1/servers >/dev/null; }
let_in() { openstack token issue >/dev/null; }
check "others are served" served
check "others are let in" let_in
exec 3>&-
wait
check "all descriptors are closed" cloud_wait 90 as_before

check "the image still waits" [ "$(openstack image show -f value -c status cut)" = queued ]
check "no half of it is there" [ -z "$(ls -A $shared/images | grep upload)" ]
curl -sS --fail --max-time 60 -T "$cloud_image" -H "X-Auth-Token: $cloud_auth" \
    -H 'Content-Type: application/octet-stream' "http://10.10.0.100:9292/v2/images/$image/file"
check "now it is there" [ "$(openstack image show -f value -c status cut)" = active ]
check "as it is" [ "$(openstack image show -f value -c checksum cut)" = \
    "$(md5sum <"$cloud_image" | cut -d' ' -f1)" ]

# One bit of the newest image changes on the disk.
blob=$(ls -t $shared/images | grep -v sum | head -1)
printf '\377' | dd of="$shared/images/$blob" bs=1 seek=30000001 conv=notrunc status=none
network=$(openstack network show -f value -c id private)
server=$(openstack server create --image cut --flavor m1.micro --nic net-id="$network" \
    -f value -c id damaged)
check "a damaged image makes no server" cloud_wait 60 cloud_is damaged ERROR
check "and that is told: $(cloud_fault_of damaged)" \
    grep -q 'image is damaged' <<<"$(cloud_fault_of damaged)"
# It is tried again from time to time.
nothing_half_made() { [ -z "$(ls -A "$shared/disks/$server")" ]; }
check "nothing half made is there" cloud_wait 20 nothing_half_made
openstack server delete damaged
check "it can be deleted" cloud_wait 60 cloud_gone "$server" "$host"
