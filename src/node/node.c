#include "node/node.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "node/certificate.h"
#include "node/controllers.h"
#include "node/join.h"
#include "node/pki.h"
#include "node/reads.h"
#include "node/tokens.h"
#include "store/etcd_server.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 250
#define GUARD_PROGRAM "/proc/self/exe"
#define SETTLED_TICKS 40
#define GUARD_TELL_TICKS 40
#define BOOTSTRAP_RETRY_TICKS 8
#define TRIM_TICKS 64

/* ---- opening the parts, in order ---- */

static int open_guard(struct node *node, struct err *err);

/* Where there was a daemon before, the guard comes before all else: it may have died with that one,
 * and what fails below (a full disk, a certificate) ends this daemon, too, but must not leave the
 * guests that run here without a guard. */
static int open_run_dir(struct node *node, struct err *err)
{
    char path[400];
    int rc = file_mkdirs(node->config.run_dir, 0755);

    if (rc < 0)
        return err_why(err, rc, "cannot make the daemon's folders", "%s: %s", node->config.run_dir,
                       strerror(-rc));
    snprintf(path, sizeof(path), "%s/guard.state", node->config.run_dir);
    return access(path, F_OK) == 0 ? open_guard(node, err) : 0;
}

static int open_folders(struct node *node, struct err *err)
{
    char path[400];
    int rc = file_mkdirs(node->config.state_dir, 0755);

    if (rc < 0)
        return err_why(err, rc, "cannot make the daemon's folders", "%s: %s",
                       node->config.state_dir, strerror(-rc));
    snprintf(path, sizeof(path), "%s/config-drives", node->config.run_dir);
    file_mkdirs(path, 0755);
    pki_path(node->config.state_dir, "", path, sizeof(path));
    if (!pki_present(node->config.state_dir))
        return err_set(err, -ENOENT, "this host has no certificate of the cluster", path,
                       "run 'vlingd init' on the first controller, then 'vlingd join --token "
                       "TOKEN' here");
    return certificate_look(node, err);
}

static int open_drivers(struct node *node, struct err *err)
{
    struct config *c = &node->config;
    json_t *config;

    node->network_ops = network_driver_find(c->network_driver);
    node->storage_ops = storage_driver_find(c->storage_driver);
    node->compute_ops = compute_driver_find(c->compute_driver);
    config = json_pack("{s:s, s:s, s:s, s:s}", "run_dir", c->run_dir, "tenant_dev", c->tenant_dev,
                       "tenant_ip", c->tenant_ip, "ext_dev", c->external_dev);
    node->network = node->network_ops->open(node->loop, config, metadata_serve, node, err);
    json_decref(config);
    if (!node->network)
        return -EIO;
    config = json_pack("{s:s, s:b}", "path", c->storage_path, "shared",
                       json_bool(json_object_get(c->raw, "storage"), "shared", true));
    node->storage = node->storage_ops->open(node->loop, config, err);
    json_decref(config);
    return node->storage ? 0 : -EIO;
}

/* What only a controller has. */
static void retire(const struct config *c, const char *data, const char *pid)
{
    static const char *const secrets[] = {"ca.key", "join.token", "etcd-peer.key", "etcd-peer.crt"};
    char path[300];

    etcd_server_retire(data, pid);
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        if (pki_path(c->state_dir, secrets[i], path, sizeof(path)) == 0)
            unlink(path);
    }
}

static int open_etcd(struct node *node, struct err *err)
{
    struct config *c = &node->config;
    struct etcd_server_peer peers[CONFIG_CONTROLLERS_MAX];
    char data[300], log[300], pid[300], cert[300], key[300], ca[300];
    char peer_cert[300], peer_key[300];
    const char *ips[3];

    if (c->sqlite)
        return 0;
    snprintf(data, sizeof(data), "%s/etcd", c->state_dir);
    snprintf(pid, sizeof(pid), "%s/etcd.pid", c->run_dir);
    if (!node->controller) {
        if (c->controllers_serial > 0)
            retire(c, data, pid);
        return 0;
    }
    for (size_t i = 0; i < c->controller_count; i++) {
        peers[i].name = c->controllers[i].host;
        peers[i].ip = c->controllers[i].ip;
    }
    config_own_ips(c, ips);
    if (pki_issue_member(c->state_dir, c->host, ips, err) < 0)
        return -EIO;
    snprintf(log, sizeof(log), "%s/etcd.log", c->state_dir);
    pki_path(c->state_dir, "etcd-peer.crt", peer_cert, sizeof(peer_cert));
    pki_path(c->state_dir, "etcd-peer.key", peer_key, sizeof(peer_key));
    pki_path(c->state_dir, "host.crt", cert, sizeof(cert));
    pki_path(c->state_dir, "host.key", key, sizeof(key));
    pki_path(c->state_dir, "ca.crt", ca, sizeof(ca));
    node->etcd =
        etcd_server_start(node->loop,
                          &(struct etcd_server_options){
                              .name = c->host,
                              .data_dir = data,
                              .pid_file = pid,
                              .log_file = log,
                              .listen_ip = c->mgmt_ip,
                              .peers = peers,
                              .peer_count = (int)c->controller_count,
                              .ca_file = ca,
                              .cert_file = cert,
                              .key_file = key,
                              .peer_cert_file = peer_cert,
                              .peer_key_file = peer_key,
                              .peer_cn = pki_members_only(c->state_dir) ? PKI_MEMBER_NAME : NULL,
                              .tell = event_store,
                              .tell_arg = node},
                          err);
    return node->etcd ? 0 : -EIO;
}

/* The endpoint of this host's own cabinet first: it survives the loss of the others. */
static struct store *open_etcd_store(struct node *node, struct err *err)
{
    struct config *c = &node->config;
    char urls[CONFIG_CONTROLLERS_MAX][100], cert[300], key[300], ca[300];
    const char *endpoints[CONFIG_CONTROLLERS_MAX + 1];
    size_t n = 0;

    for (int near = 1; near >= 0; near--) {
        for (size_t i = 0; i < c->controller_count; i++) {
            if ((strcmp(c->controllers[i].cabinet, c->cabinet) == 0) != near)
                continue;
            snprintf(urls[n], sizeof(urls[n]), "https://%s:2379", c->controllers[i].ip);
            endpoints[n] = urls[n];
            n++;
        }
    }
    endpoints[n] = NULL;
    pki_path(c->state_dir, "host.crt", cert, sizeof(cert));
    pki_path(c->state_dir, "host.key", key, sizeof(key));
    pki_path(c->state_dir, "ca.crt", ca, sizeof(ca));
    return store_open_etcd(node->loop,
                           &(struct store_etcd_options){.endpoints = endpoints,
                                                        .ca_file = ca,
                                                        .cert_file = cert,
                                                        .key_file = key,
                                                        .writer = c->host},
                           err);
}

static int open_store(struct node *node, struct err *err)
{
    char path[300];

    if (node->config.sqlite) {
        snprintf(path, sizeof(path), "%s/store.sqlite", node->config.state_dir);
        node->store = store_open_sqlite(node->loop, path, err);
    } else {
        node->store = open_etcd_store(node, err);
    }
    if (node->store)
        node->mirror = mirror_open(node->store, err);
    return node->mirror ? 0 : -EIO;
}

/* ---- joining and guarding ---- */

static int join_serve(struct node *node, struct err *err)
{
    static const char *names[CONFIG_CONTROLLERS_MAX + 1];

    for (size_t i = 0; i < node->config.controller_count; i++)
        names[i] = node->config.controllers[i].host;
    node->join =
        join_server_start(node->loop,
                          &(struct join_server_options){.state_dir = node->config.state_dir,
                                                        .address = node->config.mgmt_ip,
                                                        .port = JOIN_PORT,
                                                        .settle = tokens_settle,
                                                        .judge = tokens_judge,
                                                        .arg = node,
                                                        .controllers = names},
                          err);
    return node->join ? 0 : -EIO;
}

static int open_guard(struct node *node, struct err *err)
{
    struct guard_address address = {0};
    char vip[80];

    node->guard = guard_start(node->config.run_dir, GUARD_PROGRAM, err);
    if (!node->guard)
        return -EIO;
    config_vip_address(&node->config, vip, sizeof(vip));
    if (node->controller && vip[0]) {
        snprintf(address.dev, sizeof(address.dev), "%.15s", node->config.api_dev);
        snprintf(address.ip, sizeof(address.ip), "%.45s", vip);
        guard_set_addresses(node->guard, &address, 1);
    }
    guard_set_external(node->guard, node->config.external_dev[0] ? NETWORK_EXTERNAL_BRIDGE : "");
    return 0;
}

static int open_peers(struct node *node, struct err *err)
{
    char cert[300], key[300], ca[300];
    int rc;

    pki_path(node->config.state_dir, "host.crt", cert, sizeof(cert));
    pki_path(node->config.state_dir, "host.key", key, sizeof(key));
    pki_path(node->config.state_dir, "ca.crt", ca, sizeof(ca));
    node->peer_client = http_client_new(
        node->loop,
        &(struct http_client_options){.ca_file = ca, .cert_file = cert, .key_file = key}, err);
    if (!node->peer_client)
        return -EIO;
    rc = admin_start(node, err);
    if (rc == 0 && node->controller)
        rc = join_serve(node, err);
    return rc;
}

/* ---- the tick: what must be looked at again and again ---- */

/* The guard must outlive everything; if it was killed or hangs all the same there is a new one at
 * once, whether the store answers or not. Should none start, vlingd stops the guests itself, early
 * enough for its slower look. */
static void guard_check(struct node *node)
{
    struct err err;
    char line[700];

    if (guard_running(node->guard)) {
        node->guard_missed = 0;
        return;
    }
    /* Not at the first look: when the whole host stood still (a frozen machine), the guard is about
     * to do what it is there for, and a new one would only be later. */
    if (node->guard_missed++ == 0)
        return;
    if (node->guard_missed == 2)
        log_error("the guard of this host's guests is gone: starting another one");
    if (guard_ensure(node->guard, GUARD_PROGRAM, &err) == 0) {
        node->guard_missed = 0;
        return;
    }
    if (node->guard_missed % GUARD_TELL_TICKS == 2)
        log_error("%s", err_line(&err, line, sizeof(line)));
    guard_stand_in(node->guard, clock_now_ms() + 2 * TICK_MS);
}

static void on_tick(uv_timer_t *timer)
{
    struct node *node = timer->data;
    bool write_row;

    guard_check(node);
    if (!mirror_ready(node->mirror))
        return;
    controllers_check(node);
    write_row = links_changed(node);
    if (node->ticks++ % BOOTSTRAP_RETRY_TICKS == 0) {
        if (node->controller)
            bootstrap_check(node);
        certificate_check(node);
        write_row = true;
    }
    if (write_row)
        bootstrap_host_row(node);
    /* What a burst of work took is given back; the daemon shares its machine with guests. */
    if (node->ticks % TRIM_TICKS == 0)
        malloc_trim(0);
    if (node->ticks == SETTLED_TICKS)
        memory_drop_start_pages();
    vip_check(node);
}

static void on_rows(void *arg, const struct store_change *changes, size_t n)
{
    struct node *node = arg;

    for (size_t i = 0; changes && i < n; i++) {
        if (strcmp(changes[i].table, "module") == 0)
            vip_check(node);
    }
}

static void on_signal(uv_signal_t *signal, int number)
{
    struct node *node = signal->data;

    log_info("stopping; guests and networking go on");
    node->stopping = true;
    uv_stop(node->loop);
}

/* Does anything but the roles differ? That is read at the start only. */
static bool differs_elsewhere(const struct config *a, const struct config *b)
{
    json_t *x = json_deep_copy(a->raw), *y = json_deep_copy(b->raw);
    bool differs;

    json_object_del(x, "roles");
    json_object_del(y, "roles");
    differs = !json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return differs;
}

/* SIGHUP: the roles of the configuration file take effect. A role that is given up gets nothing
 * new: routers and DHCP move away, guests stay until they are moved. */
static void on_hangup(uv_signal_t *signal, int number)
{
    struct node *node = signal->data;
    struct config fresh;
    struct err err = {0};
    char line[700];
    json_t *roles;

    if (config_load(node->config_path, &fresh, &err) < 0) {
        log_error("the configuration stays as it is: %s", err_line(&err, line, sizeof(line)));
        return;
    }
    if (differs_elsewhere(&node->config, &fresh))
        log_warn("the configuration changed in more than its roles: that needs a restart");
    if (config_has_role(&fresh, "controller") != config_has_role(&node->config, "controller"))
        log_warn("becoming or ceasing to be a controller needs a restart");
    roles = node->config.roles;
    node->config.roles = fresh.roles;
    fresh.roles = roles;
    config_free(&fresh);
    if (!node->compute && compute_open(node, &err) < 0)
        log_error("%s", err_line(&err, line, sizeof(line)));
    log_info("the roles were read again");
    if (mirror_ready(node->mirror))
        bootstrap_host_row(node);
    agent_kick(node->agent);
}

static void watch_signals(struct node *node)
{
    uv_signal_init(node->loop, &node->sighup);
    node->sighup.data = node;
    uv_signal_start(&node->sighup, on_hangup, SIGHUP);
    uv_signal_init(node->loop, &node->sigterm);
    uv_signal_init(node->loop, &node->sigint);
    node->sigterm.data = node->sigint.data = node;
    uv_signal_start(&node->sigterm, on_signal, SIGTERM);
    uv_signal_start(&node->sigint, on_signal, SIGINT);
}

static int open_all(struct node *node, struct err *err)
{
    int rc = open_run_dir(node, err);

    if (rc == 0)
        rc = open_folders(node, err);
    if (rc == 0)
        rc = open_etcd(node, err);
    if (rc == 0)
        rc = open_drivers(node, err);
    if (rc == 0)
        rc = compute_open(node, err);
    if (rc == 0)
        rc = open_store(node, err);
    if (rc == 0 && !node->guard)
        rc = open_guard(node, err);
    if (rc == 0)
        rc = open_peers(node, err);
    if (rc == 0)
        rc = watchman_start(node, err);
    if (rc < 0)
        return rc;
    node->lease = lease_keeper_start(node);
    node->agent = agent_start(node, err);
    if (!node->lease || !node->agent)
        return -ENOMEM;
    mirror_listen(node->mirror, on_rows, node);
    if (!node->controller)
        return 0;
    node->duties = duties_start(node);
    if (!node->config.sqlite && !(node->reads = reads_start(node, err)))
        return -EIO;
    return node->hooks->start_api(node, err);
}

static void close_all(struct node *node)
{
    uv_timer_stop(&node->tick);
    vip_drop(node);
    duties_stop(node->duties);
    agent_stop(node->agent);
    lease_keeper_stop(node->lease);
    watchman_stop(node);
    if (node->api)
        node->hooks->stop_api(node);
    reads_stop(node->reads);
    if (node->peer_server)
        http_server_stop(node->peer_server);
}

int node_run(const char *config_path, const struct node_hooks *hooks)
{
    static struct node node;
    struct err err = {0};
    char line[700];
    int rc;

    node.hooks = hooks;
    node.loop = uv_default_loop();
    node.config_path = config_path;
    id_uuid(node.boot_id);
    rc = config_load(config_path, &node.config, &err);
    if (rc == 0)
        rc = controllers_load(&node.config, &err);
    if (rc == 0) {
        node.controller = config_controller_index(&node.config, node.config.host) >= 0;
        log_info("vlingd %s on %s in cabinet %s%s", VLING_VERSION, node.config.host,
                 node.config.cabinet, node.controller ? ", controller" : "");
        uv_timer_init(node.loop, &node.tick);
        node.tick.data = &node;
        watch_signals(&node);
        rc = open_all(&node, &err);
    }
    if (rc < 0) {
        log_error("%s", err_line(&err, line, sizeof(line)));
        return 1;
    }
    uv_timer_start(&node.tick, on_tick, 50, TICK_MS);
    uv_run(node.loop, UV_RUN_DEFAULT);
    close_all(&node);
    config_free(&node.config);
    return node.restart ? NODE_RESTART : 0;
}
