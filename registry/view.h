/* SPDX-License-Identifier: Apache-2.0
 * How an instance is shown to readers, the same over HTTP and in streams: what it registered, with the
 * operator's word applied. Pure. */
#ifndef REGISTRY_VIEW_H
#define REGISTRY_VIEW_H

#include "registry/catalog.h"

/* One JSON object: id, the document's fields with the effective state and weight, `serving` (traffic may go
 * to it), its revisions; where an operator spoke, `override` and under `registered` what it hides. i->doc is
 * not NULL. */
void view_write_instance(const struct catalog_instance *i, struct json_writer *w);

/* Session ids as they stand in documents and answers: hexadecimal digits. ERR_MALFORMED. */
MUST_CHECK int view_session_read(struct slice text, int64_t *ret_session);
void view_session_write(int64_t session, struct json_writer *w);

#endif
