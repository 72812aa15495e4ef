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
    openstack subnet create --network private --subnet-range 10.0.0.0/24 private >/dev/null
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

cloud_host_of() {
    openstack server show -f value -c OS-EXT-SRV-ATTR:host "$1"
}

# cloud_wait SECONDS COMMAND...: until it succeeds.
cloud_wait() {
    cloud_end=$(($(date +%s) + $1))
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
    "$vling" lab exec internet timeout 2 bash -c "exec 3<>/dev/tcp/$1/7" 2>/dev/null
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
    "$vling" lab exec internet timeout 30 ssh -i "$cloud_key" -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 \
        -o BatchMode=yes "root@$cloud_to" "$@"
}

cloud_lets_in() {
    cloud_ssh "$1" true 2>/dev/null
}

cloud_wait_ssh() {
    cloud_wait "$2" cloud_lets_in "$1"
}
