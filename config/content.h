/* SPDX-License-Identifier: Apache-2.0
 * A content's check: is it well formed, its digests, and its encoding in a release's document. Done once
 * before a write. Pure: it may run on any thread. */
#ifndef CONFIG_CONTENT_H
#define CONFIG_CONTENT_H

#include "base/buf.h"
#include "config/digest.h"
#include "config/format/format.h"
#include "config/seal/keys.h"

/* How a content is stored sealed. All borrowed. */
struct content_seal {
    const struct seal_key *key;  /* NULL = it is stored in clear */
    const struct seal_key *live; /* key of the live release's digest; NULL = that is clear, or not known */
    struct slice names;          /* seal_add_names */
    uint8_t nonce[SEAL_NONCE_SIZE];
};

struct content {
    struct slice bytes; /* borrowed */
    enum format format;
    struct slice schema; /* the JSON Schema that it must fit; empty = none. Borrowed */
    int64_t schema_revision;
    bool is_draft;    /* the format is not checked, and no digest is needed */
    bool does_encode; /* also fill `encoded`; a sealed content always does */
    struct content_seal seal;
    /* Set by content_run: */
    bool is_done;
    int err; /* OK; ERR_MALFORMED: not well formed, or not as the schema asks: `where` has the place, and the fields below are not set */
    struct format_error where;
    struct digest digest;      /* keyed if it is sealed */
    struct digest live_digest; /* with seal.live: as the live release's */
    struct buf encoded;        /* the fields "content" and "base64" of a document, sealed if it is */
};

void content_run(struct content *c);
void content_done(struct content *c);
/* True: content_run has run for these bytes, this format, the schema of this revision (0 = none) and these keys.
 * Compares the bytes' address, not the bytes. */
bool content_is_of(const struct content *c, struct slice bytes, enum format format, int64_t schema_revision,
                   const struct content_seal *seal);

#endif
