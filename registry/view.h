/* SPDX-License-Identifier: Apache-2.0
 * JSON of an instance for readers, the same over HTTP and in streams: its document with the override
 * and what it inherits applied. Pure. */
#ifndef REGISTRY_VIEW_H
#define REGISTRY_VIEW_H

#include "registry/inherit.h"

/* Writes one JSON object: id, the document's fields with the effective state and weight, `serving` (it gets
 * traffic), and its revisions. With an override also `override`, and under `registered` the values that it
 * hides. `metadata` has also what the instance inherits: then `inherited` names those keys, and `settings_revision`
 * the settings. i->doc is not NULL. */
void view_write_instance(const struct catalog_instance *i, const struct inheritance *inherited,
                         struct json_writer *w);

/* Session ids in documents and responses: hexadecimal digits. ERR_MALFORMED. */
MUST_CHECK int view_session_read(struct slice text, int64_t *ret_session);
void view_session_write(int64_t session, struct json_writer *w);

#endif
