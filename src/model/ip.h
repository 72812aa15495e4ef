/* IPv4 and IPv6 addresses and prefixes as numbers: pure arithmetic, nothing is looked up.
 * All functions that parse return 0 or -EINVAL and leave `ret_` parameters untouched on failure. */
#ifndef VLING_MODEL_IP_H
#define VLING_MODEL_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_TEXT_SIZE 46 /* an address with the terminating zero */
#define IP_CIDR_TEXT_SIZE 50

/* Big-endian, IPv4 in the last four bytes, so that all addresses of one family compare and count
 * in the same way. */
struct ip_addr {
    int version; /* 4 or 6 */
    unsigned char bytes[16];
};

struct ip_cidr {
    struct ip_addr base; /* host bits are zero */
    int prefix;          /* 0..32 or 0..128 */
};

int ip_parse(const char *text, struct ip_addr *ret_addr);
/* The canonical text (RFC 5952) into `out` (IP_TEXT_SIZE); returns `out`. */
const char *ip_format(const struct ip_addr *addr, char *out);
/* <0, 0, >0; IPv4 sorts before IPv6. */
int ip_compare(const struct ip_addr *a, const struct ip_addr *b);
/* addr + n; wraps around at the end of the family's space. */
struct ip_addr ip_add(struct ip_addr addr, uint64_t n);
struct ip_addr ip_before(struct ip_addr addr);
/* How many addresses there are from `first` to `last`, both counted; 0 if last is before first or
 * of another family; UINT64_MAX if there are more than that. */
uint64_t ip_count(const struct ip_addr *first, const struct ip_addr *last);

/* "10.0.0.5/24": host bits are cleared. A bare address gets the longest prefix. */
int ip_cidr_parse(const char *text, struct ip_cidr *ret_cidr);
const char *ip_cidr_format(const struct ip_cidr *cidr, char *out); /* IP_CIDR_TEXT_SIZE */
bool ip_cidr_contains(const struct ip_cidr *cidr, const struct ip_addr *addr);
bool ip_cidr_overlaps(const struct ip_cidr *a, const struct ip_cidr *b);
struct ip_addr ip_cidr_last(const struct ip_cidr *cidr); /* all host bits one: IPv4's broadcast */
/* What hosts may have: without the network's own address and IPv4's broadcast address; all of /31,
 * /32, /127 and /128. */
struct ip_addr ip_cidr_first_host(const struct ip_cidr *cidr);
struct ip_addr ip_cidr_last_host(const struct ip_cidr *cidr);
bool ip_cidr_is_host(const struct ip_cidr *cidr, const struct ip_addr *addr);

/* The first address that is not `used`, looking from `start` to `last` and then from `first`. At
 * most `tries` addresses are looked at. 0 or -ENOSPC. */
int ip_next_free(const struct ip_addr *first, const struct ip_addr *last,
                 const struct ip_addr *start, uint64_t tries,
                 bool (*used)(void *arg, const struct ip_addr *addr), void *arg,
                 struct ip_addr *ret_addr);

#endif
