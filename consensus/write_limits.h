/* SPDX-License-Identifier: Apache-2.0
 * Limits of what clients of the registry and the config center write, so that one of them cannot fill the
 * store for all. Not of etcd's API: there etcd's rules are kept to the letter.
 *
 * 1. Bytes a minute of one namespace: a token bucket that holds one minute. Each member counts what comes in
 * by it.
 * 2. A reserve of the store's quota. Contents are refused once less than 1/8 of it is left, registrations
 * once less than 1/16. The rest is for the etcd API and for the process's own writes: instances
 * that are lost, overrides that end, drains. Deletes, ends of leases and changes of members need no room at
 * all. So neither publishing nor registering raises the NOSPACE alarm, and both go on by themselves when
 * there is room again.
 * 3. Compaction under pressure: what is overwritten or deleted takes room until history is compacted. Once
 * the store is 3/4 full, and 1/16 of the quota was written or collected here since the last time, history of
 * more than a minute ago is compacted.
 *
 * Loop thread only. */
#ifndef CONSENSUS_WRITE_LIMITS_H
#define CONSENSUS_WRITE_LIMITS_H

#include "base/buf.h"
#include "consensus/kv.h"

struct write_limits;

enum write_kind { WRITE_CONTENT, WRITE_REGISTRATION };

struct write_limits_options {
    struct kv *kv;
    uint64_t namespace_bytes_per_minute; /* 0 = no limit */
    uint64_t history_ms;                 /* what is younger is not compacted; 0 = a minute */
};
struct write_limits *write_limits_new(const struct write_limits_options *options);
void write_limits_free(struct write_limits *l); /* before the kv is closed; NULL is fine */
void write_limits_turn(struct write_limits *l); /* in each turn, after kv_turn; NULL is fine */

/* Before a write of a client goes out that adds so many bytes; once a write. ns empty: it is of no namespace.
 * ERR_NO_SPACE, ERR_TOO_MANY_REQUESTS with a sentence. l NULL: there are no limits. */
MUST_CHECK int write_limits_admit(struct write_limits *l, enum write_kind kind, struct slice ns, size_t bytes,
                                  char *error, size_t error_size);
/* So many bytes were deleted by the process itself: they are there until history is compacted. */
void write_limits_deleted(struct write_limits *l, size_t bytes);

#endif
