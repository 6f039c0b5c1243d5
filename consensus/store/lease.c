/* SPDX-License-Identifier: Apache-2.0
 * Lease table: a map of leases by id, a heap of expiries, a heap of due checkpoints, and a hash set of all
 * attached keys, which are also in a ring of their lease. A key is attached to at most one lease.
 *
 * Invariant: a lease is in the expiry heap exactly while this member is primary and the lease belongs to the
 * table's epoch. Its heap key is the moment when it is returned next: its end, or the retry of a proposed
 * revocation. Every change of leadership begins a new epoch: then every lease is old, and its heap nodes and
 * clock are void until it is read or lease_start_clocks reaches it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"
#include "consensus/store/lease_state.h"

#define CLEAR_RETRY_MS 1000
#define BYTES_PER_UNIT 128 /* of a key */

enum {
    MARKS_MIN = 4,
    MARKS_MAX = 64,     /* key checks whose progress is remembered for a lease */
    MARK_KEYS_MIN = 64, /* fewer keys are checked each time */
    CLOCKS_AT_ONCE = 1000,
    FEW_KEYS = 256,
    FEW_KEYS_BYTES = 64 << 10,
};

static void lists_init(struct lease_table *t)
{
    list_init(&t->current);
    list_init(&t->old);
    list_init(&t->all);
    list_init(&t->walks);
}

struct lease_table *lease_table_new(int64_t min_ttl_s)
{
    struct lease_table *t = mem_new(sizeof *t);
    t->min_ttl_s = min_ttl_s;
    t->checkpoint_interval_ms = LEASE_CHECKPOINT_INTERVAL_MS;
    lists_init(t);
    return t;
}

void lease_table_set_checkpoint_interval(struct lease_table *t, uint64_t interval_ms)
{
    t->checkpoint_interval_ms = interval_ms;
}

static struct lease *lease_get(const struct lease_table *t, int64_t id)
{
    return map_get(&t->leases, (uint64_t)id);
}

/* Called right before the key leaves the lease. */
static void drop_key_from_marks(struct lease *l, const struct lease_key *k)
{
    for (size_t i = 0; i < l->mark_count; i++)
        if (l->marks[i].last == &k->link)
            l->marks[i].last = k->link.prev;
}

static void count_keys(struct lease_table *t, struct lease *l, size_t count)
{
    t->long_count -= l->key_count >= MARK_KEYS_MIN;
    l->key_count = count;
    t->long_count += l->key_count >= MARK_KEYS_MIN;
}

static void key_free(struct lease_table *t, struct lease_key *k)
{
    drop_key_from_marks(k->lease, k);
    lease_walks_note_key(t, k->lease, k, false);
    keyset_remove(&t->keys, &k->node);
    list_remove(&k->link);
    count_keys(t, k->lease, k->lease->key_count - 1);
    mem_free(k);
}

static void lease_free(struct lease_table *t, struct lease *l)
{
    struct link *link;
    lease_walks_note_end(t, l);
    l->mark_count = 0;
    while ((link = list_take_first(&l->keys)))
        key_free(t, container_of(link, struct lease_key, link));
    if (l->epoch == t->epoch) {
        heap_remove(&t->expiries, &l->expiry);
        heap_remove(&t->checkpoints, &l->checkpoint);
    }
    list_remove(&l->in_table);
    list_remove(&l->in_all);
    mem_free(l->marks);
    mem_free(l);
}

void lease_table_reset(struct lease_table *t)
{
    uint64_t id;
    void *l;
    lease_walks_forget_table(t);
    for (size_t at = 0; map_next(&t->leases, &at, &id, &l);)
        lease_free(t, l);
    map_done(&t->leases);
    map_done(&t->seconds);
    heap_done(&t->expiries);
    heap_done(&t->checkpoints);
    keyset_done(&t->keys);
    *t = (struct lease_table){.min_ttl_s = t->min_ttl_s, .checkpoint_interval_ms = t->checkpoint_interval_ms};
    lists_init(t);
}

void lease_table_free(struct lease_table *t)
{
    if (!t)
        return;
    lease_table_reset(t);
    mem_free(t);
}

/* --- clocks ------------------------------------------------------------------------------------- */
static void heap_set(struct heap *h, struct heap_node *n, uint64_t key)
{
    if (heap_contains(n))
        heap_move(h, n, key);
    else
        heap_add(h, n, key);
}

static void expire_at(struct lease_table *t, struct lease *l, uint64_t expires_ms)
{
    assert(t->is_primary);
    l->expires_ms = expires_ms;
    heap_set(&t->expiries, &l->expiry, expires_ms);
}

static int64_t rest_of(const struct lease *l)
{
    return l->remaining_s > 0 ? l->remaining_s : l->ttl_s;
}

static bool is_shortened(const struct lease *l)
{
    return l->remaining_s > 0 || l->rest_is_on_way;
}

/* A short lease needs no checkpoint: the full TTL of a new leader extends it by little. */
static void schedule_checkpoint(struct lease_table *t, struct lease *l, uint64_t now_ms, int64_t rest_s)
{
    if ((uint64_t)rest_s * 1000 > t->checkpoint_interval_ms)
        heap_set(&t->checkpoints, &l->checkpoint, now_ms + t->checkpoint_interval_ms);
    else
        heap_remove(&t->checkpoints, &l->checkpoint);
}

/* Spreads the ends of leases. All clocks start together at a promotion, and many leases with one TTL would
 * end in one moment and flood the log. So an end is moved later until its second has at most
 * LEASE_EXPIRE_PER_SECOND ends. A full second names the next that may have room (union-find, Tarjan 1975):
 * its value is odd. */
static uint64_t spread(struct lease_table *t, uint64_t expires_ms)
{
    uint64_t first = expires_ms / 1000, second = first;
    uintptr_t v;
    while ((v = (uintptr_t)map_get(&t->seconds, second)) & 1)
        second += v >> 1;
    uintptr_t count = (v >> 1) + 1;
    map_put(&t->seconds, second, (void *)(count < LEASE_EXPIRE_PER_SECOND ? count << 1 : (uintptr_t)3));
    if (second > first)
        map_put(&t->seconds, first, (void *)((uintptr_t)(second - first) << 1 | 1));
    return second * 1000 + expires_ms % 1000;
}

static uint64_t end_of_promoted(const struct lease_table *t, const struct lease *l)
{
    if (MUTANT(LEASE_NOT_EXTENDED))
        return t->promoted_ms + (uint64_t)rest_of(l) * 1000 / 4;
    return t->promoted_ms + t->extend_ms + (uint64_t)rest_of(l) * 1000;
}

uint64_t lease_end_ms(const struct lease_table *t, const struct lease *l)
{
    if (l->epoch == t->epoch)
        return l->expires_ms;
    return t->is_primary ? end_of_promoted(t, l) : 0;
}

/* True if the lease's flags are from before the last demotion: a rest that was proposed then need not reach
 * the log. */
static bool is_rest_void(const struct lease_table *t, const struct lease *l)
{
    return l->epoch < t->demoted;
}

static void renew_epoch(struct lease_table *t, struct lease *l)
{
    if (l->epoch == t->epoch)
        return;
    if (is_rest_void(t, l))
        l->rest_is_on_way = l->clears_rest = false;
    l->epoch = t->epoch;
    l->expiry.place = l->checkpoint.place = 0;
    l->expires_ms = 0;
    list_remove(&l->in_table);
    list_add_last(&t->current, &l->in_table);
    if (!t->is_primary)
        return;
    expire_at(t, l, spread(t, end_of_promoted(t, l)));
    schedule_checkpoint(t, l, t->promoted_ms, rest_of(l));
}

bool lease_start_clocks(struct lease_table *t, size_t max)
{
    for (; t->is_primary && max > 0 && !list_is_empty(&t->old); max--)
        renew_epoch(t, container_of(t->old.next, struct lease, in_table));
    if (t->is_primary && !list_is_empty(&t->old))
        return true;
    map_done(&t->seconds);
    return false;
}

/* After it every lease belongs to an old epoch. */
static void begin_epoch(struct lease_table *t)
{
    t->epoch++;
    list_move_all(&t->old, &t->current);
    heap_forget(&t->expiries);
    heap_forget(&t->checkpoints);
    map_done(&t->seconds);
}

/* True also for every lease whose revocation is proposed: nothing moves its end any more. */
static bool lease_is_over(const struct lease *l, uint64_t now_ms)
{
    return now_ms >= l->expires_ms;
}

/* --- from the log ------------------------------------------------------------------------------- */
static struct lease *lease_add(struct lease_table *t, int64_t id, int64_t ttl_s)
{
    struct lease *l = mem_new(sizeof *l);
    l->id = id;
    l->ttl_s = ttl_s < t->min_ttl_s ? t->min_ttl_s : ttl_s;
    l->epoch = t->epoch;
    list_init(&l->keys);
    l->number = t->next_number++;
    list_add_last(&t->current, &l->in_table);
    list_add_last(&t->all, &l->in_all);
    map_put(&t->leases, (uint64_t)id, l);
    return l;
}

int lease_grant(struct lease_table *t, int64_t id, int64_t ttl_s, uint64_t now_ms, int64_t *ret_ttl_s)
{
    if (id == 0)
        return ERR_LEASE_NOT_FOUND;
    if (ttl_s > LEASE_TTL_MAX)
        return ERR_LEASE_TTL_TOO_LARGE;
    if (lease_get(t, id))
        return ERR_LEASE_EXISTS;
    struct lease *l = lease_add(t, id, ttl_s);
    if (t->is_primary) {
        expire_at(t, l, now_ms + (uint64_t)l->ttl_s * 1000);
        schedule_checkpoint(t, l, now_ms, l->ttl_s);
    }
    *ret_ttl_s = l->ttl_s;
    return OK;
}

int lease_revoke(struct lease_table *t, int64_t id)
{
    struct lease *l = map_remove(&t->leases, (uint64_t)id);
    if (!l)
        return ERR_LEASE_NOT_FOUND;
    lease_free(t, l);
    return OK;
}

void lease_restore(struct lease_table *t, int64_t id, int64_t ttl_s, int64_t remaining_s)
{
    assert(!t->is_primary && !lease_get(t, id));
    lease_add(t, id, ttl_s)->remaining_s = remaining_s;
}

void lease_set_remaining(struct lease_table *t, int64_t id, int64_t remaining_s)
{
    struct lease *l = lease_get(t, id);
    if (!l)
        return;
    renew_epoch(t, l);
    l->remaining_s = remaining_s > 0 ? remaining_s : 0;
    if (l->remaining_s)
        return;
    if (l->clears_rest) /* the interval begins at the renewal */
        schedule_checkpoint(t, l, l->expires_ms - (uint64_t)l->ttl_s * 1000, l->ttl_s);
    l->rest_is_on_way = l->clears_rest = false;
}

bool lease_exists(const struct lease_table *t, int64_t id)
{
    return lease_get(t, id);
}

/* --- attached keys ------------------------------------------------------------------------------ */
static struct lease_key *key_find(const struct lease_table *t, struct slice key)
{
    struct keyset_node *n = keyset_find(&t->keys, key);
    return n ? container_of(n, struct lease_key, node) : NULL;
}

void lease_attach(struct lease_table *t, int64_t id, struct slice key)
{
    struct lease *l = lease_get(t, id);
    assert(l);
    struct lease_key *k = key_find(t, key);
    if (!k) {
        k = keyset_alloc(sizeof *k, key);
        keyset_add(&t->keys, &k->node);
    } else if (k->lease == l) {
        return;
    } else {
        drop_key_from_marks(k->lease, k);
        lease_walks_note_key(t, k->lease, k, false);
        count_keys(t, k->lease, k->lease->key_count - 1);
    }
    lease_walks_note_key(t, l, k, true);
    list_remove(&k->link);
    list_add_last(&l->keys, &k->link);
    count_keys(t, l, l->key_count + 1);
    k->lease = l;
}

void lease_detach(struct lease_table *t, int64_t id, struct slice key)
{
    struct lease_key *k = key_find(t, key);
    if (k && k->lease->id == id)
        key_free(t, k);
}

static int compare_keys(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

int lease_keys(const struct lease_table *t, int64_t id, struct slice **ret_keys, size_t *ret_count)
{
    struct lease *l = lease_get(t, id);
    if (!l)
        return ERR_LEASE_NOT_FOUND;
    size_t count = 0, i = 0;
    LIST_FOR_EACH (link, &l->keys)
        count++;
    struct slice *keys = mem_alloc(count * sizeof *keys);
    LIST_FOR_EACH (link, &l->keys)
        keys[i++] = keyset_key(&container_of(link, struct lease_key, link)->node);
    qsort(keys, count, sizeof *keys, compare_keys);
    *ret_keys = keys;
    *ret_count = count;
    return OK;
}

bool lease_has_few_keys(const struct lease_table *t, int64_t id)
{
    const struct lease *l = lease_get(t, id);
    size_t bytes = 0;
    if (!l || l->key_count > FEW_KEYS)
        return !l;
    LIST_FOR_EACH (link, &l->keys)
        bytes += container_of(link, struct lease_key, link)->node.size;
    return bytes <= FEW_KEYS_BYTES;
}

bool lease_is_any_long(const struct lease_table *t)
{
    return t->long_count > 0;
}

size_t lease_key_count(const struct lease_table *t, int64_t id)
{
    const struct lease *l = lease_get(t, id);
    return l ? l->key_count : 0;
}

bool lease_has_key(const struct lease_table *t, int64_t id, struct slice key)
{
    const struct lease_key *k = key_find(t, key);
    return k && k->lease->id == id;
}

static bool is_same(const struct lease_key_check *a, const struct lease_key_check *b)
{
    return a->user == b->user && a->revision == b->revision && a->is_write == b->is_write &&
           a->leaves_out == b->leaves_out;
}

/* A place for one more mark at the end: a new one, or that of the mark that was not used for longest. */
static size_t place_for_mark(struct lease *l)
{
    if (l->mark_count == MARKS_MAX)
        return MARKS_MAX - 1;
    if (l->mark_count == l->mark_capacity) {
        l->mark_capacity = l->mark_capacity ? l->mark_capacity * 2 : MARKS_MIN;
        l->marks = mem_resize(l->marks, l->mark_capacity * sizeof *l->marks);
    }
    return l->mark_count++;
}

/* Finds the progress of this check, or begins it, and moves it to the front. NULL: it is not remembered. */
static struct lease_mark *mark_of(struct lease *l, const struct lease_key_check *q)
{
    size_t at = 0;
    if (!q->user || l->key_count < MARK_KEYS_MIN)
        return NULL;
    while (at < l->mark_count && !is_same(&l->marks[at].check, q))
        at++;
    struct lease_mark m = {*q, &l->keys};
    if (at < l->mark_count)
        m = l->marks[at];
    else
        at = place_for_mark(l);
    memmove(l->marks + 1, l->marks, at * sizeof *l->marks);
    l->marks[0] = m;
    return l->marks;
}

/* Checks the keys after *last, which moves on to the last one that is OK. */
static int check_keys(const struct lease *l, struct link **last, int64_t *units,
                      int (*check)(void *arg, struct slice key), void *arg)
{
    for (struct link *at = (*last)->next; at != &l->keys && *units > 0; at = at->next) {
        struct slice key = keyset_key(&container_of(at, struct lease_key, link)->node);
        int err = check(arg, key);
        if (err)
            return err;
        *units -= 1 + (int64_t)(key.size / BYTES_PER_UNIT);
        *last = at;
    }
    return OK;
}

int lease_check_keys(struct lease_table *t, int64_t id, const struct lease_key_check *q,
                     int (*check)(void *arg, struct slice key), void *arg)
{
    struct lease *l = lease_get(t, id);
    if (!l)
        return OK;
    struct link *all = &l->keys;
    struct lease_mark *m = mark_of(l, q);
    struct link **last = m ? &m->last : &all;
    int64_t units = INT64_MAX;
    /* The author may have become invalid: one key is checked in any case. */
    if (*last == l->keys.prev && !list_is_empty(&l->keys))
        *last = (*last)->prev;
    return check_keys(l, last, &units, check, arg);
}

bool lease_check_some(struct lease_table *t, int64_t id, const struct lease_key_check *q,
                      int (*check)(void *arg, struct slice key), void *arg, int64_t *units)
{
    struct lease *l = lease_get(t, id);
    struct lease_mark *m = l ? mark_of(l, q) : NULL;
    if (l && !m)
        *units -= (int64_t)l->key_count;
    return !m || check_keys(l, &m->last, units, check, arg) != OK || m->last == l->keys.prev;
}

size_t lease_some_keys(const struct lease_table *t, int64_t id, void **position, struct slice *ret_keys,
                       size_t max)
{
    struct lease *l = lease_get(t, id);
    if (!l)
        return 0;
    struct link *at = *position ? *position : l->keys.next;
    size_t count = 0;
    for (; at != &l->keys && count < max; at = at->next)
        ret_keys[count++] = keyset_key(&container_of(at, struct lease_key, link)->node);
    *position = at;
    return count;
}

/* --- leadership --------------------------------------------------------------------------------- */
static int compare_expiry(const void *a, const void *b)
{
    const struct lease *x = *(struct lease *const *)a, *y = *(struct lease *const *)b;
    if (x->expires_ms != y->expires_ms)
        return x->expires_ms < y->expires_ms ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static struct lease **sorted_leases(const struct lease_table *t)
{
    struct lease **all = mem_alloc(t->leases.count * sizeof *all);
    uint64_t id;
    void *value;
    size_t count = 0;
    for (size_t at = 0; map_next(&t->leases, &at, &id, &value);) {
        struct lease *l = value;
        l->expires_ms = lease_end_ms(t, l);
        all[count++] = l;
    }
    qsort(all, count, sizeof(struct lease *), compare_expiry);
    return all;
}

void lease_promote(struct lease_table *t, uint64_t now_ms, uint64_t extend_ms)
{
    begin_epoch(t);
    t->is_primary = true;
    t->promoted_ms = now_ms;
    t->extend_ms = extend_ms;
    (void)lease_start_clocks(t, CLOCKS_AT_ONCE);
}

void lease_demote(struct lease_table *t)
{
    if (MUTANT(LEASE_CLOCK_RUNS_ON))
        return;
    begin_epoch(t);
    t->is_primary = false;
    t->demoted = t->epoch;
}

bool lease_is_primary(const struct lease_table *t)
{
    return t->is_primary;
}

/* --- time --------------------------------------------------------------------------------------- */
int lease_renew(struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_ttl_s)
{
    if (!t->is_primary)
        return ERR_NOT_PRIMARY_LESSOR;
    struct lease *l = lease_get(t, id);
    if (l)
        renew_epoch(t, l);
    if (!l || lease_is_over(l, now_ms))
        return ERR_LEASE_NOT_FOUND;
    if (!MUTANT(LEASE_RENEWAL_LOST))
        expire_at(t, l, now_ms + (uint64_t)l->ttl_s * 1000);
    if (is_shortened(l) && !l->clears_rest) {
        l->clears_rest = true;
        heap_set(&t->checkpoints, &l->checkpoint, now_ms);
    }
    *ret_ttl_s = l->ttl_s;
    return OK;
}

int64_t lease_logged_rest(const struct lease_table *t, int64_t id)
{
    const struct lease *l = lease_get(t, id);
    return l ? l->remaining_s : 0;
}

bool lease_is_checkpointed(const struct lease_table *t, int64_t id)
{
    const struct lease *l = lease_get(t, id);
    return l && (l->remaining_s > 0 || (l->rest_is_on_way && !is_rest_void(t, l)));
}

void lease_time_to_live(const struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_remaining_s,
                        int64_t *ret_granted_s)
{
    const struct lease *l = lease_get(t, id);
    *ret_granted_s = l ? l->ttl_s : 0;
    if (!l)
        *ret_remaining_s = -1;
    else if (!t->is_primary)
        *ret_remaining_s = rest_of(l);
    else
        *ret_remaining_s = now_ms >= lease_end_ms(t, l) ? 0 : (int64_t)((lease_end_ms(t, l) - now_ms) / 1000);
}

size_t lease_expired(struct lease_table *t, uint64_t now_ms, uint64_t retry_ms, int64_t *ret_ids, size_t max)
{
    size_t count = 0;
    struct heap_node *first;
    while (count < max && (first = heap_first(&t->expiries)) && first->key <= now_ms) {
        struct lease *l = container_of(first, struct lease, expiry);
        ret_ids[count++] = l->id;
        heap_move(&t->expiries, first, now_ms + (retry_ms ? retry_ms : 1));
    }
    return count;
}

uint64_t lease_next_expiry_ms(const struct lease_table *t, uint64_t now_ms)
{
    const struct heap_node *first = heap_first(&t->expiries);
    if (!first)
        return UINT64_MAX;
    return first->key > now_ms ? first->key - now_ms : 0;
}

size_t lease_list(const struct lease_table *t, int64_t **ret_ids)
{
    size_t count = t->leases.count;
    struct lease **all = sorted_leases(t);
    int64_t *ids = mem_alloc(count * sizeof *ids);
    for (size_t i = 0; i < count; i++)
        ids[i] = all[i]->id;
    mem_free(all);
    *ret_ids = ids;
    return count;
}

size_t lease_count(const struct lease_table *t)
{
    return t->leases.count;
}

/* A checkpoint may be lost like any proposal. So the next one is scheduled here, not when it comes back
 * through the log. */
size_t lease_checkpoints(struct lease_table *t, uint64_t now_ms, int64_t *ret_ids, int64_t *ret_remaining_s,
                         size_t max)
{
    size_t count = 0;
    struct heap_node *first;
    while (count < max && (first = heap_first(&t->checkpoints)) && first->key <= now_ms) {
        struct lease *l = container_of(first, struct lease, checkpoint);
        if (lease_is_over(l, now_ms)) {
            heap_remove(&t->checkpoints, first);
            continue;
        }
        int64_t rest_s = (int64_t)((l->expires_ms - now_ms + 999) / 1000);
        bool is_useful = l->clears_rest || rest_s < l->ttl_s;
        if (is_useful) {
            ret_ids[count] = l->id;
            ret_remaining_s[count++] = l->clears_rest ? 0 : rest_s;
        }
        if (l->clears_rest) {
            heap_move(&t->checkpoints, first, now_ms + CLEAR_RETRY_MS);
        } else {
            l->rest_is_on_way |= is_useful;
            schedule_checkpoint(t, l, now_ms, rest_s);
        }
    }
    return count;
}
