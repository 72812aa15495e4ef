#include "model/backup.h"
#include "base/json.h"
#include "model/tables.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define SUM_SIZE (2 * crypto_hash_sha512_BYTES + 1)

bool backup_leaves_out(const char *table)
{
    return strcmp(table, "host") == 0 || strcmp(table, "lease") == 0 ||
           strcmp(table, "module") == 0 || strcmp(table, "join_token") == 0;
}

static int add_to_sum(const char *text, size_t size, void *arg)
{
    return crypto_hash_sha512_update(arg, (const unsigned char *)text, size);
}

static void sum_of(const json_t *backup, char ret[SUM_SIZE])
{
    unsigned char sum[crypto_hash_sha512_BYTES];
    crypto_hash_sha512_state state;
    json_t *rest = json_copy((json_t *)backup);

    json_object_del(rest, "sha512");
    crypto_hash_sha512_init(&state);
    if (json_dump_callback(rest, add_to_sum, &state, JSON_COMPACT | JSON_SORT_KEYS) < 0)
        abort();
    crypto_hash_sha512_final(&state, sum);
    sodium_bin2hex(ret, SUM_SIZE, sum, sizeof(sum));
    json_decref(rest);
}

void backup_seal(json_t *backup)
{
    char sum[SUM_SIZE];

    json_put_int(backup, "row_count", (int64_t)json_array_size(json_object_get(backup, "rows")));
    sum_of(backup, sum);
    json_put_str(backup, "sha512", sum);
}

static int check_seal(const json_t *backup, struct err *err)
{
    static const char what[] = "the backup is damaged";
    size_t rows = json_array_size(json_object_get(backup, "rows"));
    char sum[SUM_SIZE];

    if (json_int(backup, "row_count", -1) != (int64_t)rows)
        return err_why(err, -EINVAL, what, "it has %zu rows and says that it has %lld", rows,
                       (long long)json_int(backup, "row_count", -1));
    sum_of(backup, sum);
    if (strcmp(json_str(backup, "sha512", ""), sum) != 0)
        return err_set(err, -EINVAL, what, "its SHA-512 is not the one it was made with",
                       "take another copy of it, or another backup");
    return 0;
}

static int check_rows(const json_t *backup, struct err *err)
{
    static const char what[] = "cannot use the backup";
    const json_t *rows = json_object_get(backup, "rows"), *entry;
    bool cluster = false;
    size_t i;

    json_array_foreach(rows, i, entry)
    {
        const char *table = json_str(entry, "table", "");
        const json_t *row = json_object_get(entry, "row");

        if (!resource_find(table) || backup_leaves_out(table) || !json_str(row, "id", NULL))
            return err_why(err, -EINVAL, what, "row %zu (table \"%.40s\") is damaged", i, table);
        cluster = cluster || (strcmp(table, "setting") == 0 &&
                              strcmp(json_str(row, "id", ""), "cluster") == 0);
    }
    return cluster ? 0 : err_set(err, -EINVAL, what, "the row setting/cluster is missing", NULL);
}

int backup_check(const json_t *backup, bool *ret_sealed, struct err *err)
{
    static const char what[] = "cannot use the backup";
    bool sealed = json_object_get(backup, "sha512") != NULL;
    int rc;

    if (json_int(backup, "vling_backup", 0) != BACKUP_FORMAT)
        return err_set(err, -ENOTSUP, what, "it is none, or of a version unknown here", NULL);
    if (!json_is_array(json_object_get(backup, "rows")))
        return err_set(err, -EINVAL, what, "it has no rows", NULL);
    rc = sealed ? check_seal(backup, err) : 0;
    if (rc == 0)
        rc = check_rows(backup, err);
    if (rc == 0)
        *ret_sealed = sealed;
    return rc;
}
