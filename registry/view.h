/* SPDX-License-Identifier: Apache-2.0
 * JSON of an instance for readers, the same over HTTP and in streams: its document with the override
 * applied. Pure. */
#ifndef REGISTRY_VIEW_H
#define REGISTRY_VIEW_H

#include "registry/catalog.h"

/* Writes one JSON object: id, the document's fields with the effective state and weight, `serving` (it gets
 * traffic), and its revisions. With an override also `override`, and under `registered` the values that it
 * hides. i->doc is not NULL. */
void view_write_instance(const struct catalog_instance *i, struct json_writer *w);

/* Session ids in documents and responses: hexadecimal digits. ERR_MALFORMED. */
MUST_CHECK int view_session_read(struct slice text, int64_t *ret_session);
void view_session_write(int64_t session, struct json_writer *w);

#endif
