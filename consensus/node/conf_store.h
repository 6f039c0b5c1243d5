/* SPDX-License-Identifier: Apache-2.0
 * Raft configuration in the store: voters and learners, both halves while it is joint. It is written in the
 * transaction of the entry that made it, and read at start. A snapshot of the store contains it.
 *
 * META "conf_state", all integers big-endian:
 *   auto_leave 1 | voters | outgoing voters | learners | next learners
 *   each list: count 4, then ids, 8 bytes each */
#ifndef CONSENSUS_NODE_CONF_STORE_H
#define CONSENSUS_NODE_CONF_STORE_H

#include "consensus/raft/message.h"

#define CONF_STORE_KEY "conf_state"

struct store;

/* The value of the row. ERR_CORRUPT. */
MUST_CHECK int conf_store_read(struct slice value, struct raft_conf_state *ret_conf);
void conf_store_write(const struct raft_conf_state *conf, struct buf *out);

/* Inside store_begin and store_end. */
void conf_store_save(struct store *s, const struct raft_conf_state *conf);
/* ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO; then *ret_conf is unchanged. */
MUST_CHECK int conf_store_load(struct store *s, struct raft_conf_state *ret_conf);

#endif
