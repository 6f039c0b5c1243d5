/* SPDX-License-Identifier: Apache-2.0
 * The core's values as the text that etcd-io/raft prints. All strings of raft live here. */
#ifndef TESTS_SCENARIO_RENDER_H
#define TESTS_SCENARIO_RENDER_H

#include "consensus/raft/raft.h"
#include "consensus/raft/trace.h"

void render_ids(struct buf *b, const struct raft_ids *ids); /* (1 2 3) */
void render_conf_state(struct buf *b, const struct raft_conf_state *state);
void render_progress(struct buf *b, const struct raft_progress_status *p);
void render_changes(struct buf *b, const struct raft_conf_change *change); /* v1 l2 r3 */
void render_entry(struct buf *b, const struct raft_entry *e);
void render_entries(struct buf *b, const struct raft_entry *entries, size_t count); /* a line each */
void render_message(struct buf *b, const struct raft_message *m);
void render_ready(struct buf *b, const struct raft_ready *rd);
const char *render_role(enum raft_role role);
const char *render_message_type(enum raft_message_type type); /* etcd's name */

enum raft_trace_level render_trace_level(enum raft_trace_kind kind);
void render_trace(struct buf *b, const struct raft_trace *t); /* one line, without its end */

/* "v1 l2 r3 u4"; false and a text when it cannot be read. */
bool parse_changes(const char *text, struct raft_conf_change *change, struct buf *ret_error);
/* The number of a message's name; -1 = unknown. */
int parse_message_type(const char *name);

#endif
