#!/bin/bash
# A backup of a cloud on one machine (SQLite) becomes a cloud of three controllers (etcd) without
# losing a row; a backup is refused where there is a cloud already, and so is a damaged one.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 1 --hosts 1
cloud_prepare
openstack user create --password of-before user-before >/dev/null
openstack role add --project admin --user user-before member
for i in $(seq 40); do
    echo "security group create many-$i"
done | openstack >/dev/null
network=$(openstack network show -f value -c id private)
"$vling" backup "$work/backup"
check "for root's eyes only" [ "$(stat -c %a "$work/backup")" = 600 ]
count() {
    "$vling" backup "$work/now" >/dev/null
    python3 - "$work/now" <<'END'
import collections, json, sys
rows = json.load(open(sys.argv[1]))["rows"]
kept = sorted((r["table"], json.dumps(r["row"], sort_keys=True)) for r in rows
              if r["table"] not in ("event", "network", "router"))  # placed again by the planner
print(len(kept), sorted(collections.Counter(t for t, _ in kept).items()))
END
}
before=$(count)
check "a running cloud is no place for it" sh -c \
    "! '$vling' lab exec c1h1 $PWD/build/vlingd restore --file '$work/backup' 2>'$work/err'"
check "and it says so" grep -q "there is a store already" "$work/err"
password=$OS_PASSWORD
check "it says how many rows" [ "$(python3 -c '
import json, sys
backup = json.load(open(sys.argv[1]))
print(backup["row_count"] == len(backup["rows"]) and len(backup["sha512"]))' "$work/backup")" = 128 ]
"$vling" lab down

"$vling" lab up --restore "$work/backup"
eval "$("$vling" lab openrc)"
export OS_PASSWORD=$password
check "it is etcd" [ "$("$vling" status -f json | python3 -c '
import json, sys
print(json.load(sys.stdin)["store"]["engine"])')" = etcd ]
check "the old password" cloud_wait 30 sh -c "openstack token issue >/dev/null 2>&1"
check "the network has its id" [ "$(openstack network show -f value -c id private)" = "$network" ]
check "a user of before" sh -c "OS_USERNAME=user-before OS_PASSWORD=of-before openstack token issue \
    >/dev/null"
check "all rows" [ "$(count)" = "$before" ]
check "it accepts writes" cloud_write after
"$vling" lab power off c1
check "it survives a cabinet" cloud_wait 30 cloud_write after-the-cut
check "with all that was restored" cloud_has private
"$vling" lab down

head -c 2000 "$work/backup" >"$work/half"
check "half a backup is refused" sh -c \
    "! build/vlingd restore --file '$work/half' --config tests/cluster/restore.json 2>'$work/err'"
check "and it says why" grep -q "no JSON" "$work/err"
sed 's/"user-before"/"user-beforf"/' "$work/backup" >"$work/changed"
check "a changed backup is refused" sh -c \
    "! '$vling' restore '$work/changed' --config tests/cluster/restore.json 2>'$work/err'"
check "and it says why" grep -q "SHA-512" "$work/err"
