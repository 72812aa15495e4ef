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

# What an operator sees: who is what now, what would be survived, and the cut as it happens.
module() {
    "$vling" status --lab -f json | python3 -c '
import json, sys
rows = {row["id"]: row for row in json.load(sys.stdin)["modules"]}
print(*[rows[sys.argv[1]][place] for place in ("master", "standby", "backup")])' "$1"
}
three_cabinets() {
    [ "$(module "$1" | tr ' ' '\n' | cut -dh -f1 | sort -u | grep -c '^c[123]$')" = 3 ]
}
for each in api-vip planner store; do
    check "module $each has a master, a standby and a backup in three cabinets" \
        cloud_wait 20 three_cabinets "$each"
done
"$vling" status --lab >"$work/status"
cat "$work/status"
check "status tells what would be survived" \
    sh -c "sed -n '/^What would be survived/,\$p' '$work/status' | grep -q '$cabinet '"
check "and where routers are" grep -qE '^routers: c[123]h[123] \(1\)' "$work/status"
check "the cabinet is up" sh -c "'$vling' cabinet show $cabinet --lab -f value | grep -qx up"
"$vling" events -f --lab >"$work/events" 2>&1 &

"$vling" lab power off "$cabinet"
check "the API accepts a write" cloud_wait 30 cloud_write after
check "the event comes to who follows them" cloud_wait 20 grep -q host.lost "$work/events"
# With one controller of three gone the next one would cost the majority, and status knows it.
not_survived() {
    "$vling" status --lab -f json | python3 -c '
import json, sys
losses = [row for row in json.load(sys.stdin)["losses"] if not row["survived"]]
sys.exit(not any(row["kind"] == "cabinet" and row["why"] for row in losses))'
}
check "status tells of a loss that would not be survived" cloud_wait 20 not_survived
# Its hosts are lost one after the other.
cabinet_is_down() { "$vling" cabinet show "$cabinet" --lab -f value | grep -qx down; }
check "the cabinet is down" cloud_wait 20 cabinet_is_down
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
# When the lab began all came up, too.
told_again() { sed '1,/host\.lost/d' "$work/events" | grep -q 'host\.up'; }
check "that, too, comes to who follows the events" cloud_wait 20 told_again
sleep 3
check "each server runs once" [ "$(cloud_processes . | wc -l)" = 2 ]
