/* Passwords: bcrypt, computed by worker threads.
 *
 * A handler asks; when the answer is not known yet it returns, a thread computes, and the handler
 * runs again and finds the answer remembered in its call. What is remembered is a function of
 * phrase and setting only, so it stays true however the rows changed meanwhile. */
#include "api/internal.h"

#include <crypt.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

/* Cuts at bcrypt's 72 bytes as Keystone does. */
void api_hash_run(struct api_hash *hash)
{
    struct crypt_data data;
    const char *result;

    memset(&data, 0, sizeof(data));
    result = crypt_r(hash->phrase, hash->setting, &data);
    snprintf(hash->result, sizeof(hash->result), "%s", result && result[0] != '*' ? result : "*");
    sodium_memzero(&data, sizeof(data));
}

static int new_setting(unsigned cost, char *out, size_t size)
{
    return crypt_gensalt_rn("$2b$", cost, NULL, 0, out, (int)size) ? 0 : -errno;
}

static void hash_last(struct api_req *req)
{
    struct api_call *call = api_call_of(req);

    api_hash_run(&call->hashes[call->hash_count - 1]);
}

/* Starts one more hashing; its result is there when the handler runs again. */
static int ask(struct api_req *req, const char *phrase, const char *setting, bool fresh)
{
    struct api_call *call = api_call_of(req);
    unsigned cost = api_get_options(req->api)->password_cost;
    struct api_hash *hash;

    if (call->hash_count == API_HASHES_MAX)
        call->hash_count = 0; /* the row's hash changed under us: forget the oldest answers */
    hash = &call->hashes[call->hash_count];
    memset(hash, 0, sizeof(*hash));
    hash->fresh = fresh;
    snprintf(hash->phrase, sizeof(hash->phrase), "%s", phrase);
    if (setting)
        snprintf(hash->setting, sizeof(hash->setting), "%s", setting);
    else if (new_setting(cost ? cost : API_PASSWORD_COST, hash->setting, sizeof(hash->setting)) < 0)
        return -EINVAL;
    call->hash_count++;
    api_work(req, hash_last);
    return -EINPROGRESS;
}

int api_password_check(struct api_req *req, const char *phrase, const char *hash)
{
    struct api_call *call = api_call_of(req);

    if (strlen(phrase) > API_PASSWORD_MAX)
        return -EINVAL;
    for (size_t i = 0; i < call->hash_count; i++) {
        struct api_hash *known = &call->hashes[i];

        if (known->fresh || strcmp(known->phrase, phrase) != 0 ||
            strcmp(known->setting, hash) != 0 || !known->result[0])
            continue;
        return strlen(known->result) == strlen(hash) &&
               sodium_memcmp(known->result, hash, strlen(hash)) == 0;
    }
    return ask(req, phrase, hash, false);
}

int api_password_hash(struct api_req *req, const char *phrase, const char **ret_hash)
{
    struct api_call *call = api_call_of(req);

    if (!phrase[0] || strlen(phrase) > API_PASSWORD_MAX)
        return -EINVAL;
    for (size_t i = 0; i < call->hash_count; i++) {
        struct api_hash *known = &call->hashes[i];

        if (!known->fresh || strcmp(known->phrase, phrase) != 0 || !known->result[0])
            continue;
        if (known->result[0] == '*')
            return -EINVAL;
        *ret_hash = known->result;
        return 0;
    }
    return ask(req, phrase, NULL, true);
}

int api_hash_now(const char *phrase, unsigned cost, char *out, size_t out_size)
{
    struct api_hash hash = {.fresh = true};
    int rc;

    if (!phrase[0] || strlen(phrase) > API_PASSWORD_MAX)
        return -EINVAL;
    snprintf(hash.phrase, sizeof(hash.phrase), "%s", phrase);
    rc = new_setting(cost, hash.setting, sizeof(hash.setting));
    if (rc == 0)
        api_hash_run(&hash);
    if (rc == 0 && hash.result[0] == '*')
        rc = -EINVAL;
    snprintf(out, out_size, "%s", hash.result);
    sodium_memzero(&hash, sizeof(hash));
    return rc;
}
