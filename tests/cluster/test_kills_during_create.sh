#!/bin/bash
# vlingd is killed in every step of a server's creation: on the server's host, on the third node that
# has nothing to do with it, and on the controller that takes the request. Every server is soon ACTIVE,
# or in ERROR with a reason; of none is there a half; and when all are deleted nothing of them is left.
. "$(dirname "$0")/lib.sh"
lab_start --cabinets 3 --hosts 1
cloud_prepare
# An image that takes a moment to copy.
{ cat build/vling-test.img && head -c 150M /dev/urandom; } >"$work/image"
image=$(openstack image create --file "$work/image" --disk-format raw -f value -c id big)
network=$(openstack network show -f value -c id private)
holder=$(cloud_api_holder)
host=c1h1
[ "$holder" != c1h1 ] || host=c2h1
for third in c1h1 c2h1 c3h1; do
    [ "$third" = "$holder" ] || [ "$third" = "$host" ] || break
done
cloud_token

# create NAME [ZONE]: prints the id.
create() {
    cloud_request POST 8774/v2.1/servers "{\"server\": {\"name\": \"$1\", \"imageRef\": \"$image\",
        \"flavorRef\": \"42\", \"networks\": [{\"uuid\": \"$network\"}], \"config_drive\": true
        ${2:+, \"availability_zone\": \"$2\"}}}" | cloud_id
}
# kill_in STEP ID [HOST]: waits in the server's host until the step is reached, kills vlingd of HOST
# (the server's) at once, and prints the step that was hit: the last one of which something is there.
#   accepted    the request was answered     copying   its disk is being made
#   disk        that is complete             drive     the config drive is there
#   spawned     QEMU has written its pid     running   the API says ACTIVE
kill_in() {
    if [ "$1" = running ]; then
        cloud_wait 60 active "$2"
    fi
    if [ -n "${3:-}" ]; then
        "$vling" lab exec "$host" bash -c "$steps" steps "$1" "$2" 0
        "$vling" lab exec "$3" pkill -9 -f '^vlingd --config'
    else
        cloud_wait 20 daemon_runs
        "$vling" lab exec "$host" bash -c "$steps" steps "$1" "$2" "$daemon"
    fi
}
daemon_runs() { daemon=$("$vling" lab exec "$host" pgrep -o -f '^vlingd --config'); }
# No process is started between the look and the kill: some steps last for a moment only.
# shellcheck disable=SC2016
steps='
step=$1 id=$2 daemon=$3 disks=/srv/vling/disks/$2
there() {
    case $1 in
    accepted) true ;;
    copying) set -- "$disks"/.root.*; [ -e "$1" ] ;;
    disk) set -- "$disks"/root.*; [ -e "$1" ] ;;
    drive) [ -e "/run/vling/config-drives/$id.iso" ] ;;
    spawned | running) [ -e "/run/vling/guests/$id/pid" ] ;;
    esac
}
end=$((SECONDS + 30))
until there "$step"; do
    [ "$SECONDS" -lt "$end" ] || exit 1
done
[ "$daemon" = 0 ] || kill -9 "$daemon"
[ "$step" != running ] || { echo running; exit; }
for each in spawned drive disk copying accepted; do
    ! there "$each" || { echo "$each"; exit; }
done'
active() { show "$1" && grep -q '"status": *"ACTIVE"' "$work/server"; }
show() {
    cloud_request GET "8774/v2.1/servers/$1" >"$work/server"
}
# Neither in between nor in ERROR without a reason.
settled() {
    show "$1" && { grep -q '"status": *"ACTIVE"' "$work/server" ||
        grep -q '"status": *"ERROR".*"fault":' "$work/server"; }
}
deleted() {
    cloud_request DELETE "8774/v2.1/servers/$1" >/dev/null || ! show "$1"
}

settle_and_delete() {
    cloud_wait 60 settled "$1" || return 1
    grep -o '"status": *"[A-Z]*"' "$work/server" >>"$work/ends"
    cloud_wait 20 deleted "$1"
}
# What stays after the first server of a project: its group was used.
id=$(create first)
check "a server" settle_and_delete "$id"
forgotten() { ! cloud_rows | grep -q "$id"; }
check "is forgotten" cloud_wait 30 forgotten
cloud_rows >"$work/rows-before"

# Each step twice at least, and until it was hit: the kill may come a moment late.
: >"$work/ends"
: >"$work/hits"
round=0
for step in accepted copying disk drive spawned running; do
    for try in $(seq 20); do
        [ "$try" -le 2 ] || ! grep -qx "$step" "$work/hits" || break
        round=$((round + 1))
        id=$(create "kill$round" "${host%h*}")
        check "$round: created" [ -n "$id" ]
        hit=$(kill_in "$step" "$id") || hit=none
        echo "$round: killed in the step '$hit'"
        echo "$hit" >>"$work/hits"
        check "$round: settled and deleted" settle_and_delete "$id"
    done
    check "a kill hit the step '$step'" grep -qx "$step" "$work/hits"
done
sort "$work/hits" | uniq -c
sort "$work/ends" | uniq -c
check "a third of them at least became ACTIVE" \
    [ $(($(grep -c ACTIVE "$work/ends") * 3)) -ge "$round" ]

# The third node is neither the server's host nor asked: its death changes nothing.
for step in accepted copying spawned; do
    id=$(create "third-$step" "${host%h*}")
    check "created" [ -n "$id" ]
    echo "killed on $third in the step '$(kill_in "$step" "$id" "$third")'"
    check "ACTIVE though vlingd of $third was killed" cloud_wait 60 active "$id"
    check "deleted" cloud_wait 20 deleted "$id"
done

# The controller that takes the request, just before and just after its answer: the time between
# request and kill moves to where both happen.
list() {
    cloud_request GET "8774/v2.1/servers?name=taken" >"$work/list"
}
ids_listed() {
    cloud_wait 30 list && grep -oE '"id": ?"[0-9a-f-]{36}"' "$work/list" | grep -oE '[0-9a-f-]{36}'
}
# Kills at once when a line comes.
killer() {
    # shellcheck disable=SC2016
    "$vling" lab exec "$holder" bash -c 'until daemon=$(pgrep -o -f "^vlingd --config"); do
            sleep 0.1
        done
        echo ready; read -r line; kill -9 "$daemon"'
}
mkfifo "$work/go"
acknowledged=0 unanswered=0 delay=0.03
for round in $(seq 12); do
    cloud_wait 30 list
    holder=$(cloud_api_holder)
    killer <"$work/go" >"$work/killer" &
    exec 9>"$work/go"
    cloud_wait 20 grep -q ready "$work/killer"
    create "taken$round" >"$work/taken" 2>/dev/null &
    request=$!
    sleep "$delay"
    echo now >&9
    exec 9>&-
    wait "$request" || true
    cloud_wait 30 list
    if [ -s "$work/taken" ]; then
        check "what was acknowledged is there" grep -q "$(cat "$work/taken")" "$work/list"
        acknowledged=$((acknowledged + 1))
        delay=$(awk -v d="$delay" 'BEGIN { print d * 0.6 }')
    else
        unanswered=$((unanswered + 1))
        delay=$(awk -v d="$delay" 'BEGIN { print d * 1.4 + 0.004 }')
    fi
    sleep 1
done
echo "$acknowledged requests were answered before the kill, $unanswered were not"
check "some were" [ "$acknowledged" -gt 0 ]
check "some were not" [ "$unanswered" -gt 0 ]
whole() {
    settled "$1" && grep -q '"OS-EXT-IPS-MAC:mac_addr"' "$work/server"
}
for id in $(ids_listed); do
    check "a server is whole" cloud_wait 60 whole "$id"
    check "it can be deleted" cloud_wait 20 deleted "$id"
done

# What is left, if anything.
left() {
    cloud_rows >"$work/rows-after" && diff "$work/rows-before" "$work/rows-after"
    ls /var/lib/vling-lab/shared/disks
    for each in c1h1 c2h1 c3h1; do
        "$vling" lab exec "$each" sh -c 'pgrep -af ^/usr/bin/qemu; ls /run/vling/guests; ls \
            /run/vling/config-drives; ip -o link | grep -o " vt[^:]*"'
    done
}
nothing_left() {
    left >"$work/left" || true
    [ ! -s "$work/left" ]
}
cloud_wait 60 nothing_left || cat "$work/left"
check "nothing is left of any of them" nothing_left
