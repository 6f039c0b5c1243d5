/* SPDX-License-Identifier: Apache-2.0
 * A model of the store that keeps every revision, and computes etcd's response at each. All keys are known
 * from the start, transactions are added in the order of their revisions.
 */
#ifndef TESTS_CHECK_TIMELINE_H
#define TESTS_CHECK_TIMELINE_H

#include "tests/check/history.h"

struct timeline_key {
    struct slice key;
    struct history_kv *versions; /* by mod; version 0 = deleted */
    size_t count, capacity;
};

struct timeline {
    struct timeline_key *keys; /* sorted */
    size_t key_count;
    int64_t revision; /* the last; 1 when empty */
};

/* Sorts keys, which may repeat. They must live as long as the timeline. */
void timeline_init(struct timeline *t, struct slice *keys, size_t count);
void timeline_done(struct timeline *t);
/* The changes of revision + 1. The model counts their create, mod and version itself and ignores the given
 * values. */
void timeline_append(struct timeline *t, const struct history_change *changes, size_t count);
/* The pair of a key at a revision; false when it has none. */
bool timeline_get(const struct timeline *t, struct slice key, int64_t at, struct history_kv *ret_kv);
/* The latest version of a key at a revision, deleted or not; NULL when it never existed. */
const struct history_kv *timeline_version(const struct timeline *t, struct slice key, int64_t at);

/* Executes a put, range, delete or transaction in the state after revision `base`, as revision base + 1 if
 * it changes something. Memory from a. */
struct timeline_outcome {
    bool succeeded;
    struct history_result *results;
    size_t result_count;
    struct history_change *changes;
    size_t change_count;
};
struct timeline_outcome timeline_execute(const struct timeline *t, const struct history_request *r,
                                         int64_t base, struct arena *a);

/* The same keys, values and leases. */
bool timeline_same_changes(const struct history_change *a, size_t a_count, const struct history_change *b,
                           size_t b_count);

#endif
