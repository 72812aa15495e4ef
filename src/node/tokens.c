#include "node/tokens.h"
#include "base/clock.h"
#include "base/json.h"
#include "node/controllers.h"
#include "node/pki.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_TIMEOUT_MS 3000
#define COMMIT_TIMEOUT_MS 5000
#define HOUR_MS ((int64_t)3600 * 1000)
#define HOURS_DEFAULT 24
#define HOURS_MAX (366 * 24)
#define TOKENS_MAX 64 /* rows */
#define ID_DIGITS 12
#define HOST_MAX 64
#define JOINED_MAX 1000

static void id_of(const char *hash, char ret[ID_DIGITS + 1])
{
    snprintf(ret, ID_DIGITS + 1, "%.*s", ID_DIGITS, hash);
}

static bool is_over(const json_t *row)
{
    const char *end = json_str(row, "expires_at", NULL);

    return end && clock_parse_iso(end) <= clock_wall_ms();
}

/* ---- what the join server asks ---- */

void tokens_settle(void *arg, void (*go_on)(void *go_arg, int rc), void *go_arg)
{
    struct node *node = arg;
    char path[300];

    snprintf(path, sizeof(path), "%s/etcd.joined", node->config.state_dir);
    if (node->config.sqlite || access(path, F_OK) == 0)
        mirror_barrier(node->mirror, READ_TIMEOUT_MS, go_on, go_arg);
    else
        go_on(go_arg, 0); /* the cloud is being founded: there are no rows yet */
}

static bool is_taken(struct node *node, const struct join_candidate *c)
{
    json_t *host = mirror_get(node->mirror, "host", c->host, NULL);
    const char *key = json_str(node->joined, c->host, NULL);
    bool taken;

    if (strcmp(c->host, node->config.host) == 0)
        key = node->key_id;
    else if (host)
        key = json_str(host, "key_id", key ? key : "");
    taken = key && strcmp(key, c->key_id) != 0;
    json_decref(host);
    return taken;
}

enum join_verdict tokens_judge(void *arg, const struct join_candidate *c)
{
    struct node *node = arg;
    char id[ID_DIGITS + 1];
    const char *bound;
    json_t *row;
    bool good;

    id_of(c->token_hash, id);
    row = mirror_get(node->mirror, "join_token", id, NULL);
    bound = json_str(row, "host", NULL);
    good = row ? strcmp(json_str(row, "hash", ""), c->token_hash) == 0 &&
                     !json_bool(row, "withdrawn", false) && !is_over(row) &&
                     (!bound || strcmp(bound, c->host) == 0)
               : c->in_file;
    if (good && !bound && is_taken(node, c)) {
        json_decref(row);
        return JOIN_NAME_TAKEN;
    }
    json_decref(row);
    if (!good)
        return JOIN_BAD_TOKEN;
    if (!node->joined)
        node->joined = json_object();
    if (c->key_id[0] && strlen(c->host) < HOST_MAX && json_object_size(node->joined) < JOINED_MAX)
        json_put_str(node->joined, c->host, c->key_id);
    return JOIN_ADMIT;
}

/* ---- for operators ---- */

struct pending {
    struct node *node;
    struct http_request *request;
    json_t *body, *answer;
};

static void done(struct pending *p, unsigned status, const char *error)
{
    if (error)
        admin_error(p->request, status, error);
    else
        admin_reply(p->request, status, json_incref(p->answer));
    json_decref(p->body);
    json_decref(p->answer);
    free(p);
}

/* Those in the file of this controller that nobody withdrew, as rows. */
static size_t add_first(struct node *node, json_t *rows)
{
    struct join_token tokens[JOIN_TOKENS_MAX];
    int n = join_tokens_read(node->config.state_dir, tokens, JOIN_TOKENS_MAX);
    size_t added = 0;

    for (int i = 0; i < n; i++) {
        char hash[JOIN_HASH_SIZE], id[ID_DIGITS + 1];
        json_t *row;

        join_token_hash(tokens[i].secret, hash);
        id_of(hash, id);
        row = mirror_get(node->mirror, "join_token", id, NULL);
        if (!row) {
            json_array_append_new(rows, json_pack("{s:s, s:s, s:s}", "id", id, "made_by",
                                                  "vlingd init", "hash", hash));
            added++;
        }
        json_decref(row);
    }
    sodium_memzero(tokens, sizeof(tokens));
    return added;
}

static json_t *rows_of(struct node *node)
{
    json_t *all = mirror_select(node->mirror, "join_token", "ORDER BY id", ""), *row;
    json_t *rows = json_array();
    size_t i;

    json_array_foreach(all, i, row)
    {
        if (!json_bool(row, "withdrawn", false) && !is_over(row))
            json_array_append(rows, row);
    }
    json_decref(all);
    add_first(node, rows);
    return rows;
}

static void list(struct pending *p)
{
    json_t *rows = rows_of(p->node), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        json_object_del(row, "hash");
        json_object_del(row, "_rev");
    }
    p->answer = json_pack("{s:o}", "tokens", rows);
    done(p, 200, NULL);
}

static void on_committed(void *arg, int rc, int64_t revision)
{
    struct pending *p = arg;

    if (rc == 0)
        done(p, 200, NULL);
    else
        done(p, rc == -EAGAIN ? 409 : 503,
             rc == -EAGAIN ? "somebody else changed it at the same time: try again"
                           : "the store cannot be reached: try again");
}

/* Rows of tokens that are over go with the next new one. */
static size_t drop_old(struct node *node, struct store_txn *txn)
{
    json_t *all = mirror_select(node->mirror, "join_token", "ORDER BY id", ""), *row;
    size_t i, left = 0;

    json_array_foreach(all, i, row)
    {
        if (is_over(row) && store_txn_room(txn) > 10)
            store_txn_delete(txn, "join_token", json_str(row, "id", ""));
        else
            left++;
    }
    json_decref(all);
    return left;
}

static void create(struct pending *p, const char *host, int64_t hours)
{
    struct node *node = p->node;
    struct store_txn *txn = store_txn_new();
    struct join_token token = {0};
    char text[JOIN_TOKEN_SIZE], hash[JOIN_HASH_SIZE], id[ID_DIGITS + 1], now[32], end[32];
    json_t *row;

    if (drop_old(node, txn) >= TOKENS_MAX ||
        pki_ca_fingerprint(node->config.state_dir, token.fingerprint, NULL) < 0) {
        store_txn_free(txn);
        done(p, 409, "there are too many tokens: withdraw some");
        return;
    }
    randombytes_buf(token.secret, sizeof(token.secret));
    join_token_format(&token, text);
    join_token_hash(token.secret, hash);
    id_of(hash, id);
    clock_iso(clock_wall_ms(), now, sizeof(now));
    clock_iso(clock_wall_ms() + hours * HOUR_MS, end, sizeof(end));
    row = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "id", id, "hash", hash, "made_by",
                    node->config.host, "created_at", now, "expires_at", end, "withdrawn", 0);
    json_put_str(row, "host", host[0] ? host : NULL);
    store_txn_create(txn, "join_token", id, row);
    event_add(txn, &node->config, "info", "token.created", id, "%s may join with it until %s",
              host[0] ? host : "any new host", end);
    p->answer = json_pack("{s:s, s:s, s:s}", "id", id, "token", text, "expires_at", end);
    json_decref(row);
    sodium_memzero(&token, sizeof(token));
    sodium_memzero(text, sizeof(text));
    store_commit(node->store, txn, COMMIT_TIMEOUT_MS, on_committed, p);
}

static const char *hash_of(const json_t *rows, const char *id)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        if (strcmp(json_str(row, "id", ""), id) == 0)
            return json_str(row, "hash", "");
    }
    return NULL;
}

static void withdraw(struct pending *p, const char *id)
{
    json_t *rows = rows_of(p->node), *row = NULL, *there;
    const char *hash = hash_of(rows, id);
    struct store_txn *txn;

    if (hash) {
        txn = store_txn_new();
        there = mirror_get(p->node->mirror, "join_token", id, NULL);
        if (there)
            store_txn_delete(txn, "join_token", id);
        else /* of a file: only a row can say so to all controllers */
            store_txn_create(txn, "join_token", id,
                             row = json_pack("{s:s, s:s, s:s, s:b}", "id", id, "hash", hash,
                                             "made_by", "vlingd init", "withdrawn", 1));
        event_add(txn, &p->node->config, "info", "token.withdrawn", id, "by an operator");
        p->answer = json_object();
        json_decref(there);
        json_decref(row);
        store_commit(p->node->store, txn, COMMIT_TIMEOUT_MS, on_committed, p);
    } else {
        done(p, 404, "there is no such token: see vling token list");
    }
    json_decref(rows);
}

static void on_read(void *arg, int rc)
{
    struct pending *p = arg;
    const json_t *new = json_object_get(p->body, "create");
    const char *id = json_str(p->body, "withdraw", NULL), *host = json_str(new, "host", "");
    int64_t hours = json_int(new, "hours", HOURS_DEFAULT);

    if (rc < 0)
        done(p, 503, "the store cannot be reached: try again");
    else if (!p->body)
        list(p);
    else if (id)
        withdraw(p, id);
    else if (!json_is_object(new) || hours < 1 || hours > HOURS_MAX || strlen(host) >= HOST_MAX)
        done(p, 400,
             "the body must be {\"create\": {\"host\": NAME, \"hours\": 1 to 8784}} or "
             "{\"withdraw\": ID}");
    else
        create(p, host, hours);
}

bool tokens_serve(struct node *node, struct http_request *request)
{
    struct pending *p;
    const char *text;
    size_t size;

    if (strcmp(http_path(request), "/v1/tokens") != 0)
        return false;
    if (!controllers_only(node, request))
        return true;
    p = calloc(1, sizeof(*p));
    if (!p) {
        admin_error(request, 503, "out of memory");
        return true;
    }
    p->node = node;
    p->request = request;
    if (strcmp(http_method(request), "GET") != 0) {
        text = http_body(request, &size);
        p->body = json_parse(text, size, NULL, 0);
        if (!p->body)
            p->body = json_object();
    }
    mirror_barrier(node->mirror, READ_TIMEOUT_MS, on_read, p);
    return true;
}
