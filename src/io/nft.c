#include "io/nft.h"

#include "io/netns.h"

#include <errno.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>

struct run {
    const char *text;
    char *why;
    size_t why_size;
    struct buf *output;
};

static int run(void *arg)
{
    struct run *job = arg;
    struct nft_ctx *ctx =
        nft_ctx_new(NFT_CTX_DEFAULT); /* its socket is of this thread's namespace */
    int rc = 0;

    if (!ctx)
        return -ENOMEM;
    nft_ctx_buffer_output(ctx);
    nft_ctx_output_set_flags(ctx, NFT_CTX_OUTPUT_NUMERIC_PROTO); /* listings are read by programs */
    nft_ctx_buffer_error(ctx);
    errno = 0;
    if (nft_run_cmd_from_buffer(ctx, job->text) != 0) {
        rc = errno ? -errno : -EINVAL;
        if (job->why && job->why_size)
            snprintf(job->why, job->why_size, "%.*s",
                     (int)strcspn(nft_ctx_get_error_buffer(ctx), "\n"),
                     nft_ctx_get_error_buffer(ctx));
    } else if (job->output) {
        buf_str(job->output, nft_ctx_get_output_buffer(ctx));
    }
    nft_ctx_free(ctx);
    return rc;
}

int nft_apply(int netns_fd, const char *ruleset, char *why, size_t why_size)
{
    struct run job = {.text = ruleset, .why = why, .why_size = why_size};

    if (why && why_size)
        why[0] = 0;
    return netns_run(netns_fd, run, &job);
}

int nft_list(int netns_fd, const char *command, struct buf *ret)
{
    struct run job = {.text = command, .output = ret};
    int rc = netns_run(netns_fd, run, &job);

    return rc == 0 && ret->failed ? -ENOMEM : rc;
}
