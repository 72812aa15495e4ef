/* Packet filter rules through libnftables: a text is applied as a whole or not at all. */
#ifndef VLING_IO_NFT_H
#define VLING_IO_NFT_H

#include "base/buf.h"

/* Applies `ruleset` in namespace `netns_fd` (-1: the caller's own). 0 or -errno; `why` (may be
 * NULL) gets the first line of what libnftables says. */
int nft_apply(int netns_fd, const char *ruleset, char *why, size_t why_size);

/* The output of a listing command ("list tables bridge") into `ret`. 0 or -errno. */
int nft_list(int netns_fd, const char *command, struct buf *ret);

#endif
