#include "base/clock.h"
#include "base/id.h"
#include "base/json.h"
#include "base/log.h"
#include "node/node.h"

#include <stdarg.h>
#include <stdio.h>

void event_add(struct store_txn *txn, const struct config *config, const char *severity,
               const char *kind, const char *object, const char *format, ...)
{
    json_t *row = json_object();
    char id[32], text[1024], time[32];
    int64_t now = clock_wall_ms();
    unsigned nonce;
    va_list ap;

    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    id_random(&nonce, sizeof(nonce));
    snprintf(id, sizeof(id), "%013lld-%08x", (long long)now, nonce);
    json_put_str(row, "id", id);
    json_put_str(row, "time", clock_iso_us(now, time, sizeof(time)));
    json_put_str(row, "severity", severity);
    json_put_str(row, "kind", kind);
    json_put_str(row, "object", object);
    json_put_str(row, "host", config->host);
    json_put_str(row, "text", text);
    store_txn_create(txn, "event", id, row);
    json_decref(row);
}
