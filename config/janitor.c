/* SPDX-License-Identifier: Apache-2.0
 * See janitor.h. Items that may have something to collect wait in a heap by when it is due, as far as that is
 * known; 0 is not known: their releases are looked at. A few are looked at in a turn, then there is a pause,
 * and one transaction is under way at a time: whoever has a hundred thousand of them is not disturbed. */
#include "config/janitor.h"

#include "base/log.h"
#include "base/metric.h"
#include "proto/txn.h"

#define LOOKS_MAX   8          /* in one turn */
#define KEYS_MAX    64         /* of releases, in one look */
#define DELETES_MAX 32         /* in one transaction */
#define BYTES_MAX   (1u << 20) /* of releases read in one look */
#define PAUSE_MS    100
#define CHANGED_MS  60000 /* an item that changes all the time is looked at so often */
#define LOST_MS     1000
#define FAILED_MS   10000
#define WAKE_MAX_MS 600000 /* the wall clock may jump */

struct config_janitor {
    struct kv *kv;
    struct io *io;
    struct heads *heads;
    size_t kept;
    uint64_t kept_ms;
    struct heap due; /* wall clock, ms */
    uint64_t pause_until_ms;
    struct io_timer timer;
    /* The transaction under way. */
    bool is_busy, does_remove_item;
    struct kv_request request;
    struct txn txn;
    struct config_id key;
    struct arena arena;
};

static uint64_t wall_ms(const struct config_janitor *j)
{
    return j->io->ops->wall_ns(j->io) / 1000000;
}

static uint64_t now_ms(const struct config_janitor *j)
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

void config_janitor_changed(struct config_janitor *j, struct heads_item *i)
{
    const struct config_head *head = i->item.head;
    if (!head || (head->last_seq <= j->kept && !head->is_deleted)) {
        heap_remove(&j->due, &i->collect);
        return;
    }
    uint64_t soon = wall_ms(j) + CHANGED_MS;
    if (!heap_contains(&i->collect))
        set_due(j, i, 0);
    else if (i->collect.key > soon)
        set_due(j, i, soon);
}

/* --- a transaction ------------------------------------------------------------------------------------- */

static struct slice keep(struct config_janitor *j, struct buf *text)
{
    struct slice copy = slice_of(arena_copy(&j->arena, text->data, text->size), text->size);
    buf_done(text);
    return copy;
}

static struct slice key_of(struct config_janitor *j, const struct heads_item *i, enum config_key kind,
                           uint64_t seq)
{
    struct buf text = {0};
    config_name_add_key(&text, &(struct config_name){kind, i->item.ns, i->item.group, i->item.name, seq});
    return keep(j, &text);
}

static void on_done(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct config_janitor *j = container_of(r, struct config_janitor, request);
    const Etcdserverpb__TxnResponse *response = (const void *)message;
    struct heads_item *i = heads_find(j->heads, &j->key);
    uint64_t deletes = j->txn.message.n_success - j->does_remove_item;
    uint64_t again_ms = 0;
    j->is_busy = false;
    if (err) {
        log_warn("old releases could not be collected, it is tried again", F_ERR(err));
        again_ms = FAILED_MS;
        j->pause_until_ms = now_ms(j) + FAILED_MS;
    } else if (!response->succeeded) {
        again_ms = LOST_MS;
    } else {
        metric_add(METRIC_CONFIG_COLLECTED, (double)deletes);
        metric_add(METRIC_CONFIG_ITEMS_COLLECTED, j->does_remove_item);
    }
    if (i && heap_contains(&i->collect))
        set_due(j, i, wall_ms(j) + again_ms);
}

/* --- looking at one item -------------------------------------------------------------------------------- */

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

/* Of the release under a key; if it is young, when it will be old. Unknown: it cannot be read, and is left
 * alone. */
static enum age age_of(struct config_janitor *j, struct slice key, size_t *bytes, uint64_t *ret_old_ms)
{
    Etcdserverpb__RangeResponse *response;
    struct config_release release;
    struct arena a = {0};
    char error[256];
    enum age age = AGE_UNKNOWN;
    if (range(j, key, (struct slice){0}, false, &response) || !response->n_kvs)
        return age;
    struct slice value = slice_of(response->kvs[0]->value.data, response->kvs[0]->value.len);
    *bytes += value.size;
    if (config_release_read(value, &a, &release, error, sizeof error) == OK) {
        *ret_old_ms = (uint64_t)release.time_ms + j->kept_ms;
        age = *ret_old_ms <= wall_ms(j) ? AGE_OLD : AGE_YOUNG;
    }
    arena_done(&a);
    return age;
}

/* Deletes of releases below `end`, oldest first; when the first young one will be old, UINT64_MAX if there is
 * none, 0 if there may be more to do at once. */
static uint64_t add_releases(struct config_janitor *j, const struct heads_item *i, uint64_t end, bool all)
{
    Etcdserverpb__RangeResponse *response;
    struct buf scratch = {0};
    uint64_t next_ms = UINT64_MAX;
    size_t bytes = 0;
    struct slice from = key_of(j, i, CONFIG_RELEASE, 1), to = key_of(j, i, CONFIG_RELEASE, end);
    int err = range(j, from, to, true, &response);
    for (size_t k = 0; !err && k < response->n_kvs && next_ms == UINT64_MAX; k++) {
        struct slice key = slice_of(response->kvs[k]->key.data, response->kvs[k]->key.len);
        struct config_name name;
        if (config_name_parse(key, &scratch, &name) || (!all && is_pinned(i->item.head, name.seq)))
            continue;
        uint64_t old_ms = 0;
        enum age age = all ? AGE_OLD : age_of(j, key, &bytes, &old_ms);
        if (age == AGE_OLD)
            txn_delete(&j->txn, slice_of(arena_copy(&j->arena, key.data, key.size), key.size));
        if (age == AGE_YOUNG)
            next_ms = old_ms;
        else if (j->txn.message.n_success == DELETES_MAX || bytes > BYTES_MAX)
            next_ms = 0;
    }
    buf_done(&scratch);
    return err ? wall_ms(j) + FAILED_MS : next_ms;
}

/* True: a transaction was sent. */
static bool look(struct config_janitor *j, struct heads_item *i, uint64_t wall)
{
    const struct config_head *head = i->item.head;
    uint64_t gone_ms = head->is_deleted ? (uint64_t)head->time_ms + j->kept_ms : UINT64_MAX;
    bool all = gone_ms <= wall;
    arena_reset(&j->arena);
    txn_init(&j->txn, &j->arena);
    txn_if_revision(&j->txn, key_of(j, i, CONFIG_HEAD, 0), i->key_revision);
    uint64_t due = UINT64_MAX;
    if (all || head->last_seq > j->kept)
        due = add_releases(j, i, all ? CONFIG_SEQ_MAX : head->last_seq - j->kept + 1, all);
    j->does_remove_item = all && due == UINT64_MAX;
    if (j->does_remove_item)
        txn_delete(&j->txn, key_of(j, i, CONFIG_HEAD, 0));
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
    j->request.done = on_done;
    kv_txn(j->kv, &j->request, &j->txn.message);
    return true;
}

/* --- turns ---------------------------------------------------------------------------------------------- */

static void on_timer(struct io_timer *timer)
{
    (void)timer; /* the turn follows */
}

static void wake_in(struct config_janitor *j, uint64_t ms)
{
    j->io->ops->timer_start(j->io, &j->timer, ms < WAKE_MAX_MS ? ms : WAKE_MAX_MS);
}

static void forget_in_flight(struct config_janitor *j)
{
    if (j->is_busy)
        kv_cancel(j->kv, &j->request);
    j->is_busy = false;
}

void config_janitor_turn(struct config_janitor *j)
{
    struct heap_node *first = heap_first(&j->due);
    if (kv_leader(j->kv) != kv_member_id(j->kv)) {
        forget_in_flight(j);
        return;
    }
    uint64_t now = now_ms(j), wall = wall_ms(j);
    if (j->is_busy || !first)
        return;
    if (now < j->pause_until_ms) {
        wake_in(j, j->pause_until_ms - now);
        return;
    }
    unsigned looks = 0;
    bool is_sent = false;
    while (!is_sent && looks < LOOKS_MAX && (first = heap_first(&j->due)) && first->key <= wall) {
        is_sent = look(j, container_of(first, struct heads_item, collect), wall);
        looks++;
    }
    if (looks) {
        j->pause_until_ms = now + PAUSE_MS;
        wake_in(j, is_sent ? 0 : PAUSE_MS); /* kv_turn takes what was sent */
    } else {
        wake_in(j, first->key - wall);
    }
}

struct config_janitor *config_janitor_new(struct kv *kv, struct heads *heads, size_t kept, uint64_t kept_s)
{
    struct config_janitor *j = mem_new(sizeof *j);
    j->kv = kv;
    j->io = kv_io(kv);
    j->heads = heads;
    j->kept = kept;
    j->kept_ms = kept_s < UINT64_MAX / 4000 ? kept_s * 1000 : UINT64_MAX / 4;
    j->timer.fire = on_timer;
    return j;
}

void config_janitor_free(struct config_janitor *j)
{
    forget_in_flight(j);
    j->io->ops->timer_stop(j->io, &j->timer);
    heap_done(&j->due);
    arena_done(&j->arena);
    mem_free(j);
}
