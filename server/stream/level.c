/* SPDX-License-Identifier: Apache-2.0
 * Level-triggered subscriptions: where one reader stands on a topic. It has a revision, and is sent what the
 * topic says has changed since; or a snapshot, part by part. All parts are of one view, at one revision; when
 * that snapshot is evicted before its last part, the next frame is part 1 of a newer one, and what came of
 * the old one is void. The first frame of a subscription that goes on (from_revision, known) has as
 * `previous` the revision before from_revision. */
#include "server/stream/private.h"

#include <assert.h>
#include <stdio.h>

#include "base/metric.h"

/* What the client says it has. */
struct known {
    struct arena arena;
    struct stream_known *list;
    size_t count;
};

struct level_sub {
    struct stream_sub sub;
    struct link reader; /* in the topic's */
    struct stream_topic *topic;
    void *subscriber; /* the source's: who looks at it */
    struct stream_snapshot *snapshot;
    uint32_t part; /* the next one to send, from 0 */
    uint32_t variant;
    int64_t snapshot_revision;
    uint64_t rights;     /* the server's, when the topic was chosen */
    int64_t seen;        /* changes up to here are nothing to this reader, though no frame said so */
    uint64_t shown[2];   /* has_shown: the state that it was sent (source->state) */
    const char *resync;  /* to be said before the snapshot */
    struct known *known; /* its first frame is the difference to this */
    bool has_state;      /* a snapshot was sent whole, or the client had one before */
    bool has_shown;
    bool is_waiting; /* there is something to send, and the source lacks what it needs */
};

size_t stream_level_size(void)
{
    return sizeof(struct level_sub);
}

static struct level_sub *level_of(struct stream_sub *sub)
{
    return container_of(sub, struct level_sub, sub);
}

static void choose_variant(struct level_sub *l)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    if (source->variant)
        l->variant = source->variant(stream_topic_view(l->topic), &l->sub.conn->who);
}

/* The frame goes, what it says stays. */
static void keep_known(struct level_sub *l, const struct stream_frame *ask)
{
    struct known *k = l->known = mem_new(sizeof *k);
    k->count = ask->known.count;
    k->list = arena_alloc(&k->arena, (k->count + 1) * sizeof *k->list);
    for (size_t i = 0; i < k->count; i++) {
        k->list[i] = ask->known.list[i];
        struct slice *id = &k->list[i].id;
        *id = slice_of(arena_copy(&k->arena, id->data, id->size), id->size);
    }
}

static void drop_known(struct level_sub *l)
{
    if (l->known)
        arena_done(&l->known->arena);
    mem_free(l->known);
    l->known = NULL;
}

/* What the client has already. A revision says what it was sent as whoever it was then: not enough while not
 * all readers get the same. */
static void take_up(struct level_sub *l, const struct stream_frame *ask)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    bool has_known = stream_frame_has(ask, STREAM_HAS_KNOWN);
    const void *view = stream_topic_view(l->topic);
    bool is_doubtful = (int64_t)ask->from_revision - 1 <= l->sub.conn->server->rights_at &&
                       source->is_doubtful && source->is_doubtful(view);
    bool is_personal = is_doubtful || (source->is_personal && source->is_personal(view));
    struct http_shared *tail;
    int64_t revision;
    if (!has_known && !ask->from_revision)
        return;
    if (l->sub.conn->is_foreign) {
        l->resync = "cluster_changed";
        return;
    }
    if (ask->from_revision) {
        l->has_state = true;
        l->sub.revision = (int64_t)ask->from_revision - 1;
    }
    if (ask->from_revision && !is_personal &&
        stream_topic_delta(l->topic, l->sub.revision, l->variant, &tail, &revision) != STREAM_SNAPSHOT)
        return;
    if (has_known) {
        keep_known(l, ask);
    } else if (is_personal) {
        l->resync = is_doubtful ? "rights" : "gray";
        l->has_state = false;
    }
}

/* The topic of what is asked and of this connection's audience. */
static int join_topic(struct level_sub *l, const struct stream_frame *ask, char *error, size_t error_size)
{
    struct stream_conn *c = l->sub.conn;
    struct stream_server *s = c->server;
    const struct stream_source *source = l->sub.kind->source;
    struct stream_frame own = *ask;
    l->rights = s->rights;
    own.audience = source->ask ? guard_audience(s->options.identity, &c->user, s->options.registry) : NULL;
    int err = stream_topic_hold(s->topics, source, &own, source->knows_past ? 0 : s->began, error, error_size,
                                &l->topic);
    if (err)
        return err;
    list_add_last(stream_topic_readers(l->topic), &l->reader);
    if (source->attach)
        l->subscriber = source->attach(stream_topic_view(l->topic), &c->who);
    return OK;
}

static void leave_topic(struct level_sub *l)
{
    if (l->subscriber)
        l->sub.kind->source->detach(l->subscriber);
    l->subscriber = NULL;
    list_remove(&l->reader);
    stream_topic_release(l->topic, stream_now_ms(l->sub.conn->server));
}

int stream_level_open(struct stream_sub *sub, const struct stream_frame *ask, char *error, size_t error_size)
{
    struct level_sub *l = level_of(sub);
    struct stream_conn *c = sub->conn;
    struct stream_server *s = c->server;
    const struct stream_source *source = sub->kind->source;
    if (ask->from_revision && !c->is_foreign && (int64_t)ask->from_revision - 1 > source->reached(s)) {
        snprintf(error, error_size,
                 "from_revision is in the future of this member: say it in hello's resume");
        return ERR_FUTURE_REV;
    }
    int err = join_topic(l, ask, error, error_size);
    if (err)
        return err;
    choose_variant(l);
    if (s->is_ready)
        take_up(l, ask);
    return 0;
}

void stream_level_close(struct stream_sub *sub)
{
    struct level_sub *l = level_of(sub);
    if (!l->topic)
        return;
    drop_known(l);
    stream_snapshot_unref(l->snapshot);
    leave_topic(l);
}

/* Rights have changed: with another audience the subscription goes on in another topic, from a snapshot. */
static void follow_rights(struct level_sub *l)
{
    struct stream_conn *c = l->sub.conn;
    struct stream_server *s = c->server;
    const struct stream_source *source = l->sub.kind->source;
    struct stream_topic *old = l->topic;
    struct stream_frame ask;
    char error[240];
    l->rights = s->rights;
    if (!source->ask)
        return;
    source->ask(stream_topic_view(old), &ask);
    if (audience_is_same(ask.audience, guard_audience(s->options.identity, &c->user, s->options.registry)))
        return;
    void *subscriber = l->subscriber;
    list_remove(&l->reader);
    int err = join_topic(l, &ask, error, sizeof error);
    assert(!err && "what is asked for was right before");
    (void)err;
    if (subscriber)
        source->detach(subscriber);
    stream_topic_release(old, stream_now_ms(s));
    stream_snapshot_unref(l->snapshot);
    l->snapshot = NULL;
    drop_known(l);
    l->resync = l->has_state ? "rights" : l->resync;
    l->has_state = l->has_shown = false;
    l->seen = 0;
}

void stream_level_news(struct stream_topic *t)
{
    LIST_FOR_EACH (link, stream_topic_readers(t))
        stream_sub_dirty(&container_of(link, struct level_sub, reader)->sub);
}

/* --- frames --------------------------------------------------------------------------------------- */

static void send_resync(struct level_sub *l, const char *reason)
{
    struct buf *head = &l->sub.conn->server->scratch;
    buf_clear(head);
    stream_write_resync(head, l->sub.sid, reason);
    metric_add(METRIC_STREAM_RESYNCS, 1);
    l->resync = NULL;
    stream_conn_send(l->sub.conn, "resync", buf_slice(head), NULL, NULL, 0);
}

/* A frame with all up to revision was made: what the reader has now. */
static void note_sent(struct level_sub *l, int64_t revision)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    const void *view = stream_topic_view(l->topic);
    l->has_state = true;
    l->seen = revision;
    if (source->state) {
        source->state(view, l->variant, l->shown);
        l->has_shown = true;
    }
    if (l->subscriber && source->sent) {
        source->sent(l->subscriber, view, l->variant, revision);
        l->sub.conn->is_unwritten = true;
    }
}

static void send_delta(struct level_sub *l, struct http_shared *tail, int64_t revision)
{
    struct buf *head = &l->sub.conn->server->scratch;
    buf_clear(head);
    stream_write_delta_head(head, l->sub.sid, revision, l->sub.revision);
    l->sub.revision = revision;
    note_sent(l, revision);
    stream_conn_send(l->sub.conn, "delta", buf_slice(head), tail, &l->sub, revision);
}

/* False: the source lacks something. A difference that is too much for a frame becomes a snapshot. As with
 * all that sends: the subscription may be gone behind it. */
static bool send_difference(struct level_sub *l)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    struct buf difference = {0};
    enum stream_step step =
        stream_topic_compare(l->topic, l->known->list, l->known->count, l->variant, &difference);
    l->is_waiting = step == STREAM_WAIT;
    if (step != STREAM_WAIT)
        drop_known(l);
    if (step == STREAM_DELTA) {
        struct http_shared *tail = http_shared_new(buf_slice(&difference));
        send_delta(l, tail, source->revision(stream_topic_view(l->topic)));
        http_shared_unref(tail);
    } else if (step == STREAM_SNAPSHOT) {
        l->resync = l->has_state ? "overflow" : NULL;
        l->has_state = false;
    }
    buf_done(&difference);
    return step != STREAM_WAIT;
}

/* False: as above. */
static bool begin_snapshot(struct level_sub *l)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    stream_snapshot_unref(l->snapshot);
    l->snapshot = stream_topic_snapshot(l->topic, l->variant, stream_now_ms(l->sub.conn->server));
    l->snapshot_revision = source->revision(stream_topic_view(l->topic));
    l->part = 0;
    return l->snapshot;
}

static void send_part(struct level_sub *l)
{
    struct buf *head = &l->sub.conn->server->scratch;
    struct http_shared *part = l->snapshot->parts[l->part++];
    bool is_last = l->part == l->snapshot->count;
    buf_clear(head);
    stream_write_snapshot_head(head, l->sub.sid, l->snapshot_revision, l->part, is_last);
    if (is_last) {
        l->sub.revision = l->snapshot_revision;
        note_sent(l, l->snapshot_revision);
    }
    http_shared_ref(part); /* sending may end it all */
    struct stream_snapshot *done = is_last ? l->snapshot : NULL;
    if (is_last)
        l->snapshot = NULL;
    stream_conn_send(l->sub.conn, "snapshot", buf_slice(head), part, &l->sub,
                     is_last ? l->snapshot_revision : 0);
    http_shared_unref(part);
    stream_snapshot_unref(done);
}

/* What changed may leave this reader with what it has. */
static bool is_shown(const struct level_sub *l)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    uint64_t state[2];
    if (!source->state || !l->has_shown)
        return false;
    source->state(stream_topic_view(l->topic), l->variant, state);
    return state[0] == l->shown[0] && state[1] == l->shown[1];
}

/* What follows on what it has. STREAM_DELTA: a frame was sent. */
static enum stream_step send_news(struct level_sub *l)
{
    struct http_shared *tail;
    int64_t revision, from = l->seen > l->sub.revision ? l->seen : l->sub.revision;
    enum stream_step step = stream_topic_delta(l->topic, from, l->variant, &tail, &revision);
    l->is_waiting = step == STREAM_WAIT;
    if (step != STREAM_DELTA)
        return step;
    if (is_shown(l)) {
        l->seen = revision;
        return STREAM_LEVEL;
    }
    http_shared_ref(tail);
    send_delta(l, tail, revision);
    http_shared_unref(tail);
    return STREAM_DELTA;
}

bool stream_level_send(struct stream_sub *sub)
{
    struct level_sub *l = level_of(sub);
    if (!sub->conn->server->is_ready)
        return false; /* comes again when the view can be read: stream_server_turn */
    if (l->rights != sub->conn->server->rights)
        follow_rights(l);
    if (l->snapshot && l->snapshot->parts) {
        send_part(l);
        return true;
    }
    choose_variant(l);
    l->is_waiting = false;
    if (l->known)
        return send_difference(l);
    if (l->has_state && !l->snapshot && !l->resync) {
        enum stream_step step = send_news(l);
        if (step != STREAM_SNAPSHOT)
            return step == STREAM_DELTA;
        l->resync = "overflow";
        l->has_state = false;
    }
    if (l->resync) {
        send_resync(l, l->resync);
        return true;
    }
    if (!begin_snapshot(l)) {
        l->is_waiting = true;
        return false;
    }
    send_part(l);
    return true;
}

int64_t stream_level_position(struct stream_sub *sub)
{
    const struct level_sub *l = container_of(sub, struct level_sub, sub);
    if (!l->has_state || l->snapshot || l->known)
        return -1;
    bool is_level = sub->conn->server->is_ready && !link_is_in_list(&sub->dirty) && !l->is_waiting;
    return is_level ? stream_topic_source(l->topic)->revision(stream_topic_view(l->topic)) : sub->revision;
}

void stream_level_acknowledge(struct stream_sub *sub, int64_t revision)
{
    struct level_sub *l = level_of(sub);
    if (!l->subscriber || !l->has_state || !sub->kind->source->acknowledge)
        return;
    /* Between its frames nothing has changed for it. */
    sub->kind->source->acknowledge(l->subscriber, revision);
}

void stream_level_written(struct stream_sub *sub)
{
    struct level_sub *l = level_of(sub);
    if (l->subscriber && sub->kind->source->written)
        sub->kind->source->written(l->subscriber);
}

int stream_level_applied(struct stream_sub *sub, const struct stream_frame *f)
{
    struct level_sub *l = level_of(sub);
    if (!l->subscriber || !sub->kind->source->applied)
        return ERR_INVALID;
    return sub->kind->source->applied(l->subscriber, f->name, f->seq, f->ok, f->error);
}
