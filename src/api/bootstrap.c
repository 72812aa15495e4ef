/* The first rows of a new cloud. */
#include "api/identity.h"

#include "base/id.h"
#include "base/json.h"
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *id, *name;
    int vcpus, ram, disk;
} flavors[] = {
    {"42", "m1.nano", 1, 64, 0},       {"84", "m1.micro", 1, 128, 0},
    {"1", "m1.tiny", 1, 512, 1},       {"2", "m1.small", 1, 2048, 20},
    {"3", "m1.medium", 2, 4096, 40},   {"4", "m1.large", 4, 8192, 80},
    {"5", "m1.xlarge", 8, 16384, 160},
};

static int put_flavors(struct store_txn *txn, struct err *err)
{
    int rc = 0;

    for (size_t i = 0; i < sizeof(flavors) / sizeof(flavors[0]) && rc == 0; i++) {
        json_t *body =
            json_pack("{s:s, s:s, s:i, s:i, s:i}", "id", flavors[i].id, "name", flavors[i].name,
                      "vcpus", flavors[i].vcpus, "ram", flavors[i].ram, "disk", flavors[i].disk);
        json_t *row = NULL;

        rc = resource_create(&resource_flavor, body, true, &row, err);
        if (rc == 0)
            store_txn_create(txn, "flavor", flavors[i].id, row);
        json_decref(row);
        json_decref(body);
    }
    return rc;
}

/* A row of an identity table with its defaults; `more` (stolen) is put over it. */
static int put_row(struct store_txn *txn, const struct resource *resource, const char *name,
                   json_t *more, struct err *err)
{
    json_t *body = json_pack("{s:s}", "name", name), *row = NULL;
    int rc = resource_create(resource, body, true, &row, err);

    if (rc == 0) {
        json_object_update(row, more);
        identity_first_row(txn, resource->table, row);
    }
    json_decref(row);
    json_decref(body);
    json_decref(more);
    return rc;
}

static void grant(struct store_txn *txn, const char *user, const char *kind, const char *scope,
                  const char *role)
{
    char id[300];
    json_t *row = assignment_row(user, kind, scope, role, id, sizeof(id));

    store_txn_create(txn, "assignment", id, row);
    json_decref(row);
}

/* Who may do what hangs on these names: nobody renames or deletes one by mistake. */
static int put_roles(struct store_txn *txn, char admin_role[ID_HEX_SIZE], struct err *err)
{
    static const char *const names[] = {"admin", "member", "reader"};
    int rc = 0;

    for (size_t i = 0; i < 3 && rc == 0; i++) {
        char id[ID_HEX_SIZE];

        id_hex(id);
        if (i == 0)
            memcpy(admin_role, id, ID_HEX_SIZE);
        rc = put_row(txn, &resource_role, names[i],
                     json_pack("{s:s, s:{s:b}}", "id", id, "options", "immutable", 1), err);
    }
    return rc;
}

int api_bootstrap(struct store_txn *txn, const char *admin_password, struct err *err)
{
    char project[ID_HEX_SIZE], user[ID_HEX_SIZE], role[ID_HEX_SIZE], hash[128];
    json_t *key;
    int rc = sodium_init() < 0
                 ? -EIO
                 : api_hash_now(admin_password, API_PASSWORD_COST, hash, sizeof(hash));

    if (rc < 0)
        return err_set(err, rc, "cannot set up the cloud",
                       "the administrator's password is empty "
                       "or too long",
                       "choose one of 1 to 128 bytes");
    id_hex(project);
    id_hex(user);
    rc =
        put_row(txn, &resource_domain, "Default",
                json_pack("{s:s, s:s}", "id", "default", "description", "The default domain"), err);
    if (rc == 0)
        rc = put_row(txn, &resource_project, "admin",
                     json_pack("{s:s, s:s, s:s, s:s}", "id", project, "domain_id", "default",
                               "parent_id", "default", "description",
                               "Project of the administrators"),
                     err);
    if (rc == 0)
        rc = put_row(txn, &resource_user, "admin",
                     json_pack("{s:s, s:s, s:s, s:i}", "id", user, "domain_id", "default",
                               "password_hash", hash, "password_serial", 1),
                     err);
    if (rc == 0)
        rc = put_roles(txn, role, err);
    if (rc == 0)
        rc = put_flavors(txn, err);
    if (rc < 0)
        return rc;
    grant(txn, user, "project", project, role);
    grant(txn, user, "system", "all", role);
    key = token_key_row();
    store_txn_create(txn, "setting", "token_key", key);
    json_decref(key);
    return 0;
}
