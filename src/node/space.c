#include "node/space.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define LOW_BYTES ((uint64_t)1 << 30)
#define FULL_BYTES ((uint64_t)16 << 20)
#define ALERT_MAX 900

enum space_level space_level(uint64_t total, uint64_t available)
{
    if (available < FULL_BYTES)
        return SPACE_FULL;
    return available < total / 20 && available < LOW_BYTES ? SPACE_LOW : SPACE_FINE;
}

/* Without the number of bytes that are left: that changes all the time. */
static enum space_level look(const char *path, const char *what, struct buf *text)
{
    enum space_level level;
    struct statvfs st;

    if (statvfs(path, &st) < 0)
        return SPACE_FINE;
    level = space_level((uint64_t)st.f_blocks * st.f_frsize, (uint64_t)st.f_bavail * st.f_frsize);
    if (level != SPACE_FINE)
        buf_printf(text, "%sthe disk of %s (%s) is %s: free some space there",
                   text->len > 0 ? "; " : "", path, what,
                   level == SPACE_FULL ? "full" : "nearly full");
    return level;
}

void space_alert(struct node *node, json_t *row, struct store_txn *txn)
{
    const struct config *c = &node->config;
    const char *before = json_str(row, "alert", "");
    enum space_level state, storage;
    struct buf text;
    const char *now;

    buf_init(&text, ALERT_MAX);
    state = look(c->state_dir, node->controller ? "the controllers' store" : "this host's state",
                 &text);
    storage = look(c->storage_path, "images and servers' disks", &text);
    now = text.len > 0 && !text.failed ? buf_text(&text) : "";
    if (strcmp(now, before) != 0) {
        bool full = state == SPACE_FULL || storage == SPACE_FULL;

        event_add(txn, c,
                  !*now  ? "info"
                  : full ? "critical"
                         : "warning",
                  "host.disk", c->host, "%s", *now ? now : "there is space on the disks again");
        if (*now)
            log_warn("%s", now);
        else
            log_info("there is space on the disks again");
        json_put_str(row, "alert", *now ? now : NULL);
    }
    buf_free(&text);
}
