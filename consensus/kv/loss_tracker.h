/* SPDX-License-Identifier: Apache-2.0
 * Which proposals a loss of the leader (or of the connection to it) concerns, and when it is certain that
 * they are lost. Pure: no clock, no raft, no requests; dropped_proposals.c feeds it.
 *
 *   state     event                                                  next state
 *   any       a loss, and a request that was handed over waits       NOTED
 *   NOTED     the query is due, another member leads: it is sent     QUERIED
 *   NOTED     the query is due, this member leads                    KNOWN
 *   QUERIED   the answer: how far the leader's log reaches           KNOWN
 *   QUERIED   500 ms without an answer: the query is due again       as in NOTED
 *   KNOWN     this member has applied as far                         NONE; those before the loss are lost
 *   any       all that were handed over before the loss have ended   NONE
 *
 * Numbers are those of requests (request_ring.h), times are milliseconds, indices are those of the log. */
#ifndef CONSENSUS_KV_LOSS_TRACKER_H
#define CONSENSUS_KV_LOSS_TRACKER_H

#include <stdbool.h>
#include <stdint.h>

enum kv_loss_state { KV_LOSS_NONE, KV_LOSS_NOTED, KV_LOSS_QUERIED, KV_LOSS_KNOWN };

struct kv_loss_tracker {
    uint64_t handed; /* requests with lower numbers were handed to raft */
    uint64_t before; /* those were handed to raft before the loss */
    uint64_t due_ms; /* when the leader is queried (again) */
    uint64_t number; /* of the query that is under way */
    uint64_t index;  /* the end of the leader's log */
    enum kv_loss_state state;
    int err; /* what lost requests end with */
};

/* Requests with numbers below next are handed to raft. */
void kv_loss_note_handed(struct kv_loss_tracker *t, uint64_t next);
/* A loss; the leader is queried from due_ms on. Nothing happens if no request below `handed` waits: oldest is
 * the lowest number that waits. */
void kv_loss_note(struct kv_loss_tracker *t, uint64_t oldest, int err, uint64_t due_ms);
/* True: query the leader now. Then it is due again 500 ms later, if no answer has come. */
bool kv_loss_is_query_due(struct kv_loss_tracker *t, uint64_t oldest, uint64_t now_ms);
void kv_loss_queried(struct kv_loss_tracker *t, uint64_t number);
/* The answer to query `number`: another one is not heard. */
void kv_loss_answered(struct kv_loss_tracker *t, uint64_t number, uint64_t index);
/* Without a query: this member leads and its log ends at index. */
void kv_loss_known(struct kv_loss_tracker *t, uint64_t index);
/* True, once: requests below `before` that still wait are lost and end with `err`. */
bool kv_loss_is_certain(struct kv_loss_tracker *t, uint64_t applied_index);

#endif
