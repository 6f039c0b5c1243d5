/* SPDX-License-Identifier: Apache-2.0
 * A content's check, digests and encoding; see content.h. */
#include "config/content.h"

#include "base/document.h"

void content_run(struct content *c)
{
    c->err = c->is_draft ? OK : format_check(c->format, c->bytes, &c->where);
    if (!c->err && !c->is_draft)
        c->digest = digest_of(c->bytes);
    if (!c->err && c->does_encode) {
        struct json_writer w = {.out = &c->encoded};
        buf_clear(&c->encoded);
        document_add_bytes(&w, "content", c->bytes);
    }
    c->is_done = true;
}

void content_done(struct content *c)
{
    buf_done(&c->encoded);
    *c = (struct content){0};
}

bool content_is_of(const struct content *c, struct slice bytes, enum format format)
{
    return c->is_done && c->bytes.data == bytes.data && c->bytes.size == bytes.size && c->format == format;
}
