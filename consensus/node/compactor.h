/* SPDX-License-Identifier: Apache-2.0
 * Automatic compaction policy (--auto-compaction-mode and --auto-compaction-retention). Pure: time and the
 * current revision are arguments. It decides and proposes nothing. The caller uses it only on the leader.
 *
 *   periodic   remembers the revision ten times per interval, and compacts to the revision of one retention
 *              ago: first after a whole retention, then every min(retention, 1 h)
 *   revision   every 5 minutes, to `current - retention` */
#ifndef CONSENSUS_NODE_COMPACTOR_H
#define CONSENSUS_NODE_COMPACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct compactor {
    bool is_periodic;
    uint64_t retention;       /* milliseconds or revisions; 0 = off */
    uint64_t step_ms;         /* between two checks */
    uint64_t next_ms;         /* time of the next check */
    uint64_t last_compact_ms; /* start, then the last compaction */
    bool has_compacted;
    int64_t last_revision;
    int64_t *revisions; /* ring of remembered revisions, oldest at first */
    size_t capacity, first, count;
};

/* retention in milliseconds (periodic) or revisions; now_ms is monotonic. */
void compactor_init(struct compactor *c, bool is_periodic, uint64_t retention, uint64_t now_ms);
void compactor_done(struct compactor *c);
/* The revision to compact to now, or 0. */
int64_t compactor_tick(struct compactor *c, uint64_t now_ms, int64_t revision);

#endif
