/* SPDX-License-Identifier: Apache-2.0
 * Records of the audit trail: written with their changes, read, and deleted when they are old; see audit.h.
 *
 * The leader walks through all records every WALK_MS, the newest first, PAGE_KEYS of them in a turn. At the
 * first one that is too old, or at which the bytes of the newer ones are over the bound, it deletes the rest
 * by one range. */
#include "consensus/audit_etcd.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/mutant.h"

#define TIME_MAX   INT64_C(9999999999999) /* 13 digits */
#define SPARE_PART 64                     /* of the quota: with less room no record is written */
enum {
    WALK_MS = 600000,
    PAGE_MS = 20, /* between two pages */
    PAGE_KEYS = 200,
    REFUSED_MS = 1000, /* one refusal in this time, after the burst */
    CHANGES_MAX = 16384
};

struct audit {
    struct kv *kv;
    struct io *io;
    struct audit_options options;
    struct audit_etcd *etcd;
    uint64_t run, count; /* of the keys that this process makes */
    /* Refusals. */
    struct link refusals; /* struct refusal under way */
    uint64_t tokens, token_ms;
    int64_t omitted;
    /* The walk of the leader. */
    struct io_timer timer;
    uint64_t next_ms, walked_bytes;
    struct buf walk_from; /* the next key; empty: no walk is under way */
    bool is_deleting;
    struct kv_request request;
    Etcdserverpb__DeleteRangeRequest removal;
    struct buf removal_from, removal_to;
};

struct refusal {
    struct link link;
    struct audit *audit;
    struct kv_request request;
    struct txn txn;
    struct arena arena;
};

static uint64_t audit_now_ms(const struct audit *a)
{
    return a->io->ops->mono_ns(a->io) / 1000000;
}

static int64_t audit_wall_ms(const struct audit *a)
{
    return (int64_t)(a->io->ops->wall_ns(a->io) / 1000000);
}

/* --- keys and documents -------------------------------------------------------------------------------- */

void audit_key_from(int64_t time_ms, struct buf *out)
{
    int64_t from = time_ms < 0 ? 0 : time_ms > TIME_MAX ? TIME_MAX : time_ms;
    buf_addf(out, AUDIT_PREFIX "%013" PRId64, TIME_MAX - from);
}

static void add_key(struct audit *a, int64_t time_ms, struct buf *out)
{
    audit_key_from(time_ms, out);
    buf_addf(out, "-%016" PRIx64 "-%08" PRIx64 "%08" PRIx64, kv_member_id(a->kv), a->run & UINT32_MAX,
             ~a->count++ & UINT32_MAX); /* descending, as the time */
}

static void add_change_members(const struct audit_change *c, struct json_writer *w)
{
    document_add_text(w, "kind", slice_text(c->kind));
    document_add_text(w, "operation", slice_text(c->operation));
    document_add_text(w, "namespace", c->ns);
    document_add_text(w, "group", c->group);
    document_add_text(w, "name", c->name);
    document_add_text(w, "id", c->id);
    document_add_text(w, "emergency", c->emergency);
    if (c->seq)
        document_add_number(w, "seq", (int64_t)c->seq);
}

static void add_record_members(const struct audit_record *r, struct json_writer *w)
{
    document_add_number(w, "time_ms", r->time_ms);
    author_write_members(&r->author, w);
    document_add_text(w, "error", r->error);
    if (r->index)
        document_add_number(w, "index", (int64_t)r->index);
    if (r->omitted)
        document_add_number(w, "omitted", r->omitted);
}

static void audit_write(const struct audit_record *r, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    add_record_members(r, &w);
    jw_key(&w, "changes");
    jw_open(&w, '[');
    for (size_t i = 0; i < r->count; i++) {
        jw_open(&w, '{');
        add_change_members(&r->changes[i], &w);
        jw_close(&w, '}');
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
}

static void read_name(struct document_reader *r, const char *field, const char **ret)
{
    struct slice text = {0};
    document_text(r, field, &text);
    *ret = text.size ? arena_string(r->arena, (const char *)text.data, text.size) : "";
}

static int read_change(json_t *object, struct arena *a, struct audit_change *ret)
{
    char error[200];
    int64_t seq = 0;
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    document_begin_value(&r, object);
    read_name(&r, "kind", &ret->kind);
    read_name(&r, "operation", &ret->operation);
    document_text(&r, "namespace", &ret->ns);
    document_text(&r, "group", &ret->group);
    document_text(&r, "name", &ret->name);
    document_text(&r, "id", &ret->id);
    document_text(&r, "emergency", &ret->emergency);
    if (document_number(&r, "seq", 1, INT64_MAX, &seq))
        ret->seq = (uint64_t)seq;
    return document_end(&r);
}

int audit_read(struct slice text, struct arena *a, struct audit_record *ret)
{
    char error[200];
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    struct audit_record record = {0};
    int64_t index = 0;
    int err = OK;
    document_begin(&r, text);
    document_number(&r, "time_ms", 0, INT64_MAX, &record.time_ms);
    author_read(&r, &record.author);
    document_text(&r, "error", &record.error);
    document_number(&r, "omitted", 0, INT64_MAX, &record.omitted);
    document_number(&r, "index", 0, INT64_MAX, &index);
    record.index = (uint64_t)index;
    json_t *list = document_take(&r, "changes");
    if (json_is_array(list) && json_array_size(list) <= CHANGES_MAX) {
        record.count = json_array_size(list);
        record.changes = arena_new(a, (record.count + 1) * sizeof *record.changes);
        for (size_t i = 0; !err && i < record.count; i++)
            err = read_change(json_array_get(list, i), a, &record.changes[i]);
    }
    if (err)
        document_refuse(&r, "changes", "has an entry that cannot be read");
    err = document_end(&r);
    if (!err)
        *ret = record;
    return err;
}

static bool fits(const struct audit_filter *f, const struct audit_record *r,
                 const struct audit_change *change)
{
    const struct slice texts[AUDIT_FIELDS] = {
        [AUDIT_KIND] = slice_text(change->kind),
        [AUDIT_USER] = r->author.name,
        [AUDIT_NAME] = change->name,
        [AUDIT_NAMESPACE] = change->ns,
    };
    for (size_t i = 0; i < AUDIT_FIELDS; i++)
        if (f->has[i] && !slice_equal(f->texts[i], texts[i]) && !MUTANT(AUDIT_FILTER_IGNORED))
            return false;
    return true;
}

size_t audit_write_changes(const Mvccpb__KeyValue *pair, const struct audit_filter *f, struct json_writer *w)
{
    const size_t skip = sizeof AUDIT_PREFIX - 1;
    struct arena arena = {0};
    struct audit_record record = {0};
    size_t count = 0;
    if (pair->key.len == AUDIT_KEY_SIZE &&
        audit_read(slice_of(pair->value.data, pair->value.len), &arena, &record) != OK)
        record.count = 0;
    for (size_t i = 0; i < record.count; i++) {
        if (!fits(f, &record, &record.changes[i]))
            continue;
        jw_open(w, '{');
        document_add_text(w, "record", slice_of(pair->key.data + skip, pair->key.len - skip));
        document_add_number(w, "revision", pair->mod_revision);
        add_record_members(&record, w);
        add_change_members(&record.changes[i], w);
        jw_close(w, '}');
        count++;
    }
    arena_done(&arena);
    return count;
}

/* --- writing ------------------------------------------------------------------------------------------- */

static bool has_room(const struct audit *a, size_t bytes)
{
    const struct kv_space space = kv_space(a->kv);
    return !space.quota || space.live + bytes < space.quota - space.quota / SPARE_PART;
}

static struct slice keep_text(struct arena *arena, struct buf *text)
{
    struct slice copy = slice_of(arena_copy(arena, text->data, text->size), text->size);
    buf_done(text);
    return copy;
}

struct slice audit_add(struct audit *a, struct txn *t, enum txn_side side, const struct audit_record *r)
{
    struct buf key = {0}, value = {0};
    if (!a)
        return (struct slice){0};
    struct audit_record record = *r;
    record.time_ms = audit_wall_ms(a);
    add_key(a, record.time_ms, &key);
    audit_write(&record, &value);
    struct slice at = keep_text(t->arena, &key), text = keep_text(t->arena, &value);
    if (!has_room(a, at.size + text.size))
        metric_add(METRIC_AUDIT_OMITTED, 1);
    else if (side == TXN_THEN)
        txn_put(t, at, text, 0);
    else
        txn_else_put(t, at, text);
    return text;
}

void audit_written(struct audit *a, struct slice text)
{
    if (!a || !text.size)
        return;
    metric_add(METRIC_AUDIT_RECORDS, 1);
    if (a->options.on_line)
        a->options.on_line(a->options.arg, text);
}

void audit_line(struct audit *a, const struct audit_record *r)
{
    struct buf text = {0};
    struct audit_record record = *r;
    if (!a || !a->options.on_line)
        return;
    record.time_ms = audit_wall_ms(a);
    audit_write(&record, &text);
    a->options.on_line(a->options.arg, buf_slice(&text));
    buf_done(&text);
}

/* --- refusals ------------------------------------------------------------------------------------------ */

static void free_refusal(struct refusal *f)
{
    list_remove(&f->link);
    arena_done(&f->arena);
    mem_free(f);
}

static void on_refusal_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct refusal *f = container_of(r, struct refusal, request);
    (void)response;
    if (err)
        metric_add(METRIC_AUDIT_OMITTED, 1);
    free_refusal(f);
}

/* A token bucket: a client that is refused all the time does not fill the store. */
static bool take_token(struct audit *a)
{
    uint64_t now = audit_now_ms(a), fresh = (now - a->token_ms) / REFUSED_MS;
    a->token_ms += fresh * REFUSED_MS;
    a->tokens = a->tokens + fresh > AUDIT_REFUSED_BURST ? AUDIT_REFUSED_BURST : a->tokens + fresh;
    if (!a->tokens)
        return false;
    a->tokens--;
    return true;
}

/* A record of its own, in a transaction of its own. */
static void write_alone(struct audit *a, const struct audit_record *r)
{
    struct refusal *f = mem_new(sizeof *f);
    f->audit = a;
    f->request.done = on_refusal_done;
    list_add_last(&a->refusals, &f->link);
    txn_init(&f->txn, &f->arena);
    audit_written(a, audit_add(a, &f->txn, TXN_THEN, r));
    if (f->txn.message.n_success) {
        kv_txn(a->kv, &f->request, &f->txn.message);
        a->io->ops->timer_start(a->io, &a->timer, 0); /* wakes the loop: kv_turn sends it */
    } else {
        free_refusal(f);
    }
}

static bool may_report(struct audit *a)
{
    if (!a || take_token(a))
        return a != NULL;
    a->omitted++;
    metric_add(METRIC_AUDIT_OMITTED, 1);
    return false;
}

static struct audit_record with_omitted(struct audit *a, const struct audit_record *r)
{
    struct audit_record record = *r;
    record.omitted = a->omitted;
    a->omitted = 0;
    return record;
}

void audit_refused(struct audit *a, const struct audit_record *r)
{
    if (!may_report(a))
        return;
    const struct audit_record record = with_omitted(a, r);
    write_alone(a, &record);
}

void audit_done(struct audit *a, const struct audit_record *r)
{
    if (a && a->options.records_etcd)
        write_alone(a, r);
    else
        audit_line(a, r);
}

void audit_etcd_refused(struct audit *a, const struct audit_record *r)
{
    if (!may_report(a))
        return;
    const struct audit_record record = with_omitted(a, r);
    audit_done(a, &record);
}

/* --- retention ----------------------------------------------------------------------------------------- */

static void audit_on_timer(struct io_timer *timer)
{
    (void)timer; /* audit_turn runs next */
}

static void on_removed(struct kv_request *r, int err, const ProtobufCMessage *message)
{
    struct audit *a = container_of(r, struct audit, request);
    const Etcdserverpb__DeleteRangeResponse *response = (const void *)message;
    a->is_deleting = false;
    if (err)
        log_warn("old audit records could not be deleted; trying again later", F_ERR(err));
    else
        metric_add(METRIC_AUDIT_DELETED, (double)response->deleted);
}

static ProtobufCBinaryData audit_bytes_of(const struct buf *b)
{
    return (ProtobufCBinaryData){b->size, b->data};
}

/* One past every key of the prefix. */
static void add_prefix_end(struct buf *out)
{
    buf_add_text(out, AUDIT_PREFIX);
    out->data[out->size - 1]++;
}

static void remove_from(struct audit *a, struct slice key)
{
    etcdserverpb__delete_range_request__init(&a->removal);
    buf_clear(&a->removal_from);
    buf_clear(&a->removal_to);
    buf_add_slice(&a->removal_from, key);
    add_prefix_end(&a->removal_to);
    a->removal.key = audit_bytes_of(&a->removal_from);
    a->removal.range_end = audit_bytes_of(&a->removal_to);
    a->request = (struct kv_request){.done = on_removed};
    a->is_deleting = true;
    kv_delete_range(a->kv, &a->request, &a->removal);
}

/* Examines one page. False: the walk has ended. */
static bool walk_page(struct audit *a)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena arena = {0};
    struct buf end = {0}, oldest = {0};
    bool has_more = false;
    add_prefix_end(&end);
    audit_key_from(audit_wall_ms(a) - (int64_t)a->options.retention_ms, &oldest);
    m.key = audit_bytes_of(&a->walk_from);
    m.range_end = audit_bytes_of(&end);
    m.limit = PAGE_KEYS;
    int err = kv_range_page(a->kv, &m, &arena, &response);
    for (size_t i = 0; !err && i < response->n_kvs; i++) {
        const Mvccpb__KeyValue *kv = response->kvs[i];
        struct slice key = slice_of(kv->key.data, kv->key.len);
        a->walked_bytes += kv->key.len + kv->value.len;
        bool is_old = a->options.retention_ms && slice_compare(key, buf_slice(&oldest)) >= 0;
        bool is_beyond = a->options.retention_bytes && a->walked_bytes > a->options.retention_bytes;
        if (is_old || is_beyond) {
            remove_from(a, key);
            break;
        }
        if (i + 1 == PAGE_KEYS) {
            has_more = true;
            buf_clear(&a->walk_from);
            buf_add_slice(&a->walk_from, key);
            buf_add_byte(&a->walk_from, 0);
        }
    }
    arena_done(&arena);
    buf_done(&end);
    buf_done(&oldest);
    return has_more;
}

static void walk_turn(struct audit *a);

void audit_turn(struct audit *a)
{
    if (!a)
        return;
    audit_etcd_turn(a->etcd);
    walk_turn(a);
}

static void walk_turn(struct audit *a)
{
    if ((!a->options.retention_ms && !a->options.retention_bytes) || a->is_deleting)
        return;
    uint64_t now = audit_now_ms(a);
    if (now < a->next_ms)
        return;
    if (kv_leader(a->kv) != kv_member_id(a->kv)) {
        a->walk_from.size = 0;
        a->next_ms = now + WALK_MS;
    } else {
        if (!a->walk_from.size) {
            a->walked_bytes = 0;
            buf_add_text(&a->walk_from, AUDIT_PREFIX);
        }
        bool has_more = walk_page(a);
        if (!has_more)
            a->walk_from.size = 0;
        a->next_ms = now + (has_more ? PAGE_MS : WALK_MS);
    }
    a->io->ops->timer_start(a->io, &a->timer, a->is_deleting ? 0 : a->next_ms - now);
}

/* --- life ---------------------------------------------------------------------------------------------- */

struct audit *audit_new(const struct audit_options *options)
{
    struct audit *a = mem_new(sizeof *a);
    a->kv = options->kv;
    a->io = kv_io(options->kv);
    a->options = *options;
    a->run = a->io->ops->random(a->io);
    a->tokens = AUDIT_REFUSED_BURST;
    a->token_ms = audit_now_ms(a);
    a->next_ms = a->token_ms + PAGE_MS;
    list_init(&a->refusals);
    a->timer.fire = audit_on_timer;
    a->io->ops->timer_start(a->io, &a->timer, PAGE_MS);
    a->etcd = audit_etcd_new(a, a->kv, a->options.records_etcd);
    return a;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    audit_etcd_free(a->etcd);
    a->io->ops->timer_stop(a->io, &a->timer);
    if (a->is_deleting)
        kv_cancel(a->kv, &a->request);
    LIST_FOR_EACH_SAFE (l, &a->refusals) {
        struct refusal *f = container_of(l, struct refusal, link);
        kv_cancel(a->kv, &f->request);
        free_refusal(f);
    }
    buf_done(&a->walk_from);
    buf_done(&a->removal_from);
    buf_done(&a->removal_to);
    mem_free(a);
}
