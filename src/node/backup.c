#include "node/backup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "model/tables.h"
#include "node/controllers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_ROWS 100              /* etcd takes 128 changes in a transaction */
#define CHUNK_SIZE_MAX (512 * 1024) /* and the store 1 MiB */
#define COMMIT_TIMEOUT_MS 8000

struct restore {
    struct node *node;
    json_t *backup;
    json_t *marker; /* the row setting/cluster of the backup: written last, without "restoring" */
    size_t next, upto; /* rows next .. upto - 1 are being written */
    bool in_flight, begun, failed;
};

/* ---- making ---- */

static void add_table(struct mirror *db, json_t *rows, const char *table)
{
    json_t *all = mirror_select(db, table, "ORDER BY id", ""), *row;
    size_t i;

    json_array_foreach(all, i, row)
    {
        if (strcmp(table, "setting") == 0 && strcmp(json_str(row, "id", ""), CONTROLLERS_ROW) == 0)
            continue; /* the new cloud has its own */
        json_object_del(row, "_rev");
        json_array_append_new(rows, json_pack("{s:s, s:O}", "table", table, "row", row));
    }
    json_decref(all);
}

json_t *backup_make(struct node *node)
{
    json_t *rows = json_array(), *backup;
    char now[32];

    for (size_t i = 0; resource_all[i]; i++) {
        const char *table = resource_all[i]->table;

        if (!backup_leaves_out(table) && strcmp(table, "server") != 0)
            add_table(node->mirror, rows, table);
    }
    add_table(node->mirror, rows, "server");
    backup = json_pack("{s:i, s:s, s:I, s:s, s:o}", "vling_backup", BACKUP_FORMAT, "version",
                       VLING_VERSION, "revision", (json_int_t)mirror_revision(node->mirror), "time",
                       clock_iso(clock_wall_ms(), now, sizeof(now)), "rows", rows);
    backup_seal(backup);
    return backup;
}

/* ---- reading ---- */

static size_t size_of(const json_t *row)
{
    return json_dumpb(row, NULL, 0, JSON_COMPACT);
}

static int check_sizes(const json_t *backup, struct err *err)
{
    const json_t *rows = json_object_get(backup, "rows"), *entry;
    size_t i;

    json_array_foreach(rows, i, entry)
    {
        const json_t *row = json_object_get(entry, "row");

        if (size_of(row) > STORE_ROW_SIZE_MAX)
            return err_why(err, -EMSGSIZE, "cannot use the backup",
                           "row %zu (%.40s %.60s) is larger than the store takes: %d KiB", i,
                           json_str(entry, "table", ""), json_str(row, "id", ""),
                           STORE_ROW_SIZE_MAX / 1024);
    }
    return 0;
}

json_t *backup_read(const char *path, bool *ret_sealed, struct err *err)
{
    char *text = NULL, why[200];
    size_t size;
    json_t *backup;
    int rc = file_read(path, BACKUP_SIZE_MAX, &text, &size);

    if (rc < 0) {
        err_why(err, rc, "cannot read the backup", "%s: %s", path, strerror(-rc));
        return NULL;
    }
    backup = json_parse_rows(text, size, why, sizeof(why));
    free(text);
    if (!backup)
        err_why(err, -EINVAL, "the backup is no JSON", "%s: %s", path, why);
    else if (backup_check(backup, ret_sealed, err) == 0 && check_sizes(backup, err) == 0)
        return backup;
    json_decref(backup);
    return NULL;
}

void restore_path(const struct config *config, char *ret, size_t size)
{
    snprintf(ret, size, "%s/restore.json", config->state_dir);
}

/* ---- restoring ---- */

static void restore_free(struct restore *restore)
{
    if (!restore)
        return;
    restore->node->restore = NULL;
    json_decref(restore->backup);
    json_decref(restore->marker);
    free(restore);
}

/* The file is looked at no more. */
static void put_aside(struct node *node, const char *ending)
{
    char path[400], aside[420];

    restore_path(&node->config, path, sizeof(path));
    snprintf(aside, sizeof(aside), "%s.%s", path, ending);
    if (rename(path, aside) < 0)
        log_error("cannot rename %s: %s", path, strerror(errno));
}

static void done(struct restore *restore)
{
    struct node *node = restore->node;
    char path[400];

    put_aside(node, "done");
    /* No user of this cloud has it. */
    snprintf(path, sizeof(path), "%s/admin-password", node->config.state_dir);
    unlink(path);
    log_info("the cloud was restored: %zu rows; its users have the passwords of then",
             json_array_size(json_object_get(restore->backup, "rows")));
    restore_free(restore);
}

/* Somebody else was first. Said once: the file is put aside. */
static void refuse(struct node *node, const char *why)
{
    log_error("the backup is not restored: %s. Its file is now %s/restore.json.refused. To restore "
              "it all the same: stop vlingd and its etcd on all controllers, move their stores "
              "(etcd, etcd.joined, store.sqlite) away, then: vling restore FILE",
              why, node->config.state_dir);
    put_aside(node, "refused");
    restore_free(node->restore);
}

static void next_chunk(struct restore *restore);

/* The store will say the same again. */
static void give_up(struct restore *restore, int rc)
{
    const json_t *entry = json_array_get(json_object_get(restore->backup, "rows"), restore->next);
    struct node *node = restore->node;

    log_error("restoring ended: the store takes none of the rows %zu to %zu (the first is %s "
              "%.60s): %s; this cloud stays incomplete. Stop vlingd and its etcd on all "
              "controllers, move their stores (etcd, etcd.joined, store.sqlite) away, then, with "
              "another backup: vling restore FILE",
              restore->next, restore->upto, json_str(entry, "table", ""),
              json_str(json_object_get(entry, "row"), "id", ""), strerror(-rc));
    put_aside(node, "refused");
    restore_free(restore);
}

static void on_written(void *arg, int rc, int64_t revision)
{
    struct restore *restore = arg;
    size_t total = json_array_size(json_object_get(restore->backup, "rows"));

    restore->in_flight = false;
    if (rc == -EMSGSIZE || rc == -EINVAL) {
        give_up(restore, rc);
        return;
    }
    if (rc < 0) { /* again at the next look, which also sees who was first */
        if (rc != -EAGAIN)
            log_warn("restoring: %zu of %zu rows; the store says: %s", restore->next, total,
                     strerror(-rc));
        return;
    }
    if (!restore->begun) {
        restore->begun = true;
    } else if (restore->next >= total) {
        done(restore);
        return;
    } else {
        restore->next = restore->upto;
    }
    next_chunk(restore);
}

static void commit(struct restore *restore, struct store_txn *txn)
{
    restore->in_flight = true;
    store_commit(restore->node->store, txn, COMMIT_TIMEOUT_MS, on_written, restore);
}

/* As many rows as fit into a transaction, but at least one. Puts are idempotent: after a crash all
 * of it is written again. */
static void next_chunk(struct restore *restore)
{
    json_t *rows = json_object_get(restore->backup, "rows"), *entry, *row;
    size_t total = json_array_size(rows), size = 0, i;
    struct store_txn *txn = store_txn_new();

    for (i = restore->next; i < restore->next + CHUNK_ROWS && i < total; i++) {
        const char *table;

        entry = json_array_get(rows, i);
        table = json_str(entry, "table", "");
        row = json_object_get(entry, "row");
        if (strcmp(table, "setting") == 0 && strcmp(json_str(row, "id", ""), "cluster") == 0) {
            json_decref(restore->marker);
            restore->marker = json_incref(row);
            continue;
        }
        size += size_of(row);
        if (size > CHUNK_SIZE_MAX && i > restore->next)
            break;
        store_txn_put(txn, table, json_str(row, "id", ""), row);
    }
    restore->upto = i;
    if (restore->next >= total)
        store_txn_put(txn, "setting", "cluster", restore->marker);
    commit(restore, txn);
}

/* Whoever finds this row knows that the cloud is not complete yet. */
static void begin(struct restore *restore)
{
    struct store_txn *txn = store_txn_new();
    json_t *row = json_pack("{s:s, s:{s:s, s:b}}", "id", "cluster", "value", "made_by",
                            restore->node->config.host, "restoring", 1);

    log_info("restoring a backup of %s, revision %lld: %zu rows",
             json_str(restore->backup, "time", "?"),
             (long long)json_int(restore->backup, "revision", 0),
             json_array_size(json_object_get(restore->backup, "rows")));
    store_txn_create(txn, "setting", "cluster", row);
    json_decref(row);
    commit(restore, txn);
}

static void start(struct node *node, const char *path)
{
    struct restore *restore = calloc(1, sizeof(*restore));
    struct err err;
    char line[700];
    bool sealed;

    if (!restore)
        return;
    restore->node = node;
    node->restore = restore;
    restore->backup = backup_read(path, &sealed, &err);
    if (!restore->backup) {
        restore->failed = true;
        log_error("%s; this cloud stays empty until the file is mended or removed and vlingd "
                  "started again",
                  err_line(&err, line, sizeof(line)));
    } else if (!sealed) {
        log_warn("the backup has no checksum: whether it is what was saved cannot be told");
    }
}

/* What the row setting/cluster says. */
enum progress { NO_CLOUD, OURS, OF_OTHERS, COMPLETE };

static enum progress progress_of(struct node *node)
{
    json_t *row = mirror_get_shared(node->mirror, "setting", "cluster");
    json_t *value = json_object_get(row, "value");
    enum progress progress = COMPLETE;

    if (!row)
        progress = NO_CLOUD;
    else if (json_bool(value, "restoring", false))
        progress =
            strcmp(json_str(value, "made_by", ""), node->config.host) == 0 ? OURS : OF_OTHERS;
    json_decref(row);
    return progress;
}

bool cloud_complete(struct node *node)
{
    return progress_of(node) == COMPLETE;
}

bool restore_step(struct node *node)
{
    enum progress progress = progress_of(node);
    struct restore *restore = node->restore;
    char path[400];

    restore_path(&node->config, path, sizeof(path));
    if (!restore && access(path, F_OK) < 0)
        return progress == OURS || progress == OF_OTHERS;
    if (restore && (restore->failed || restore->in_flight))
        return true;
    if (progress == COMPLETE && restore && restore->begun) {
        done(restore); /* only the answer was lost */
    } else if (progress == COMPLETE) {
        refuse(node, "there is a cloud in the store already (if it has these rows, all is well)");
    } else if (progress == OF_OTHERS) {
        refuse(node, "another controller is restoring one");
    } else if (!restore) {
        start(node, path);
    } else {
        restore->begun = restore->begun || progress == OURS;
        if (restore->begun)
            next_chunk(restore);
        else
            begin(restore);
    }
    return progress != COMPLETE;
}
