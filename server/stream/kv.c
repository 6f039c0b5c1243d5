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
 * Keys and values are text where they are valid UTF-8, else base64 under key_base64 and value_base64. */
#include "server/stream/private.h"

#include <assert.h>
#include <stdio.h>

#include "base/metric.h"
#include "base/text.h"

enum { PAGE_KEYS = 32, PART_BYTES = 60 * 1024 };

struct kv_sub {
    struct stream_sub sub;
    struct buf key, end; /* of the range; end empty = the key alone */
    struct buf next;     /* while the snapshot is sent: the next page's first key */
    int64_t at;          /* the snapshot's revision; 0 = not chosen */
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
    if (!c->watches)
        c->watches = kv_watch_open(c->server->options.kv, on_watch_output, c);
    k->is_watching = true;
    watch_create(c->watches, &m, NULL);
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
    if (frame->from_revision && sub->conn->is_foreign) {
        k->resync = "cluster_changed";
    } else if (frame->from_revision) {
        sub->revision = k->position = (int64_t)frame->from_revision - 1;
        watch_from(k, (int64_t)frame->from_revision);
    }
    return 0;
}

void stream_kv_close(struct stream_sub *sub)
{
    struct kv_sub *k = kv_of(sub);
    if (k->is_watching)
        watch_cancel(sub->conn->watches, k->watch_id);
    buf_done(&k->key);
    buf_done(&k->end);
    buf_done(&k->next);
}

size_t stream_kv_size(void)
{
    return sizeof(struct kv_sub);
}

void stream_kv_detach(struct stream_conn *c)
{
    if (c->watches)
        watch_stream_close(c->watches);
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

/* Adds items until the part is full or the range ends. ERR_COMPACTED, or another error of a range. */
static int fill_part(struct kv_sub *k, struct json_writer *w, bool *ret_is_last)
{
    bool has_more = true;
    while (has_more && w->out->size < PART_BYTES) {
        struct arena a = {0};
        Etcdserverpb__RangeResponse *page;
        int err = read_page(k, &a, &page);
        if (err) {
            arena_done(&a);
            return err;
        }
        size_t i = 0;
        for (; i < page->n_kvs && w->out->size < PART_BYTES; i++)
            add_pair(w, page->kvs[i]);
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
    int err = fill_part(k, &w, &is_last);
    if (err) {
        buf_done(&items);
        return handle_read_error(k, err);
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

/* The events of one revision, which are events[0..count). */
static void send_revision(struct kv_sub *k, Mvccpb__Event *const *events, size_t count)
{
    struct stream_conn *c = k->sub.conn;
    struct buf tail = {0}, *head = &c->server->scratch;
    struct json_writer w = {.out = &tail};
    int64_t revision = events[0]->kv->mod_revision;
    for (int is_delete = 0; is_delete < 2; is_delete++) {
        jw_key(&w, is_delete ? "delete" : "put");
        jw_open(&w, '[');
        for (size_t i = 0; i < count; i++) {
            if ((events[i]->type == MVCCPB__EVENT__EVENT_TYPE__DELETE) != is_delete)
                continue;
            if (is_delete)
                add_event_key(&w, events[i]->kv);
            else
                add_pair(&w, events[i]->kv);
        }
        jw_close(&w, ']');
    }
    jw_close(&w, '}');
    struct http_shared *shared = http_shared_new(buf_slice(&tail));
    buf_done(&tail);
    buf_clear(head);
    stream_write_delta_head(head, k->sub.sid, revision, k->sub.revision);
    k->sub.revision = k->position = revision;
    stream_conn_send(c, "delta", buf_slice(head), shared, &k->sub, revision);
    http_shared_unref(shared);
}

static void on_events(struct kv_sub *k, const Etcdserverpb__WatchResponse *m)
{
    struct stream_conn *c = k->sub.conn;
    for (size_t i = 0, n; i < m->n_events && c->q; i += n) {
        int64_t revision = m->events[i]->kv->mod_revision;
        for (n = 1; i + n < m->n_events && m->events[i + n]->kv->mod_revision == revision; n++)
            ;
        send_revision(k, m->events + i, n);
    }
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
    struct arena a = {0};
    struct buf bytes = {0};
    if (!watch_next(c->watches, &out)) {
        c->has_events = false;
        return false;
    }
    for (size_t i = 0; i < out.count; i++)
        buf_add_slice(&bytes, out.pieces[i]);
    Etcdserverpb__WatchResponse *m =
        etcdserverpb__watch_response__unpack(arena_allocator(&a), bytes.size, bytes.data);
    assert(m); /* our own encoding */
    struct kv_sub *k = stream_kv_find(c, m->watch_id);
    if (m->canceled) {
        if (k)
            on_canceled(k, m);
    } else if (m->n_events) {
        if (k)
            on_events(k, m);
    } else if (!m->created) {
        on_progress(c, out.header_revision);
    }
    arena_done(&a);
    buf_done(&bytes);
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
