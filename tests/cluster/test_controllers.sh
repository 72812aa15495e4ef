#!/bin/bash
# Controllers are replaced while the cloud works: a living one, then one that is dead and comes back
# as an ordinary host. Nothing that was acknowledged is lost and guests do not notice. What would
# cost the majority is refused.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 2
cloud_prepare
cloud_boot one c3
boot=$(cloud_boot_id "$address")

# field HOST COLUMN of vling controller list
field() { "$vling" controller list --lab -f json | python3 -c '
import json, sys
rows = {row["host"]: row for row in json.load(sys.stdin)}
print(rows.get(sys.argv[1], {}).get(sys.argv[2], "-"))' "$@"; }
count() { "$vling" controller list --lab -f value | grep -c .; }
has_etcd() { "$vling" lab exec "$1" pgrep -x etcd >/dev/null; }
has_key() { "$vling" lab exec "$1" test -e /var/lib/vling/pki/ca.key; }
host_state() { "$vling" host list --lab -f value | awk -v h="$1" '$1 == h { print $3 }'; }
is_up() { [ "$(host_state "$1")" = up ]; }
is_down() { ! is_up "$1"; }

check "three to begin with" [ "$(count)" = 3 ]
check "all members run" [ "$(field c1h1 member)$(field c2h1 member)$(field c3h1 member)" = startedstartedstarted ]
check "one leads" [ "$("$vling" controller list --lab -f json | grep -c '"leader": true')" = 1 ]
check "a write before" cloud_write before

# What an ordinary host's certificate is not good for.
check_not "an ordinary host gets no backup" "$vling" lab exec c1h2 "$PWD/build/vling" backup /run/b
check_not "nor makes itself a controller" \
    "$vling" lab exec c1h2 "$PWD/build/vling" controller add c1h2
as_peer() {
    "$vling" lab exec "$1" curl -s --http1.1 -o /run/peer --cacert /var/lib/vling/pki/ca.crt \
        --cert "/var/lib/vling/pki/$2.crt" --key "/var/lib/vling/pki/$2.key" \
        https://10.10.2.1:2380/version
}
check "members of the store talk to each other" as_peer c1h1 etcd-peer
check_not "nor is it one of them" as_peer c1h2 host

# A member of the store that does not answer, on a host that is up: without another one there would
# be no majority.
"$vling" lab exec c2h1 pkill -STOP -x etcd
member_is_down() { [ "$(field c2h1 member)" = down ]; }
check "its member is seen to be down" cloud_wait 15 member_is_down
check_not "nobody else may leave" "$vling" controller remove c1h1 --lab
check_not "and nobody may come" "$vling" controller add c1h2 --lab
"$vling" lab exec c2h1 pkill -CONT -x etcd
member_is_back() { [ "$(field c2h1 member)" = started ]; }
check "it goes on" cloud_wait 15 member_is_back
check "nothing of that was done" [ "$(count)" = 3 ]

"$vling" controller replace c1h1 c1h2 --lab
check "still three" [ "$(count)" = 3 ]
check "the new one's member runs" [ "$(field c1h2 member)" = started ]
check "the old one is gone from the list" [ "$(field c1h1 member)" = - ]
check "the new one has etcd" has_etcd c1h2
check "and the authority's key" has_key c1h2
retired() { ! has_etcd c1h1 && ! has_key c1h1; }
check "the old one has neither any more" cloud_wait 30 retired
check "its old data are kept aside" "$vling" lab exec c1h1 sh -c 'ls -d /var/lib/vling/etcd.removed-*'
check "what was acknowledged is there" cloud_wait 30 cloud_has before
check "a write after" cloud_wait 30 cloud_write after
check "it is a living host" cloud_wait 30 is_up c1h1
check "the guest is the same boot" [ "$(cloud_boot_id "$address")" = "$boot" ]

"$vling" lab power off c2h1
check "its loss is seen" cloud_wait 30 is_down c2h1
check_not "no more controllers while one is dead" "$vling" controller add c1h1 --lab
check_not "no such host" "$vling" controller replace c2h1 c9h9 --lab
check "nothing of that is done" [ "$(count)" = 3 ]
check_not "the new one is one already" "$vling" controller replace c2h1 c3h1 --lab
check_not "no majority, no removal" "$vling" controller remove c3h1 --lab
# Meanwhile every daemon that could be asked is gone, or has just begun. Not for longer than that:
# a host that nobody renews its lease of for 4 s loses its guests to others, and rightly.
kill_daemons() {
    local end=$(($(date +%s%N) + 1500000000))
    while [ "$(date +%s%N)" -lt "$end" ]; do
        for host in c1h1 c1h2 c3h1; do
            "$vling" lab exec "$host" pkill -KILL -f "^vlingd --config" || true
        done
        sleep 0.1
    done
}
kill_daemons &
"$vling" controller replace c2h1 c2h2 --lab
check "three again" [ "$(count)" = 3 ]
check "the new one's member runs" [ "$(field c2h2 member)" = started ]

# The cloud survives the loss of one of the new ones, which it could not with the dead one's place.
"$vling" lab power off c1h2
check "writes go on without one of them" cloud_wait 30 cloud_write without
"$vling" lab power on c1h2 c2h1
check "the dead one comes back as a host" cloud_wait 60 is_up c2h1
not_a_member() { ! has_etcd c2h1 && [ "$(count)" = 3 ] && [ "$(field c2h1 member)" = - ]; }
check "and as nothing more" cloud_wait 60 not_a_member
all_started() { [ "$(field c1h2 member)$(field c2h2 member)$(field c3h1 member)" = startedstartedstarted ]; }
check "all three run" cloud_wait 60 all_started
for name in before after without; do
    check "the write '$name' is there" cloud_has "$name"
done
check "the guest is the same boot all the time" [ "$(cloud_boot_id "$address")" = "$boot" ]
