/* SPDX-License-Identifier: Apache-2.0
 * Read-back entries for followers that need older entries than memory holds. The host reads them from our
 * disk and passes them here, one piece at a time. A piece stays until it was sent to the followers that wait
 * for it, or until the next piece replaces it.
 *
 *     raft_maybe_send_append  the entry is not in memory: progress.wants_entries
 *     raft_wants_entries      picks the next follower; the host reads
 *     raft_give_entries       checks the terms; every follower that waits for a part of it gets that part
 *
 * Invariant: the piece equals the log at its indexes. Entries that are not in memory are applied, so no other
 * entry can replace them. Only the log's beginning may pass them. */
#include "consensus/raft/core.h"

static uint64_t first_index(const struct raft_read_back *b)
{
    return b->entries[0].index;
}

void raft_read_back_clear(struct raft *r)
{
    struct raft_read_back *b = &r->read_back;
    for (size_t i = 0; i < b->count; i++)
        blob_unref(b->entries[i].data);
    mem_free(b->entries);
    b->entries = NULL;
    b->count = 0;
}

const struct raft_entry *raft_read_back_slice(const struct raft *r, uint64_t index, size_t *ret_count)
{
    const struct raft_read_back *b = &r->read_back;
    *ret_count = 0;
    if (b->count == 0 || index < first_index(b) || index >= first_index(b) + b->count)
        return NULL;
    const struct raft_entry *e = b->entries + (index - first_index(b));
    size_t left = b->count - (size_t)(index - first_index(b)), n = 1;
    uint64_t size = raft_entry_size(e);
    while (n < left && (size += raft_entry_size(&e[n])) <= r->config.max_size_per_message)
        n++;
    *ret_count = n;
    return e;
}

static bool waits_for_entries(const struct raft *r, const struct raft_progress *p)
{
    return p->wants_entries && p->state != RAFT_SNAPSHOT && p->next > r->log.before.index &&
           p->next < r->log.held;
}

/* The first follower after the one that was served last, so that none waits for ever. */
static const struct raft_progress *next_in_turn(const struct raft *r)
{
    const struct raft_progress *first = NULL;
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        const struct raft_progress *p = &r->tracker.progress[i];
        if (!waits_for_entries(r, p))
            continue;
        if (p->id > r->read_back.served)
            return p;
        if (!first)
            first = p;
    }
    return first;
}

bool raft_wants_entries(const struct raft *r, struct raft_wanted_entries *ret_wanted)
{
    const struct raft_progress *p = r->role == RAFT_LEADER ? next_in_turn(r) : NULL;
    if (!p)
        return false;
    *ret_wanted = (struct raft_wanted_entries){
        .from = p->next,
        .to = raft_log_run_end(&r->log, p->next),
        .term = raft_log_term_or_zero(&r->log, p->next),
    };
    return true;
}

static void send_to_waiting(struct raft *r)
{
    const struct raft_progress *served = next_in_turn(r);
    if (served)
        r->read_back.served = served->id;
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        struct raft_progress *p = &r->tracker.progress[i];
        if (!p->wants_entries)
            continue;
        p->wants_entries = false;
        while (raft_maybe_send_append(r, p, false))
            ;
    }
}

int raft_give_entries(struct raft *r, const struct raft_entry *entries, size_t count)
{
    while (count && entries[0].index <= r->log.before.index) {
        entries++;
        count--;
    }
    if (r->role != RAFT_LEADER || count == 0)
        return 0;
    if (raft_log_count_known(&r->log, entries, count) < count)
        return ERR_CORRUPT;
    raft_read_back_clear(r);
    r->read_back.entries = mem_copy(entries, count * sizeof *entries);
    r->read_back.count = count;
    for (size_t i = 0; i < count; i++)
        blob_ref(entries[i].data);
    send_to_waiting(r);
    return 0;
}

/* True when a follower still waits for a part of it. It gets that part when its window has room. */
static bool is_needed(const struct raft *r)
{
    const struct raft_read_back *b = &r->read_back;
    for (uint32_t i = 0; i < r->tracker.count; i++) {
        const struct raft_progress *p = &r->tracker.progress[i];
        if (p->id != r->config.id && p->state != RAFT_SNAPSHOT && p->next >= first_index(b) &&
            p->next < first_index(b) + b->count)
            return true;
    }
    return false;
}

void raft_evict(struct raft *r, uint64_t bytes_max)
{
    raft_log_evict(&r->log, bytes_max);
    if (r->read_back.count && (r->role != RAFT_LEADER || !is_needed(r)))
        raft_read_back_clear(r);
}

uint64_t raft_held_bytes(const struct raft *r)
{
    return r->log.held_bytes + raft_payloads_size(r->read_back.entries, r->read_back.count);
}
