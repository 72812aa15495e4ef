#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static int64_t read_ms(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t clock_now_ms(void)
{
    return read_ms(CLOCK_BOOTTIME);
}

int64_t clock_wall_ms(void)
{
    return read_ms(CLOCK_REALTIME);
}

static const char *format(int64_t wall_ms, const char *tail, char *out, size_t out_size)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    char stamp[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, out_size, "%s%s", stamp, tail);
    return out;
}

const char *clock_iso(int64_t wall_ms, char *out, size_t out_size)
{
    return format(wall_ms, "Z", out, out_size);
}

const char *clock_iso_us(int64_t wall_ms, char *out, size_t out_size)
{
    char tail[16];

    snprintf(tail, sizeof(tail), ".%06dZ", (int)(wall_ms % 1000) * 1000);
    return format(wall_ms, tail, out, out_size);
}

int64_t clock_parse_iso(const char *text)
{
    struct tm tm, date;
    const char *rest;
    int64_t ms;
    int digits = 100;

    memset(&tm, 0, sizeof(tm));
    rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    if (!rest)
        return -1;
    /* timegm() would make the 1st of March out of the 29th of February of any year. */
    date = (struct tm){.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_mday = tm.tm_mday};
    timegm(&date);
    if (date.tm_mday != tm.tm_mday)
        return -1;
    ms = (int64_t)timegm(&tm) * 1000;
    if (*rest == '.') {
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, digits /= 10)
            ms += (*rest - '0') * digits;
    }
    if (*rest == 'Z')
        rest++;
    return *rest == '\0' ? ms : -1;
}
