/* Socket addresses from text: nothing is looked up. Threads: any; the calls share nothing. */
#ifndef VLING_IO_ADDRESS_H
#define VLING_IO_ADDRESS_H

#include <stdint.h>
#include <sys/socket.h>

/* The IPv4 or IPv6 literal `ip` and the port, as bind(), connect() and sendto() want them; the size
 * is that of the family's address (`ret_size` may be NULL). 0, or -EINVAL and an address of no
 * family, which is nobody's. */
int address_parse(const char *ip, uint16_t port, struct sockaddr_storage *ret_address,
                  socklen_t *ret_size);

#endif
