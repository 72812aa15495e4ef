#!/bin/bash
# Requests a second and their times, of Vling and of Debian's Keystone in turns in one run. Keystone
# as Debian has it (uwsgi, two processes a CPU, Fernet tokens, bcrypt), with SQLite and memcached;
# it is installed if it is missing. Asserts nothing.
#
#   tests/bench/bench_api.sh [SECONDS [ROUNDS [ENGINE]]]      default: 2 5 sqlite; or etcd, or etcd3:
#                                                     three controllers on this machine
. "$(dirname "$0")/lib.sh"
seconds=${1:-2} rounds=${2:-5} engine=${3:-sqlite}
client=${BENCH_API:-$PWD/build/tests/bench_api}
keystone_port=15000 memcached_port=15001

keystone_install() {
    [ -x /usr/bin/keystone-manage ] && [ -x /usr/bin/uwsgi_python3 ] &&
        [ -x /usr/bin/memcached ] && python3 -c 'import pymemcache' 2>/dev/null && return
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        keystone uwsgi-plugin-python3 memcached python3-pymemcache >/dev/null
}

keystone_configure() {
    mkdir -p "$work/keystone"
    cat >"$work/keystone/keystone.conf" <<END
[database]
connection = sqlite:///$work/keystone/keystone.db
[token]
provider = fernet
[fernet_tokens]
key_repository = $work/keystone/fernet-keys
[credential]
key_repository = $work/keystone/credential-keys
[cache]
enabled = true
backend = dogpile.cache.pymemcache
memcache_servers = 127.0.0.1:$memcached_port
END
    cat >"$work/keystone/uwsgi.ini" <<END
[uwsgi]
plugins = python3
http-socket = 127.0.0.1:$keystone_port
wsgi-file = /usr/bin/keystone-wsgi-public
env = OS_KEYSTONE_CONFIG_FILES=$work/keystone/keystone.conf
processes = $(($(nproc) * 2))
threads = 4
listen = 100
buffer-size = 65535
master = true
lazy-apps = true
thunder-lock = true
enable-threads = true
die-on-term = true
disable-logging = true
add-header = Connection: close
END
}

keystone_manage() {
    inside keystone-manage --config-file "$work/keystone/keystone.conf" "$@" >"$work/keystone/manage.log" 2>&1 ||
        { cat "$work/keystone/manage.log" >&2; return 1; }
}

keystone_start() {
    keystone_install
    keystone_configure
    mkdir -m 700 "$work/keystone/fernet-keys" "$work/keystone/credential-keys"
    background "$work/keystone/memcached.log" /usr/bin/memcached -u root -l 127.0.0.1 \
        -p "$memcached_port" -m 128
    keystone_manage db_sync
    keystone_manage fernet_setup --keystone-user root --keystone-group root
    keystone_manage credential_setup --keystone-user root --keystone-group root
    url=http://127.0.0.1:$keystone_port/v3
    keystone_manage bootstrap --bootstrap-password "$admin_password" \
        --bootstrap-region-id RegionOne --bootstrap-public-url "$url" \
        --bootstrap-internal-url "$url" --bootstrap-admin-url "$url"
    background "$work/keystone/uwsgi.log" /usr/bin/uwsgi_python3 --ini "$work/keystone/uwsgi.ini"
    wait_for 60 inside curl -sf "$url"
}

bench_begin
keystone_start
cloud_start "$engine"
cloud --servers 100 --networks 20
inside python3 tests/bench/compare.py --client "$client" --vling "$controller_ip" \
    --keystone "127.0.0.1:$keystone_port" --password "$admin_password" --seconds "$seconds" \
    --rounds "$rounds"
echo "Vling on $engine; $(nproc) processors for servers and client; Keystone $(
    dpkg-query -W -f '${Version}' keystone)"
