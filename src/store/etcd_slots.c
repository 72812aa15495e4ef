#include "store/etcd_slots.h"
#include "base/json.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX ((size_t)64 * 1024)

static void begin_register(struct etcd *etcd);

/* ---- keys ---- */

static void writer_key(const struct etcd *etcd, char key[ETCD_KEY_SIZE])
{
    snprintf(key, ETCD_KEY_SIZE, "%s%s", ETCD_WRITER_PREFIX, etcd->writer);
}

static void boot_key(const struct etcd *etcd, const char *boot, char key[ETCD_KEY_SIZE])
{
    snprintf(key, ETCD_KEY_SIZE, "%s%s/%s", ETCD_WRITER_PREFIX, etcd->writer, boot);
}

static void slot_key(const struct etcd *etcd, const struct etcd_slot *slot, int lane,
                     char key[ETCD_KEY_SIZE])
{
    int n = snprintf(key, ETCD_KEY_SIZE, "%s%s/%s/%d", ETCD_WRITER_PREFIX, etcd->writer, slot->boot,
                     slot->number);

    if (lane > 0)
        snprintf(key + n, ETCD_KEY_SIZE - (size_t)n, "/%d", lane);
}

/* ---- registering this process ---- */

static void on_registered(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;
    struct etcd_slots *slots = etcd->slots;
    const json_t *boot = json_object_get(
        json_array_get(json_object_get(reply->json, "responses"), 0), "response_range");
    int64_t revision;

    slots->registering = false;
    if (reply->rc == -ECANCELED)
        return;
    if (reply->rc < 0) {
        log_error("store: etcd refused the registration of %s: %s", etcd->writer, reply->why);
        return;
    }
    if (!json_is_true(json_object_get(reply->json, "succeeded")) &&
        json_array_size(json_object_get(boot, "kvs")) == 0) {
        begin_register(etcd); /* another process was registered between reading and this */
        return;
    }
    /* An earlier copy may have done it: the boot and its slots have the same revision. */
    revision = json_is_true(json_object_get(reply->json, "succeeded"))
                   ? reply->revision
                   : etcd_int(json_array_get(json_object_get(boot, "kvs"), 0), "mod_revision");
    slots->registered = true;
    for (int i = 0; i < ETCD_SLOTS; i++)
        slots->list[i].revision = revision;
    slots->ready(etcd);
}

static void put_empty_slots(struct etcd_request *r, const struct etcd *etcd)
{
    struct etcd_slot slot;
    char key[ETCD_KEY_SIZE];

    memcpy(slot.boot, etcd->slots->boot, sizeof(slot.boot));
    for (slot.number = 0; slot.number < ETCD_SLOTS; slot.number++) {
        slot_key(etcd, &slot, 0, key);
        etcd_request_put(r, ETCD_SUCCESS, key, NULL, 0, 0);
    }
}

/* Deletes the writer's keys on both sides of the new boot's and puts that with its slots, if nobody
 * registered since `revision`: a copy that arrives after a later boot's must not bring this one
 * back. */
static void register_boot(struct etcd *etcd, int64_t revision)
{
    char writer[ETCD_KEY_SIZE], key[ETCD_KEY_SIZE], from[ETCD_KEY_SIZE], to[ETCD_KEY_SIZE];
    struct etcd_request r;
    struct buf body;

    id_hex(etcd->slots->boot);
    writer_key(etcd, writer);
    boot_key(etcd, etcd->slots->boot, key);
    buf_init(&body, BODY_MAX);
    etcd_request_begin(&r, &body, false);
    etcd_request_compare(&r, writer, revision);
    snprintf(from, sizeof(from), "%s%s/", ETCD_WRITER_PREFIX, etcd->writer);
    etcd_request_delete(&r, ETCD_SUCCESS, from, key);
    snprintf(from, sizeof(from), "%s%s/%s0", ETCD_WRITER_PREFIX, etcd->writer, etcd->slots->boot);
    snprintf(to, sizeof(to), "%s%s0", ETCD_WRITER_PREFIX, etcd->writer);
    etcd_request_delete(&r, ETCD_SUCCESS, from, to);
    etcd_request_put(&r, ETCD_SUCCESS, key, NULL, 0, 0);
    etcd_request_put(&r, ETCD_SUCCESS, writer, NULL, 0, 0);
    put_empty_slots(&r, etcd);
    etcd_request_range(&r, ETCD_FAILURE, key, NULL);
    etcd_request_end(&r);
    etcd_op_start(etcd, "/v3/kv/txn", &body, INT64_MAX, on_registered, etcd);
}

static void on_writer_read(void *arg, const struct etcd_reply *reply)
{
    struct etcd *etcd = arg;

    if (reply->rc < 0)
        etcd->slots->registering = false;
    else
        register_boot(
            etcd, etcd_int(json_array_get(json_object_get(reply->json, "kvs"), 0), "mod_revision"));
}

static void begin_register(struct etcd *etcd)
{
    char key[ETCD_KEY_SIZE];
    struct buf body;

    etcd->slots->registering = true;
    writer_key(etcd, key);
    buf_init(&body, BODY_MAX);
    buf_str(&body, "{");
    etcd_put_key(&body, "key", key);
    buf_str(&body, "}");
    etcd_op_start(etcd, "/v3/kv/range", &body, INT64_MAX, on_writer_read, etcd);
}

/* ---- taking and giving back ---- */

static bool is_of_this_boot(const struct etcd *etcd, const struct etcd_slot *slot)
{
    return strcmp(slot->boot, etcd->slots->boot) == 0;
}

bool etcd_slot_take(struct etcd *etcd, struct etcd_slot *ret)
{
    struct etcd_slots *slots = etcd->slots;

    if (!slots->registered) {
        if (!slots->registering)
            begin_register(etcd);
        return false;
    }
    for (int i = 0; i < ETCD_SLOTS; i++) {
        if (slots->list[i].busy)
            continue;
        slots->list[i].busy = true;
        memcpy(ret->boot, slots->boot, sizeof(ret->boot));
        ret->number = i;
        return true;
    }
    return false;
}

void etcd_slot_give_back(struct etcd *etcd, const struct etcd_slot *slot)
{
    etcd->slots->list[slot->number].busy = false;
}

void etcd_slot_moved(struct etcd *etcd, const struct etcd_slot *slot, int64_t revision)
{
    if (is_of_this_boot(etcd, slot))
        etcd->slots->list[slot->number].revision = revision;
}

void etcd_slot_lost(struct etcd *etcd, const struct etcd_slot *slot)
{
    if (!is_of_this_boot(etcd, slot) || !etcd->slots->registered)
        return;
    etcd->slots->registered = false;
    log_warn("store: another process writes as %s; registering anew", etcd->writer);
}

/* ---- requests and answers ---- */

void etcd_slot_guard(struct etcd_request *r, const struct etcd *etcd, const struct etcd_slot *slot)
{
    char key[ETCD_KEY_SIZE];

    /* A slot whose boot is gone is gone as well, and is never put again. */
    slot_key(etcd, slot, 0, key);
    etcd_request_compare(r, key, etcd->slots->list[slot->number].revision);
}

void etcd_slot_put(struct etcd_request *r, enum etcd_branch branch, const struct etcd *etcd,
                   const struct etcd_slot *slot, int lane, const char *nonce)
{
    char key[ETCD_KEY_SIZE];

    slot_key(etcd, slot, lane, key);
    etcd_request_put(r, branch, key, nonce, strlen(nonce), 0);
}

void etcd_slot_look(struct etcd_request *r, const struct etcd *etcd, const struct etcd_slot *slot)
{
    char key[ETCD_KEY_SIZE], end[ETCD_KEY_SIZE + 1];

    slot_key(etcd, slot, 0, key);
    /* behind "<slot>/": there are fewer than ten times as many slots */
    snprintf(end, sizeof(end), "%s0", key);
    etcd_request_range(r, ETCD_FAILURE, key, end);
    boot_key(etcd, slot->boot, key);
    etcd_request_range(r, ETCD_FAILURE, key, NULL);
}

static void read_value(const json_t *kv, char ret[ID_HEX_SIZE])
{
    char *value = etcd_base64_decode(json_str(kv, "value", ""), NULL);

    snprintf(ret, ID_HEX_SIZE, "%s", value && strlen(value) < ID_HEX_SIZE ? value : "");
    free(value);
}

void etcd_slot_read(const json_t *answer, struct etcd_slot_state *ret)
{
    const json_t *list = json_object_get(answer, "responses"), *kv;
    const json_t *slot = json_object_get(json_array_get(list, 0), "response_range");
    const json_t *boot = json_object_get(json_array_get(list, 1), "response_range");
    size_t i, shortest = 0;

    memset(ret, 0, sizeof(*ret));
    ret->boot_there = json_array_size(json_object_get(boot, "kvs")) > 0;
    json_array_foreach(json_object_get(slot, "kvs"), i, kv)
    {
        char *key = etcd_base64_decode(json_str(kv, "key", ""), NULL);
        int lane;

        if (i == 0 && key) { /* the slot's own key is before its lanes' */
            shortest = strlen(key);
            read_value(kv, ret->lanes[0]);
            ret->revision = etcd_int(kv, "mod_revision");
        } else if (key && strlen(key) > shortest + 1) {
            lane = atoi(key + shortest + 1);
            if (lane > 0 && lane < ETCD_LANES)
                read_value(kv, ret->lanes[lane]);
        }
        free(key);
    }
}
