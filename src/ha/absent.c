#include "ha/absent.h"

#include <string.h>

void absents_begin(struct absents *absents)
{
    for (size_t i = 0; i < absents->count; i++)
        absents->list[i].seen = false;
}

static struct absent *find(struct absents *absents, const char *host, int64_t now)
{
    struct absent *absent;

    for (size_t i = 0; i < absents->count; i++) {
        if (strcmp(absents->list[i].host, host) == 0)
            return &absents->list[i];
    }
    if (absents->count == ABSENTS_MAX || strlen(host) >= ABSENT_NAME_SIZE)
        return NULL;
    absent = &absents->list[absents->count++];
    *absent = (struct absent){.since = now};
    memcpy(absent->host, host, strlen(host));
    return absent;
}

int64_t absents_see(struct absents *absents, const char *host, bool leased, int64_t now)
{
    struct absent *absent = find(absents, host, now);

    if (!absent)
        return 0;
    absent->seen = true;
    if (leased)
        absent->since = now;
    return now - absent->since;
}

void absents_end(struct absents *absents)
{
    size_t kept = 0;

    for (size_t i = 0; i < absents->count; i++) {
        if (absents->list[i].seen)
            absents->list[kept++] = absents->list[i];
    }
    absents->count = kept;
}
