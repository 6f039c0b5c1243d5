/* SPDX-License-Identifier: Apache-2.0
 * Retention of releases; see janitor.h.
 *
 *   - Items that may have something to delete wait in a heap, ordered by the wall clock time when it is due.
 *     0 = not known: their releases must be examined.
 *   - A turn examines a few items and is followed by a pause. One transaction is under way at a time. So a
 *     store with a hundred thousand items is not disturbed. */
#include "config/janitor.h"

#include "base/log.h"
#include "base/metric.h"
#include "consensus/write_limits.h"
#include "proto/txn.h"

#define EXAMINED_MAX 8  /* items in one turn */
#define KEYS_MAX     64 /* of releases, in one examination */
#define DELETES_MAX  32 /* in one transaction */
#define ITEM_KEYS    2  /* beside the releases: the head, the rollout */
#define BYTES_MAX                                                                                            \
    (256u << 10)         /* of releases read for one item; also of one turn, which then starts no more */
#define OVER_MS     1000 /* interval of examinations of an item over a bound */
#define PAUSE_MS    100
#define CHANGED_MS  60000 /* interval of examinations of an item that changes all the time */
#define LOST_MS     1000
#define FAILED_MS   10000
#define WAKE_MAX_MS 600000 /* the wall clock may jump */

struct config_janitor {
    struct kv *kv;
    struct io *io;
    struct heads *heads;
    size_t kept;
    uint64_t kept_ms, releases_max, history_bytes_max;
    struct write_limits *limits;
    bool is_leading;
    uint64_t term;     /* how often this member has become leader */
    size_t turn_bytes; /* of releases read in this turn */
    struct heap due;   /* of items, by wall clock ms */
    uint64_t pause_until_ms;
    struct io_timer timer;
    /* The transaction under way. */
    bool is_busy, does_remove_item;
    uint64_t freed, young; /* bytes that it deletes; releases that it deletes before their age */
    struct kv_request request;
    struct txn txn;
    struct config_id key;
    struct arena arena;
};

static uint64_t wall_ms(const struct config_janitor *j)
{
    return j->io->ops->wall_ns(j->io) / 1000000;
}

static uint64_t config_janitor_now_ms(const struct config_janitor *j)
{
    return j->io->ops->mono_ns(j->io) / 1000000;
}

static void set_due(struct config_janitor *j, struct heads_item *i, uint64_t ms)
{
    if (heap_contains(&i->collect))
        heap_move(&j->due, &i->collect, ms);
    else
        heap_add(&j->due, &i->collect, ms);
}

/* --- bounds --------------------------------------------------------------------------------------------- */

/* Upper bound of a release's document for a content size. */
static uint64_t size_bound(uint64_t content_size)
{
    return content_size / 3 * 4 + 1024;
}

/* Whether the item may have passed a bound since its history was counted: then it is examined soon. */
static bool may_be_over(const struct config_janitor *j, const struct heads_item *i)
{
    const struct config_head *head = i->item.head;
    if (i->history.term != j->term || !i->history.first)
        return false; /* it waits for its first examination */
    uint64_t newer = head->last_seq > i->history.last ? head->last_seq - i->history.last : 0;
    bool is_gray_newer = head->last_seq > head->seq; /* its size is unknown */
    uint64_t bytes = i->history.bytes + newer * size_bound(is_gray_newer ? BYTES_MAX : head->size);
    return (j->releases_max && head->last_seq - i->history.first >= j->releases_max) ||
           (j->history_bytes_max && newer && bytes > j->history_bytes_max);
}

void config_janitor_changed(struct config_janitor *j, struct heads_item *i)
{
    const struct config_head *head = i->item.head;
    if (!head || (head->last_seq <= j->kept && !head->is_deleted)) {
        heap_remove(&j->due, &i->collect);
        return;
    }
    uint64_t soon = wall_ms(j) + (may_be_over(j, i) ? OVER_MS : CHANGED_MS);
    if (!heap_contains(&i->collect))
        set_due(j, i, 0);
    else if (i->collect.key > soon)
        set_due(j, i, soon);
}

/* --- a transaction ------------------------------------------------------------------------------------- */

static struct slice config_janitor_keep(struct config_janitor *j, struct buf *text)
{
    struct slice copy = slice_of(arena_copy(&j->arena, text->data, text->size), text->size);
    buf_done(text);
    return copy;
}

static struct slice config_janitor_key_of(struct config_janitor *j, const struct heads_item *i,
                                          enum config_key kind, uint64_t seq)
{
    struct buf text = {0};
    config_name_add_key(&text, &(struct config_name){kind, i->item.ns, i->item.group, i->item.name, seq});
    return config_janitor_keep(j, &text);
}

static void config_janitor_on_done(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct config_janitor *j = container_of(r, struct config_janitor, request);
    const Etcdserverpb__TxnResponse *response = (const void *)message;
    struct heads_item *i = heads_find(j->heads, &j->key);
    uint64_t deletes = j->txn.message.n_success - (j->does_remove_item ? ITEM_KEYS : 0);
    uint64_t again_ms = 0;
    j->is_busy = false;
    if (err) {
        log_warn("old releases could not be deleted; trying again", F_ERR(err));
        again_ms = FAILED_MS;
        j->pause_until_ms = config_janitor_now_ms(j) + FAILED_MS;
    } else if (!response->succeeded) {
        again_ms = LOST_MS;
    } else {
        metric_add(METRIC_CONFIG_COLLECTED, (double)deletes);
        metric_add(METRIC_CONFIG_ITEMS_COLLECTED, j->does_remove_item);
        metric_add(METRIC_CONFIG_OVER_BOUND, (double)j->young);
        write_limits_deleted(j->limits, j->freed);
        if (i && i->history.term == j->term)
            i->history.bytes -= j->freed < i->history.bytes ? j->freed : i->history.bytes;
    }
    if (i && heap_contains(&i->collect))
        set_due(j, i, wall_ms(j) + again_ms);
}

/* --- one item --------------------------------------------------------------------------------------- */

static bool is_pinned(const struct config_head *head, uint64_t seq)
{
    for (size_t i = 0; i < head->gray.count; i++)
        if (head->gray.list[i].seq == seq)
            return true;
    return seq == head->seq;
}

static int range(struct config_janitor *j, struct slice from, struct slice to, bool keys_only,
                 Etcdserverpb__RangeResponse **ret)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key.len = from.size;
    memcpy(&m.key.data, &from.data, sizeof from.data);
    m.range_end.len = to.size;
    memcpy(&m.range_end.data, &to.data, sizeof to.data);
    m.keys_only = keys_only;
    m.limit = to.size ? KEYS_MAX : 0;
    return kv_range_page(j->kv, &m, &j->arena, ret);
}

enum age { AGE_OLD, AGE_YOUNG, AGE_UNKNOWN };

/* The age of a release by its document. If it is young, ret_old_ms is when it will be old. Unknown: it cannot
 * be read and is left alone. */
static enum age age_of(struct config_janitor *j, struct slice value, uint64_t *ret_old_ms)
{
    struct config_release release;
    struct arena a = {0};
    char error[256];
    enum age age = AGE_UNKNOWN;
    j->turn_bytes += value.size;
    if (config_release_read(value, &a, &release, error, sizeof error) == OK) {
        *ret_old_ms = (uint64_t)release.time_ms + j->kept_ms;
        age = *ret_old_ms <= wall_ms(j) ? AGE_OLD : AGE_YOUNG;
    }
    arena_done(&a);
    return age;
}

static uint64_t seq_of(const Mvccpb__KeyValue *pair, struct buf *scratch)
{
    struct config_name name;
    int err = config_name_parse(slice_of(pair->key.data, pair->key.len), scratch, &name);
    return err ? 0 : name.seq;
}

/* Counts the releases since the last time, some in one call. False: there are more. */
static bool count_history(struct config_janitor *j, struct heads_item *i)
{
    Etcdserverpb__RangeResponse *response;
    struct buf scratch = {0};
    uint64_t last = i->item.head->last_seq;
    if (i->history.term != j->term)
        memset(&i->history, 0, sizeof i->history);
    i->history.term = j->term;
    if (i->history.last >= last)
        return true;
    struct slice from = config_janitor_key_of(j, i, CONFIG_RELEASE, i->history.last + 1);
    int err = range(j, from, config_janitor_key_of(j, i, CONFIG_RELEASE, last + 1), false, &response);
    for (size_t k = 0; !err && k < response->n_kvs; k++) {
        uint64_t seq = seq_of(response->kvs[k], &scratch);
        if (!seq)
            continue;
        i->history.first = i->history.first ? i->history.first : seq;
        i->history.last = seq;
        i->history.bytes += response->kvs[k]->value.len;
    }
    buf_done(&scratch);
    if (err || response->n_kvs == KEYS_MAX)
        return false;
    i->history.last = last;
    return true;
}

/* Whether a release must go whatever its age: with it the history has too many releases or bytes. */
static bool config_janitor_is_over(const struct config_janitor *j, const struct heads_item *i, uint64_t seq)
{
    return (j->releases_max && i->item.head->last_seq - seq >= j->releases_max) ||
           (j->history_bytes_max && i->history.bytes > j->history_bytes_max + j->freed);
}

static void log_bound(const struct config_janitor *j, struct heads_item *i)
{
    if (i->history.is_bound_logged)
        return;
    i->history.is_bound_logged = true;
    log_warn("a configuration's history has passed its bound: its oldest releases are deleted before their "
             "age limit",
             F_BYTES("namespace", i->item.ns), F_BYTES("group", i->item.group), F_BYTES("name", i->item.name),
             F_INT("releases", i->item.head->last_seq - i->history.first + 1),
             F_INT("bytes", i->history.bytes), F_INT("config-releases-max", j->releases_max),
             F_INT("config-history-max-bytes", j->history_bytes_max));
}

/* Adds deletes of releases below `end`, oldest first. Returns when the first young one will be old;
 * UINT64_MAX = there is none, 0 = there may be more to delete at once. */
static uint64_t add_releases(struct config_janitor *j, struct heads_item *i, uint64_t end, bool all)
{
    Etcdserverpb__RangeResponse *response;
    struct buf scratch = {0};
    uint64_t next_ms = UINT64_MAX;
    size_t begin = j->turn_bytes;
    struct slice from = config_janitor_key_of(j, i, CONFIG_RELEASE, 1),
                 to = config_janitor_key_of(j, i, CONFIG_RELEASE, end);
    int err = range(j, from, to, false, &response);
    for (size_t k = 0; !err && k < response->n_kvs && next_ms == UINT64_MAX; k++) {
        struct slice key = slice_of(response->kvs[k]->key.data, response->kvs[k]->key.len);
        struct slice value = slice_of(response->kvs[k]->value.data, response->kvs[k]->value.len);
        uint64_t seq = seq_of(response->kvs[k], &scratch), old_ms = 0;
        if (!seq || (!all && is_pinned(i->item.head, seq)))
            continue;
        bool is_bound = !all && config_janitor_is_over(j, i, seq);
        enum age age = all || is_bound ? AGE_OLD : age_of(j, value, &old_ms);
        if (is_bound)
            log_bound(j, i);
        if (age == AGE_OLD) {
            txn_delete(&j->txn, slice_of(arena_copy(&j->arena, key.data, key.size), key.size));
            j->freed += value.size;
            j->young += is_bound;
            i->history.first = seq + 1;
        }
        if (age == AGE_YOUNG)
            next_ms = old_ms;
        else if (j->txn.message.n_success == DELETES_MAX || j->turn_bytes - begin > BYTES_MAX)
            next_ms = 0;
    }
    buf_done(&scratch);
    return err ? wall_ms(j) + FAILED_MS : next_ms;
}

/* Examines an item. True: a transaction was sent. */
static bool config_janitor_examine(struct config_janitor *j, struct heads_item *i, uint64_t wall)
{
    const struct config_head *head = i->item.head;
    uint64_t gone_ms = head->is_deleted ? (uint64_t)head->time_ms + j->kept_ms : UINT64_MAX;
    bool all = gone_ms <= wall;
    arena_reset(&j->arena);
    txn_init(&j->txn, &j->arena);
    txn_if_revision(&j->txn, config_janitor_key_of(j, i, CONFIG_HEAD, 0), i->key_revision);
    uint64_t due = UINT64_MAX;
    j->freed = j->young = 0;
    if (!all && head->last_seq > j->kept && !count_history(j, i)) {
        set_due(j, i, wall); /* other items go first */
        return false;
    }
    if (all || head->last_seq > j->kept)
        due = add_releases(j, i, all ? CONFIG_SEQ_MAX : head->last_seq - j->kept + 1, all);
    j->does_remove_item = all && due == UINT64_MAX;
    if (j->does_remove_item) { /* ITEM_KEYS */
        txn_delete(&j->txn, config_janitor_key_of(j, i, CONFIG_HEAD, 0));
        txn_delete(&j->txn, config_janitor_key_of(j, i, CONFIG_ROLLOUT, 0));
    }
    if (j->txn.message.n_success == 0) {
        due = gone_ms < due ? gone_ms : due;
        if (due == UINT64_MAX)
            heap_remove(&j->due, &i->collect);
        else
            set_due(j, i, due ? due : wall + LOST_MS);
        return false;
    }
    struct config_id key = {i->item.ns, i->item.group, i->item.name};
    j->key =
        (struct config_id){slice_of(arena_copy(&j->arena, key.ns.data, key.ns.size), key.ns.size),
                           slice_of(arena_copy(&j->arena, key.group.data, key.group.size), key.group.size),
                           slice_of(arena_copy(&j->arena, key.name.data, key.name.size), key.name.size)};
    j->is_busy = true;
    j->request.done = config_janitor_on_done;
    kv_txn(j->kv, &j->request, &j->txn.message);
    return true;
}

/* --- turns ---------------------------------------------------------------------------------------------- */

static void config_janitor_on_timer(struct io_timer *timer)
{
    (void)timer; /* it only wakes the loop: the turn follows */
}

static void wake_in(struct config_janitor *j, uint64_t ms)
{
    j->io->ops->timer_start(j->io, &j->timer, ms < WAKE_MAX_MS ? ms : WAKE_MAX_MS);
}

static void cancel_in_flight(struct config_janitor *j)
{
    if (j->is_busy)
        kv_cancel(j->kv, &j->request);
    j->is_busy = false;
}

void config_janitor_turn(struct config_janitor *j)
{
    struct heap_node *first = heap_first(&j->due);
    if (kv_leader(j->kv) != kv_member_id(j->kv)) {
        cancel_in_flight(j);
        j->is_leading = false;
        return;
    }
    j->term += !j->is_leading;
    j->is_leading = true;
    uint64_t now = config_janitor_now_ms(j), wall = wall_ms(j);
    if (j->is_busy || !first)
        return;
    if (now < j->pause_until_ms) {
        wake_in(j, j->pause_until_ms - now);
        return;
    }
    unsigned examined = 0;
    bool is_sent = false;
    j->turn_bytes = 0;
    while (!is_sent && examined < EXAMINED_MAX && j->turn_bytes <= BYTES_MAX &&
           (first = heap_first(&j->due)) && first->key <= wall) {
        is_sent = config_janitor_examine(j, container_of(first, struct heads_item, collect), wall);
        examined++;
    }
    if (examined) {
        j->pause_until_ms = now + PAUSE_MS;
        wake_in(j, is_sent ? 0 : PAUSE_MS); /* kv_turn handles a sent transaction */
    } else {
        wake_in(j, first->key - wall);
    }
}

struct config_janitor *config_janitor_new(const struct config_janitor_options *options)
{
    struct config_janitor *j = mem_new(sizeof *j);
    j->kv = options->kv;
    j->io = kv_io(options->kv);
    j->heads = options->heads;
    j->kept = options->kept;
    j->kept_ms = options->kept_s < UINT64_MAX / 4000 ? options->kept_s * 1000 : UINT64_MAX / 4;
    j->releases_max = options->releases_max;
    j->history_bytes_max = options->history_bytes_max;
    j->limits = options->limits;
    j->timer.fire = config_janitor_on_timer;
    return j;
}

void config_janitor_free(struct config_janitor *j)
{
    cancel_in_flight(j);
    j->io->ops->timer_stop(j->io, &j->timer);
    heap_done(&j->due);
    arena_done(&j->arena);
    mem_free(j);
}
