/* SPDX-License-Identifier: Apache-2.0
 * Log window; see log.h. The entries in memory are an array whose head moves. They are contiguous, so a batch
 * is a pointer and a count. In the long run appending and compacting allocate nothing. */
#include "consensus/raft/log.h"

#include <assert.h>

#include "consensus/raft/core.h"

uint64_t raft_payload_bytes(const struct blob *data)
{
    uint64_t bytes = 0;
    if (data) {
        bytes = data->size;
        bytes += sizeof *data;
    }
    return bytes;
}

/* Memory of an entry: its place in the array, and its payload with the payload's header. */
static uint64_t bytes_of(const struct raft_entry *e)
{
    return sizeof *e + raft_payload_bytes(e->data);
}

static uint64_t bytes_of_all(const struct raft_entry *entries, size_t count)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += bytes_of(&entries[i]);
    return bytes;
}

void raft_log_init(struct raft_log *l, struct raft *owner, struct raft_position before,
                   const struct raft_position *runs, size_t run_count, uint64_t held,
                   const struct raft_entry *entries, size_t count, uint64_t applying_size_max)
{
    *l = (struct raft_log){
        .before = before,
        .held = held,
        .committed = before.index,
        .applying = before.index,
        .applied = before.index,
        .applying_size_max = applying_size_max,
        .owner = owner,
    };
    if (run_count) {
        l->runs.items = mem_copy(runs, run_count * sizeof *runs);
        l->runs.count = l->runs.capacity = run_count;
    }
    l->held_bytes = bytes_of_all(entries, count);
    if (count) {
        l->items = mem_copy(entries, count * sizeof *entries);
        l->count = l->capacity = count;
        for (size_t i = 0; i < count; i++)
            blob_ref(entries[i].data);
    }
    l->unstable = l->in_progress = raft_log_last(l) + 1;
}

static struct raft_entry *entry_at(const struct raft_log *l, uint64_t index)
{
    return &l->items[l->head + (index - l->held)];
}

/* Releases the entries of [from, from + count); the caller takes them out of memory. */
static void raft_log_release(struct raft_log *l, uint64_t from, size_t count)
{
    struct raft_entry *e = count ? entry_at(l, from) : NULL;
    l->held_bytes -= bytes_of_all(e, count);
    for (size_t i = 0; i < count; i++)
        blob_unref(e[i].data);
}

static void drop_snapshot(struct raft_log *l)
{
    if (l->snapshot)
        blob_unref(l->snapshot->data);
    mem_free(l->snapshot);
    l->snapshot = NULL;
    l->snapshot_in_progress = false;
}

void raft_log_done(struct raft_log *l)
{
    raft_log_release(l, l->held, l->count);
    drop_snapshot(l);
    mem_free(l->items);
    mem_free(l->runs.items);
    *l = (struct raft_log){0};
}

/* --- reading --- */
uint64_t raft_log_first(const struct raft_log *l)
{
    return l->before.index + 1;
}

uint64_t raft_log_last(const struct raft_log *l)
{
    return l->held - 1 + l->count;
}

/* The last run that begins at index or before it. */
static size_t run_of(const struct raft_log *l, uint64_t index)
{
    size_t low = 0, high = l->runs.count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (l->runs.items[middle].index <= index)
            low = middle;
        else
            high = middle;
    }
    return low;
}

uint64_t raft_log_run_end(const struct raft_log *l, uint64_t index)
{
    size_t next = run_of(l, index) + 1;
    return next < l->runs.count ? l->runs.items[next].index - 1 : l->held - 1;
}

bool raft_log_term(const struct raft_log *l, uint64_t index, uint64_t *ret_term)
{
    if (index < l->before.index || index > raft_log_last(l))
        return false;
    if (index == l->before.index)
        *ret_term = l->before.term;
    else
        *ret_term = index < l->held ? l->runs.items[run_of(l, index)].term : entry_at(l, index)->term;
    return true;
}

uint64_t raft_log_term_or_zero(const struct raft_log *l, uint64_t index)
{
    uint64_t term = 0;
    return raft_log_term(l, index, &term) ? term : 0;
}

struct raft_position raft_log_end(const struct raft_log *l)
{
    uint64_t last = raft_log_last(l);
    return (struct raft_position){.index = last, .term = raft_log_term_or_zero(l, last)};
}

bool raft_log_matches(const struct raft_log *l, struct raft_position position)
{
    uint64_t term;
    return raft_log_term(l, position.index, &term) && term == position.term;
}

bool raft_log_is_up_to_date(const struct raft_log *l, struct raft_position theirs)
{
    struct raft_position ours = raft_log_end(l);
    return theirs.term > ours.term || (theirs.term == ours.term && theirs.index >= ours.index);
}

const struct raft_entry *raft_log_entry(const struct raft_log *l, uint64_t index)
{
    return index >= l->held && index <= raft_log_last(l) ? entry_at(l, index) : NULL;
}

const struct raft_entry *raft_log_slice(const struct raft_log *l, uint64_t index, uint64_t to,
                                        uint64_t size_max, size_t *ret_count)
{
    assert(index >= l->held && to <= raft_log_last(l));
    *ret_count = 0;
    if (index > to)
        return NULL;
    const struct raft_entry *e = entry_at(l, index);
    size_t available = to - index + 1, n = available;
    if (size_max != RAFT_NO_LIMIT) {
        uint64_t size = raft_entry_size(&e[0]);
        for (n = 1; n < available; n++) {
            size += raft_entry_size(&e[n]);
            if (size > size_max)
                break;
        }
    }
    *ret_count = n;
    return e;
}

uint64_t raft_entries_size(const struct raft_entry *entries, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += raft_entry_size(&entries[i]);
    return size;
}

uint64_t raft_payloads_size(const struct raft_entry *entries, size_t count)
{
    uint64_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += entries[i].data ? entries[i].data->size : 0;
    return size;
}

/* --- appending --- */
/* Room for more entries at the end. A compaction before it has paid for the move to the front. */
static struct raft_entry *reserve(struct raft_log *l, size_t more)
{
    if (l->head + l->count + more > l->capacity) {
        if (l->head > 0)
            memmove(l->items, l->items + l->head, l->count * sizeof *l->items);
        l->head = 0;
        if (l->count + more > l->capacity - l->capacity / 4) {
            l->capacity = (l->count + more) * 2;
            l->items = mem_resize(l->items, l->capacity * sizeof *l->items);
        }
    }
    return l->items + l->head + l->count;
}

void raft_log_append_own(struct raft_log *l, uint64_t term, const struct raft_entry *entries, size_t count)
{
    struct raft_entry *to = reserve(l, count);
    uint64_t index = raft_log_last(l);
    for (size_t i = 0; i < count; i++)
        to[i] = (struct raft_entry){
            .index = ++index, .term = term, .type = entries[i].type, .data = blob_ref(entries[i].data)};
    l->count += count;
    l->held_bytes += bytes_of_all(to, count);
}

/* Drops the tail from index on: a newer leader overwrites it. The tail may be on its way to the disk; that
 * write no longer counts. */
static void truncate_from(struct raft_log *l, uint64_t index)
{
    assert(index > l->committed);
    if (index <= l->unstable) {
        RAFT_TRACE(l->owner, LOG_REPLACE, .index = index);
        l->unstable = l->in_progress = index;
    } else {
        RAFT_TRACE(l->owner, LOG_TRUNCATE, .index = index);
        if (l->in_progress > index)
            l->in_progress = index;
    }
    size_t keep = index - l->held;
    raft_log_release(l, index, l->count - keep);
    l->count = keep;
}

/* The first of the entries that this log does not hold; count = it holds all of them. */
static size_t find_conflict(const struct raft_log *l, const struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct raft_position p = {entries[i].index, entries[i].term};
        if (raft_log_matches(l, p))
            continue;
        if (p.index <= raft_log_last(l))
            RAFT_TRACE(l->owner, LOG_CONFLICT, .index = p.index,
                       .log_term = raft_log_term_or_zero(l, p.index), .other = p.term);
        return i;
    }
    return count;
}

bool raft_log_append(struct raft_log *l, struct raft_position prev, const struct raft_entry *entries,
                     size_t count, uint64_t commit, uint64_t *ret_last)
{
    bool fits = raft_log_matches(l, prev);
    if (MUTANT(APPEND_UNCHECKED))
        fits = prev.index <= raft_log_last(l);
    if (!fits)
        return false;
    size_t match_count = find_conflict(l, entries, count);
    if (match_count < count) {
        if (entries[match_count].index <= raft_log_last(l))
            truncate_from(l, entries[match_count].index);
        struct raft_entry *to = reserve(l, count - match_count);
        memcpy(to, entries + match_count, (count - match_count) * sizeof *to);
        for (size_t i = 0; i < count - match_count; i++)
            blob_ref(to[i].data);
        l->count += count - match_count;
        l->held_bytes += bytes_of_all(to, count - match_count);
    }
    uint64_t last = prev.index + count;
    if (MUTANT(APPEND_CUTS_TAIL) && last < raft_log_last(l) && last >= l->committed)
        truncate_from(l, last + 1);
    if (MUTANT(TAIL_COMMITTED))
        last = raft_log_last(l);
    raft_log_commit_to(l, commit < last ? commit : last);
    *ret_last = last;
    return true;
}

struct raft_position raft_log_meet(const struct raft_log *l, struct raft_position theirs)
{
    for (uint64_t index = theirs.index; index > 0; index--) {
        uint64_t term;
        if (!raft_log_term(l, index, &term))
            return (struct raft_position){.index = index};
        if (term <= theirs.term)
            return (struct raft_position){.index = index, .term = term};
    }
    return (struct raft_position){0};
}

/* --- committing --- */
void raft_log_commit_to(struct raft_log *l, uint64_t index)
{
    assert(index <= raft_log_last(l));
    if (l->committed < index)
        l->committed = index;
}

bool raft_log_commit(struct raft_log *l, struct raft_position position)
{
    if (position.term == 0 || position.index <= l->committed || !raft_log_matches(l, position))
        return false;
    raft_log_commit_to(l, position.index);
    return true;
}

/* --- entries for our disk --- */
bool raft_log_has_unstable(const struct raft_log *l)
{
    return raft_log_last(l) >= l->unstable;
}

const struct raft_entry *raft_log_next_unstable(const struct raft_log *l, size_t *ret_count)
{
    return raft_log_slice(l, l->in_progress, raft_log_last(l), RAFT_NO_LIMIT, ret_count);
}

bool raft_log_has_next_snapshot(const struct raft_log *l)
{
    return l->snapshot && !l->snapshot_in_progress;
}

void raft_log_accept_unstable(struct raft_log *l)
{
    l->in_progress = raft_log_last(l) + 1;
    if (l->snapshot)
        l->snapshot_in_progress = true;
}

void raft_log_stable_to(struct raft_log *l, struct raft_position position)
{
    uint64_t index = position.index;
    if (index < l->unstable && l->snapshot && l->snapshot->index == index) {
        RAFT_TRACE(l->owner, STABLE_IS_SNAPSHOT, .index = index);
        return;
    }
    if (index < l->unstable || index > raft_log_last(l)) {
        RAFT_TRACE(l->owner, STABLE_MISSING, .index = index);
        return;
    }
    uint64_t term = entry_at(l, index)->term;
    if (term != position.term && !MUTANT(STALE_DISK_ANSWER)) {
        RAFT_TRACE(l->owner, STABLE_MISMATCH, .index = index, .log_term = position.term, .other = term);
        return;
    }
    l->unstable = index + 1;
    if (l->in_progress < l->unstable)
        l->in_progress = l->unstable;
}

void raft_log_snapshot_stable(struct raft_log *l, uint64_t index)
{
    if (l->snapshot && l->snapshot->index == index)
        drop_snapshot(l);
}

/* --- entries for the store --- */
static uint64_t appliable(const struct raft_log *l, bool allow_unstable)
{
    uint64_t stable = l->unstable - 1;
    return allow_unstable || l->committed < stable ? l->committed : stable;
}

bool raft_log_has_next_committed(const struct raft_log *l, bool allow_unstable)
{
    /* A snapshot is installed first: entries before it must not be applied after it. */
    return !l->applying_paused && !l->snapshot && l->applying < appliable(l, allow_unstable);
}

const struct raft_entry *raft_log_next_committed(const struct raft_log *l, bool allow_unstable,
                                                 size_t *ret_count)
{
    *ret_count = 0;
    if (!raft_log_has_next_committed(l, allow_unstable))
        return NULL;
    assert(l->applying_size_max > l->applying_size);
    uint64_t room =
        l->applying_size_max == RAFT_NO_LIMIT ? RAFT_NO_LIMIT : l->applying_size_max - l->applying_size;
    return raft_log_slice(l, l->applying + 1, appliable(l, allow_unstable), room, ret_count);
}

void raft_log_accept_applying(struct raft_log *l, uint64_t index, uint64_t size, bool allow_unstable)
{
    assert(index <= l->committed);
    l->applying = index;
    l->applying_size += size;
    /* Fewer than there were: the next entry would exceed the limit, so wait for an answer. */
    l->applying_paused = l->applying_size >= l->applying_size_max || index < appliable(l, allow_unstable);
}

void raft_log_applied_to(struct raft_log *l, uint64_t index, uint64_t size)
{
    assert(index >= l->applied && index <= l->committed);
    l->applied = index;
    if (l->applying < index)
        l->applying = index;
    l->applying_size = l->applying_size > size ? l->applying_size - size : 0;
    l->applying_paused = l->applying_size >= l->applying_size_max;
}

/* --- compaction --- */
void raft_log_restore(struct raft_log *l, const struct raft_snapshot *snapshot)
{
    RAFT_TRACE(l->owner, SNAPSHOT_LOG_RESTORE, .index = snapshot->index, .log_term = snapshot->term);
    raft_log_release(l, l->held, l->count);
    l->head = l->count = 0;
    l->runs.count = 0;
    l->before = (struct raft_position){snapshot->index, snapshot->term};
    l->held = snapshot->index + 1;
    l->unstable = l->in_progress = snapshot->index + 1;
    l->committed = snapshot->index;
    drop_snapshot(l);
    l->snapshot = mem_copy(snapshot, sizeof *snapshot);
    blob_ref(l->snapshot->data);
}

/* Drops the entries up to and including index from memory. */
static void drop_front(struct raft_log *l, uint64_t index)
{
    size_t drop_count = index + 1 - l->held;
    raft_log_release(l, l->held, drop_count);
    l->held = index + 1;
    l->head += drop_count;
    l->count -= drop_count;
    /* Releases memory that a burst needed. */
    if (l->capacity > 1024 && l->count < l->capacity / 8) {
        size_t capacity = l->capacity / 4;
        struct raft_entry *items = mem_alloc(capacity * sizeof *items);
        if (l->count)
            memcpy(items, l->items + l->head, l->count * sizeof *items);
        mem_free(l->items);
        l->items = items;
        l->head = 0;
        l->capacity = capacity;
    }
}

void raft_log_compact(struct raft_log *l, uint64_t index)
{
    if (index > l->applied)
        index = l->applied;
    if (index >= l->unstable)
        index = l->unstable - 1;
    if (index <= l->before.index)
        return;
    l->before = (struct raft_position){index, raft_log_term_or_zero(l, index)};
    if (index + 1 >= l->held) {
        l->runs.count = 0;
        if (index >= l->held)
            drop_front(l, index);
        return;
    }
    size_t first = run_of(l, index + 1);
    l->runs.count -= first;
    memmove(l->runs.items, l->runs.items + first, l->runs.count * sizeof *l->runs.items);
    l->runs.items[0].index = index + 1;
}

/* --- older entries: on our disk, not in memory --- */
static void add_run(struct raft_log_runs *runs, uint64_t index, uint64_t term)
{
    if (runs->count && (runs->items[runs->count - 1].term == term || MUTANT(EVICTED_TERM_LOST)))
        return;
    if (runs->count == runs->capacity) {
        runs->capacity = runs->capacity ? runs->capacity * 2 : 4;
        runs->items = mem_resize(runs->items, runs->capacity * sizeof *runs->items);
    }
    runs->items[runs->count++] = (struct raft_position){index, term};
}

void raft_log_evict(struct raft_log *l, uint64_t bytes_max)
{
    uint64_t end = l->applied < l->unstable - 1 ? l->applied : l->unstable - 1, to = l->held - 1;
    if (MUTANT(EVICTED_BEFORE_APPLIED))
        end = l->committed < l->unstable - 1 ? l->committed : l->unstable - 1;
    uint64_t bytes = l->held_bytes;
    while (bytes > bytes_max && to < end) {
        const struct raft_entry *e = entry_at(l, ++to);
        bytes -= bytes_of(e);
        add_run(&l->runs, to, e->term);
    }
    if (to >= l->held)
        drop_front(l, to);
}

size_t raft_log_count_known(const struct raft_log *l, const struct raft_entry *entries, size_t count)
{
    size_t n = 0;
    while (n < count && entries[n].index == entries[0].index + n &&
           (raft_log_matches(l, (struct raft_position){entries[n].index, entries[n].term}) ||
            (MUTANT(READ_BACK_OLD_TERM) && entries[n].index <= raft_log_last(l))))
        n++;
    return n;
}
