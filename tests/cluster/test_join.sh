#!/bin/bash
# Who joins: nobody takes the name of a host that is known, a host that lost its disk comes back with
# a token that was made for it, and a token that was withdrawn is good for nothing.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 2
state=/var/lib/vling-lab/hosts
host_state() { "$vling" host list --lab -f value | awk -v h="$1" '$1 == h { print $3 }'; }
is_up() { [ "$(host_state "$1")" = up ]; }
is_down() { ! is_up "$1"; }
has_key_id() {
    "$vling" status --lab -f json | python3 -c '
import json, sys
hosts = {h["id"]: h for h in json.load(sys.stdin)["hosts"]}
sys.exit(0 if hosts[sys.argv[1]].get("key_id") else 1)' "$1"
}
for host in c1h1 c2h1 c2h2; do
    check "$host tells its key" cloud_wait 30 has_key_id "$host"
done
tokens() { "$vling" token list --lab -f value | awk '{ print $1 }'; }
check "the token to begin with" [ "$(tokens | wc -l)" = 1 ]
first=$(tokens)

# Both a controller and an ordinary host lose their disks.
"$vling" lab power off c2h1 c2h2
check "their loss is seen" cloud_wait 30 is_down c2h2
rm -rf $state/c2h1/lib/* $state/c2h2/lib/*
"$vling" lab power on c2h1 c2h2
refused() { grep -q "a host of this name is a member already" "$state/$1/vlingd.log"; }
check "nobody gets the name of a controller" cloud_wait 30 refused c2h1
check "nor that of a host" cloud_wait 30 refused c2h2
check "nor the authority's key" [ ! -e $state/c2h1/lib/pki/ca.key ]

join() { "$vling" lab exec "$1" "$PWD/build/vlingd" join --token "$2"; }
token=$("$vling" token create --host c2h2 --hours 1 --lab 2>/dev/null)
check_not "a token of another host" join c2h1 "$token"
check "its own" join c2h2 "$token"
check "it is back" cloud_wait 60 is_up c2h2
token=$("$vling" token create --host c2h1 --lab 2>/dev/null)
check "the controller's" join c2h1 "$token"
check "it is back, too" cloud_wait 90 is_up c2h1
member_runs() {
    "$vling" controller list --lab -f json | python3 -c '
import json, sys
sys.exit(any(row["member"] != "started" for row in json.load(sys.stdin)))'
}
check "all members of the store run" cloud_wait 90 member_runs

"$vling" token withdraw "$first" --lab
check "it is gone from the list" [ "$(tokens | grep -c "$first")" = 0 ]
check_not "an ordinary host has no say" "$vling" lab exec c1h2 "$PWD/build/vling" token list
