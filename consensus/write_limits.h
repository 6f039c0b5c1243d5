/* SPDX-License-Identifier: Apache-2.0
 * Write limits of the registry and the config center: one client cannot fill the store for all. They do not
 * apply to the etcd API, which has etcd's rules.
 *
 *   1. Bytes a minute of a namespace: a token bucket that holds one minute. Each member counts the writes of
 *      its own clients.
 *   2. A reserve of the store's quota: contents are rejected when less than 1/8 of the quota is left,
 *      registrations when less than 1/16. The reserve is for the etcd API and for the process's own writes
 *      (instances that become lost, overrides that end, drains). Deletes, ends of leases and changes of
 *      members need no room. So neither publishing nor registering raises the NOSPACE alarm, and both work
 *      again when there is room.
 *   3. Compaction under pressure: overwritten and deleted values take room until history is compacted. When
 *      the store is 3/4 full, and 1/16 of the quota was written or deleted here since the last compaction,
 *      history that is older than a minute is compacted.
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
    uint64_t history_ms;                 /* younger history is not compacted; 0 = a minute */
};
struct write_limits *write_limits_new(const struct write_limits_options *options);
void write_limits_free(struct write_limits *l); /* before the kv is closed; NULL is fine */
void write_limits_turn(struct write_limits *l); /* in each turn, after kv_turn; NULL is fine */

/* Call it once before a client's write that adds so many bytes is sent. ns empty: the write belongs to no
 * namespace. ERR_NO_SPACE, ERR_TOO_MANY_REQUESTS with a sentence. l NULL: there are no limits. */
MUST_CHECK int write_limits_admit(struct write_limits *l, enum write_kind kind, struct slice ns, size_t bytes,
                                  char *error, size_t error_size);
/* The process itself has deleted so many bytes. They take room until history is compacted. */
void write_limits_deleted(struct write_limits *l, size_t bytes);

#endif
