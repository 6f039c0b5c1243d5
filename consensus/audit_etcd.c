/* SPDX-License-Identifier: Apache-2.0
 * Records of administrative changes of etcd's API; see audit_etcd.h. */
#include "consensus/audit_etcd.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/metric.h"

enum {
    CHANGES_KEPT_MAX = 4096,
    BATCH = 32,     /* records of one transaction */
    RETRY_MS = 200, /* between two looks at what is recorded */
};

/* A change that was applied. */
struct admin_change {
    struct link link;
    struct arena arena;
    uint64_t index;
    struct author author;
    struct audit_change change;
    bool has_line; /* this member writes it */
};

struct audit_etcd {
    struct audit *audit;
    struct kv *kv;
    struct io *io;
    bool is_recording;
    struct link fresh; /* struct admin_change that no turn has seen yet */
    struct link kept;  /* those without a record */
    size_t kept_count;
    uint64_t next_ms;
    struct io_timer timer;
    /* The transaction under way. */
    bool is_writing;
    uint64_t writing_to; /* the index of its last record */
    struct kv_request request;
    struct txn txn;
    struct arena arena;
};

/* --- changes from the log ------------------------------------------------------------------------------ */

static void free_change(struct admin_change *c)
{
    list_remove(&c->link);
    arena_done(&c->arena);
    mem_free(c);
}

static void on_applied(void *arg, const struct kv_admin_change *applied)
{
    struct audit_etcd *e = arg;
    struct admin_change *c = mem_new(sizeof *c);
    list_init(&c->link);
    struct author author = applied->author;
    if (applied->is_own)
        author.name = applied->member
                          ? slice_text(arena_printf(&c->arena, "member %" PRIx64, applied->member))
                          : slice_text("leader");
    else if (!author.name.size)
        author.name = slice_text(AUTHOR_ANONYMOUS);
    c->author = author_copy(&c->arena, &author);
    c->index = applied->index;
    c->has_line = applied->member == kv_member_id(e->kv) ||
                  (!applied->member && kv_leader(e->kv) == kv_member_id(e->kv));
    if (audit_describe(applied->message, &c->arena, &c->change))
        list_add_last(&e->fresh, &c->link);
    else
        free_change(c);
}

static struct audit_record record_of(struct admin_change *c)
{
    return (struct audit_record){.author = c->author, .index = c->index, .changes = &c->change, .count = 1};
}

static void take_fresh(struct audit_etcd *e)
{
    for (struct link *l; (l = list_take_first(&e->fresh));) {
        struct admin_change *c = container_of(l, struct admin_change, link);
        const struct audit_record r = record_of(c);
        if (c->has_line)
            audit_line(e->audit, &r);
        if (!e->is_recording) {
            free_change(c);
            continue;
        }
        list_add_last(&e->kept, &c->link);
        e->next_ms = 0;
        if (++e->kept_count > CHANGES_KEPT_MAX) {
            free_change(container_of(e->kept.next, struct admin_change, link));
            e->kept_count--;
            metric_add(METRIC_AUDIT_OMITTED, 1);
        }
    }
}

/* --- records ------------------------------------------------------------------------------------------- */

static void drop_to(struct audit_etcd *e, uint64_t index)
{
    while (!list_is_empty(&e->kept)) {
        struct admin_change *c = container_of(e->kept.next, struct admin_change, link);
        if (c->index > index)
            break;
        free_change(c);
        e->kept_count--;
    }
}

/* The index of the last change with a record, and the revision of the key. An index that this member has not
 * reached is of another log: the store was restored from a backup. */
static int read_at(struct audit_etcd *e, uint64_t *ret_index, int64_t *ret_revision)
{
    static uint8_t key[] = AUDIT_AT;
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    uint64_t term;
    m.key = (ProtobufCBinaryData){sizeof key - 1, key};
    int err = kv_range_page(e->kv, &m, &a, &response);
    *ret_index = 0;
    *ret_revision = 0;
    if (!err && response->n_kvs) {
        const Mvccpb__KeyValue *kv = response->kvs[0];
        char *text = arena_string(&a, (const char *)kv->value.data, kv->value.len);
        *ret_index = strtoull(text, NULL, 10);
        *ret_revision = kv->mod_revision;
    }
    if (*ret_index > kv_applied_index(e->kv, &term))
        *ret_index = 0;
    arena_done(&a);
    return err;
}

static void on_recorded(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct audit_etcd *e = container_of(r, struct audit_etcd, request);
    const Etcdserverpb__TxnResponse *response = (const void *)message;
    bool is_recorded = !err && response->succeeded;
    e->is_writing = false;
    if (is_recorded) {
        size_t before = e->kept_count;
        drop_to(e, e->writing_to);
        metric_add(METRIC_AUDIT_RECORDS, (double)(before - e->kept_count));
    }
    arena_done(&e->arena);
    e->next_ms = is_recorded ? 0 : e->io->ops->mono_ns(e->io) / 1000000 + RETRY_MS;
}

static void write_records(struct audit_etcd *e, int64_t revision)
{
    unsigned count = 0;
    txn_init(&e->txn, &e->arena);
    txn_if_revision(&e->txn, slice_text(AUDIT_AT), revision);
    LIST_FOR_EACH (l, &e->kept) {
        struct admin_change *c = container_of(l, struct admin_change, link);
        const struct audit_record r = record_of(c);
        (void)audit_add(e->audit, &e->txn, TXN_THEN, &r);
        e->writing_to = c->index;
        if (++count == BATCH)
            break;
    }
    if (!e->txn.message.n_success) { /* the store is nearly full: audit_add has counted them */
        drop_to(e, e->writing_to);
        arena_done(&e->arena);
        return;
    }
    txn_put(&e->txn, slice_text(AUDIT_AT), slice_text(arena_printf(&e->arena, "%" PRIu64, e->writing_to)), 0);
    e->request = (struct kv_request){.done = on_recorded, .extra_ops = BATCH + 2};
    e->is_writing = true;
    kv_txn(e->kv, &e->request, &e->txn.message);
    e->io->ops->timer_start(e->io, &e->timer, 0); /* wakes the loop: kv_turn sends it */
}

void audit_etcd_turn(struct audit_etcd *e)
{
    uint64_t index, now = e->io->ops->mono_ns(e->io) / 1000000;
    int64_t revision;
    take_fresh(e);
    if (list_is_empty(&e->kept) || e->is_writing || now < e->next_ms)
        return;
    e->next_ms = now + RETRY_MS;
    e->io->ops->timer_start(e->io, &e->timer, RETRY_MS);
    if (read_at(e, &index, &revision) != OK)
        return;
    drop_to(e, index);
    if (!list_is_empty(&e->kept) && kv_leader(e->kv) == kv_member_id(e->kv))
        write_records(e, revision);
}

/* --- life ---------------------------------------------------------------------------------------------- */

static void etcd_on_timer(struct io_timer *timer)
{
    (void)timer; /* audit_etcd_turn runs next */
}

struct audit_etcd *audit_etcd_new(struct audit *a, struct kv *kv, bool is_recording)
{
    struct audit_etcd *e = mem_new(sizeof *e);
    e->audit = a;
    e->kv = kv;
    e->io = kv_io(kv);
    e->is_recording = is_recording;
    list_init(&e->fresh);
    list_init(&e->kept);
    e->timer.fire = etcd_on_timer;
    kv_on_admin(kv, on_applied, e);
    return e;
}

void audit_etcd_free(struct audit_etcd *e)
{
    kv_on_admin(e->kv, NULL, NULL);
    e->io->ops->timer_stop(e->io, &e->timer);
    if (e->is_writing)
        kv_cancel(e->kv, &e->request);
    LIST_FOR_EACH_SAFE (l, &e->fresh)
        free_change(container_of(l, struct admin_change, link));
    LIST_FOR_EACH_SAFE (l, &e->kept)
        free_change(container_of(l, struct admin_change, link));
    arena_done(&e->arena);
    mem_free(e);
}
