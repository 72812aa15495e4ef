/* First rows of a new cloud, and each host's own row. */
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "node/backup.h"
#include "node/node.h"
#include "node/space.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define COMMIT_TIMEOUT_MS 8000
#define SAY_TICKS 240 /* of a quarter of a second; looked at every eighth */

static void password_path(struct node *node, char *ret, size_t size)
{
    snprintf(ret, size, "%s/admin-password", node->config.state_dir);
}

static void on_bootstrapped(void *arg, int rc, int64_t revision)
{
    struct node *node = arg;

    node->founding = rc == 0; /* then they come into the mirror */
    if (rc == 0)
        log_info("a new cloud was set up: user admin, project admin");
    else if (rc != -EAGAIN)
        log_warn("the first rows could not be written yet: %s", strerror(-rc));
}

void bootstrap_founded_path(const struct config *config, char *ret, size_t size)
{
    snprintf(ret, size, "%s/cloud-founded", config->state_dir);
}

static bool was_founded(struct node *node)
{
    char path[400];

    bootstrap_founded_path(&node->config, path, sizeof(path));
    return access(path, F_OK) == 0;
}

/* From now on an empty store is a loss. */
static void note_founded(struct node *node)
{
    static const char text[] = "There is a cloud. Should its store be empty one day, no new one is "
                               "founded while this file is here.\n";
    char path[400];
    int rc;

    bootstrap_founded_path(&node->config, path, sizeof(path));
    rc = file_write_atomic(path, text, strlen(text), 0644);
    if (rc < 0)
        log_warn("cannot write %s: %s", path, strerror(-rc));
}

/* What does not end by itself is said once a minute. */
static bool time_to_say(const struct node *node)
{
    return node->ticks % SAY_TICKS < SAY_TICKS / 30;
}

static void found(struct node *node, const char *password)
{
    struct store_txn *txn = store_txn_new();
    json_t *row =
        json_pack("{s:s, s:{s:s}}", "id", "cluster", "value", "made_by", node->config.host);
    struct err err;
    char line[700];

    store_txn_create(txn, "setting", "cluster", row);
    json_decref(row);
    if (node->hooks->bootstrap(txn, password, &err) < 0) {
        log_error("%s", err_line(&err, line, sizeof(line)));
        store_txn_free(txn);
    } else {
        node->founding = true;
        store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_bootstrapped, node);
    }
}

void bootstrap_check(struct node *node)
{
    char path[400], *password = NULL;

    if (restore_step(node)) {
        if (!node->restore && time_to_say(node))
            log_warn("the cloud is not complete: a controller restores a backup, or ended that in "
                     "between, as its log says");
        return;
    }
    if (cloud_complete(node)) {
        if (!was_founded(node))
            note_founded(node);
        return;
    }
    password_path(node, path, sizeof(path));
    if (was_founded(node)) {
        if (time_to_say(node))
            log_error("there was a cloud and the store is empty. Restore a backup: stop vlingd and "
                      "its etcd on all controllers, move their stores (etcd, etcd.joined, "
                      "store.sqlite) away, then: vling restore FILE. Or, for a new, empty cloud, "
                      "remove %s/cloud-founded",
                      node->config.state_dir);
    } else if (!node->founding && file_read(path, 1024, &password, NULL) == 0) {
        password[strcspn(password, "\r\n")] = '\0';
        found(node, password);
        explicit_bzero(password, strlen(password));
        free(password);
    }
}

/* ---- the host's row ---- */

static void on_host_written(void *arg, int rc, int64_t revision)
{
    if (rc < 0 && rc != -EAGAIN)
        log_warn("this host's row could not be written yet: %s", strerror(-rc));
}

/* Never one that this host had before, though nothing of that may be left but its guests: after a
 * backup was restored the row is new, and the guests of before must not be taken for those of now,
 * which other hosts may run meanwhile. An epoch grows by one each time the host is fenced, which
 * takes seconds, so the time in seconds is ahead of any that it can have reached. Should the clock
 * have been put back, the guard of those guests knows better. */
static int64_t first_epoch(struct node *node)
{
    int64_t epoch = clock_wall_ms() / 1000;
    struct guard_status guard;

    if (guard_status(node->guard, &guard) == 0 && epoch <= guard.epoch)
        epoch = guard.epoch + 1;
    return epoch > 0 ? epoch : 1;
}

static void fill(struct node *node, json_t *row)
{
    int64_t vcpus = node->config.vcpus, ram_mb = node->config.ram_mb;
    uint64_t total = 0, free_bytes = 0;
    struct sysinfo info;

    sysinfo(&info);
    if (!vcpus)
        vcpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (!ram_mb)
        ram_mb = (int64_t)(info.totalram / 1024 * info.mem_unit / 1024);
    json_put_str(row, "cabinet", node->config.cabinet);
    json_object_set(row, "roles", node->config.roles);
    json_put_str(row, "mgmt_ip", node->config.mgmt_ip);
    json_put_str(row, "tenant_ip", node->config.tenant_ip);
    json_put_str(row, "storage_ip", node->config.storage_ip);
    json_put_int(row, "vcpus", vcpus);
    json_put_int(row, "ram_mb", ram_mb);
    if (node->storage && node->storage_ops->space(node->storage, &total, &free_bytes) == 0)
        json_put_int(row, "disk_gb", (int64_t)(total >> 30));
    if (node->compute)
        json_put_str(row, "accel", node->compute_ops->accel(node->compute));
    json_put_str(row, "version", VLING_VERSION);
    json_put_str(row, "key_id", node->key_id);
    json_put_str(row, "certificate_ends", node->certificate_ends);
}

void bootstrap_host_row(struct node *node)
{
    int64_t revision;
    json_t *row = mirror_get(node->mirror, "host", node->config.host, &revision), *before;
    struct store_txn *txn;
    char now[32];

    before = row ? json_deep_copy(row) : NULL;
    if (!row) {
        row = json_object();
        json_put_str(row, "id", node->config.host);
        json_put_str(row, "state", "joining");
        json_put_int(row, "epoch", first_epoch(node));
        json_put_bool(row, "disabled", false);
        json_put_str(row, "since", clock_iso(clock_wall_ms(), now, sizeof(now)));
        json_put_str(row, "reason", "new");
    }
    fill(node, row);
    txn = store_txn_new();
    space_alert(node, row, txn);
    links_fill(node, row, txn);
    if (!before || !json_equal(row, before)) {
        if (before)
            mirror_txn_update(txn, "host", row);
        else
            store_txn_create(txn, "host", node->config.host, row);
        store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_host_written, node);
    } else {
        store_txn_free(txn);
    }
    json_decref(before);
    json_decref(row);
}
