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

struct level_sub {
    struct stream_sub sub;
    struct link reader; /* in the topic's */
    struct stream_topic *topic;
    void *looker; /* the source's: who looks at it */
    struct stream_snapshot *snapshot;
    uint32_t part; /* the next one to send, from 0 */
    uint32_t variant;
    int64_t snapshot_revision;
    const char *resync;     /* to be said before the snapshot */
    struct buf *difference; /* to what the client knew: the members of its first delta */
    bool has_state;         /* a snapshot was sent whole, or the client had one before */
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
        l->variant = source->variant(stream_topic_view(l->topic), &l->sub.conn->who.labels);
}

/* What the client has already. */
static void take_up(struct level_sub *l, const struct stream_frame *ask)
{
    const struct stream_conn *c = l->sub.conn;
    bool has_known = stream_frame_has(ask, STREAM_HAS_KNOWN);
    if (!has_known && !ask->from_revision)
        return;
    if (c->is_foreign) {
        l->resync = "cluster_changed";
        return;
    }
    if (ask->from_revision) {
        l->has_state = true;
        l->sub.revision = (int64_t)ask->from_revision - 1;
    }
    struct http_shared *tail;
    int64_t revision;
    bool is_replayed = ask->from_revision && stream_topic_delta(l->topic, l->sub.revision, l->variant, &tail,
                                                                &revision) != STREAM_SNAPSHOT;
    if (is_replayed || !has_known)
        return;
    struct buf difference = {0};
    if (stream_topic_compare(l->topic, ask->known.list, ask->known.count, l->variant, &difference)) {
        l->difference = mem_new(sizeof *l->difference);
        *l->difference = buf_move(&difference);
    }
    buf_done(&difference);
}

int stream_level_open(struct stream_sub *sub, const struct stream_frame *ask, char *error, size_t error_size)
{
    struct level_sub *l = level_of(sub);
    struct stream_conn *c = sub->conn;
    struct stream_server *s = c->server;
    if (ask->from_revision && !c->is_foreign &&
        (int64_t)ask->from_revision - 1 > registry_revision(s->options.registry)) {
        snprintf(error, error_size,
                 "from_revision is in the future of this member: say it in hello's resume");
        return ERR_FUTURE_REV;
    }
    int err = stream_topic_hold(s->topics, sub->kind->source, ask, s->began, error, error_size, &l->topic);
    if (err)
        return err;
    list_add_last(stream_topic_readers(l->topic), &l->reader);
    const struct stream_source *source = sub->kind->source;
    if (source->attach)
        l->looker = source->attach(stream_topic_view(l->topic), &c->who);
    choose_variant(l);
    if (s->is_ready)
        take_up(l, ask);
    return 0;
}

static void drop_difference(struct level_sub *l)
{
    if (l->difference)
        buf_done(l->difference);
    mem_free(l->difference);
    l->difference = NULL;
}

void stream_level_close(struct stream_sub *sub)
{
    struct level_sub *l = level_of(sub);
    if (!l->topic)
        return;
    if (l->looker)
        sub->kind->source->detach(l->looker);
    drop_difference(l);
    stream_snapshot_unref(l->snapshot);
    list_remove(&l->reader);
    stream_topic_let_go(l->topic, stream_now_ms(sub->conn->server));
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

static void send_delta(struct level_sub *l, struct http_shared *tail, int64_t revision)
{
    struct buf *head = &l->sub.conn->server->scratch;
    buf_clear(head);
    stream_write_delta_head(head, l->sub.sid, revision, l->sub.revision);
    l->sub.revision = revision;
    stream_conn_send(l->sub.conn, "delta", buf_slice(head), tail, &l->sub, revision);
}

static void send_difference(struct level_sub *l)
{
    struct http_shared *tail = http_shared_new(buf_slice(l->difference));
    drop_difference(l);
    l->has_state = true;
    send_delta(l, tail, registry_revision(l->sub.conn->server->options.registry));
    http_shared_unref(tail);
}

static void begin_snapshot(struct level_sub *l)
{
    struct stream_server *s = l->sub.conn->server;
    const struct stream_source *source = stream_topic_source(l->topic);
    stream_snapshot_unref(l->snapshot);
    l->snapshot = stream_topic_snapshot(l->topic, l->variant, stream_now_ms(s));
    l->snapshot_revision = source->revision(stream_topic_view(l->topic));
    l->part = 0;
}

static void send_part(struct level_sub *l)
{
    struct buf *head = &l->sub.conn->server->scratch;
    struct http_shared *part = l->snapshot->parts[l->part++];
    bool is_last = l->part == l->snapshot->count;
    buf_clear(head);
    stream_write_snapshot_head(head, l->sub.sid, l->snapshot_revision, l->part, is_last);
    if (is_last) {
        l->has_state = true;
        l->sub.revision = l->snapshot_revision;
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

bool stream_level_send(struct stream_sub *sub)
{
    struct level_sub *l = level_of(sub);
    struct http_shared *tail;
    int64_t revision;
    if (!sub->conn->server->is_ready)
        return false; /* comes again when the view can be read: stream_server_turn */
    if (l->difference) {
        send_difference(l);
        return true;
    }
    if (l->snapshot && l->snapshot->parts) {
        send_part(l);
        return true;
    }
    choose_variant(l);
    if (l->has_state && !l->snapshot && !l->resync) {
        switch (stream_topic_delta(l->topic, sub->revision, l->variant, &tail, &revision)) {
        case STREAM_LEVEL:
            return false;
        case STREAM_DELTA:
            http_shared_ref(tail);
            send_delta(l, tail, revision);
            http_shared_unref(tail);
            return true;
        case STREAM_SNAPSHOT:
            l->resync = "overflow";
            l->has_state = false;
        }
    }
    if (l->resync) {
        send_resync(l, l->resync);
        return true;
    }
    begin_snapshot(l);
    send_part(l);
    return true;
}

int64_t stream_level_position(struct stream_sub *sub)
{
    const struct level_sub *l = container_of(sub, struct level_sub, sub);
    if (!l->has_state || l->snapshot)
        return -1;
    const struct stream_server *s = sub->conn->server;
    bool is_level = s->is_ready && !link_is_in_list(&sub->dirty);
    return is_level ? registry_revision(s->options.registry) : sub->revision;
}

void stream_level_acknowledge(struct stream_sub *sub, int64_t revision)
{
    struct level_sub *l = level_of(sub);
    if (!l->looker || !l->has_state)
        return;
    /* Between its frames nothing has changed for it. */
    sub->kind->source->acknowledge(l->looker, revision);
}
