/* SPDX-License-Identifier: Apache-2.0
 * Idempotency keys: the answer to a write, stored in the write's own transaction under a key of the client's
 * choice. A repeated request finds the record and gets the first answer; it changes nothing.
 *
 * - A record is at IDEMPOTENCY_PREFIX<digest of the user>/<digest of the key>: keys of users are separate. It
 *   holds a digest of the request, the answer without its revision, and the time. The revision of the answer
 *   is the record's own, because both come from one transaction.
 * - The transaction compares that there is no record. So of two requests with one key, at any members, one
 *   has an effect.
 * - Records live for 24 h by the clock of the member that wrote them; then the leader deletes them. While
 *   there are too many (the limits below), a request with a new key is refused: an early deletion would
 *   break the promise.
 *
 * Every member counts the records with a feed. Members may pass a limit together by a little. Loop thread
 * only. */
#ifndef CONSENSUS_IDEMPOTENCY_H
#define CONSENSUS_IDEMPOTENCY_H

#include "base/mem.h"
#include "consensus/kv.h"
#include "proto/txn.h"

#define IDEMPOTENCY_PREFIX       "/cairn/idempotency/"
#define IDEMPOTENCY_DIGEST_SIZE  64 /* hexadecimal digits */
#define IDEMPOTENCY_KEY_SIZE     (sizeof IDEMPOTENCY_PREFIX - 1 + 32 + 1 + IDEMPOTENCY_DIGEST_SIZE)
#define IDEMPOTENCY_ANSWER_MAX   (64u << 10) /* bytes of one answer */
#define IDEMPOTENCY_COUNT_MAX    100000      /* records; half of it of one user */
#define IDEMPOTENCY_BYTES_MAX    (64u << 20) /* of keys and values */
#define IDEMPOTENCY_RETENTION_MS (UINT64_C(24) * 3600 * 1000)
#define IDEMPOTENCY_OPS          1 /* that a record adds to its transaction, above --max-txn-ops */

struct idempotency;

struct idempotency_options {
    struct kv *kv;
    uint64_t retention_ms, count_max, bytes_max; /* 0 = the constants above */
};
struct idempotency *idempotency_new(const struct idempotency_options *options);
void idempotency_free(struct idempotency *i); /* before the kv is closed; NULL is fine */
void idempotency_turn(struct idempotency *i); /* in each turn, after kv_turn; NULL is fine */

/* The store's key of a user's key. */
void idempotency_add_key(struct slice user, struct slice key, struct buf *out);
/* OK, or with a sentence: ERR_QUOTA, there is no room for another record with this key; ERR_UNIMPLEMENTED, a
 * member of an older version would carry out a repeated request once more. NULL has room. */
MUST_CHECK int idempotency_admit(const struct idempotency *i, struct slice store_key, char *error,
                                 size_t error_size);

struct idempotency_record {
    struct slice digest; /* of the request */
    int64_t time_ms;
    struct slice answer;
};
/* Adds the condition and the record to a transaction's first branch. key and answer are borrowed. Sets the
 * record's time. */
void idempotency_put(struct txn *t, struct io *io, struct slice key, const struct idempotency_record *r);
/* Its slices lie in the arena. ERR_MALFORMED, ERR_INVALID. */
MUST_CHECK int idempotency_read(struct slice text, struct arena *a, struct idempotency_record *ret);

/* For tests and metrics. */
size_t idempotency_count(const struct idempotency *i);
uint64_t idempotency_bytes(const struct idempotency *i);

#endif
