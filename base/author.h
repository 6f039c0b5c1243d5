/* SPDX-License-Identifier: Apache-2.0
 * The author of a change: what a stored document says of the client that made it.
 *
 * `name` is what the server knows: the authenticated user, or without users the common name of the client's
 * certificate, or AUTHOR_ANONYMOUS. `on_behalf_of` is what the client says: a tool names the person that uses
 * it. Nothing is decided by an author; permissions are those of struct auth_who. */
#ifndef BASE_AUTHOR_H
#define BASE_AUTHOR_H

#include "base/document.h"

#define AUTHOR_ANONYMOUS   "anonymous"
#define AUTHOR_ADDRESS_MAX 64                  /* bytes */
#define AUTHOR_SIZE_MAX    (3 * TEXT_SIZE_MAX) /* bytes of all three together, before escapes */

/* Every field may be empty: a document of an older version has no author. */
struct author {
    struct slice name;
    struct slice on_behalf_of;
    struct slice address; /* of the client, without its port */
};

/* A copy in the arena. Texts that are no single line of UTF-8, or are too long, become empty: a certificate
 * may hold anything, and a document with such a text could not be read again. */
struct author author_copy(struct arena *a, const struct author *author);
/* Checks on_behalf_of from a client: one line of at most 256 bytes. ERR_INVALID with a sentence. */
MUST_CHECK int author_check(struct slice on_behalf_of, char *error, size_t error_size);
/* The fields "author", "on_behalf_of" and "address" of a document; empty ones are left out. */
void author_read(struct document_reader *r, struct author *ret);
void author_write_members(const struct author *author, struct json_writer *w);

#endif
