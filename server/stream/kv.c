/* SPDX-License-Identifier: Apache-2.0
 * Subscriptions on keys: edge-triggered, with etcd's guarantees, because it is the store's own watch that
 * they ride on: all of a connection's on one watch stream. First the keys as they are at one revision R, page
 * by page from history, then every event from R+1 (or from from_revision at once); each revision is one
 * delta. A slow reader buffers nothing here: its watchers fall behind and read again from the store; when
 * what they need was compacted, the client hears `resync` and gets the keys anew.
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
    struct buf next;     /* while the first state is sent: the page's first key */
    int64_t at;          /* its revision; 0 = not chosen */
    uint32_t part;
    int64_t watch_id; /* never used again on this connection, unlike a sid */
    bool is_watching, is_broken;
    const char *resync;
    int64_t position; /* of the watch: it has everything up to here */
};

static struct kv_sub *kv_of(struct stream_sub *sub)
{
    return container_of(sub, struct kv_sub, sub);
}

/* --- beginning ------------------------------------------------------------------------------------ */

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

static int check(const struct stream_frame *ask, char *error, size_t error_size)
{
    bool has_name = stream_frame_has(ask, STREAM_HAS_NAME),
         has_prefix = stream_frame_has(ask, STREAM_HAS_PREFIX);
    const char *text = NULL;
    if (has_name == has_prefix)
        text = "subscribe: kv takes one of name, for a key, and prefix";
    else if (has_name && !ask->name.size)
        text = "subscribe: a key is not empty";
    else if (ask->has & (1u << STREAM_HAS_NAMESPACE | 1u << STREAM_HAS_GROUP | 1u << STREAM_HAS_KNOWN |
                         1u << STREAM_HAS_FILTER))
        text = "subscribe: kv takes no namespace, group, known or filter";
    if (text)
        snprintf(error, error_size, "%s", text);
    return text ? ERR_INVALID : 0;
}

static void on_news(void *arg)
{
    struct stream_conn *c = arg;
    c->has_news = true;
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
        c->watches = kv_watch_open(c->server->options.kv, on_news, c);
    k->is_watching = true;
    watch_create(c->watches, &m, NULL);
}

int stream_kv_open(struct stream_sub *sub, const struct stream_frame *ask, char *error, size_t error_size)
{
    struct kv_sub *k = kv_of(sub);
    int err = check(ask, error, error_size);
    if (err)
        return err;
    if (stream_frame_has(ask, STREAM_HAS_PREFIX)) {
        buf_add_slice(&k->key, ask->prefix);
        stream_kv_prefix_end(ask->prefix, &k->end);
        if (!k->key.size)
            buf_add_byte(&k->key, 0); /* all keys */
    } else {
        buf_add_slice(&k->key, ask->name);
    }
    if (ask->from_revision && sub->conn->is_foreign) {
        k->resync = "cluster_changed";
    } else if (ask->from_revision) {
        sub->revision = k->position = (int64_t)ask->from_revision - 1;
        watch_from(k, (int64_t)ask->from_revision);
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
    c->has_news = false;
}

/* --- as JSON ---------------------------------------------------------------------------------------- */

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

/* --- the first state ---------------------------------------------------------------------------------- */

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

/* The next page of the range at the snapshot's revision; its end moves k->next. */
static int read_page(struct kv_sub *k, struct arena *a, Etcdserverpb__RangeResponse **ret)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){k->next.size, k->next.data};
    m.range_end = (ProtobufCBinaryData){k->end.size, k->end.data};
    m.revision = k->at;
    m.limit = PAGE_KEYS;
    return kv_range_page(k->sub.conn->server->options.kv, &m, a, ret);
}

static void go_behind(struct kv_sub *k, const Mvccpb__KeyValue *last)
{
    buf_clear(&k->next);
    buf_add(&k->next, last->key.data, last->key.len);
    buf_add_byte(&k->next, 0);
}

/* Items until the part is full or the range ends. ERR_COMPACTED. */
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
            go_behind(k, page->kvs[i - 1]);
        has_more = i < page->n_kvs || page->more;
        arena_done(&a);
    }
    *ret_is_last = !has_more;
    return 0;
}

static void give_up(struct kv_sub *k, int err, const char *reason)
{
    struct stream_frame about = {.has = 1u << STREAM_HAS_SID, .sid = k->sub.sid};
    k->is_broken = true;
    stream_conn_error(k->sub.conn, &about, err, reason);
}

/* Compacted under us: once more, from part 1 of a newer revision. */
static bool cannot_read(struct kv_sub *k, int err)
{
    if (err == ERR_COMPACTED)
        k->resync = "compacted";
    else
        give_up(k, err, err_text(err));
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
        return cannot_read(k, err);
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

/* --- events --------------------------------------------------------------------------------------------- */

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
        stream_sub_dirty(&k->sub);
        return;
    }
    give_up(k, ERR_WATCH_CANCELED, m->cancel_reason);
}

/* Everything that was asked for is here up to this revision. */
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
        c->has_news = false;
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
    (void)sub, (void)revision; /* nobody waits for it */
}
