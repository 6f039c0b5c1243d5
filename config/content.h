/* SPDX-License-Identifier: Apache-2.0
 * What is worked out of a content once, before it is written: whether it is well formed, its digests, and how
 * it stands in a release's document. Pure: it may run on any thread. */
#ifndef CONFIG_CONTENT_H
#define CONFIG_CONTENT_H

#include "base/buf.h"
#include "config/digest.h"
#include "config/format/format.h"

struct content {
    struct slice bytes; /* borrowed */
    enum format format;
    bool is_draft;    /* the format is not checked, and no digest is needed */
    bool does_encode; /* `encoded` is wanted */
    /* Once it has run: */
    bool is_done;
    int err; /* OK; ERR_MALFORMED: where says what is wrong, and nothing else is there */
    struct format_error where;
    struct digest digest;
    struct buf encoded; /* members of a document, "content" and "base64" */
};

void content_run(struct content *c);
void content_done(struct content *c);
/* It has run for these bytes, this format. Bytes are compared by their place: they must not have changed. */
bool content_is_of(const struct content *c, struct slice bytes, enum format format);

#endif
