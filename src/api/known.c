#include "api/known.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define KEY_SIZE 32
#define BEARERS 256 /* by the first byte of the key: a newer one takes the place */
#define ANSWERS 256

/* What something follows from: it holds while these tables have that version. */
struct basis {
    mirror_tables tables;
    uint64_t version;
};

struct bearer {
    unsigned char key[KEY_SIZE];
    struct basis basis;
    struct known_bearer known;
};

struct answer {
    unsigned char key[KEY_SIZE];
    struct basis basis;
    size_t size;
    char text[];
};

struct known {
    struct mirror *mirror;
    struct bearer *bearers[BEARERS];
    struct answer *answers[ANSWERS];
    size_t answers_size;
};

static void forget_bearer(struct bearer **at)
{
    if (*at)
        json_decref((*at)->known.auth.token);
    free(*at);
    *at = NULL;
}

static void forget_answer(struct known *known, struct answer **at)
{
    if (*at)
        known->answers_size -= (*at)->size;
    free(*at);
    *at = NULL;
}

static void forget_answers(struct known *known)
{
    for (size_t i = 0; i < ANSWERS; i++)
        forget_answer(known, &known->answers[i]);
}

static struct basis basis_now(const struct known *known)
{
    mirror_tables tables = mirror_reads(known->mirror);

    return (struct basis){.tables = tables, .version = mirror_version(known->mirror, tables)};
}

static bool holds(const struct known *known, const struct basis *basis)
{
    return mirror_version(known->mirror, basis->tables) == basis->version;
}

struct known *known_new(struct mirror *mirror)
{
    struct known *known = calloc(1, sizeof(*known));

    if (known)
        known->mirror = mirror;
    return known;
}

void known_free(struct known *known)
{
    if (!known)
        return;
    for (size_t i = 0; i < BEARERS; i++)
        forget_bearer(&known->bearers[i]);
    forget_answers(known);
    free(known);
}

/* ---- bearers ---- */

static struct bearer **bearer_place(struct known *known, const char *text,
                                    unsigned char key[KEY_SIZE])
{
    crypto_generichash(key, KEY_SIZE, (const unsigned char *)text, strlen(text), NULL, 0);
    return &known->bearers[key[0]];
}

const struct known_bearer *known_bearer(struct known *known, const char *text)
{
    unsigned char key[KEY_SIZE];
    const struct bearer *bearer = *bearer_place(known, text, key);

    if (!bearer || memcmp(bearer->key, key, KEY_SIZE) != 0 || !holds(known, &bearer->basis))
        return NULL;
    mirror_reads_add(known->mirror, bearer->basis.tables);
    return &bearer->known;
}

void known_put_bearer(struct known *known, const char *text, const struct known_bearer *bearer)
{
    unsigned char key[KEY_SIZE];
    struct bearer **at = bearer_place(known, text, key);

    forget_bearer(at);
    *at = malloc(sizeof(**at));
    if (!*at)
        return;
    memcpy((*at)->key, key, KEY_SIZE);
    (*at)->basis = basis_now(known);
    (*at)->known = *bearer;
    json_incref((*at)->known.auth.token);
}

/* ---- answers ---- */

static void add(crypto_generichash_state *hash, const char *text)
{
    /* With the zero, so that two texts cannot run into each other. */
    crypto_generichash_update(hash, (const unsigned char *)text, strlen(text) + 1);
}

static void add_argument(void *arg, const char *name, const char *value)
{
    add(arg, name);
    add(arg, value);
}

static void add_header(crypto_generichash_state *hash, const struct api_req *req, const char *name)
{
    const char *value = http_header(req->http, name);

    add(hash, value ? value : "");
}

/* All that an answer follows from, beside the rows. */
static struct answer **answer_place(struct known *known, const struct api_req *req,
                                    unsigned char key[KEY_SIZE])
{
    crypto_generichash_state hash;

    crypto_generichash_init(&hash, NULL, 0, KEY_SIZE);
    add(&hash, req->service->name);
    add(&hash, req->path);
    add(&hash, req->base_url);
    add_header(&hash, req, "X-Auth-Token");
    add_header(&hash, req, "X-Subject-Token");
    crypto_generichash_update(&hash, (const unsigned char *)&req->microversion,
                              sizeof(req->microversion));
    http_query_each(req->http, add_argument, &hash);
    crypto_generichash_final(&hash, key, KEY_SIZE);
    return &known->answers[key[0]];
}

/* Steals `text`. */
static void reply_text(struct api_req *req, char *text)
{
    req->status = 200;
    req->raw = text;
    req->raw_type = "application/json";
}

bool known_recall(struct api_req *req)
{
    unsigned char key[KEY_SIZE];
    struct known *known = api_known(req->api);
    const struct answer *answer = *answer_place(known, req, key);
    char *text = NULL;

    if (answer && memcmp(answer->key, key, KEY_SIZE) == 0 && holds(known, &answer->basis))
        text = strdup(answer->text);
    if (text)
        reply_text(req, text);
    return text;
}

static void put_answer(struct known *known, struct api_req *req, const char *text)
{
    size_t size = sizeof(struct answer) + strlen(text) + 1;
    unsigned char key[KEY_SIZE];
    struct answer **at = answer_place(known, req, key);

    forget_answer(known, at);
    if (size > KNOWN_ANSWERS_BYTES)
        return;
    if (known->answers_size + size > KNOWN_ANSWERS_BYTES)
        forget_answers(known);
    *at = malloc(size);
    if (!*at)
        return;
    memcpy((*at)->key, key, KEY_SIZE);
    memcpy((*at)->text, text, strlen(text) + 1);
    (*at)->basis = basis_now(known);
    (*at)->size = size;
    known->answers_size += size;
}

void known_keep(struct api_req *req)
{
    char *text = json_dumps(req->reply, JSON_COMPACT);

    if (!text)
        return;
    put_answer(api_known(req->api), req, text);
    reply_text(req, text);
}
