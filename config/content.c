/* SPDX-License-Identifier: Apache-2.0
 * A content's check, digests and encoding; see content.h. */
#include "config/content.h"

#include <stdio.h>

#include "base/document.h"
#include "config/schema/schema.h"

/* The schema was compiled when it was put; one that another client has written may be none. */
static int check_schema(struct content *c)
{
    struct schema *s;
    int err = schema_compile(c->schema, &s, &c->where);
    if (err) {
        c->where = (struct format_error){.line = 1, .column = 1};
        snprintf(c->where.text, sizeof c->where.text,
                 "line 1, column 1: the schema of this configuration is no schema: it must be repaired");
        return err;
    }
    err = schema_check(s, c->format, c->bytes, &c->where);
    schema_free(s);
    return err;
}

static struct digest keyed_digest(const struct content *c, const struct seal_key *key)
{
    uint8_t bytes[SEAL_DIGEST_SIZE];
    seal_digest(key, c->seal.names, c->bytes, bytes);
    return digest_keyed(bytes);
}

static int content_encode(struct content *c)
{
    struct json_writer w = {.out = &c->encoded};
    struct buf sealed = {0};
    int err = OK;
    buf_clear(&c->encoded);
    if (c->seal.key)
        err = seal_add(c->seal.key, c->seal.nonce, c->seal.names, c->bytes, &sealed);
    if (!err)
        document_add_bytes(&w, "content", c->seal.key ? buf_slice(&sealed) : c->bytes);
    buf_done(&sealed);
    return err;
}

void content_run(struct content *c)
{
    c->err = c->is_draft ? OK : format_check(c->format, c->bytes, &c->where);
    if (!c->err && c->schema.size)
        c->err = check_schema(c);
    if (!c->err && !c->is_draft)
        c->digest = c->seal.key ? keyed_digest(c, c->seal.key) : digest_of(c->bytes);
    if (!c->err && !c->is_draft && c->seal.live)
        c->live_digest = c->seal.live == c->seal.key ? c->digest : keyed_digest(c, c->seal.live);
    if (!c->err && (c->does_encode || c->seal.key))
        c->err = content_encode(c);
    c->is_done = true;
}

void content_done(struct content *c)
{
    buf_done(&c->encoded);
    *c = (struct content){0};
}

bool content_is_of(const struct content *c, struct slice bytes, enum format format, int64_t schema_revision,
                   const struct content_seal *seal)
{
    return c->is_done && c->schema_revision == schema_revision && c->bytes.data == bytes.data &&
           c->bytes.size == bytes.size && c->format == format && c->seal.key == seal->key &&
           c->seal.live == seal->live;
}
