#!/bin/bash
# The lab itself, with a stand-in for the daemon: power, cables, partitions, and that `down` leaves
# nothing behind, also after a crash. Needs no guest and takes seconds.
. "$(dirname "$0")/lib.sh"

cat >"$work/vlingd" <<'END'
#!/bin/sh
case $1 in
init) mkdir -p /var/lib/vling/pki && touch /var/lib/vling/pki/host.crt && echo the-token ;;
join) [ "$5" = the-token ] && mkdir -p /var/lib/vling/pki && touch /var/lib/vling/pki/host.crt ;;
*) date +%s.%N >>/var/lib/vling/starts; exec sleep 100000 ;;
esac
END
chmod 755 "$work/vlingd"

reach() {
    "$vling" lab exec "$1" ping -q -c 3 -i 0.3 -W 1 "$2" >/dev/null
}
power_of() {
    "$vling" lab status -f value | awk -v h="$1" '$1 == h { print $3 }'
}
starts_of() {
    grep -c . "/var/lib/vling-lab/hosts/$1/lib/starts"
}
started() {
    [ "$(starts_of "$1" 2>/dev/null)" = "$2" ]
}
# A host that is being started has no network yet.
all_started() {
    for each in c1h1 c1h2 c1h3 c2h1 c2h2 c2h3 c3h1 c3h2 c3h3; do
        started "$each" 1 || return 1
    done
}
nothing_left() {
    [ ! -e /var/lib/vling-lab ] && [ ! -e /run/vling-lab ] && ! ip link show vl-lab0 &&
        ! pgrep -f '^vling lab-init ' && ! grep vling-lab /proc/mounts
} >/dev/null 2>&1

before=$(cat /proc/mounts | wc -l)
lab_start --no-wait --vlingd "$work/vlingd"
check "the daemons run, each once" cloud_wait 20 all_started
check "nine hosts" [ "$("$vling" lab status -f value | wc -l)" = 9 ]
check "between cabinets" reach c1h1 10.10.3.2
check "jumbo frames for VXLAN" "$vling" lab exec c1h2 ping -q -c 1 -M do -s 8900 10.20.2.3
check "from the machine" ping -q -c 1 -W 2 10.10.2.1
check_not "planes are separate" reach internet 10.10.1.1
check "host name" [ "$("$vling" lab exec c2h3 hostname)" = c2h3 ]
check "exit status" [ "$("$vling" lab exec c1h1 sh -c 'exit 7'; echo $?)" = 7 ]

"$vling" lab exec c2h2 touch /run/vling/lost /var/lib/vling/kept /srv/vling/shared
"$vling" lab power off c2
check "off" [ "$(power_of c2h2)" = off ]
check_not "no answer from a dead cabinet" reach c1h1 10.10.2.2
"$vling" lab power on c2
check "on" [ "$(power_of c2h2)" = on ]
check "answers again" cloud_wait 5 reach c1h1 10.10.2.2
check "its disk is kept" "$vling" lab exec c2h2 test -e /var/lib/vling/kept
check_not "its memory is lost" "$vling" lab exec c2h2 test -e /run/vling/lost
check "the disk is shared" "$vling" lab exec c1h1 test -e /srv/vling/shared
check "the daemon runs again" cloud_wait 20 started c2h2 2
check "it ends" cloud_wait 20 "$vling" lab exec c2h2 pkill -x sleep
check "the daemon is started again" cloud_wait 20 started c2h2 3

"$vling" lab link down c1h2 mgmt
check_not "cable cut" reach c1h1 10.10.1.2
check "the other planes stay" reach c1h1 10.20.1.2
"$vling" lab link up c1h2 mgmt
check "cable mended" cloud_wait 5 reach c1h1 10.10.1.2

"$vling" lab partition c1 c3
"$vling" lab partition c2h1 c2h2
check_not "cabinets apart" reach c1h2 10.10.3.2
check_not "hosts apart" reach c2h1 10.10.2.2
check "others together" reach c2h3 10.10.3.2
check "others of the cabinet together" reach c2h1 10.10.2.3
"$vling" lab heal
check "healed" cloud_wait 5 reach c1h2 10.10.3.2

# A lab that is there is not replaced.
up() {
    "$vling" lab up --no-wait --vlingd "$work/vlingd"
}
up_status() {
    status=0
    up || status=$?
    echo "$status"
}
check "a lab that runs is kept" [ "$(up_status)" = 3 ]
check "and goes on" reach c1h1 10.10.3.2
"$vling" lab power off all
check "so is one that is switched off" [ "$(up_status)" = 3 ]

# Its rest is: after a restart of the machine (its processes and the bound namespaces are gone), when
# all of its processes were killed, and when its start was cut off.
umount /run/vling-lab/ns/*
ip link del vl-lab0
check "the rest of a lab is replaced after a restart" up
check "and works" cloud_wait 5 reach c1h1 10.10.3.2
pgrep -f '^vling lab-init ' | xargs kill -KILL
check "all dead" cloud_wait 10 sh -c "! '$vling' lab status -f value | grep -qw on"
check "as is one whose processes were all killed" up
check "which works" cloud_wait 5 reach c1h1 10.10.3.2
mount -t tmpfs none /var/lib/vling-lab/hosts/c1h1/lib
"$vling" lab power off all
rm /var/lib/vling-lab/lab.json
check "and one whose start was cut off" up
check "which works, too" cloud_wait 5 reach c1h1 10.10.3.2

# A crash of the lab: its records are gone.
rm /var/lib/vling-lab/lab.json
"$vling" lab down
lab_started=
check "nothing is left after a crash" nothing_left
check "no mount is left" [ "$(cat /proc/mounts | wc -l)" = "$before" ]
check "down of nothing is fine" "$vling" lab down
