/* SPDX-License-Identifier: Apache-2.0
 * Rules of `migrate`: which keys are copied and under which name, which changes share a transaction, how two
 * sorted key spaces differ, and the text of the saved state. Pure. */
#ifndef SDK_CTL_MIGRATE_PLAN_H
#define SDK_CTL_MIGRATE_PLAN_H

#include "base/buf.h"
#include "base/err.h"

/* Keys below it belong to Cairn (services, configurations, the state of a migration). They are neither
 * copied nor compared. */
#define MIGRATE_RESERVED "/cairn/"

/* One write on the target, or one key of a side. */
struct migrate_op {
    struct slice key; /* as the target names it */
    struct slice value;
    int64_t lease, revision; /* revision: of the source */
    bool is_delete;
};

struct migrate_rule {
    struct slice prefix, dest; /* a key's prefix at the source, and the one it gets */
};

bool migrate_is_reserved(struct slice key);
/* False: this key of the source is not copied. Else the target's name is in out, which is cleared first. */
bool migrate_map_key(const struct migrate_rule *rule, struct slice key, struct buf *out);
/* The end of the range of all keys with this prefix, as etcd has it: "\0" for no end. */
void migrate_range_end(struct slice prefix, struct buf *out);

/* The number of operations, from the first one on, that form the next transaction:
 *
 * - all of a source revision stay together, unless they alone exceed a limit (*ret_is_torn);
 * - later revisions join while the limits allow it and no key repeats.
 *
 * *ret_revision is the source revision that is complete after it. At least 1 for count > 0. */
struct migrate_limits {
    size_t ops, bytes;
};
size_t migrate_batch(const struct migrate_op *ops, size_t count, const struct migrate_limits *limits,
                     int64_t *ret_revision, bool *ret_is_torn);

/* The next step of a merge of two sorted key spaces; NULL = that side has ended. */
enum migrate_step {
    MIGRATE_SAME,   /* both have the key, with equal value and lease */
    MIGRATE_PUT,    /* only the source has it */
    MIGRATE_CHANGE, /* both have it, and they differ */
    MIGRATE_DELETE, /* only the target has it */
};
enum migrate_step migrate_compare(const struct migrate_op *source, const struct migrate_op *target);

/* The value of the target's reserved key. Every transaction of a migration writes it and requires that it is
 * still the one this process wrote last, so that a late duplicate of a request changes nothing. */
struct migrate_state {
    uint64_t run;     /* of one process */
    uint64_t seq;     /* of one transaction */
    int64_t revision; /* applied revision of the source; 0: the first copy is not complete */
};
void migrate_state_add(struct buf *out, const struct migrate_state *s);
/* ERR_MALFORMED */
MUST_CHECK int migrate_state_read(struct slice text, struct migrate_state *ret);

#endif
