/* SPDX-License-Identifier: Apache-2.0
 * Subscriptions on keys: edge-triggered, with the guarantees of etcd's watch.
 *
 * All kv subscriptions of a connection are watchers on one watch stream of the store. A subscription gets:
 *   1. the keys at one revision R as a snapshot, read page by page at that revision;
 *   2. every event from R+1; the events of one revision are one delta.
 * With from_revision there is no snapshot, and the events begin there.
 *
 * A slow reader buffers nothing here: its watchers become unsynced and read history from the store later. If
 * the store has compacted what they need, the client gets `resync` `compacted` and a new snapshot.
 *
 * Keys and values are text where they are valid UTF-8, else base64 under key_base64 and value_base64.
 *
 * The kind `audit` (audit.c) is the same on the keys of the audit trail, without deletes: `audit` chooses the
 * items. A revision without any item has no frame. */
#include "server/stream/private.h"

#include <assert.h>
#include <stdio.h>

#include "base/metric.h"
#include "base/text.h"

enum {
    PAGE_KEYS = 32,
    PART_BYTES = 60 * 1024,
    AUDIT_PAGES = 2 /* that are read for one part of a snapshot of audit: most records may be filtered out */
};

struct kv_sub {
    struct stream_sub sub;
    struct stream_audit *audit; /* of kind audit; NULL = kind kv */
    struct buf key, end;        /* of the range; end empty = the key alone */
    struct buf next;            /* while the snapshot is sent: the next page's first key */
    int64_t at;                 /* the snapshot's revision; 0 = not chosen */
    uint32_t part;
    int64_t watch_id; /* never used again on this connection, unlike a sid */
    bool is_watching, is_broken;
    const char *resync;
    int64_t position; /* of the watch: the subscription has everything up to it */
};

static struct kv_sub *kv_of(struct stream_sub *sub)
{
    return container_of(sub, struct kv_sub, sub);
}

/* --- open and close ---------------------------------------------------------------------------------- */

void stream_kv_prefix_end(struct slice prefix, struct buf *end)
{
    buf_add_slice(end, prefix);
    while (end->size && end->data[end->size - 1] == 0xff)
        end->size--;
    if (end->size)
        end->data[end->size - 1]++;
    else
        buf_add_byte(end, 0);
}

static int check(const struct stream_frame *frame, char *error, size_t error_size)
{
    bool has_name = stream_frame_has(frame, STREAM_HAS_NAME),
         has_prefix = stream_frame_has(frame, STREAM_HAS_PREFIX);
    const char *text = NULL;
    if (has_name == has_prefix)
        text = "subscribe: kv needs either name (one key) or prefix";
    else if (has_name && !frame->name.size)
        text = "subscribe: the key must not be empty";
    else if (frame->has & (STREAM_FIELD(STREAM_HAS_NAMESPACE) | STREAM_FIELD(STREAM_HAS_GROUP) |
                           STREAM_FIELD(STREAM_HAS_KNOWN) | STREAM_FIELD(STREAM_HAS_FILTER)))
        text = "subscribe: kv takes no namespace, group, known or filter";
    if (text)
        snprintf(error, error_size, "%s", text);
    return text ? ERR_INVALID : 0;
}

static void on_watch_output(void *arg)
{
    struct stream_conn *c = arg;
    c->has_events = true;
    stream_wake(c);
}

static void watch_from(struct kv_sub *k, int64_t revision)
{
    struct stream_conn *c = k->sub.conn;
    Etcdserverpb__WatchCreateRequest m = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){k->key.size, k->key.data};
    m.range_end = (ProtobufCBinaryData){k->end.size, k->end.data};
    m.start_revision = revision;
    m.watch_id = k->watch_id = ++c->last_watch_id;
    static Etcdserverpb__WatchCreateRequest__FilterType no_delete =
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    m.filters = &no_delete;
    m.n_filters = k->audit ? 1 : 0;
    if (!c->watches)
        c->watches = kv_watch_open(c->server->options.kv, on_watch_output, c);
    k->is_watching = true;
    watch_create(c->watches, &m, NULL);
}

static void begin(struct kv_sub *k, const struct stream_frame *frame)
{
    if (frame->from_revision && k->sub.conn->is_foreign) {
        k->resync = "cluster_changed";
    } else if (frame->from_revision) {
        k->sub.revision = k->position = (int64_t)frame->from_revision - 1;
        watch_from(k, (int64_t)frame->from_revision);
    }
}

int stream_audit_open(struct stream_sub *sub, const struct stream_frame *frame, char *error,
                      size_t error_size)
{
    struct kv_sub *k = kv_of(sub);
    if (!sub->conn->is_foreign &&
        (int64_t)frame->from_revision - 1 > kv_revision(sub->conn->server->options.kv)) {
        snprintf(error, error_size,
                 "from_revision is in the future of this member: send it in hello's resume");
        return ERR_FUTURE_REV;
    }
    k->audit = stream_audit_new(frame);
    stream_audit_range(k->audit, &k->key, &k->end);
    begin(k, frame);
    return OK;
}

int stream_kv_open(struct stream_sub *sub, const struct stream_frame *frame, char *error, size_t error_size)
{
    struct kv_sub *k = kv_of(sub);
    int err = check(frame, error, error_size);
    if (err)
        return err;
    if (stream_frame_has(frame, STREAM_HAS_PREFIX)) {
        buf_add_slice(&k->key, frame->prefix);
        stream_kv_prefix_end(frame->prefix, &k->end);
        if (!k->key.size)
            buf_add_byte(&k->key, 0); /* all keys */
    } else {
        buf_add_slice(&k->key, frame->name);
    }
    begin(k, frame);
    return 0;
}

void stream_kv_close(struct stream_sub *sub)
{
    struct kv_sub *k = kv_of(sub);
    if (k->is_watching)
        watch_cancel(sub->conn->watches, k->watch_id);
    stream_audit_free(k->audit);
    buf_done(&k->key);
    buf_done(&k->end);
    buf_done(&k->next);
}

size_t stream_kv_size(void)
{
    return sizeof(struct kv_sub);
}

static void free_response(struct stream_conn *c);

void stream_kv_detach(struct stream_conn *c)
{
    if (c->watches)
        watch_stream_close(c->watches);
    free_response(c);
    c->watches = NULL;
    c->has_events = false;
}

/* --- keys and events as JSON ------------------------------------------------------------------------- */

static void add_bytes(struct json_writer *w, const char *key, ProtobufCBinaryData bytes)
{
    struct slice s = slice_of(bytes.data, bytes.len);
    char name[32];
    bool is_text = utf8_is_valid(s);
    snprintf(name, sizeof name, "%s%s", key, is_text ? "" : "_base64");
    jw_key(w, name);
    if (is_text)
        jw_string(w, s);
    else
        jw_base64(w, s);
}

static void add_pair(struct json_writer *w, const Mvccpb__KeyValue *pair)
{
    jw_open(w, '{');
    add_bytes(w, "key", pair->key);
    add_bytes(w, "value", pair->value);
    jw_key(w, "create_revision");
    jw_int(w, pair->create_revision);
    jw_key(w, "mod_revision");
    jw_int(w, pair->mod_revision);
    jw_key(w, "version");
    jw_int(w, pair->version);
    if (pair->lease) {
        jw_key(w, "lease");
        jw_int_string(w, pair->lease);
    }
    jw_close(w, '}');
}

static void add_item(const struct kv_sub *k, struct json_writer *w, const Mvccpb__KeyValue *pair)
{
    if (k->audit)
        stream_audit_write(k->audit, pair, w);
    else
        add_pair(w, pair);
}

/* --- the snapshot ------------------------------------------------------------------------------------ */

static bool send_resync(struct kv_sub *k)
{
    struct buf *head = &k->sub.conn->server->scratch;
    buf_clear(head);
    stream_write_resync(head, k->sub.sid, k->resync);
    metric_add(METRIC_STREAM_RESYNCS, 1);
    k->resync = NULL;
    k->at = 0;
    stream_conn_send(k->sub.conn, "resync", buf_slice(head), NULL, NULL, 0);
    return true;
}

/* Reads the next page of the range at the snapshot's revision. */
static int read_page(struct kv_sub *k, struct arena *a, Etcdserverpb__RangeResponse **ret)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){k->next.size, k->next.data};
    m.range_end = (ProtobufCBinaryData){k->end.size, k->end.data};
    m.revision = k->at;
    m.limit = PAGE_KEYS;
    return kv_range_page(k->sub.conn->server->options.kv, &m, a, ret);
}

static void move_past(struct kv_sub *k, const Mvccpb__KeyValue *last)
{
    buf_clear(&k->next);
    buf_add(&k->next, last->key.data, last->key.len);
    buf_add_byte(&k->next, 0);
}

/* Adds items until the part is full, enough was read, or the range ends. ERR_COMPACTED, or another error of a
 * range. */
static int fill_part(struct kv_sub *k, struct json_writer *w, bool *ret_is_last)
{
    bool has_more = true;
    size_t pages = 0;
    while (has_more && w->out->size < PART_BYTES && (!k->audit || pages++ < AUDIT_PAGES)) {
        struct arena a = {0};
        Etcdserverpb__RangeResponse *page;
        int err = read_page(k, &a, &page);
        if (err) {
            arena_done(&a);
            return err;
        }
        size_t i = 0;
        for (; i < page->n_kvs && w->out->size < PART_BYTES; i++)
            add_item(k, w, page->kvs[i]);
        if (i)
            move_past(k, page->kvs[i - 1]);
        has_more = i < page->n_kvs || page->more;
        arena_done(&a);
    }
    *ret_is_last = !has_more;
    return 0;
}

static void fail_sub(struct kv_sub *k, int err, const char *reason)
{
    struct stream_frame about = {.has = STREAM_FIELD(STREAM_HAS_SID), .sid = k->sub.sid};
    k->is_broken = true;
    stream_conn_error(k->sub.conn, &about, err, reason);
}

/* If the snapshot's revision was compacted, the snapshot begins again with part 1 of a newer revision. */
static bool handle_read_error(struct kv_sub *k, int err)
{
    if (err == ERR_COMPACTED)
        k->resync = "compacted";
    else
        fail_sub(k, err, err_text(err));
    return true;
}

static bool send_part(struct kv_sub *k)
{
    struct stream_conn *c = k->sub.conn;
    struct buf items = {0};
    struct json_writer w = {.out = &items};
    bool is_last = true;
    if (!k->at) {
        k->at = kv_revision(c->server->options.kv);
        k->part = 0;
        buf_clear(&k->next);
        buf_add_slice(&k->next, buf_slice(&k->key));
    }
    jw_key(&w, "items");
    jw_open(&w, '[');
    size_t empty = items.size;
    int err = fill_part(k, &w, &is_last);
    if (err || (!is_last && items.size == empty)) { /* without an error: the next step reads on */
        buf_done(&items);
        return err ? handle_read_error(k, err) : true;
    }
    jw_close(&w, ']');
    jw_close(&w, '}');
    struct http_shared *tail = http_shared_new(buf_slice(&items));
    buf_done(&items);
    struct buf *head = &c->server->scratch;
    int64_t revision = k->at;
    buf_clear(head);
    stream_write_snapshot_head(head, k->sub.sid, revision, ++k->part, is_last);
    if (is_last) {
        k->sub.revision = k->position = revision;
        k->at = 0;
        buf_done(&k->next);
        watch_from(k, revision + 1);
    }
    stream_conn_send(c, "snapshot", buf_slice(head), tail, &k->sub, is_last ? revision : 0);
    http_shared_unref(tail);
    return true;
}

bool stream_kv_send(struct stream_sub *sub)
{
    struct kv_sub *k = kv_of(sub);
    if (k->resync)
        return send_resync(k);
    return k->is_watching || k->is_broken ? false : send_part(k);
}

/* --- events ------------------------------------------------------------------------------------------ */

static struct kv_sub *stream_kv_find(struct stream_conn *c, int64_t watch_id)
{
    LIST_FOR_EACH (l, &c->subs) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        if (sub->kind->send == stream_kv_send && kv_of(sub)->is_watching && kv_of(sub)->watch_id == watch_id)
            return kv_of(sub);
    }
    return NULL;
}

static void add_event_key(struct json_writer *w, const Mvccpb__KeyValue *pair)
{
    struct slice key = slice_of(pair->key.data, pair->key.len);
    if (utf8_is_valid(key)) {
        jw_string(w, key);
        return;
    }
    jw_open(w, '{');
    add_bytes(w, "key", pair->key);
    jw_close(w, '}');
}

/* False: there is no item in it. */
static bool write_revision(const struct kv_sub *k, Mvccpb__Event *const *events, size_t count,
                           struct buf *tail)
{
    struct json_writer w = {.out = tail};
    bool has_items = !k->audit;
    for (int is_delete = 0; is_delete < 2; is_delete++) {
        jw_key(&w, is_delete ? "delete" : "put");
        jw_open(&w, '[');
        size_t empty = tail->size;
        for (size_t i = 0; i < count; i++) {
            if ((events[i]->type == MVCCPB__EVENT__EVENT_TYPE__DELETE) != is_delete)
                continue;
            if (is_delete)
                add_event_key(&w, events[i]->kv);
            else
                add_item(k, &w, events[i]->kv);
        }
        has_items |= tail->size > empty;
        jw_close(&w, ']');
    }
    jw_close(&w, '}');
    return has_items;
}

/* The events of one revision, which are events[0..count). */
static void send_revision(struct kv_sub *k, Mvccpb__Event *const *events, size_t count)
{
    struct stream_conn *c = k->sub.conn;
    struct buf tail = {0}, *head = &c->server->scratch;
    int64_t revision = events[0]->kv->mod_revision;
    if (!write_revision(k, events, count, &tail)) {
        k->position = revision;
        buf_done(&tail);
        return;
    }
    struct http_shared *shared = http_shared_new(buf_slice(&tail));
    buf_done(&tail);
    buf_clear(head);
    stream_write_delta_head(head, k->sub.sid, revision, k->sub.revision);
    k->sub.revision = k->position = revision;
    stream_conn_send(c, "delta", buf_slice(head), shared, &k->sub, revision);
    http_shared_unref(shared);
}

/* A response whose events are being sent: at least one revision in a step, then as many as the turn and the
 * client have room for. It may have 1,000 revisions, and each record of the audit trail is parsed. */
struct stream_response {
    struct arena arena;
    const Etcdserverpb__WatchResponse *message;
    size_t at; /* events before it were sent */
};

static void free_response(struct stream_conn *c)
{
    if (!c->response)
        return;
    struct stream_response *r = c->response;
    c->response = NULL;
    arena_done(&r->arena);
    mem_free(r);
}

/* A connection that ends frees the response in send_revision. */
static void send_events(struct stream_conn *c)
{
    const Etcdserverpb__WatchResponse *m = c->response->message;
    struct kv_sub *k = stream_kv_find(c, m->watch_id); /* NULL: it was unsubscribed, or has lost its right */
    bool is_over = !k;
    while (!is_over && c->response->at < m->n_events) {
        size_t i = c->response->at, n = 1;
        int64_t revision = m->events[i]->kv->mod_revision;
        while (i + n < m->n_events && m->events[i + n]->kv->mod_revision == revision)
            n++;
        c->response->at += n;
        send_revision(k, m->events + i, n);
        if (!c->q)
            return;
        if (c->response->at < m->n_events && (stream_is_slice_over(c->server) || !stream_conn_has_room(c)))
            return;
    }
    free_response(c);
}

static void on_canceled(struct kv_sub *k, const Etcdserverpb__WatchResponse *m)
{
    k->is_watching = false;
    if (m->compact_revision) {
        k->resync = "compacted";
        k->position = -1;
        stream_sub_mark_dirty(&k->sub);
        return;
    }
    fail_sub(k, ERR_WATCH_CANCELED, m->cancel_reason);
}

/* All watchers have every event up to this revision. */
static void on_progress(struct stream_conn *c, int64_t revision)
{
    LIST_FOR_EACH (l, &c->subs) {
        struct stream_sub *sub = container_of(l, struct stream_sub, link);
        if (sub->kind->send == stream_kv_send && kv_of(sub)->is_watching && kv_of(sub)->position < revision)
            kv_of(sub)->position = revision;
    }
    if (c->wants_mark)
        stream_conn_mark(c);
}

bool stream_kv_pull(struct stream_conn *c)
{
    struct watch_output out;
    struct buf bytes = {0};
    if (c->response) {
        send_events(c);
        return true;
    }
    if (!watch_next(c->watches, &out)) {
        c->has_events = false;
        return false;
    }
    for (size_t i = 0; i < out.count; i++)
        buf_add_slice(&bytes, out.pieces[i]);
    struct stream_response *r = c->response = mem_new(sizeof *r);
    const Etcdserverpb__WatchResponse *m = r->message =
        etcdserverpb__watch_response__unpack(arena_allocator(&r->arena), bytes.size, bytes.data);
    assert(m); /* our own encoding */
    buf_done(&bytes);
    if (m->n_events && !m->canceled) {
        send_events(c);
        return true;
    }
    struct kv_sub *k = stream_kv_find(c, m->watch_id);
    if (m->canceled && k)
        on_canceled(k, m);
    else if (!m->canceled && !m->created)
        on_progress(c, out.header_revision);
    free_response(c);
    return true;
}

int64_t stream_kv_position(struct stream_sub *sub)
{
    const struct kv_sub *k = container_of(sub, struct kv_sub, sub);
    return k->is_watching ? k->position : -1;
}

void stream_kv_acknowledge(struct stream_sub *sub, int64_t revision)
{
    (void)sub, (void)revision; /* the store does not count acknowledgements */
}
