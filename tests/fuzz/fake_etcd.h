/* One etcd as the store sees it: what the JSON gateway of etcd 3.4 answers to the requests that the
 * store makes, over a history of all versions of all keys. It is linearizable by itself; what may
 * go wrong on the way to it and back is the target's business. Included once, after fake_world.h.
 */
#ifndef VLING_TESTS_FUZZ_FAKE_ETCD_H
#define VLING_TESTS_FUZZ_FAKE_ETCD_H

#include "base/json.h"
#include "fake_world.h"
#include "store/etcd.h"

#define VERSIONS_MAX 4000
#define FAKE_LEASES_MAX 2000
#define FAKE_TXNS_MAX 20
#define FAKE_PAGE 3 /* rows in an answer, so that there are several pages */

struct version {
    char *key, *key64, *value64; /* the last two as the gateway writes them */
    int64_t mod, lease;
    bool deleted;
};

struct fake_lease {
    int64_t id, ttl_ms;
    int64_t end_ms; /* as the leader counts */
    bool over;
};

static struct {
    struct version versions[VERSIONS_MAX];
    size_t count;
    struct fake_lease leases[FAKE_LEASES_MAX];
    size_t lease_count;
    int64_t revision, compacted, term;
} fake;

/* The target is told of each transaction that changed something: versions[first] and those behind
 * it. */
static void fake_committed(size_t first);

static void fake_begin(void)
{
    memset(&fake, 0, sizeof(fake));
    fake.revision = 1;
    fake.term = 2;
}

static void fake_end(void)
{
    for (size_t i = 0; i < fake.count; i++) {
        free(fake.versions[i].key);
        free(fake.versions[i].key64);
        free(fake.versions[i].value64);
    }
}

/* ---- reading ---- */

/* Is the key within "key" (alone) or "key" to "range_end" of the request? The bounds may end with a
 * zero byte. */
static bool fake_within(const json_t *request, const char *key)
{
    size_t from_size, to_size = 0, size = strlen(key);
    char *from = etcd_base64_decode(json_str(request, "key", ""), &from_size);
    const char *end = json_str(request, "range_end", NULL);
    char *to = end ? etcd_base64_decode(end, &to_size) : NULL;
    bool within;
    int low, high;

    must(from && (to || !end));
    low = memcmp(key, from, size < from_size ? size : from_size);
    low = low ? low : (size > from_size) - (size < from_size);
    if (!end) {
        within = low == 0;
    } else {
        high = memcmp(key, to, size < to_size ? size : to_size);
        within = low >= 0 && (high < 0 || (high == 0 && size < to_size) ||
                              (to_size == 1 && to[0] == '\0')); /* to the end of all keys */
    }
    free(from);
    free(to);
    return within;
}

static int by_key(const void *one, const void *other)
{
    const struct version *const *a = one, *const *b = other;

    return strcmp((*a)->key, (*b)->key);
}

/* What the request names, as it was at `revision`, in the order of keys. */
static size_t fake_range(const json_t *request, int64_t revision, const struct version **ret)
{
    size_t count = 0, living = 0;

    for (size_t i = fake.count; i-- > 0;) {
        const struct version *version = &fake.versions[i];
        size_t k = 0;

        if (version->mod > revision || !fake_within(request, version->key))
            continue;
        while (k < count && strcmp(ret[k]->key, version->key) != 0)
            k++;
        if (k == count)
            ret[count++] = version;
    }
    for (size_t i = 0; i < count; i++)
        if (!ret[i]->deleted)
            ret[living++] = ret[i];
    qsort(ret, living, sizeof(ret[0]), by_key);
    return living;
}

static int64_t fake_mod(const char *key64, bool *ret_there)
{
    for (size_t i = fake.count; i-- > 0;) {
        if (strcmp(fake.versions[i].key64, key64) == 0) {
            *ret_there = !fake.versions[i].deleted;
            return *ret_there ? fake.versions[i].mod : 0;
        }
    }
    *ret_there = false;
    return 0;
}

/* ---- answers ---- */

static json_t *fake_number(int64_t value)
{
    return json_sprintf("%lld", (long long)value);
}

static json_t *fake_header(void)
{
    return json_pack("{s:s, s:s, s:o, s:o}", "cluster_id", "1", "member_id", "2", "revision",
                     fake_number(fake.revision), "raft_term", fake_number(fake.term));
}

static json_t *fake_kv(const struct version *version)
{
    if (version->deleted)
        return json_pack("{s:s, s:o}", "key", version->key64, "mod_revision",
                         fake_number(version->mod));
    return json_pack("{s:s, s:o, s:s}", "key", version->key64, "mod_revision",
                     fake_number(version->mod), "value", version->value64);
}

static json_t *fake_error(int code, const char *why)
{
    return json_pack("{s:s, s:s, s:i}", "error", why, "message", why, "code", code);
}

static json_t *do_range(const json_t *request, bool paged)
{
    static const struct version *found[VERSIONS_MAX];
    int64_t revision = etcd_int(request, "revision");
    json_t *answer, *kvs;
    size_t count;

    if (revision > 0 && revision < fake.compacted)
        return fake_error(ETCD_OUT_OF_RANGE, "etcdserver: mvcc: required revision compacted");
    count = fake_range(request, revision > 0 ? revision : fake.revision, found);
    answer = json_pack("{s:o, s:o}", "header", fake_header(), "count", fake_number((int64_t)count));
    if (json_is_true(json_object_get(request, "count_only")))
        return answer;
    kvs = json_array();
    for (size_t i = 0; i < count && (!paged || i < FAKE_PAGE); i++)
        json_array_append_new(kvs, fake_kv(found[i]));
    if (count > json_array_size(kvs))
        json_object_set_new(answer, "more", json_true());
    if (json_array_size(kvs) > 0)
        json_object_set(answer, "kvs", kvs);
    json_decref(kvs);
    return answer;
}

/* ---- transactions ---- */

static bool fake_holds(const json_t *compare)
{
    bool there;
    int64_t mod = fake_mod(json_str(compare, "key", ""), &there);

    if (strcmp(json_str(compare, "target", ""), "MOD") == 0)
        return mod == etcd_int(compare, "mod_revision");
    must(strcmp(json_str(compare, "target", ""), "VERSION") == 0);
    must(etcd_int(compare, "version") == 0);
    return there == (strcmp(json_str(compare, "result", "EQUAL"), "GREATER") == 0);
}

static void fake_add(const char *key64, const char *value64, int64_t lease)
{
    struct version *version = &fake.versions[fake.count++];

    must(fake.count <= VERSIONS_MAX);
    *version = (struct version){.key = etcd_base64_decode(key64, NULL),
                                .key64 = strdup(key64),
                                .value64 = value64 ? strdup(value64) : NULL,
                                .mod = fake.revision + 1,
                                .lease = lease,
                                .deleted = !value64};
    must(version->key);
}

static json_t *do_one(const json_t *op)
{
    static const struct version *found[VERSIONS_MAX];
    const json_t *request = json_object_get(op, "request_range");
    size_t count;

    if (request)
        return json_pack("{s:o}", "response_range", do_range(request, false));
    request = json_object_get(op, "request_put");
    if (request) {
        fake_add(json_str(request, "key", ""), json_str(request, "value", ""),
                 etcd_int(request, "lease"));
        return json_pack("{s:{}}", "response_put");
    }
    request = json_object_get(op, "request_delete_range");
    must(request);
    count = fake_range(request, fake.revision, found);
    for (size_t i = 0; i < count; i++)
        fake_add(found[i]->key64, NULL, 0);
    return json_pack("{s:{}}", "response_delete_range");
}

static struct fake_lease *fake_lease(int64_t id)
{
    for (size_t i = 0; i < fake.lease_count; i++)
        if (fake.leases[i].id == id)
            return &fake.leases[i];
    return NULL;
}

static bool fake_compares(const json_t *request)
{
    const json_t *each;
    size_t i;

    json_array_foreach(json_object_get(request, "compare"), i, each)
    {
        if (!fake_holds(each))
            return false;
    }
    return true;
}

/* As etcd does: which way each nested transaction goes is decided before anything is done. */
static size_t fake_paths(const json_t *request, bool *ret, size_t count)
{
    const json_t *branch, *each, *nested;
    size_t i;

    must(count < FAKE_TXNS_MAX);
    ret[count] = fake_compares(request);
    branch = json_object_get(request, ret[count++] ? "success" : "failure");
    json_array_foreach(branch, i, each)
    {
        nested = json_object_get(each, "request_txn");
        if (nested)
            count = fake_paths(nested, ret, count);
    }
    return count;
}

/* Does what will be done name a lease that is over? */
static bool fake_void_lease(const json_t *request, const bool **path)
{
    const json_t *branch = json_object_get(request, *(*path)++ ? "success" : "failure");
    const json_t *each, *nested;
    size_t i;

    json_array_foreach(branch, i, each)
    {
        int64_t id = etcd_int(json_object_get(each, "request_put"), "lease");
        const struct fake_lease *lease = id ? fake_lease(id) : NULL;

        if (id && (!lease || lease->over))
            return true;
        nested = json_object_get(each, "request_txn");
        if (nested && fake_void_lease(nested, path))
            return true;
    }
    return false;
}

static json_t *do_branch(const json_t *request, const bool **path)
{
    bool success = *(*path)++;
    json_t *responses = json_array(), *answer;
    const json_t *each, *nested;
    size_t i;

    json_array_foreach(json_object_get(request, success ? "success" : "failure"), i, each)
    {
        nested = json_object_get(each, "request_txn");
        json_array_append_new(responses,
                              nested ? json_pack("{s:o}", "response_txn", do_branch(nested, path))
                                     : do_one(each));
    }
    answer = json_pack("{s:o}", "responses", responses);
    if (success)
        json_object_set_new(answer, "succeeded", json_true());
    return answer;
}

static json_t *do_txn(const json_t *request)
{
    bool paths[FAKE_TXNS_MAX];
    const bool *path = paths;
    size_t first = fake.count;
    json_t *answer;

    fake_paths(request, paths, 0);
    if (fake_void_lease(request, &path))
        return fake_error(ETCD_NOT_FOUND, "etcdserver: requested lease not found");
    path = paths;
    answer = do_branch(request, &path);
    if (fake.count > first) {
        fake_committed(first);
        fake.revision++;
    }
    json_object_set_new(answer, "header", fake_header());
    return answer;
}

/* ---- leases ---- */

/* With an id of etcd's choice. */
static json_t *do_grant(const json_t *request)
{
    struct fake_lease *lease = &fake.leases[fake.lease_count++];

    must(fake.lease_count <= FAKE_LEASES_MAX && etcd_int(request, "ID") == 0);
    *lease = (struct fake_lease){.id = 1000 + (int64_t)fake.lease_count,
                                 .ttl_ms = 1000 * etcd_int(request, "TTL")};
    lease->end_ms = world_ms + lease->ttl_ms;
    return json_pack("{s:o, s:o}", "header", fake_header(), "ID", fake_number(lease->id));
}

/* As the gateway says it: a lease that is over has no TTL. */
static json_t *fake_renewed(const struct fake_lease *lease)
{
    json_t *result = json_pack("{s:o}", "header", fake_header());

    if (lease && !lease->over)
        json_object_set_new(result, "TTL", fake_number(lease->ttl_ms / 1000));
    return json_pack("{s:o}", "result", result);
}

static json_t *do_keepalive(const json_t *request)
{
    struct fake_lease *lease = fake_lease(etcd_int(request, "ID"));

    if (lease && !lease->over)
        lease->end_ms = world_ms + lease->ttl_ms;
    return fake_renewed(lease);
}

/* Ends the lease: the keys that are bound to it go. */
static void fake_end_lease(struct fake_lease *lease)
{
    size_t first = fake.count;

    lease->over = true;
    for (size_t i = 0; i < first; i++) {
        const struct version *version = &fake.versions[i];
        bool there;

        if (version->lease == lease->id && fake_mod(version->key64, &there) == version->mod)
            fake_add(version->key64, NULL, 0);
    }
    if (fake.count > first) {
        fake_committed(first);
        fake.revision++;
    }
}

static json_t *do_revoke(const json_t *request)
{
    struct fake_lease *lease = fake_lease(etcd_int(request, "ID"));

    if (!lease || lease->over)
        return fake_error(ETCD_NOT_FOUND, "etcdserver: requested lease not found");
    fake_end_lease(lease);
    return json_pack("{s:o}", "header", fake_header());
}

/* Carries a request out. The answer is the caller's; a refusal has the member "code". */
static json_t *fake_do(const char *url, const char *text)
{
    json_t *request = json_parse(text, strlen(text), NULL, 0), *answer;

    must(request);
    if (strstr(url, "/v3/kv/range"))
        answer = do_range(request, json_object_get(request, "limit"));
    else if (strstr(url, "/v3/kv/txn"))
        answer = do_txn(request);
    else if (strstr(url, "/v3/lease/grant"))
        answer = do_grant(request);
    else if (strstr(url, "/v3/lease/keepalive"))
        answer = do_keepalive(request);
    else if (strstr(url, "/v3/lease/revoke"))
        answer = do_revoke(request);
    else
        answer = fake_error(ETCD_NOT_FOUND, "Not Found");
    json_decref(request);
    return answer;
}

/* ---- watches: all keys, from a revision on ---- */

/* As etcd 3.4 does (issue 17529): what a slow watcher has not been sent when it is compacted away
 * is left out without a word. */
static inline void fake_watch_skip(struct http_call *call)
{
    if (call->from > 0 && call->from < fake.compacted)
        call->from = fake.revision + 1;
}

/* The lines for the revisions from `call->from` up to `to`; empty if there are none. As in etcd 3.4
 * (issue 18089) deletions at the revision that was compacted to are missing if it begins there. */
static inline void fake_watch(struct http_call *call, int64_t to, struct buf *ret)
{
    json_t *request, *events = json_array(), *result;
    int64_t bare = 0;
    char *text;

    if (call->from == 0) {
        request = json_parse(call->body, strlen(call->body), NULL, 0);
        call->from = etcd_int(json_object_get(request, "create_request"), "start_revision");
        json_decref(request);
        must(call->from > 0);
        bare = call->from == fake.compacted ? fake.compacted : 0;
        buf_str(ret, "{\"result\":{\"header\":{\"revision\":\"1\"},\"created\":true}}\n");
    }
    if (call->from < fake.compacted) {
        buf_printf(ret, "{\"result\":{\"canceled\":true,\"compact_revision\":\"%lld\"}}\n",
                   (long long)fake.compacted);
        json_decref(events);
        return;
    }
    for (size_t i = 0; i < fake.count; i++) {
        const struct version *version = &fake.versions[i];

        if (version->mod >= call->from && version->mod <= to &&
            !(version->deleted && version->mod == bare))
            json_array_append_new(
                events, version->deleted
                            ? json_pack("{s:s, s:o}", "type", "DELETE", "kv", fake_kv(version))
                            : json_pack("{s:o}", "kv", fake_kv(version)));
    }
    if (json_array_size(events) > 0) {
        result = json_pack("{s:{s:o, s:O}}", "result", "header", fake_header(), "events", events);
        text = json_dumps(result, JSON_COMPACT);
        buf_printf(ret, "%s\n", text);
        free(text);
        json_decref(result);
    }
    if (to >= call->from)
        call->from = to + 1;
    json_decref(events);
}

#endif
