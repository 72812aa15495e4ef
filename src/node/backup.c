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

#define FORMAT 1
#define FILE_MAX ((size_t)256 * 1024 * 1024)
#define CHUNK 100 /* etcd takes 128 changes in a transaction */
#define COMMIT_TIMEOUT_MS 8000

struct restore {
    struct node *node;
    json_t *backup;
    json_t *marker; /* the row setting/cluster of the backup: written last, without "restoring" */
    size_t next;
    bool in_flight, begun, failed;
};

/* ---- making ---- */

/* What hosts say of themselves, and tokens, which are of one authority. */
static bool is_of_hosts(const char *table)
{
    return strcmp(table, "host") == 0 || strcmp(table, "lease") == 0 ||
           strcmp(table, "module") == 0 || strcmp(table, "join_token") == 0;
}

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
    json_t *rows = json_array();
    char now[32];

    for (size_t i = 0; resource_all[i]; i++) {
        const char *table = resource_all[i]->table;

        if (!is_of_hosts(table) && strcmp(table, "server") != 0)
            add_table(node->mirror, rows, table);
    }
    add_table(node->mirror, rows, "server");
    return json_pack("{s:i, s:s, s:I, s:s, s:o}", "vling_backup", FORMAT, "version", VLING_VERSION,
                     "revision", (json_int_t)mirror_revision(node->mirror), "time",
                     clock_iso(clock_wall_ms(), now, sizeof(now)), "rows", rows);
}

/* ---- reading ---- */

int backup_check(const json_t *backup, struct err *err)
{
    static const char what[] = "cannot use the backup";
    const json_t *rows = json_object_get(backup, "rows"), *entry;
    bool cluster = false;
    size_t i;

    if (json_int(backup, "vling_backup", 0) != FORMAT)
        return err_set(err, -ENOTSUP, what, "it is none, or of a version unknown here", NULL);
    if (!json_is_array(rows))
        return err_set(err, -EINVAL, what, "it has no rows", NULL);
    json_array_foreach(rows, i, entry)
    {
        const char *table = json_str(entry, "table", "");
        const json_t *row = json_object_get(entry, "row");

        if (!resource_find(table) || is_of_hosts(table) || !json_str(row, "id", NULL))
            return err_why(err, -EINVAL, what, "row %zu (table \"%.40s\") is damaged", i, table);
        cluster = cluster || (strcmp(table, "setting") == 0 &&
                              strcmp(json_str(row, "id", ""), "cluster") == 0);
    }
    return cluster ? 0 : err_set(err, -EINVAL, what, "the row setting/cluster is missing", NULL);
}

void restore_path(const struct config *config, char *ret, size_t size)
{
    snprintf(ret, size, "%s/restore.json", config->state_dir);
}

static json_t *load(const char *path, struct err *err)
{
    char *text = NULL, why[200];
    size_t size;
    json_t *backup;
    int rc = file_read(path, FILE_MAX, &text, &size);

    if (rc < 0) {
        err_why(err, rc, "cannot read the backup", "%s: %s", path, strerror(-rc));
        return NULL;
    }
    backup = json_parse(text, size, why, sizeof(why));
    free(text);
    if (!backup)
        err_why(err, -EINVAL, "the backup is no JSON", "%s: %s", path, why);
    else if (backup_check(backup, err) == 0)
        return backup;
    json_decref(backup);
    return NULL;
}

/* ---- restoring ---- */

static void restore_free(struct restore *restore)
{
    restore->node->restore = NULL;
    json_decref(restore->backup);
    json_decref(restore->marker);
    free(restore);
}

static void done(struct restore *restore)
{
    char path[400], kept[420];

    restore_path(&restore->node->config, path, sizeof(path));
    snprintf(kept, sizeof(kept), "%s.done", path);
    rename(path, kept);
    log_info("the cloud was restored: %zu rows",
             json_array_size(json_object_get(restore->backup, "rows")));
    restore_free(restore);
}

static void next_chunk(struct restore *restore);

static void on_written(void *arg, int rc, int64_t revision)
{
    struct restore *restore = arg;
    size_t total = json_array_size(json_object_get(restore->backup, "rows"));

    restore->in_flight = false;
    if (rc < 0) {
        log_warn("restoring: %zu of %zu rows; the store says: %s", restore->next, total,
                 strerror(-rc));
        return; /* again at the next look */
    }
    if (!restore->begun) {
        restore->begun = true;
    } else if (restore->next >= total) {
        done(restore);
        return;
    } else {
        restore->next = restore->next + CHUNK < total ? restore->next + CHUNK : total;
    }
    next_chunk(restore);
}

static void commit(struct restore *restore, struct store_txn *txn)
{
    restore->in_flight = true;
    store_commit(restore->node->store, txn, COMMIT_TIMEOUT_MS, on_written, restore);
}

/* Puts are idempotent: after a crash all of it is written again. */
static void next_chunk(struct restore *restore)
{
    json_t *rows = json_object_get(restore->backup, "rows"), *entry, *row;
    size_t total = json_array_size(rows);
    struct store_txn *txn = store_txn_new();

    for (size_t i = restore->next; i < restore->next + CHUNK && i < total; i++) {
        const char *table;

        entry = json_array_get(rows, i);
        table = json_str(entry, "table", "");
        row = json_object_get(entry, "row");
        if (strcmp(table, "setting") == 0 && strcmp(json_str(row, "id", ""), "cluster") == 0) {
            json_decref(restore->marker);
            restore->marker = json_incref(row);
            continue;
        }
        store_txn_put(txn, table, json_str(row, "id", ""), row);
    }
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

    if (!restore)
        return;
    restore->node = node;
    node->restore = restore;
    restore->backup = load(path, &err);
    if (!restore->backup) {
        restore->failed = true;
        log_error("%s; this cloud stays empty until the file is mended or removed and vlingd "
                  "started again",
                  err_line(&err, line, sizeof(line)));
    }
}

bool restore_step(struct node *node)
{
    json_t *cluster = mirror_get(node->mirror, "setting", "cluster", NULL);
    bool restoring = json_bool(json_object_get(cluster, "value"), "restoring", false);
    bool there = cluster != NULL;
    char path[400];

    json_decref(cluster);
    if (node->restore) {
        if (node->restore->failed || node->restore->in_flight)
            return true;
        node->restore->begun = node->restore->begun || restoring;
        if (node->restore->begun)
            next_chunk(node->restore);
        else
            begin(node->restore);
        return true;
    }
    restore_path(&node->config, path, sizeof(path));
    if (access(path, F_OK) < 0)
        return restoring;
    if (there && !restoring) {
        log_error("%s is left alone: there is a cloud already, and a backup is restored into a new "
                  "one only",
                  path);
        return false;
    }
    start(node, path);
    return true;
}
