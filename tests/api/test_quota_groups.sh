#!/bin/bash
# Server groups and quotas with the unmodified openstack command: where the members of a group run,
# also after a host's death, and that nobody gets more than the quota, at however many controllers
# they ask at the same time.
. "$(dirname "$0")/../cluster/lib.sh"

controllers="10.10.1.1 10.10.2.1 10.10.3.1"

column() {
    name=$1
    shift
    openstack "$@" -f value -c "$name"
}

# refused TEXT COMMAND...: fails and says so.
refused() {
    words=$1
    shift
    if openstack "$@" >"$work/out" 2>&1; then
        cat "$work/out"
        return 1
    fi
    grep -qF -- "$words" "$work/out" || { cat "$work/out"; return 1; }
}

prepare() {
    openstack image create --file "$cloud_image" --disk-format raw --container-format bare \
        --public -f value -c id vling-test >/dev/null
    openstack network create private >/dev/null
    openstack subnet create --network private --subnet-range 10.0.0.0/24 private >/dev/null
}

boot() {
    openstack server create --image vling-test --flavor m1.micro --network private "$@" \
        -f value -c id >/dev/null
}

# The hosts of the servers, one a line.
hosts_of() {
    for name in "$@"; do cloud_host_of "$name"; done
}

groups() {
    apart=$(column id server group create --policy anti-affinity apart)
    together=$(column id --os-compute-api-version 2.15 server group create --policy soft-affinity \
        together)
    check "group list" [ "$(openstack server group list -f value -c Name | sort | tr '\n' ' ')" = \
        "apart together " ]
    for name in a1 a2 a3; do boot --hint "group=$apart" "$name"; done
    for name in t1 t2; do boot --hint "group=$together" "$name"; done
    for name in a1 a2 a3 t1 t2; do cloud_wait_status "$name" ACTIVE 90; done
    check "each of the one group on a host of its own" \
        [ "$(hosts_of a1 a2 a3 | sort -u | wc -l)" = 3 ]
    check "in a cabinet of its own, too" [ "$(hosts_of a1 a2 a3 | cut -c1-2 | sort -u | wc -l)" = 3 ]
    check "the other one on one host" [ "$(hosts_of t1 t2 | sort -u | wc -l)" = 1 ]
    openstack server group show -f value -c members "$apart" >"$work/members"
    check "members" grep -q "$(column id server show a2)" "$work/members"
    check "no such group" refused "could not be found" server create --image vling-test \
        --flavor m1.micro --network private --hint group=11111111-2222-4333-8444-555555555555 x
}

in_error() {
    [ "$(cloud_status_of "$1")" = ERROR ]
}

no_host_is_left() {
    taken=" $(hosts_of a1 a2 a3 | tr '\n' ' ')"
    for host in $("$vling" host list -f value | awk '{ print $1 }'); do
        case $taken in *" $host "*) ;; *) "$vling" host disable "$host" >/dev/null ;; esac
    done
    boot --hint "group=$apart" a4
    check "no host is left for a fourth one" cloud_wait 30 in_error a4
    openstack server show -f value -c fault a4 >"$work/fault"
    check "which it says" grep -q "No valid host was found\." "$work/fault"
    for host in $("$vling" host list -f value | awk '{ print $1 }'); do
        "$vling" host enable "$host" >/dev/null
    done
    check "with hosts it gets one" cloud_wait 60 cloud_is a4 ACTIVE
    check "of its own" [ "$(hosts_of a1 a2 a3 a4 | sort -u | wc -l)" = 4 ]
}

a_host_dies() {
    victim=$(cloud_host_of a2)
    "$vling" lab power off "$victim"
    check "a member runs elsewhere" cloud_wait 60 cloud_runs_elsewhere a2 "$victim"
    check "and not beside another one" [ "$(hosts_of a1 a2 a3 a4 | sort -u | wc -l)" = 4 ]
    "$vling" lab power on "$victim"
    openstack server delete --wait a1 a2 a3 a4 t1 t2
    openstack server group delete "$apart" "$together"
    check "groups are gone" [ -z "$(openstack server group list -f value)" ]
}

limits() {
    mine=$(openstack project show -f value -c id admin)
    check "nothing is limited" [ "$(column instances quota show)" = -1 ]
    check "so none is listed" [ -z "$(openstack quota list --compute -f value)" ]
    openstack quota set --instances 2 --cores 8 --networks 2 --secgroups 1 admin
    check "quota show" [ "$(openstack quota show -f value -c instances -c cores -c networks |
        tr '\n' ' ')" = "8 2 2 " ]
    check "its default" [ "$(column instances quota show --default)" = -1 ]
    check "quota list" [ "$(openstack quota list --compute -f value -c 'Project ID' -c Instances)" = \
        "$mine 2" ]
    check "of the network" [ "$(openstack quota list --network -f value -c 'Project ID' -c Networks)" = \
        "$mine 2" ]
    openstack server create --image vling-test --flavor m1.micro --network private --max 2 q \
        >/dev/null
    check "no third server" refused \
        "Quota exceeded for instances: Requested 1, but already used 2 of 2 instances" \
        server create --image vling-test --flavor m1.micro --network private q3
    openstack network create second >/dev/null
    check "no third network" refused "Quota exceeded for resources: ['network']" \
        network create third
    check "no second security group" refused "Quota exceeded for resources: ['security_group']" \
        security group create second
    openstack limits show --absolute -f value >"$work/limits"
    check "limits" grep -qx "maxTotalInstances 2" "$work/limits"
    check "and what is used of them" grep -qx "totalInstancesUsed 2" "$work/limits"
    check "no limit below use" refused "must be greater than or equal to already used" \
        quota set --instances 1 admin
    openstack quota list --compute --detail --project admin -f value >"$work/detail"
    check "quota list --detail" grep -qx "instances 2 0 2" "$work/detail"
    openstack quota set --class --instances 50 default
    check "the class" [ "$(column instances quota show --default)" = 50 ]
    openstack server delete --wait q-1 q-2
    openstack network delete second
}

# rush COUNT PORT PATH BODY: how often which status came.
rush() {
    urls=
    for address in $controllers; do urls=$urls,http://$address:$2$3; done
    tests/api/quota_rush.py "${urls#,}" "$work/token" "$1" "$4"
}

many_at_once() {
    openstack token issue -f value -c id >"$work/token"
    image=$(column id image show vling-test)
    net=$(column id network show private)
    openstack quota set --instances 5 --networks 11 admin
    started=$(date +%s%N)
    rush 100 8774 /v2.1/servers "{\"server\": {\"name\": \"r%d\", \"imageRef\": \"$image\", \
\"flavorRef\": \"42\", \"networks\": [{\"uuid\": \"$net\"}]}}" >"$work/servers"
    echo "100 servers: $((($(date +%s%N) - started) / 1000000)) ms: $(tr '\n' ' ' <"$work/servers")"
    check "five of a hundred got a server" [ "$(tr '\n' ' ' <"$work/servers")" = "202 5 403 95 " ]
    check "and no more are there" [ "$(openstack server list -f value -c ID | wc -l)" = 5 ]
    started=$(date +%s%N)
    rush 100 9696 /v2.0/networks '{"network": {"name": "r%d"}}' >"$work/networks"
    echo "100 networks: $((($(date +%s%N) - started) / 1000000)) ms"
    check "ten of a hundred got a network" [ "$(tr '\n' ' ' <"$work/networks")" = "201 10 409 90 " ]
    check "and no more are there" [ "$(openstack network list -f value -c ID | wc -l)" = 11 ]
    openstack quota set --networks 1000 admin
    started=$(date +%s%N)
    rush 100 9696 /v2.0/networks '{"network": {"name": "s%d"}}' >"$work/networks"
    echo "100 networks under a limit with room: $((($(date +%s%N) - started) / 1000000)) ms"
    check "where there is room everybody gets one" [ "$(cat "$work/networks")" = "201 100" ]
    openstack quota set --networks -1 admin
    started=$(date +%s%N)
    rush 100 9696 /v2.0/networks '{"network": {"name": "u%d"}}' >"$work/networks"
    echo "100 networks without a limit: $((($(date +%s%N) - started) / 1000000)) ms"
    check "and without a limit" [ "$(cat "$work/networks")" = "201 100" ]
}

lab_start
prepare
groups
no_host_is_left
a_host_dies
limits
many_at_once
