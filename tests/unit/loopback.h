/* Addresses of the loopback network that this process alone uses: on them every port is free, also
 * while another test, or the same one of another build, runs beside it. */
#ifndef VLING_TESTS_LOOPBACK_H
#define VLING_TESTS_LOOPBACK_H

#include <stdio.h>
#include <unistd.h>

#define LOOPBACK_SIZE 16

/* One of four; a process id has at most 22 bits. */
static inline void loopback_ip(unsigned which, char ret[LOOPBACK_SIZE])
{
    unsigned bits = ((unsigned)getpid() << 2 | which) & 0xffffffu;

    snprintf(ret, LOOPBACK_SIZE, "127.%u.%u.%u", bits >> 16, bits >> 8 & 0xff, bits & 0xff);
}

#endif
