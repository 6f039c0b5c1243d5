/* SPDX-License-Identifier: Apache-2.0
 * Log window: all entries after the last compaction or snapshot. The newest entries are in memory, in one
 * contiguous array. Of older ones, which are applied and on our disk, only the terms are known.
 *
 *     before | first ......... | held .............. | unstable ...... | in_progress ... | last
 *     known    terms only:       in memory, stable     being written     to be handed out
 *              on our disk       on our disk
 *
 * Invariant over it: held - 1 <= applied <= applying <= committed <= last. A snapshot from a leader replaces
 * everything, and is itself unstable until the host has installed it.
 *
 * The log does not count votes and does not know members. A request that it cannot satisfy is the caller's
 * error. */
#ifndef CONSENSUS_RAFT_LOG_H
#define CONSENSUS_RAFT_LOG_H

#include "consensus/raft/message.h"

struct raft_position {
    uint64_t index, term;
};

struct raft; /* only passed on to the trace */

/* Terms of the entries that are not in memory. Each run begins at the index of its first entry and ends
 * before the next run; the last one ends before raft_log.held. */
struct raft_log_runs {
    struct raft_position *items;
    size_t count, capacity;
};

struct raft_log {
    struct raft_entry *items; /* the array; the entries in memory begin at head */
    size_t head, count, capacity;
    uint64_t held;       /* the index of the first entry in memory; one past the last when there is none */
    uint64_t held_bytes; /* of the entries in memory, with the overhead of each */
    struct raft_log_runs runs;   /* [first, held) */
    struct raft_position before; /* the position before the window */
    uint64_t unstable;
    uint64_t in_progress;
    uint64_t committed, applying, applied;
    uint64_t applying_size, applying_size_max; /* bytes handed out for apply and not yet answered */
    bool applying_paused;
    bool snapshot_in_progress;
    struct raft_snapshot *snapshot; /* NULL = none under way */
    struct raft *owner;
};

/* The runs have the terms of the entries that are not given; the given ones follow them. */
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
/* Entries from index on, which is in memory: at least one, at most size_max bytes, not beyond `to`. */
const struct raft_entry *raft_log_slice(const struct raft_log *l, uint64_t index, uint64_t to,
                                        uint64_t size_max, size_t *ret_count);

/* Appends a leader's own entries, and sets their index and term. */
void raft_log_append_own(struct raft_log *l, uint64_t term, const struct raft_entry *entries, size_t count);
/* Appends a leader's entries on a follower. False when the log does not hold prev. Conflicting entries and
 * all after them are replaced. */
bool raft_log_append(struct raft_log *l, struct raft_position prev, const struct raft_entry *entries,
                     size_t count, uint64_t commit, uint64_t *ret_last);
/* The best guess where this log and another may meet, given one position of the other: the highest index <=
 * theirs whose term is <= theirs, or unknown (term 0). */
struct raft_position raft_log_meet(const struct raft_log *l, struct raft_position theirs);

void raft_log_commit_to(struct raft_log *l, uint64_t index);             /* never moves back */
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
/* Drops the payloads of the oldest entries while more than bytes_max are in memory, except entries that are
 * not applied or not stable. Their terms stay known. */
void raft_log_evict(struct raft_log *l, uint64_t bytes_max);
/* The last index of the run of equal terms that holds index, which is not in memory. */
uint64_t raft_log_run_end(const struct raft_log *l, uint64_t index);
/* For n entries at the log's indexes: how many of them, from the first, have the term that the log knows. */
size_t raft_log_count_known(const struct raft_log *l, const struct raft_entry *entries, size_t count);

uint64_t raft_entries_size(const struct raft_entry *entries, size_t count);
uint64_t raft_payloads_size(const struct raft_entry *entries, size_t count);

#endif
