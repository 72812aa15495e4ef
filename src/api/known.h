/* What the API has worked out and what stays true while the rows do not change that it was worked
 * out from: who the bearer of a token is, and the texts of whole lists.
 *
 * Concept.   A dashboard, a Terraform or a monitor asks the same again and again, and rows change
 *            seldom beside that. Everything here is a function of rows. The mirror notes which
 *            tables a request reads, and it is forgotten as soon as one of those has another
 *            version; nothing has to be declared void by hand. So users, roles and tokens stay
 *            known while servers come and go.
 * Safety.    Lookups happen after the request's barrier and after its token was checked, so an
 *            answer from here is as linearizable as one that is worked out. Time is no row: the end
 *            of a token's life is checked at each use, and only answers that do not depend on the
 *            time are kept. Keys are hashes (BLAKE2b) of all that an answer
 *            depends on; tokens themselves are not kept.
 * Limits.    Some hundred bearers, KNOWN_ANSWERS_BYTES of texts.
 * Threads.   The loop's only. */
#ifndef VLING_API_KNOWN_H
#define VLING_API_KNOWN_H

#include "api/internal.h"
#include "api/token.h"

#define KNOWN_ANSWERS_BYTES (4 * 1024 * 1024)

struct known;

struct known_bearer {
    struct token token;
    struct api_auth auth;
};

struct known *known_new(struct mirror *mirror);
void known_free(struct known *known);

/* The bearer of that token as far as it is known, or NULL; borrowed until rows change. Counts the
 * tables that it was worked out from as read (mirror_reads). */
const struct known_bearer *known_bearer(struct known *known, const char *text);
/* Takes a reference of the token's view in `bearer`, which must not be changed any more. It follows
 * from the tables that were read up to now, since mirror_reads_begin(). */
void known_put_bearer(struct known *known, const char *text, const struct known_bearer *bearer);

/* Answers with 200 and the text that is known for `req` (its path, query, tokens, microversion and
 * links); false: it has to be worked out. */
bool known_recall(struct api_req *req);
/* Makes a text of the handler's answer and keeps it; what it follows from as in known_put_bearer.
 */
void known_keep(struct api_req *req);

#endif
