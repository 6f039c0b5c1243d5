/* SPDX-License-Identifier: Apache-2.0
 * The log window: every entry after the last compaction or snapshot. The newest entries are in memory, in one
 * contiguous array. Of the older ones, which are applied and on our disk, only the terms are known.
 *
 *     before | first ......... | held .............. | unstable ...... | in_progress ... | last
 *     known    terms only:       in memory, stable     being written     to be handed out
 *              on our disk       on our disk
 *
 * and, over it, held - 1 <= applied <= applying <= committed <= last. A snapshot taken from a leader replaces
 * everything and is itself unstable until the host has installed it.
 *
 * The log does not count votes and does not know members; what it cannot satisfy is the caller's error. */
#ifndef CONSENSUS_RAFT_LOG_H
#define CONSENSUS_RAFT_LOG_H

#include "consensus/raft/message.h"

struct raft_position {
    uint64_t index, term;
};

struct raft; /* only handed through to the trace */

/* The terms of the entries that are not in memory: each run begins at the index of its first entry and ends
 * before the next run, the last one before raft_log.held. */
struct raft_log_runs {
    struct raft_position *items;
    size_t count, capacity;
};

struct raft_log {
    struct raft_entry *items; /* the array; what is in memory begins at head */
    size_t head, count, capacity;
    uint64_t held;               /* the index of the first entry in memory; one past the last when none is */
    uint64_t held_bytes;         /* of the entries in memory, with what each of them takes beside its payload */
    struct raft_log_runs runs;   /* [first, held) */
    struct raft_position before; /* what precedes the window */
    uint64_t unstable;
    uint64_t in_progress;
    uint64_t committed, applying, applied;
    uint64_t applying_size, applying_size_max; /* bytes handed out for apply and not yet answered */
    bool applying_paused;
    bool snapshot_in_progress;
    struct raft_snapshot *snapshot; /* NULL = none under way */
    struct raft *owner;
};

/* The runs say which terms the entries have that are not given; what is given follows them. */
void raft_log_init(struct raft_log *l, struct raft *owner, struct raft_position before,
                   const struct raft_position *runs, size_t run_count, uint64_t held,
                   const struct raft_entry *entries, size_t count, uint64_t applying_size_max);
void raft_log_done(struct raft_log *l);

uint64_t raft_log_first(const struct raft_log *l);
uint64_t raft_log_last(const struct raft_log *l);
struct raft_position raft_log_end(const struct raft_log *l); /* index and term of the last entry */
bool raft_log_term(const struct raft_log *l, uint64_t index, uint64_t *ret_term); /* before .. last */
uint64_t raft_log_term_or_zero(const struct raft_log *l, uint64_t index);
bool raft_log_matches(const struct raft_log *l, struct raft_position position);
bool raft_log_is_up_to_date(const struct raft_log *l, struct raft_position theirs);
const struct raft_entry *raft_log_entry(const struct raft_log *l, uint64_t index); /* NULL = not in memory */
/* From index on, which is in memory: at least one, at most size_max bytes, not beyond `to`. */
const struct raft_entry *raft_log_slice(const struct raft_log *l, uint64_t index, uint64_t to,
                                        uint64_t size_max, size_t *ret_count);

/* A leader's own entries: numbered and stamped here, added at the end. */
void raft_log_append_own(struct raft_log *l, uint64_t term, const struct raft_entry *entries, size_t count);
/* A follower's: false when the log does not hold prev. Conflicting entries and all after them are replaced.
 */
bool raft_log_append(struct raft_log *l, struct raft_position prev, const struct raft_entry *entries,
                     size_t count, uint64_t commit, uint64_t *ret_last);
/* The best guess where this log and another may meet, given one position of the other: the highest index <=
 * theirs whose term is <= theirs, or unknown (term 0). */
struct raft_position raft_log_meet(const struct raft_log *l, struct raft_position theirs);

void raft_log_commit_to(struct raft_log *l, uint64_t index);             /* never back */
bool raft_log_commit(struct raft_log *l, struct raft_position position); /* only an entry of that term */

bool raft_log_has_unstable(const struct raft_log *l); /* handed out or not */
const struct raft_entry *raft_log_next_unstable(const struct raft_log *l, size_t *ret_count);
bool raft_log_has_next_snapshot(const struct raft_log *l);
void raft_log_accept_unstable(struct raft_log *l);
void raft_log_stable_to(struct raft_log *l, struct raft_position position);
void raft_log_snapshot_stable(struct raft_log *l, uint64_t index);

bool raft_log_has_next_committed(const struct raft_log *l, bool allow_unstable);
const struct raft_entry *raft_log_next_committed(const struct raft_log *l, bool allow_unstable,
                                                 size_t *ret_count);
void raft_log_accept_applying(struct raft_log *l, uint64_t index, uint64_t size, bool allow_unstable);
void raft_log_applied_to(struct raft_log *l, uint64_t index, uint64_t size);

void raft_log_restore(struct raft_log *l, const struct raft_snapshot *snapshot);
void raft_log_compact(struct raft_log *l, uint64_t index);
/* Forgets the payloads of the oldest entries while more than bytes_max are in memory; never of one that is not
 * applied or not stable. Their terms stay known. */
void raft_log_evict(struct raft_log *l, uint64_t bytes_max);
/* The last index of the run of equal terms that index is in, which is not in memory. */
uint64_t raft_log_run_end(const struct raft_log *l, uint64_t index);
/* Where n entries begin of which each has the term that the log knows for its index: how many of them. */
size_t raft_log_count_known(const struct raft_log *l, const struct raft_entry *entries, size_t count);

uint64_t raft_entries_size(const struct raft_entry *entries, size_t count);
uint64_t raft_payloads_size(const struct raft_entry *entries, size_t count);

#endif
