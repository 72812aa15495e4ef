#!/bin/bash
# The disk of the controller that holds the API's address is full, then the place of disks and images
# on a host: all others go on, the reason is told, nothing half made is left, and when there is space
# again everything goes on by itself.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 1
# Small state folders.
"$vling" lab power off all
for host in c1h1 c2h1 c3h1; do
    lib=/var/lib/vling-lab/hosts/$host/lib
    mv "$lib" "$lib.old"
    mkdir "$lib"
    mount -t tmpfs -o size=260m tmpfs "$lib"
    cp -a "$lib.old/." "$lib"
    rm -r "$lib.old"
done
"$vling" lab power on all
answers() { openstack token issue >/dev/null 2>&1; }
check "the API answers again" cloud_wait 60 answers
cloud_prepare
cloud_token

# ---- a controller ----
# What is created finds no host.
for each in c1h1 c2h1 c3h1; do
    "$vling" host disable "$each"
done
sleep 2 # the address leaves a disabled host
host=$(cloud_api_holder)
lib=/var/lib/vling-lab/hosts/$host/lib
other=c1h1
[ "$host" != c1h1 ] || other=c2h1
network=$(openstack network show -f value -c id private)
image=$(openstack image show -f value -c id vling-test)
head -c 40000 /dev/urandom | base64 -w 0 >"$work/data"
printf '{"server": {"name": "much", "imageRef": "%s", "flavorRef": "42", "user_data": "%s",
    "networks": [{"uuid": "%s"}]}}' "$image" "$(cat "$work/data")" "$network" >"$work/body"
# Rows that take room, and one that is kept.
write_much() {
    much=$(cloud_request POST 8774/v2.1/servers "@$work/body" | cloud_id) &&
        cloud_request DELETE "8774/v2.1/servers/$much" && write
}
write() {
    cloud_request POST 9696/v2.0/networks '{"network": {"name": "kept"}}' |
        cloud_id >>"$work/acknowledged"
}
member_answers() {
    "$vling" lab exec "$1" env ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2379 \
        --cacert /var/lib/vling/pki/ca.crt --cert /var/lib/vling/pki/host.crt \
        --key /var/lib/vling/pki/host.key --command-timeout 3s endpoint health >/dev/null 2>&1
}
member_is_down() {
    write_much || true
    ! member_answers "$host"
}
check "a write before" write_much
cat /dev/zero >"$lib/filler" 2>/dev/null || true
check "its member of the store is stopped by the full disk" cloud_wait 60 member_is_down
check "writes go on" cloud_wait 20 write
check "and at once" write
told() {
    "$vling" status | grep -q "^$1: the disk of $2 .* is full: free some space"
}
check "the status tells which host and what to do" cloud_wait 20 told "$host" /var/lib/vling
event() {
    "$vling" events | grep -q "host.disk.*$1.*$2"
}
check "so does an event" cloud_wait 20 event "$host" 'is full: free some space'
check "and the host's log" cloud_wait 20 \
    grep -q "the disk of /var/lib/vling.* is full" "/var/lib/vling-lab/hosts/$host/vlingd.log"
sleep 8 # it ends again and again
check "its data are not taken for damaged" [ -z "$(ls -d "$lib"/etcd.damaged-* 2>/dev/null)" ]

rm "$lib/filler"
check "with space its member comes back by itself" cloud_wait 60 member_answers "$host"
all_known() {
    cloud_request GET '9696/v2.0/networks?fields=id' '' "$1" | grep -oE '[0-9a-f-]{36}' | sort >"$work/known" &&
        [ -z "$(sort "$work/acknowledged" | comm -23 - "$work/known")" ]
}
check "it knows what was acknowledged" cloud_wait 30 all_known "$host"
check "so does another one" all_known "$other"
quiet() { ! "$vling" status | grep -q 'free some space'; }
check "nobody complains any more" cloud_wait 20 quiet
check "an event says so" cloud_wait 20 event "$host" 'there is space'
# Each alone with one of the others, so that it surely takes part again.
third=c3h1
[ "$host" != c3h1 ] || third=c2h1
"$vling" lab power off "$third"
check "it takes part again" cloud_wait 30 write
"$vling" lab power on "$third"
third_is_up() { "$vling" host show "$third" -f json | grep -q '"state": *"up"'; }
check "the third one is back" cloud_wait 60 third_is_up
for each in c1h1 c2h1 c3h1; do
    "$vling" host enable "$each"
done

# ---- a host's disks ----
host=$other
"$vling" lab exec "$host" sh -c 'mkdir /run/vling/s && mount -t tmpfs -o size=200m tmpfs \
    /run/vling/s && cp -a --sparse=always /srv/vling/. /run/vling/s &&
    mount --bind /run/vling/s /srv/vling'
place() { # COMMAND...: with the host's /srv/vling
    "$vling" lab exec "$host" "$@"
}
daemon() {
    "$vling" lab exec "$host" pgrep -f '^vlingd --config'
}
before=$(daemon)
cloud_boot one "${host%h*}"
one=$address
boot=$(cloud_boot_id "$one")
place sh -c 'cat /dev/zero >/srv/vling/filler; truncate -s -4M /srv/vling/filler' 2>/dev/null
two=$(openstack server create --image vling-test --flavor m1.micro --network private \
    --availability-zone "${host%h*}" -f value -c id two)
check "a server is in ERROR" cloud_wait 60 cloud_is two ERROR
reason=$(cloud_fault_of two)
check "and says why: $reason" grep -q 'No space left' <<<"$reason"
# It is tried again from time to time.
nothing_half_made() { [ -z "$(place ls -A "/srv/vling/disks/$two")" ]; }
check "nothing half made is there" cloud_wait 20 nothing_half_made
check "the status tells which host and what to do" cloud_wait 20 told "$host" /srv/vling

new=$(cloud_request POST 9292/v2/images '{"name": "new", "disk_format": "raw",
    "container_format": "bare"}' | cloud_id)
upload() { # HOST
    curl -sS --fail --max-time 60 -T "$cloud_image" -H "X-Auth-Token: $cloud_auth" \
        -H 'Content-Type: application/octet-stream' \
        "http://$(cloud_ip_of "$1"):9292/v2/images/$new/file" 2>/dev/null
}
check_not "an image cannot be uploaded" upload "$host"
check "it is still to be uploaded" [ "$(openstack image show -f value -c status new)" = queued ]
check "no half of it is there" [ -z "$(place ls -A /srv/vling/images | grep upload)" ]

# A guest that writes: it is stopped, not told lies.
cloud_ssh "$one" 'dd if=/dev/urandom of=/data/big bs=64k count=200 conv=fsync >/dev/null 2>&1' &
check "a guest that writes cannot go on" cloud_wait 60 cloud_is one ERROR
check "and says why: $(cloud_fault_of one)" grep -q 'disk is full' <<<"$(cloud_fault_of one)"
check "the same vlingd is at work" [ "$(daemon)" = "$before" ]

place rm /srv/vling/filler
check "with space the guest goes on by itself" cloud_wait 90 cloud_is one ACTIVE
check "in the same boot" [ "$(cloud_boot_id "$one")" = "$boot" ]
check "the server that was in ERROR runs" cloud_wait 90 cloud_is two ACTIVE
check "the image can be uploaded" upload "$host"
check "the disk was written by one at a time" cloud_wait 30 cloud_disk_is_sane "$one"
openstack server delete --wait one two
no_disk_left() { [ -z "$(place ls -A /srv/vling/disks)" ]; }
check "nothing is left of their disks" cloud_wait 20 no_disk_left
