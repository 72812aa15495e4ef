#!/bin/bash
# The unmodified clients against a lab: an everyday session with the openstack command, with every
# command that the README names and the refusals that people meet; a session of the Python SDK (what
# Ansible and many tools stand on); and a tour of the SDK to what is left. In the end every route
# that the reference names was used.
. "$(dirname "$0")/../cluster/lib.sh"

# value COMMAND... -- COLUMN: one column of what a command shows.
column() {
    name=$1
    shift
    openstack "$@" -f value -c "$name"
}

# listed WORD COMMAND...: is the word a name in the list?
listed() {
    word=$1
    shift
    openstack "$@" -f value | tr ' ' '\n' | grep -qxF -- "$word"
}

# refused STATUS COMMAND...: fails, and says so with that HTTP status or text.
refused() {
    words=$1
    shift
    if openstack "$@" >"$work/out" 2>&1; then
        cat "$work/out"
        return 1
    fi
    grep -q -- "$words" "$work/out" || { cat "$work/out"; return 1; }
}

identity() {
    check "a token" [ -n "$(column id token issue)" ]
    check "and by the command as people start it" [ -n "$(command openstack token issue -f value)" ]
    check "the catalog names the services" [ "$(column Name catalog list | sort | tr '\n' ' ')" = \
        "glance keystone neutron nova " ]
    openstack project create --description "a project" lab-project >/dev/null
    check "project show" [ "$(column description project show lab-project)" = "a project" ]
    check "project list" listed lab-project project list
    openstack user create --password secret-word lab-user >/dev/null
    check "user show" [ "$(column name user show lab-user)" = lab-user ]
    check "user list" listed lab-user user list
    openstack role create lab-role >/dev/null
    check "role list" listed lab-role role list
    openstack role add --project lab-project --user lab-user member
    check "role assignment" listed lab-user@Default role assignment list --names --project lab-project
    openstack role delete lab-role
    check_not "role deleted" listed lab-role role list
    check "wrong password" refused "HTTP 401" --os-password wrong token issue
    check "no such user" refused "No user with a name or ID" user show nobody-of-that-name
}

# Runs the openstack command with the application credential only: nobody's name or password.
as_program() {
    env -u OS_USERNAME -u OS_PASSWORD -u OS_PROJECT_NAME -u OS_PROJECT_ID -u OS_USER_DOMAIN_ID \
        -u OS_USER_DOMAIN_NAME -u OS_PROJECT_DOMAIN_ID -u OS_PROJECT_DOMAIN_NAME \
        OS_AUTH_TYPE=v3applicationcredential OS_APPLICATION_CREDENTIAL_ID="$program" \
        OS_APPLICATION_CREDENTIAL_SECRET="$secret" openstack "$@"
}

applications() {
    as_member application credential create --description "for a program" \
        --expiration 2099-01-01T00:00:00 lab-program -f value -c id -c secret >"$work/credential"
    program=$(sed -n 1p "$work/credential")
    secret=$(sed -n 2p "$work/credential")
    check "application credential list" [ "$(as_member application credential list -f value -c Name)" \
        = lab-program ]
    check "application credential show" [ "$(as_member application credential show lab-program \
        -f value -c description)" = "for a program" ]
    check "a program gets in with it" [ "$(as_program token issue -f value -c project_id)" = \
        "$(column id project show lab-project)" ]
    as_program network create program-net -f value -c id >/dev/null
    check "and works" [ "$(as_program network list -f value -c Name | grep -c program-net)" = 1 ]
    as_program network delete program-net
    as_program application credential create more >"$work/out" 2>&1 || true
    check "it makes no others" grep -q "HTTP 403" "$work/out"
    as_member application credential delete lab-program
    as_program token issue >"$work/out" 2>&1 || true
    check "deleted, it opens nothing" grep -q "HTTP 404" "$work/out"
}

domains() {
    openstack domain create --description "of a partner" lab-domain >/dev/null
    check "domain show" [ "$(column description domain show lab-domain)" = "of a partner" ]
    openstack user create --domain lab-domain --password secret-word lab-user >/dev/null
    check "the same name in another domain" [ \
        "$(openstack user list --domain lab-domain -f value -c Name)" = lab-user ]
    openstack project create --domain lab-domain lab-site >/dev/null
    check "a domain in use stays" refused "HTTP 403" domain delete lab-domain
    openstack domain set --disable --name lab-domain-2 lab-domain
    check "domain set" [ "$(column enabled domain show lab-domain-2)" = False ]
    openstack domain delete lab-domain-2
    check_not "domain deleted" listed lab-domain-2 domain list
    check "its project, too" refused "No project with a name or ID" project show lab-site
}

# Runs the openstack command as the plain member of lab-project.
as_member() {
    OS_USERNAME=lab-user OS_PASSWORD=secret-word OS_PROJECT_NAME=lab-project openstack "$@"
}

images() {
    head -c 300000 /dev/urandom >"$work/image"
    openstack image create --file "$work/image" --disk-format raw --container-format bare \
        --property os_distro=none lab-image >/dev/null
    check "image active" [ "$(column status image show lab-image)" = active ]
    check "image checksum" [ "$(column checksum image show lab-image)" = \
        "$(md5sum <"$work/image" | cut -d' ' -f1)" ]
    check "image list" listed lab-image image list
    openstack image save --file "$work/saved" lab-image
    check "image save gives the same bytes" cmp "$work/image" "$work/saved"
    openstack image set --name lab-image-2 --property os_version=1 lab-image
    check "image set" [ "$(column name image show lab-image-2)" = lab-image-2 ]
    openstack image delete lab-image-2
    check_not "image deleted" listed lab-image-2 image list
}

sharing() {
    shared=$(openstack image create --file "$work/image" --disk-format raw --container-format bare \
        --shared lab-shared -f value -c id)
    project=$(column id project show lab-project)
    check "another project's image is not there" [ -z "$(as_member image list --name lab-shared -f value)" ]
    openstack image add project "$shared" "$project" >/dev/null
    check "image member list" [ "$(openstack image member list "$shared" -f value -c 'Member ID' \
        -c Status)" = "$project pending" ]
    check "not listed before it is accepted" [ -z "$(as_member image list --name lab-shared -f value)" ]
    as_member image set --accept "$shared"
    check "accepted" [ "$(as_member image list --name lab-shared -f value -c ID)" = "$shared" ]
    as_member image save --file "$work/saved" "$shared"
    check "a member gets the bytes" cmp "$work/image" "$work/saved"
    as_member image set --reject "$shared"
    check "rejected" [ -z "$(as_member image list --name lab-shared -f value)" ]
    openstack image remove project "$shared" "$project"
    check "removed" [ -z "$(openstack image member list "$shared" -f value)" ]
    openstack image delete "$shared"
}

flavors_and_keys() {
    openstack flavor create --vcpus 2 --ram 96 --disk 1 lab-flavor >/dev/null
    check "flavor show" [ "$(column ram flavor show lab-flavor)" = 96 ]
    check "flavor list" listed lab-flavor flavor list
    openstack flavor create --private --project lab-project --vcpus 1 --ram 64 lab-private >/dev/null
    check "a private flavor names who has access" [ "$(column access_project_ids flavor show \
        lab-private)" = "['$(column id project show lab-project)']" ]
    openstack flavor unset --project lab-project lab-private
    check "access taken back" [ "$(column access_project_ids flavor show lab-private)" = "[]" ]
    openstack flavor set --project lab-project lab-private
    openstack flavor delete lab-private
    openstack keypair create lab-made >"$work/made"
    chmod 600 "$work/made"
    check "a made key is one" ssh-keygen -y -f "$work/made"
    check "keypair show" [ "$(column fingerprint keypair show lab-made)" = \
        "$(ssh-keygen -y -f "$work/made" | ssh-keygen -l -E md5 -f - | cut -d' ' -f2 | cut -d: -f2-)" ]
    check "keypair list" listed lab-made keypair list
    openstack keypair delete lab-made
    check_not "keypair deleted" listed lab-made keypair list
}

networks() {
    openstack network create lab-net >/dev/null
    openstack subnet create --network lab-net --subnet-range 10.7.0.0/24 --dns-nameserver 9.9.9.9 \
        --allocation-pool start=10.7.0.101,end=10.7.0.254 lab-subnet >/dev/null
    check "subnet show" [ "$(column cidr subnet show lab-subnet)" = 10.7.0.0/24 ]
    openstack port create --network lab-net --fixed-ip ip-address=10.7.0.77 lab-port >/dev/null
    check "port show" [ "$(column name port show lab-port)" = lab-port ]
    check "an address cannot be given twice" refused "409" \
        port create --network lab-net --fixed-ip ip-address=10.7.0.77 lab-port-2
    openstack router create lab-router >/dev/null
    openstack router set --external-gateway public lab-router
    openstack router add subnet lab-router lab-subnet
    openstack router add route --route destination=10.99.0.0/16,gateway=10.7.0.9 \
        lab-router >/dev/null
    check "what a route needs stays" refused "409" router remove subnet lab-router lab-subnet
    openstack router remove route --route destination=10.99.0.0/16,gateway=10.7.0.9 \
        lab-router >/dev/null
    check "router show" [ "$(column name router show lab-router)" = lab-router ]
    check "a network in use stays" refused "409" network delete lab-net
    openstack security group create lab-group >/dev/null
    openstack security group rule create --protocol tcp --dst-port 80:90 --remote-ip 10.0.0.0/8 \
        lab-group >/dev/null
    check "rule list" listed 80:90 security group rule list lab-group
    check "the same rule twice" refused "409" \
        security group rule create --protocol tcp --dst-port 80:90 --remote-ip 10.0.0.0/8 lab-group
    for kind in network subnet port router "security group"; do
        # shellcheck disable=SC2086
        check "$kind list" [ -n "$(openstack $kind list -f value)" ]
    done
}

servers() {
    printf '#!/bin/sh\necho user-data-ran >/data/user-data\n' >"$work/user-data"
    openstack server create --image vling-test --flavor m1.micro --network private \
        --key-name key1 --security-group "$group" --user-data "$work/user-data" \
        --property shelf=7 --config-drive true --wait lab-server >/dev/null
    check "server active" [ "$(cloud_status_of lab-server)" = ACTIVE ]
    check "server list" listed lab-server server list
    check "its property" [ "$(column properties server show lab-server)" = "{'shelf': '7'}" ]
    address=$(column floating_ip_address floating ip create public)
    openstack server add floating ip lab-server "$address"
    check "it lets us in through its floating IP" cloud_wait_ssh "$address" 120
    check "its name came from the config drive" cloud_ssh "$address" '[ "$(hostname)" = lab-server ]'
    ran() { [ "$(cloud_ssh "$address" cat /data/user-data 2>/dev/null)" = user-data-ran ]; }
    check "user data ran" cloud_wait 30 ran
    seeded() { openstack console log show lab-server | grep -q "SEEDED config-drive"; }
    check "console log" cloud_wait 30 seeded
    check "usage of all projects" [ -n "$(openstack usage list -f value)" ]

    openstack server pause lab-server
    check "paused" cloud_wait_status lab-server PAUSED 30
    check "a paused guest is silent" cloud_silent "$address"
    check "what a state does not allow" refused "409" server stop lab-server
    openstack server unpause lab-server
    check "unpaused" cloud_wait_status lab-server ACTIVE 30
    check "it goes on" cloud_wait_answer "$address" 30
    openstack server stop lab-server
    check "stopped" cloud_wait_status lab-server SHUTOFF 90
    openstack server start lab-server
    check "started" cloud_wait_status lab-server ACTIVE 60
    check "second boot" cloud_wait 60 cloud_has_booted "$address" 2
    openstack server reboot --hard lab-server
    check "hard reboot" cloud_wait 60 cloud_has_booted "$address" 3
    lets_in_again() { cloud_lets_in "$address"; }
    check "it is up" cloud_wait 60 lets_in_again
    openstack server reboot --soft lab-server
    check "soft reboot" cloud_wait 120 cloud_has_booted "$address" 4
    openstack server set --name lab-renamed lab-server
    check "renamed" [ "$(column name server show lab-renamed)" = lab-renamed ]
    openstack server remove floating ip lab-renamed "$address"
    check "no answer without its floating IP" cloud_wait 10 cloud_silent "$address"
    check "what was done to it" [ "$(column Action server event list lab-renamed | tr '\n' ' ')" = \
        "reboot reboot start stop unpause pause create " ]
    asked=$(column "Request ID" server event list lab-renamed | tail -1)
    check "and who did the first of it" [ "$(column user_id server event show lab-renamed "$asked")" = \
        "$(column id user show admin)" ]
    check "found by its options" listed lab-renamed server list --key-name key1 --config-drive \
        --vm-state active --power-state running --changes-since 2026-01-01T00:00:00Z
    check_not "not by those of others" listed lab-renamed server list --power-state paused
    check_not "nor among the deleted ones" listed lab-renamed server list --deleted
    id=$(column id server show lab-renamed)
    openstack server delete --wait lab-renamed
    check_not "server deleted" listed "$id" server list
    check "no process is left" [ -z "$(cloud_processes "$id")" ]
    check "its disk is gone" [ ! -e "/var/lib/vling-lab/shared/disks/$id" ]
    openstack floating ip delete "$address"
}

fixed_address() {
    openstack server show -f json -c addresses "$1" | python3 -c '
import json, sys
print(json.load(sys.stdin)["addresses"]["private"][0])'
}

security() {
    openstack server create --image vling-test --flavor m1.micro --network private \
        --security-group lab-group --wait closed >/dev/null
    openstack server create --image vling-test --flavor m1.micro --network private \
        --key-name key1 --wait open >/dev/null
    openstack server create --image vling-test --flavor m1.micro --network private \
        --wait mate >/dev/null
    closed=$(column floating_ip_address floating ip create public)
    openstack server add floating ip closed "$closed"
    open=$(column floating_ip_address floating ip create public)
    openstack server add floating ip open "$open"
    check "the open one answers" cloud_wait_answer "$open" 60
    inner=$(fixed_address closed)
    mate=$(fixed_address mate)
    other=10.0.0.251 # nobody's
    check "it lets us into the open one" cloud_wait_ssh "$open" 60
    pings_mate() { cloud_ssh "$open" "ping -c 2 -W 2 $mate" >/dev/null; }
    check "members of one group reach each other" cloud_wait 60 pings_mate
    opened() { cloud_ssh "$open" "nc -w 3 $inner 80 </dev/null"; }
    check "a port that a rule opens, from an address of its CIDR" cloud_wait 60 opened
    # Now it is surely there; before, nothing of it would answer.
    check_not "a port that no rule opens" cloud_ssh "$open" "nc -w 3 $inner 22 </dev/null"
    check_not "nor a ping" cloud_ssh "$open" "ping -c 2 -W 2 $inner" >/dev/null
    check "the closed one does not answer from outside" cloud_silent "$closed"
    cloud_ssh "$open" "ip addr add $other/24 dev eth0"
    check_not "an address that is not its own" \
        cloud_ssh "$open" "ping -I $other -c 3 -W 2 $mate" >/dev/null
    cloud_ssh "$open" "ip addr del $other/24 dev eth0"
    check "and with its own again" pings_mate
    openstack server add security group closed "$group"
    check "with the group it does" cloud_wait_answer "$closed" 30
    openstack server remove security group closed "$group"
    check "without it, not" cloud_wait 20 cloud_silent "$closed"
    openstack server delete --wait closed open mate
}

isolation() {
    check_not "another project's network is not listed" \
        sh -c "OS_USERNAME=lab-user OS_PASSWORD=secret-word OS_PROJECT_NAME=lab-project \
            openstack network list -f value -c Name | grep -qx lab-net"
    check "public images are" as_member image show vling-test -f value -c id
    mine() { as_member "$@"; }
    if mine network show "$(column id network show lab-net)" >"$work/out" 2>&1; then
        check "another project's network is not shown" false
    fi
    check "no administration for members" sh -c "! OS_USERNAME=lab-user OS_PASSWORD=secret-word \
        OS_PROJECT_NAME=lab-project openstack user create x 2>&1 | grep -q ' id '"
    as_member network create member-net -f value -c id >/dev/null
    check "a member makes networks" [ "$(as_member network list -f value -c Name | grep -c member-net)" = 1 ]
    as_member network delete member-net
}

operators() {
    check "hypervisors" [ "$(openstack hypervisor list -f value | wc -l)" = 9 ]
    check "zones are cabinets" [ "$(column 'Zone Name' availability zone list --compute | sort |
        tr '\n' ' ')" = "c1 c2 c3 " ]
    check "compute services" [ "$(openstack compute service list --service nova-compute -f value |
        wc -l)" = 9 ]
    check "limits" [ -n "$(openstack limits show --absolute -f value)" ]
    check "usage" [ -n "$(openstack usage show -f value)" ]
    host=$(column "Hypervisor Hostname" hypervisor list | tail -1)
    check "a hypervisor by a part of its name" [ "$(column "Hypervisor Hostname" hypervisor list \
        --matching "$host")" = "$host" ]
    check "a hypervisor and since when it is up" [ -n "$(column uptime hypervisor show "$host")" ]
    openstack compute service set --disable --disable-reason "new disks" "$host" nova-compute
    check "a disabled service and why" [ "$(openstack compute service list --long --host "$host" \
        --service nova-compute -f value -c Status -c 'Disabled Reason')" = "disabled new disks" ]
    openstack compute service set --enable "$host" nova-compute
    openstack compute service set --disable "$host" nova-compute
    openstack compute service set --enable "$host" nova-compute
    check "an enabled one" [ "$(column Status compute service list --host "$host" \
        --service nova-compute)" = enabled ]
}

tidy() {
    openstack router remove subnet lab-router lab-subnet
    openstack router unset --external-gateway lab-router
    openstack router delete lab-router
    openstack port delete lab-port
    openstack network delete lab-net
    openstack security group delete lab-group
    openstack user delete lab-user
    openstack project delete lab-project
    openstack flavor delete lab-flavor
    for kind in network router "security group" flavor; do
        # shellcheck disable=SC2086
        check_not "$kind deleted" listed "lab-$kind" $kind list
    done
}

# Through the daemons' own logs.
all_used() {
    python3 tests/api/coverage.py docs/api /var/lib/vling-lab/hosts/*/vlingd.log
}

printf '#!/bin/sh\nexec %s/build/vlingd "$@" --verbose\n' "$PWD" >"$work/vlingd"
chmod 755 "$work" "$work/vlingd"
lab_start --vlingd "$work/vlingd"
cloud_prepare
identity
domains
applications
images
sharing
flavors_and_keys
networks
servers
security
isolation
operators
tidy
check "a session of the SDK" python3 tests/api/sdk_session.py
check "a tour of the SDK" python3 tests/api/sdk_tour.py
check "every route was used by a real client" all_used
