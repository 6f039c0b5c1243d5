/* SPDX-License-Identifier: Apache-2.0
 * The cluster's configuration in the store: who votes, who learns, both halves while it is joint. Written in
 * the transaction of the entry that made it, read at start; a snapshot of the store carries it along.
 *
 * META "conf_state": auto_leave (one byte), then voters, outgoing voters, learners, learners to be: for each
 * a count (4 bytes) and ids (8 bytes each), big-endian. */
#ifndef CONSENSUS_NODE_CONF_STORE_H
#define CONSENSUS_NODE_CONF_STORE_H

#include "consensus/raft/message.h"

struct store;

/* Inside store_begin and store_end. */
void conf_store_save(struct store *s, const struct raft_conf_state *conf);
/* ERR_NOT_FOUND, ERR_CORRUPT. */
MUST_CHECK int conf_store_load(struct store *s, struct raft_conf_state *ret_conf);

#endif
