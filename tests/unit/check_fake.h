/* SPDX-License-Identifier: Apache-2.0
 * A fake store of a few keys, too simple to be wrong, with clients that use it and record a history. The
 * clients run one by one, for examples made by hand, or many at once. Then replies are lost, requests are
 * delayed, reads lag, watches are delivered late and leases expire. The recorded history is correct, so the
 * checkers must accept it. The store shares no code with them: it keeps every past state as a plain copy. */
#ifndef TESTS_UNIT_CHECK_FAKE_H
#define TESTS_UNIT_CHECK_FAKE_H

#include "tests/check/check.h"
#include "tests/unit/store_model.h"

enum { FAKE_KEYS = 8, FAKE_REVISIONS = 1024, FAKE_LEASES = 64, FAKE_WATCHES = 16, FAKE_CLIENTS = 6 };

#define FAKE_MS INT64_C(1000000)

struct fake_state {
    struct history_kv kvs[FAKE_KEYS]; /* version 0 = absent */
};

struct fake_lease {
    int64_t id, ttl_s, until_ns;
    bool is_alive;
};

struct fake_watch {
    struct history_watch *watch;
    int64_t next; /* revision */
    bool is_over;
};

struct fake {
    struct history history;
    struct arena arena;
    struct rng rng;
    int64_t now_ns, revision, compacted;
    struct fake_state states[FAKE_REVISIONS];
    const struct history_commit *commits[FAKE_REVISIONS];
    struct fake_lease leases[FAKE_LEASES];
    size_t lease_count, watch_count;
    struct fake_watch watches[FAKE_WATCHES];
    unsigned value_count;
    bool only_single_keys; /* no ranges, leases, compactions: what a model of one key understands */
};

extern const struct check_options fake_options;

struct fake *fake_new(uint64_t seed);
void fake_free(struct fake *f);

/* One client after the other, each takes a millisecond. */
struct history_op *fake_do(struct fake *f, const struct history_request *request);
struct history_op *fake_put(struct fake *f, const char *key, const char *value, int64_t lease);
struct history_op *fake_get(struct fake *f, const char *key);
struct history_op *fake_delete(struct fake *f, const char *key);
struct history_op *fake_lease_op(struct fake *f, enum history_kind kind, int64_t lease, int64_t ttl_s);
struct history_op *fake_compact(struct fake *f, int64_t revision);
struct history_watch *fake_watch(struct fake *f, const struct history_watch *request);
void fake_deliver(struct fake *f, struct history_watch *w,
                  bool with_progress);      /* all there is, one response */
void fake_wait(struct fake *f, int64_t ms); /* leases run out */

/* Concurrent clients for a number of steps; at the end everything is delivered. */
void fake_run(struct fake *f, size_t steps);

struct slice fake_key(unsigned number); /* "k0".. */

#endif
