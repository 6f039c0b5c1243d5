/* SPDX-License-Identifier: Apache-2.0
 * The member RPC about the listeners of a configuration: query and answer as bytes (base/wire.h). Pure.
 *
 *   query     version (1), namespace, group, name
 *   answer    version (1), member, left out (4), listeners (4),
 *             each: client id, peer, transport, chosen (8), sent (8), applied (8), rejected (8), since (8),
 *             error, labels (4), each: key, value
 *
 * Another version is malformed: its sender counts as silent. */
#ifndef CONFIG_LISTEN_WIRE_H
#define CONFIG_LISTEN_WIRE_H

#include "config/config.h"

struct listen_answer {
    struct slice member;
    size_t left_out; /* number of listeners that had no room */
    const struct config_listener *list;
    size_t count;
};

void listen_write_query(const struct config_id *key, struct buf *out);
/* Writes as many listeners as fit into size_max bytes; the others are added to left_out. */
void listen_write_answer(const struct listen_answer *a, size_t size_max, struct buf *out);
/* ERR_MALFORMED. The query's slices are borrowed, the answer's lie in the arena. */
MUST_CHECK int listen_read_query(struct slice bytes, struct config_id *ret);
MUST_CHECK int listen_read_answer(struct slice bytes, struct arena *a, struct listen_answer *ret);

#endif
