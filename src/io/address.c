#include "io/address.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <uv.h>

int address_parse(const char *ip, uint16_t port, struct sockaddr_storage *ret_address,
                  socklen_t *ret_size)
{
    bool v6 = strchr(ip, ':') != NULL;

    memset(ret_address, 0, sizeof(*ret_address));
    if (ret_size)
        *ret_size = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if ((v6 ? uv_ip6_addr(ip, port, (struct sockaddr_in6 *)ret_address)
            : uv_ip4_addr(ip, port, (struct sockaddr_in *)ret_address)) == 0)
        return 0;
    memset(ret_address, 0, sizeof(*ret_address));
    return -EINVAL;
}
