#include "model/ip.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int bits_of(const struct ip_addr *addr)
{
    return addr->version == 4 ? 32 : 128;
}

/* Where the family's own bytes begin. */
static size_t offset_of(const struct ip_addr *addr)
{
    return addr->version == 4 ? 12 : 0;
}

int ip_parse(const char *text, struct ip_addr *ret_addr)
{
    struct ip_addr addr = {.version = 4};

    if (!text)
        return -EINVAL;
    if (inet_pton(AF_INET, text, addr.bytes + 12) != 1) {
        addr.version = 6;
        if (inet_pton(AF_INET6, text, addr.bytes) != 1)
            return -EINVAL;
    }
    *ret_addr = addr;
    return 0;
}

const char *ip_format(const struct ip_addr *addr, char *out)
{
    out[0] = '\0';
    inet_ntop(addr->version == 4 ? AF_INET : AF_INET6, addr->bytes + offset_of(addr), out,
              IP_TEXT_SIZE);
    return out;
}

int ip_compare(const struct ip_addr *a, const struct ip_addr *b)
{
    if (a->version != b->version)
        return a->version - b->version;
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

struct ip_addr ip_add(struct ip_addr addr, uint64_t n)
{
    unsigned carry = 0;

    for (size_t i = 16; i-- > offset_of(&addr);) {
        unsigned sum = addr.bytes[i] + (unsigned)(n & 0xff) + carry;

        addr.bytes[i] = (unsigned char)sum;
        carry = sum >> 8;
        n >>= 8;
    }
    return addr;
}

struct ip_addr ip_before(struct ip_addr addr)
{
    for (size_t i = 16; i-- > offset_of(&addr);) {
        if (addr.bytes[i]-- != 0)
            break;
    }
    return addr;
}

uint64_t ip_count(const struct ip_addr *first, const struct ip_addr *last)
{
    unsigned char difference[16];
    uint64_t count = 0;
    int borrow = 0;

    if (first->version != last->version || ip_compare(first, last) > 0)
        return 0;
    for (size_t i = 16; i-- > 0;) {
        int d = last->bytes[i] - first->bytes[i] - borrow;

        borrow = d < 0;
        difference[i] = (unsigned char)d;
    }
    for (size_t i = 0; i < 8; i++) {
        if (difference[i])
            return UINT64_MAX;
    }
    for (size_t i = 8; i < 16; i++)
        count = count << 8 | difference[i];
    return count == UINT64_MAX ? count : count + 1;
}

/* Sets the host bits to `bit`. */
static struct ip_addr with_host_bits(struct ip_addr addr, int prefix, bool bit)
{
    for (int i = prefix; i < bits_of(&addr); i++) {
        unsigned char *byte = &addr.bytes[offset_of(&addr) + (size_t)i / 8];
        unsigned char mask = (unsigned char)(0x80 >> (i % 8));

        *byte = bit ? *byte | mask : *byte & (unsigned char)~mask;
    }
    return addr;
}

int ip_cidr_parse(const char *text, struct ip_cidr *ret_cidr)
{
    char address[IP_TEXT_SIZE];
    const char *slash = text ? strchr(text, '/') : NULL;
    struct ip_cidr cidr;
    size_t size;
    char *end;

    if (!text)
        return -EINVAL;
    size = slash ? (size_t)(slash - text) : strlen(text);
    if (size >= sizeof(address))
        return -EINVAL;
    memcpy(address, text, size);
    address[size] = '\0';
    if (ip_parse(address, &cidr.base) < 0)
        return -EINVAL;
    cidr.prefix = bits_of(&cidr.base);
    if (slash) {
        long prefix;

        if (!isdigit((unsigned char)slash[1]) || strlen(slash + 1) > 3)
            return -EINVAL;
        prefix = strtol(slash + 1, &end, 10);
        if (*end || prefix > cidr.prefix)
            return -EINVAL;
        cidr.prefix = (int)prefix;
    }
    cidr.base = with_host_bits(cidr.base, cidr.prefix, false);
    *ret_cidr = cidr;
    return 0;
}

const char *ip_cidr_format(const struct ip_cidr *cidr, char *out)
{
    char address[IP_TEXT_SIZE];

    snprintf(out, IP_CIDR_TEXT_SIZE, "%s/%d", ip_format(&cidr->base, address), cidr->prefix & 0xff);
    return out;
}

bool ip_cidr_contains(const struct ip_cidr *cidr, const struct ip_addr *addr)
{
    struct ip_addr base;

    if (cidr->base.version != addr->version)
        return false;
    base = with_host_bits(*addr, cidr->prefix, false);
    return ip_compare(&base, &cidr->base) == 0;
}

bool ip_cidr_overlaps(const struct ip_cidr *a, const struct ip_cidr *b)
{
    return a->prefix <= b->prefix ? ip_cidr_contains(a, &b->base) : ip_cidr_contains(b, &a->base);
}

struct ip_addr ip_cidr_last(const struct ip_cidr *cidr)
{
    return with_host_bits(cidr->base, cidr->prefix, true);
}

static bool is_tiny(const struct ip_cidr *cidr)
{
    return cidr->prefix >= bits_of(&cidr->base) - 1;
}

struct ip_addr ip_cidr_first_host(const struct ip_cidr *cidr)
{
    return is_tiny(cidr) ? cidr->base : ip_add(cidr->base, 1);
}

struct ip_addr ip_cidr_last_host(const struct ip_cidr *cidr)
{
    struct ip_addr last = ip_cidr_last(cidr);

    return is_tiny(cidr) || last.version == 6 ? last : ip_before(last);
}

bool ip_cidr_is_host(const struct ip_cidr *cidr, const struct ip_addr *addr)
{
    struct ip_addr first = ip_cidr_first_host(cidr), last = ip_cidr_last_host(cidr);

    return ip_cidr_contains(cidr, addr) && ip_compare(&first, addr) <= 0 &&
           ip_compare(addr, &last) <= 0;
}

int ip_next_free(const struct ip_addr *first, const struct ip_addr *last,
                 const struct ip_addr *start, uint64_t tries,
                 bool (*used)(void *arg, const struct ip_addr *addr), void *arg,
                 struct ip_addr *ret_addr)
{
    uint64_t count = ip_count(first, last);
    struct ip_addr at = *start;

    if (ip_compare(&at, first) < 0 || ip_compare(&at, last) > 0)
        at = *first;
    for (uint64_t i = 0; i < count && i < tries; i++) {
        if (!used(arg, &at)) {
            *ret_addr = at;
            return 0;
        }
        at = ip_compare(&at, last) == 0 ? *first : ip_add(at, 1);
    }
    return -ENOSPC;
}
