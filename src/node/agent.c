/* The agent: makes the guests and the networking of this host match its rows.
 *
 * For each server that is placed here, or of which a guest exists here, there is a `struct work`.
 * It runs at most one action at a time; when the action ends, ha/guest decides the next one from
 * fresh rows and the driver's fresh view. Nothing is remembered that could not be lost: a restarted
 * daemon finds its way from the rows and the guests. The agent acts only while this host holds its
 * lease and the mirror was read up after that lease was taken, so what it sees as its own is its
 * own.
 */
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "drv/compute/configdrive.h"
#include "ha/guest.h"
#include "node/agent_rows.h"
#include "node/netplan.h"
#include "node/node.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUESTS_MAX 1024
#define SHUTDOWN_GRACE_MS 60000
#define RETRY_FIRST_MS 1000
#define RETRY_MAX_MS 30000
#define LOOK_INTERVAL_MS 1000
#define KICK_DELAY_MS                                                                              \
    5 /* and as long as the last look took: at most half of the time is for looking */
#define COMMIT_TIMEOUT_MS 5000
#define SWEEP_INTERVAL_MS 10000
#define COMPUTE_RETRY_MS 30000

struct work {
    char id[64];
    struct agent *agent;
    struct work *next;
    bool busy;
    bool seen; /* in the round that is under way */
    int failures;
    int64_t retry_at;
    int64_t reboot_done; /* highest reboot serial whose stop half was done by us */
    enum guest_action action;
    json_t *server; /* row of the action that is under way */
};

struct agent {
    struct node *node;
    uv_timer_t look;
    uv_check_t after_io;
    bool kicked;
    uint64_t took_ms; /* the last look */
    bool plan_dirty;
    json_t *plan; /* last one applied */
    struct work *works;
    int64_t sweep_at;
    int64_t compute_at; /* not earlier: opening the driver again */
};

static void look(struct agent *agent);

/* ---- starting and kicking ---- */

static void on_timer(uv_timer_t *timer)
{
    struct agent *agent = timer->data;

    int64_t began = clock_now_ms();

    agent->kicked = false;
    look(agent);
    agent->took_ms = (uint64_t)(clock_now_ms() - began);
    if (!agent->kicked)
        uv_timer_start(&agent->look, on_timer, LOOK_INTERVAL_MS, 0);
}

void agent_kick(struct agent *agent)
{
    if (!agent || agent->kicked)
        return;
    agent->kicked = true;
    uv_timer_start(&agent->look, on_timer, KICK_DELAY_MS + agent->took_ms, 0);
}

void agent_lease_held(struct agent *agent)
{
    if (!agent)
        return;
    json_decref(agent->plan);
    agent->plan = NULL;
    agent->plan_dirty = true;
    agent_kick(agent);
}

static void on_rows(void *arg, const struct store_change *changes, size_t n)
{
    struct agent *agent = arg;

    if (!changes) {
        agent->plan_dirty = true;
        agent_kick(agent);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (netplan_depends_on(changes[i].table)) {
            agent->plan_dirty = true;
            agent_kick(agent);
        } else if (strcmp(changes[i].table, "server_state") == 0) {
            agent_kick(agent);
        }
    }
}

struct agent *agent_start(struct node *node, struct err *err)
{
    struct agent *agent = calloc(1, sizeof(*agent));

    if (!agent) {
        err_set(err, -ENOMEM, "cannot start the agent", NULL, NULL);
        return NULL;
    }
    agent->node = node;
    agent->plan_dirty = true;
    uv_timer_init(node->loop, &agent->look);
    agent->look.data = agent;
    mirror_listen(node->mirror, on_rows, agent);
    uv_timer_start(&agent->look, on_timer, LOOK_INTERVAL_MS, 0);
    return agent;
}

void agent_stop(struct agent *agent)
{
    if (agent)
        uv_timer_stop(&agent->look);
}

/* ---- one server ---- */

static struct work *work_of(struct agent *agent, const char *id)
{
    struct work *work;

    for (work = agent->works; work; work = work->next) {
        if (strcmp(work->id, id) == 0)
            return work;
    }
    work = calloc(1, sizeof(*work));
    if (!work)
        return NULL;
    snprintf(work->id, sizeof(work->id), "%s", id);
    work->agent = agent;
    work->next = agent->works;
    agent->works = work;
    return work;
}

static void work_end(struct work *work, int rc, const struct err *err)
{
    struct agent *agent = work->agent;
    char line[700];

    work->busy = false;
    if (rc < 0) {
        int64_t wait = (int64_t)RETRY_FIRST_MS << (work->failures < 5 ? work->failures : 5);

        work->failures++;
        work->retry_at = clock_now_ms() + (wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS);
        log_warn("server %s: %s", work->id,
                 err ? err_line(err, line, sizeof(line)) : strerror(-rc));
        if (work->failures >= 3 && work->server)
            agent_report_fault(agent->node, work->server,
                               err ? err_line(err, line, sizeof(line)) : strerror(-rc));
    } else {
        work->failures = 0;
        work->retry_at = 0;
    }
    json_decref(work->server);
    work->server = NULL;
    agent_kick(agent);
}

static void on_done(void *arg, int rc, const struct err *err)
{
    work_end(arg, rc, err);
}

/* A stop half of a reboot is done: remember it, the start half follows from that. */
static void on_stopped(void *arg, int rc, const struct err *err)
{
    struct work *work = arg;

    if (rc == 0)
        work->reboot_done = json_int(work->server, "reboot_serial", 0);
    work_end(work, rc, err);
}

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct err err;

    if (rc < 0 && rc != -EAGAIN) {
        err_set(&err, rc, "cannot write what the host sees", strerror(-rc), NULL);
        work_end(arg, rc, &err);
        return;
    }
    work_end(arg, 0, NULL);
}

/* ---- start: disk, config drive, taps, QEMU ---- */

static bool server_is_ours(struct work *work)
{
    json_t *now = mirror_get(work->agent->node->mirror, "server", work->id, NULL);
    bool ours = now && lease_keeper_held(work->agent->node->lease) &&
                strcmp(json_str(now, "host_id", ""), work->agent->node->config.host) == 0 &&
                json_int(now, "generation", 0) == json_int(work->server, "generation", -1);

    json_decref(now);
    return ours;
}

static void drive_path(struct node *node, const char *id, char *ret, size_t size)
{
    snprintf(ret, size, "%s/config-drives/%s.iso", node->config.run_dir, id);
}

static void apply_plan(struct agent *agent);

static void start_guest(struct work *work, const char *config_drive)
{
    struct node *node = work->agent->node;
    json_t *flavor = json_object_get(work->server, "flavor"), *ports, *port;
    char disk[512], format[16], taps[GUEST_NICS_MAX][16];
    struct guest_spec spec = {
        .id = work->id,
        .generation = json_int(work->server, "generation", 0),
        .name = json_str(work->server, "name", ""),
        .vcpus = (int)json_int(flavor, "vcpus", 1),
        .ram_mb = (int)json_int(flavor, "ram", 64),
        .root_disk = disk,
        .root_format = format,
        .config_drive = config_drive,
    };
    struct err err;
    size_t i;
    int rc = node->storage_ops->disk_locate(node->storage, work->id, disk, sizeof(disk), format,
                                            sizeof(format));

    if (rc < 0) {
        err_set(&err, rc, "the server's root disk cannot be found", strerror(-rc), NULL);
        work_end(work, rc, &err);
        return;
    }
    if (!server_is_ours(work)) {
        work_end(work, 0, NULL);
        return;
    }
    apply_plan(work->agent);
    ports = agent_ports_of(node->mirror, work->id);
    json_array_foreach(ports, i, port)
    {
        json_t *network =
            mirror_get(node->mirror, "network", json_str(port, "network_id", ""), NULL);

        if (spec.nic_count == GUEST_NICS_MAX) {
            json_decref(network);
            break;
        }
        node->network_ops->tap_name(json_str(port, "id", ""), taps[spec.nic_count]);
        spec.nics[spec.nic_count].tap = taps[spec.nic_count];
        spec.nics[spec.nic_count].mac = json_str(port, "mac_address", "");
        spec.nics[spec.nic_count].mtu = (int)json_int(network, "mtu", 1450);
        spec.nic_count++;
        json_decref(network);
    }
    node->compute_ops->start(node->compute, &spec, on_done, work);
    json_decref(ports);
}

static void on_config_drive(void *arg, int rc, const struct err *err)
{
    struct work *work = arg;
    char path[400];

    if (rc < 0) {
        work_end(work, rc, err);
        return;
    }
    drive_path(work->agent->node, work->id, path, sizeof(path));
    start_guest(work, path);
}

static void on_disk(void *arg, int rc, const struct err *err)
{
    struct work *work = arg;
    struct node *node = work->agent->node;
    struct configdrive_content content = {0};
    char path[400];

    if (rc < 0) {
        work_end(work, rc, err);
        return;
    }
    if (!json_bool(work->server, "config_drive", false)) {
        start_guest(work, NULL);
        return;
    }
    drive_path(node, work->id, path, sizeof(path));
    content.meta_data = metadata_document(node->mirror, work->server);
    content.network_data = metadata_network(node->mirror, work->server);
    content.user_data = metadata_user_data(work->server, &content.user_data_size);
    configdrive_build(node->loop, path, &content, on_config_drive, work);
    json_decref(content.meta_data);
    json_decref(content.network_data);
    free(content.user_data);
}

static void begin_start(struct work *work)
{
    struct node *node = work->agent->node;
    json_t *flavor = json_object_get(work->server, "flavor");
    char path[400], format[16];
    json_t *image;

    log_info("server %s: starting generation %lld", work->id,
             (long long)json_int(work->server, "generation", 0));
    /* A disk that is there needs no image any more; that may be gone by now. */
    if (node->storage_ops->disk_locate(node->storage, work->id, path, sizeof(path), format,
                                       sizeof(format)) == 0) {
        on_disk(work, 0, NULL);
        return;
    }
    image = mirror_get(node->mirror, "image", json_str(work->server, "image_id", ""), NULL);
    node->storage_ops->disk_create(node->storage, work->id, json_str(image, "blob", ""),
                                   json_str(image, "disk_format", "raw"),
                                   json_int(flavor, "disk", 0), on_disk, work);
    json_decref(image);
}

/* ---- the other actions ---- */

static void forget(struct work *work)
{
    struct node *node = work->agent->node;
    struct store_txn *txn;
    char path[400];
    int rc = node->storage_ops->disk_delete(node->storage, work->id);
    struct err err;

    if (rc < 0 && rc != -ENOENT) {
        err_set(&err, rc, "cannot delete the server's disk", strerror(-rc), NULL);
        work_end(work, rc, &err);
        return;
    }
    drive_path(node, work->id, path, sizeof(path));
    configdrive_remove(path);
    txn = agent_txn_forget(node->mirror, work->server);
    log_info("server %s: deleted", work->id);
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_committed, work);
}

static void run_action(struct work *work, enum guest_action action)
{
    struct node *node = work->agent->node;
    const struct compute_ops *ops = node->compute_ops;

    switch (action) {
    case GUEST_DO_START:
        begin_start(work);
        break;
    case GUEST_DO_DESTROY:
        ops->destroy(node->compute, work->id, on_done, work);
        break;
    case GUEST_DO_KILL:
        ops->destroy(node->compute, work->id, on_stopped, work);
        break;
    case GUEST_DO_SHUTDOWN:
        ops->stop(node->compute, work->id, SHUTDOWN_GRACE_MS, on_stopped, work);
        break;
    case GUEST_DO_PAUSE:
        ops->pause(node->compute, work->id, on_done, work);
        break;
    case GUEST_DO_RESUME:
        ops->resume(node->compute, work->id, on_done, work);
        break;
    case GUEST_DO_FORGET:
        forget(work);
        break;
    case GUEST_DO_HAND_OVER:
        store_commit(node->store, agent_txn_hand_over(&node->config, work->server),
                     COMMIT_TIMEOUT_MS, on_committed, work);
        break;
    case GUEST_DO_ACCEPT_STOP:
        store_commit(node->store, agent_txn_accept_stop(work->server), COMMIT_TIMEOUT_MS,
                     on_committed, work);
        break;
    case GUEST_DO_NOTHING:
    case GUEST_DO_WAIT:
        work_end(work, 0, NULL);
        break;
    }
}

static void report(struct work *work, const json_t *server, const struct guest_view *view)
{
    struct node *node = work->agent->node;
    struct store_txn *txn =
        agent_txn_report(node->mirror, server, view->seen, view->reported_reboot_serial);

    if (!txn)
        return;
    work->busy = true;
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_committed, work);
}

static void step(struct work *work, const json_t *server, const struct guest_info *guest)
{
    struct node *node = work->agent->node;
    struct guest_view view;
    enum guest_action action;

    agent_view(node->mirror, server, guest, &view);
    if (work->reboot_done > view.reported_reboot_serial)
        view.reported_reboot_serial = work->reboot_done;
    if (work->reboot_done >= view.reboot_serial && view.seen == GUEST_SEEN_STOPPED)
        view.reported_running = view.reported_running && work->action != GUEST_DO_SHUTDOWN;
    action = guest_decide(&view);
    if (action == GUEST_DO_NOTHING) {
        work->action = action;
        report(work, server, &view);
        return;
    }
    if (action == GUEST_DO_WAIT)
        return;
    if (action == GUEST_DO_START && view.reboot_serial > work->reboot_done)
        work->reboot_done = view.reboot_serial;
    work->action = action;
    work->busy = true;
    work->server = json_deep_copy(server);
    run_action(work, action);
}

/* A guest here that no row gives to this host: an old copy. Its disk belongs to somebody else. */
static void destroy_stray(struct work *work)
{
    char path[400];

    log_warn("guest %s does not belong here (any more): destroying this copy", work->id);
    work->busy = true;
    work->action = GUEST_DO_DESTROY;
    drive_path(work->agent->node, work->id, path, sizeof(path));
    configdrive_remove(path);
    work->agent->node->compute_ops->destroy(work->agent->node->compute, work->id, on_done, work);
}

static void on_hurried(void *arg, int rc, const struct err *err)
{
}

/* While a guest is being asked to shut down somebody deletes it or wants a hard reboot. */
static void hurry(struct work *work, const json_t *server)
{
    struct node *node = work->agent->node;
    bool hard = json_int(server, "reboot_serial", 0) > json_int(work->server, "reboot_serial", 0) &&
                json_bool(server, "reboot_hard", false);

    if (work->action == GUEST_DO_SHUTDOWN &&
        (hard || strcmp(json_str(server, "power", ""), "deleted") == 0))
        node->compute_ops->stop(node->compute, work->id, 0, on_hurried, NULL);
}

/* ---- everything of this host ---- */

static void apply_plan(struct agent *agent)
{
    struct node *node = agent->node;
    json_t *plan;
    struct err err;
    char line[700];
    int rc;

    if (!agent->plan_dirty)
        return;
    agent->plan_dirty = false;
    plan = netplan_compute(node->mirror, &node->config);
    if (agent->plan && json_equal(plan, agent->plan)) {
        json_decref(plan);
        return;
    }
    rc = node->network_ops->apply(node->network, plan, &err);
    json_decref(agent->plan);
    agent->plan = rc < 0 ? NULL : json_incref(plan);
    json_decref(plan);
    if (rc < 0) {
        agent->plan_dirty = true;
        if (rc != -EAGAIN) /* told when it failed */
            log_warn("network: %s", err_line(&err, line, sizeof(line)));
    }
}

static void look_at_servers(struct agent *agent)
{
    struct node *node = agent->node;
    json_t *servers =
        mirror_select(node->mirror, "server", "WHERE host_id = ?", "s", node->config.host);
    json_t *server;
    struct guest_info guest;
    int64_t now = clock_now_ms();
    size_t i;

    json_array_foreach(servers, i, server)
    {
        struct work *work = work_of(agent, json_str(server, "id", "?"));
        bool here;

        if (!work)
            break;
        work->seen = true;
        if (work->busy)
            hurry(work, server);
        if (work->busy || now < work->retry_at)
            continue;
        here = node->compute_ops->get(node->compute, work->id, &guest);
        step(work, server, here ? &guest : NULL);
    }
    json_decref(servers);
}

static void look_at_guests(struct agent *agent)
{
    static struct guest_info guests[GUESTS_MAX];
    struct node *node = agent->node;
    size_t n = node->compute_ops->list(node->compute, guests, GUESTS_MAX);

    for (size_t i = 0; i < n && i < GUESTS_MAX; i++) {
        struct work *work = work_of(agent, guests[i].id);

        if (work && !work->seen && !work->busy && clock_now_ms() >= work->retry_at)
            destroy_stray(work);
    }
}

/* Config drives of servers that are not placed here (any more): their maker was killed, or lost the
 * server, before there was a guest to destroy. */
static void sweep_config_drives(struct agent *agent)
{
    struct node *node = agent->node;
    char path[400];
    struct dirent *entry;
    DIR *dir;

    if (clock_now_ms() < agent->sweep_at)
        return;
    agent->sweep_at = clock_now_ms() + SWEEP_INTERVAL_MS;
    snprintf(path, sizeof(path), "%s/config-drives", node->config.run_dir);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        size_t length = strcspn(entry->d_name, ".");
        struct work *work;

        if (length == 0 || length >= sizeof(work->id))
            continue;
        for (work = agent->works; work; work = work->next) {
            if (strncmp(work->id, entry->d_name, length) == 0 && !work->id[length])
                break;
        }
        if (work)
            continue;
        entry->d_name[length] = '\0';
        drive_path(node, entry->d_name, path, sizeof(path));
        configdrive_remove(path);
    }
    if (dir)
        closedir(dir);
}

static void drop_unused_works(struct agent *agent)
{
    struct work **at = &agent->works;

    while (*at) {
        struct work *work = *at;

        if (!work->seen && !work->busy) {
            *at = work->next;
            free(work);
        } else {
            work->seen = false;
            at = &work->next;
        }
    }
}

/* A host that gave up its role and lost its power at the same time has servers, but nothing of them
 * is here that would tell the start so. Nobody else runs, moves or deletes them. */
static bool can_compute(struct agent *agent)
{
    struct node *node = agent->node;
    struct err err;
    char line[700];

    if (node->compute)
        return true;
    if (clock_now_ms() < agent->compute_at ||
        mirror_count(node->mirror, "server", "WHERE host_id = ?", "s", node->config.host) == 0)
        return false;
    agent->compute_at = clock_now_ms() + COMPUTE_RETRY_MS;
    if (compute_open_anyway(node, &err) < 0)
        log_error("servers are placed here and cannot run: %s", err_line(&err, line, sizeof(line)));
    return node->compute;
}

static void look(struct agent *agent)
{
    struct node *node = agent->node;

    if (node->stopping || !mirror_ready(node->mirror) || !lease_keeper_held(node->lease))
        return;
    /* Before all rows are there every guest would be a stray, and its network unknown. */
    if (!cloud_complete(node))
        return;
    apply_plan(agent);
    if (!can_compute(agent))
        return;
    look_at_servers(agent);
    look_at_guests(agent);
    sweep_config_drives(agent);
    drop_unused_works(agent);
}
