# Steps with the real openstack command against a running lab. Sourced by ./demo and the cluster
# tests, with `vling` set to the program and the lab's openrc evaluated. Sets $address, $server_id.

cloud_image=${cloud_image:-build/vling-test.img}
cloud_key=${cloud_key:-${work:-/tmp}/cloud-key}

# Image, external network, tenant network with router, key, security group rules.
cloud_prepare() {
    openstack image create --file "$cloud_image" --disk-format raw --container-format bare \
        --public -f value -c id vling-test >/dev/null
    openstack flavor show m1.tiny >/dev/null 2>&1 ||
        openstack flavor create --vcpus 1 --ram 128 --disk 1 m1.tiny >/dev/null
    openstack network create --external --provider-network-type flat \
        --provider-physical-network external public >/dev/null
    openstack subnet create --network public --subnet-range 172.24.4.0/24 --gateway 172.24.4.1 \
        --no-dhcp --allocation-pool start=172.24.4.100,end=172.24.4.200 public >/dev/null
    openstack network create private >/dev/null
    # The last ones are for tests: nobody gets them.
    openstack subnet create --network private --subnet-range 10.0.0.0/24 \
        --allocation-pool start=10.0.0.2,end=10.0.0.250 private >/dev/null
    openstack router create router1 >/dev/null
    openstack router set --external-gateway public router1
    openstack router add subnet router1 private
    rm -f "$cloud_key" "$cloud_key.pub"
    ssh-keygen -q -t ed25519 -N '' -f "$cloud_key"
    openstack keypair create --public-key "$cloud_key.pub" key1 >/dev/null
    # By id: the administrator sees the default group of every project.
    project=$(openstack token issue -f value -c project_id)
    group=$(openstack security group list --project "$project" -f value -c ID -c Name |
        awk '$2 == "default" { print $1; exit }')
    openstack security group rule create --protocol icmp "$group" >/dev/null
    openstack security group rule create --protocol tcp --dst-port 22 "$group" >/dev/null
    openstack security group rule create --protocol tcp --dst-port 7 "$group" >/dev/null
}

# cloud_server NAME: boots one and gives it a floating IP.
cloud_server() {
    openstack server create --image vling-test --flavor m1.tiny --network private \
        --key-name key1 -f value -c id "$1" >/dev/null
    server_id=$(openstack server show -f value -c id "$1")
    cloud_wait_status "$1" ACTIVE 90
    address=$(openstack floating ip create -f value -c floating_ip_address public)
    openstack server add floating ip "$1" "$address"
}

cloud_status_of() {
    openstack server show -f value -c status "$1"
}

cloud_is() {
    [ "$(cloud_status_of "$1")" = "$2" ]
}

cloud_fault_of() {
    openstack server show -f value -c fault "$1"
}

cloud_host_of() {
    openstack server show -f value -c OS-EXT-SRV-ATTR:host "$1"
}

# cloud_wait SECONDS COMMAND...: until it succeeds. The seconds are more than a machine of its own
# ever needs; one that others use, too, emulates a guest four times slower.
cloud_wait() {
    cloud_end=$(($(date +%s) + 4 * $1))
    shift
    until "$@"; do
        if [ "$(date +%s)" -ge "$cloud_end" ]; then
            echo "waited in vain for: $*" >&2
            return 1
        fi
        sleep 0.5
    done
}

cloud_status_is() {
    cloud_now=$(cloud_status_of "$1")
    case $cloud_now in
    "$2") return 0 ;;
    ERROR)
        openstack server show "$1" >&2
        exit 1
        ;;
    *) return 1 ;;
    esac
}

cloud_wait_status() {
    cloud_wait "$3" cloud_status_is "$1" "$2"
}

# Does the guest answer on TCP 7, seen from outside?
cloud_answers() {
    "$vling" lab exec internet timeout 5 bash -c "exec 3<>/dev/tcp/$1/7" 2>/dev/null
}

cloud_silent() {
    ! cloud_answers "$1"
}

cloud_wait_answer() {
    cloud_wait "$2" cloud_answers "$1"
}

cloud_ssh() {
    cloud_to=$1
    shift
    "$vling" lab exec internet timeout 60 ssh -i "$cloud_key" -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10 \
        -o BatchMode=yes "root@$cloud_to" "$@"
}

cloud_lets_in() {
    cloud_ssh "$1" true 2>/dev/null
}

cloud_wait_ssh() {
    cloud_wait "$2" cloud_lets_in "$1"
}

# ---- what a guest tells ----

# The line of the guest's port 7: host name, boot id, boot count, heartbeats, marker.
cloud_line() {
    "$vling" lab exec internet timeout 3 bash -c "exec 3<>/dev/tcp/$1/7; cat <&3" 2>/dev/null
}

# cloud_word ADDRESS NUMBER: a word of that line, from a guest that runs: one that is busy may let a
# question go by.
cloud_word() {
    cloud_wait 10 cloud_hears "$1" || return 1
    echo "$cloud_heard" | awk -v number="$2" '{ print $number }'
}

cloud_hears() {
    cloud_heard=$(cloud_line "$1") || true
    [ -n "$cloud_heard" ]
}

cloud_boots() {
    cloud_word "$1" 3
}

cloud_boot_id() {
    cloud_word "$1" 2
}

# cloud_has_booted ADDRESS COUNT: is it in its boot number COUNT or later?
cloud_has_booted() {
    cloud_hears "$1" && [ "$(echo "$cloud_heard" | awk '{ print $3 }')" -ge "$2" ]
}

# cloud_mark ADDRESS TEXT: a file on its disk, safe against a power cut.
cloud_mark() {
    cloud_ssh "$1" "echo '$2' >/data/marker && sync"
}

cloud_marker_of() {
    cloud_ssh "$1" cat /data/marker
}

# Was its disk written by one guest at a time? The heartbeats of one boot stand together, boots
# follow each other, and no number is missing or there twice.
cloud_disk_is_sane() {
    cloud_ssh "$1" cat /data/heartbeat >"$work/heartbeat" || return 1
    awk 'NF != 4 { next }
        $1 != id && ($1 in seen) { print "boot " $2 " wrote again after another one"; bad = 1 }
        $1 != id && $2 <= boots { print "boot " $2 " after boot " boots; bad = 1 }
        n && $3 != n + 1 { print "heartbeat " $3 " after " n; bad = 1 }
        { seen[$1] = 1; id = $1; boots = $2; n = $3 }
        END { exit bad || !n }' "$work/heartbeat"
}

# cloud_boot NAME [ZONE]: a server that lets us in, with $address and $server_id.
cloud_boot() {
    cloud_zone=${2:+--availability-zone $2}
    # shellcheck disable=SC2086
    server_id=$(openstack server create --image vling-test --flavor m1.micro --network private \
        --key-name key1 $cloud_zone -f value -c id "$1")
    cloud_wait_status "$1" ACTIVE 90
    address=$(openstack floating ip create -f value -c floating_ip_address public)
    openstack server add floating ip "$1" "$address"
    cloud_wait_ssh "$address" 120
}

# ---- what the hosts tell ----

# The processes of a server's guest, on all hosts: "HOST PID" each. Powered-off hosts have none.
cloud_processes() {
    for cloud_host in $("$vling" lab status -f value | awk '$3 == "on" { print $1 }'); do
        for cloud_pid in $("$vling" lab exec "$cloud_host" pgrep -f "^/usr/bin/qemu.*$1" || true); do
            echo "$cloud_host $cloud_pid"
        done
    done
}

# cloud_stopped_at HOST PID: prints the moment (seconds, by the clock that all hosts of the lab share)
# at which the process was stopped by a signal. For the background, before the cut.
cloud_stopped_at() {
    # shellcheck disable=SC2016
    "$vling" lab exec "$1" bash -c 'end=$((SECONDS + 60)) state=
        until [ "$state" = T ]; do
            [ "$SECONDS" -lt "$end" ] || exit 1
            sleep 0.02
            while read -r key state _; do
                [ "$key" != State: ] || break
            done <"/proc/$1/status"
        done
        date +%s.%N' cloud_stopped_at "$2"
}

# cloud_stopped_before_it_moved ID FILE: was the guest stopped, at the moment in the file, before its
# server was moved? An event is named after the moment at which its transaction was made, before it
# was committed.
cloud_stopped_before_it_moved() {
    "$vling" events --lab -f json | python3 -c '
import json, sys
id, stopped = sys.argv[1], float(open(sys.argv[2]).read())
moved = [int(event["id"][:13]) / 1000 for event in map(json.loads, sys.stdin)
         if event["kind"] == "server.moved" and event["object"] == id][-1]
print(f"stopped {moved - stopped:.3f} s before it was moved")
sys.exit(stopped >= moved)' "$1" "$2"
}

cloud_runs_elsewhere() {
    cloud_now=$(cloud_host_of "$1")
    [ -n "$cloud_now" ] && [ "$cloud_now" != "$2" ] && [ "$(cloud_status_of "$1")" = ACTIVE ]
}

# The host that holds the API's virtual IP.
cloud_api_holder() {
    "$vling" status -f json | python3 -c '
import json, sys
for module in json.load(sys.stdin)["modules"]:
    if module["id"] == "api-vip":
        print(module["master"])'
}

# An acknowledged write: the name of a network that must be there afterwards.
cloud_write() {
    openstack network create -f value -c id "$1" >/dev/null 2>&1
}

# One at least: a write whose answer was lost is made again by those who wait for it.
cloud_has() {
    openstack network list --name "$1" -f value -c ID 2>/dev/null | grep -q .
}

# ---- requests that must not wait for a client's start ----

# Takes a token for the next cloud_request.
cloud_token() {
    cloud_auth=$(openstack token issue -f value -c id)
}

# cloud_request METHOD PORT/PATH [JSON] [HOST]: the answer, through the API's address or one host's
# own; fails when it is no 2xx or does not come within 10 s.
cloud_request() {
    cloud_at=10.10.0.100
    [ -z "${4:-}" ] || cloud_at=$(cloud_ip_of "$4")
    curl -sS --fail --max-time 10 -X "$1" -H "X-Auth-Token: $cloud_auth" \
        -H 'Content-Type: application/json' ${3:+-d "$3"} "http://$cloud_at:$2" 2>/dev/null
}

# The id of what such an answer shows.
cloud_id() {
    sed -nE 's/.*"id": ?"([0-9a-f-]{36})".*/\1/p' | grep .
}

# The management address of a host.
cloud_ip_of() {
    cloud_number=${1#c}
    echo "10.10.${cloud_number%h*}.${1#*h}"
}

# Every row of the store that people or the API make: "table/id", sorted. Events and what was done
# with servers are kept on purpose, the newest of them.
cloud_rows() {
    "$vling" backup "$work/rows.json" >/dev/null && python3 -c '
import json, sys
for entry in json.load(open(sys.argv[1]))["rows"]:
    if entry["table"] not in ("event", "server_log"):
        print(entry["table"] + "/" + entry["row"]["id"])' "$work/rows.json" | sort
}

# cloud_gone ID HOST: has a server left nothing on its host and in the store?
cloud_gone() {
    ! cloud_rows | grep -q "$1" && [ ! -e "/var/lib/vling-lab/shared/disks/$1" ] &&
        "$vling" lab exec "$2" test ! -e "/run/vling/guests/$1" &&
        "$vling" lab exec "$2" test ! -e "/run/vling/config-drives/$1.iso" &&
        [ -z "$(cloud_processes "$1")" ]
}
