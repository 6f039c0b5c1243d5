/* SPDX-License-Identifier: Apache-2.0
 * Subscriptions on topics, level-triggered: the client always gets the last state, but not each state
 * between. "Level" is short for level-triggered in this folder. kv.c has the edge-triggered subscriptions.
 *
 * A subscription keeps one number, the revision of its last frame. stream_level_send makes its next frame:
 *
 *   the subscription has                what is sent                                       next
 *   ----------------------------------  -------------------------------------------------  ----------------
 *   a snapshot that is not encoded      nothing: a step of encoding it is made             sends the parts
 *   a snapshot that is partly sent      snapshot, the next part                            up to date after
 *                                                                                          the last part
 *   `known` items of the client         delta: the difference to them                      up to date
 *   a state (has_state)                 delta: the changes after its revision; nothing if  up to date
 *                                       there are none, or if they leave its state equal
 *   a state that is before the journal  resync `overflow`                                  needs a snapshot
 *   a reason to resync                  resync with that reason                            needs a snapshot
 *   nothing                             snapshot, part 1                                   sends the parts
 *
 * All parts of a snapshot are of one view at one revision; topic.h has the exception. If the snapshot is evicted before its last
 * part, the next frame is part 1 of a newer one, and the parts of the old one are void. If the source
 * lacks something (STREAM_WAIT), nothing is sent and is_waiting is set; stream_level_wake brings the
 * subscription back.
 *
 * The first frame of a subscription that resumes (from_revision, known) has as `previous` the revision
 * before from_revision. */
#include "server/stream/private.h"

#include <assert.h>
#include <stdio.h>

#include "base/metric.h"

/* The items that the client has, by its own account (`known` of subscribe). */
struct known {
    struct arena arena;
    struct stream_known *list;
    size_t count;
};

struct level_sub {
    struct stream_sub sub;
    struct link reader; /* in the topic's */
    struct stream_topic *topic;
    void *subscriber; /* the source's handle from attach; NULL = none */
    struct stream_snapshot *snapshot;
    uint32_t part; /* the next one to send, from 0 */
    uint32_t variant;
    int64_t snapshot_revision;
    uint64_t rights;         /* the server's, when the topic was chosen */
    int64_t unchanged_until; /* a change up to here left this reader's state as it was: no frame was sent */
    uint64_t sent_state[2];  /* has_sent_state: what source->state said at its last frame */
    const char *resync;      /* a resync frame with this reason precedes the snapshot; NULL = none */
    struct known *known;     /* its first frame is the difference to these items; NULL = none */
    bool has_state;          /* all parts of a snapshot were sent, or the client has resumed */
    bool has_sent_state;
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
        l->variant = source->variant(stream_topic_view(l->topic), &l->sub.conn->subscriber);
}

/* Copies `known`: the frame is freed after it was handled. */
static void copy_known(struct level_sub *l, const struct stream_frame *frame)
{
    struct known *k = l->known = mem_new(sizeof *k);
    k->count = frame->known.count;
    k->list = arena_alloc(&k->arena, (k->count + 1) * sizeof *k->list);
    for (size_t i = 0; i < k->count; i++) {
        k->list[i] = frame->known.list[i];
        struct slice *id = &k->list[i].id;
        *id = slice_of(arena_copy(&k->arena, id->data, id->size), id->size);
    }
}

static void free_known(struct level_sub *l)
{
    if (l->known)
        arena_done(&l->known->arena);
    mem_free(l->known);
    l->known = NULL;
}

/* Resumes from what the client has. A from_revision alone is not enough when not all readers get the same
 * items: the client may have had other labels or permissions then. */
static void resume_from(struct level_sub *l, const struct stream_frame *frame)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    bool has_known = stream_frame_has(frame, STREAM_HAS_KNOWN);
    const void *view = stream_topic_view(l->topic);
    bool depends_on_rights = (int64_t)frame->from_revision - 1 <= l->sub.conn->server->rights_at &&
                             source->depends_on_rights && source->depends_on_rights(view);
    bool is_personal = depends_on_rights || (source->is_personal && source->is_personal(view));
    struct http_shared *tail;
    int64_t revision;
    if (!has_known && !frame->from_revision)
        return;
    if (l->sub.conn->is_foreign) {
        l->resync = "cluster_changed";
        return;
    }
    if (frame->from_revision) {
        l->has_state = true;
        l->sub.revision = (int64_t)frame->from_revision - 1;
    }
    if (frame->from_revision && !is_personal &&
        stream_topic_delta(l->topic, l->sub.revision, l->variant, &tail, &revision) != STREAM_SNAPSHOT)
        return;
    if (has_known) {
        copy_known(l, frame);
    } else if (is_personal) {
        l->resync = depends_on_rights ? "rights" : "gray";
        l->has_state = false;
    }
}

/* Joins the topic of this frame and of this connection's audience. */
static int join_topic(struct level_sub *l, const struct stream_frame *frame, char *error, size_t error_size)
{
    struct stream_conn *c = l->sub.conn;
    struct stream_server *s = c->server;
    const struct stream_source *source = l->sub.kind->source;
    struct stream_frame own = *frame;
    l->rights = s->rights;
    own.audience = source->audience ? source->audience(s, &c->user, frame) : NULL;
    int err = stream_topic_hold(s->topics, source, &own, source->knows_past ? 0 : s->began, error, error_size,
                                &l->topic);
    if (err)
        return err;
    list_add_last(stream_topic_readers(l->topic), &l->reader);
    if (source->attach)
        l->subscriber = source->attach(stream_topic_view(l->topic), &c->subscriber);
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

int stream_level_open(struct stream_sub *sub, const struct stream_frame *frame, char *error,
                      size_t error_size)
{
    struct level_sub *l = level_of(sub);
    struct stream_conn *c = sub->conn;
    struct stream_server *s = c->server;
    const struct stream_source *source = sub->kind->source;
    if (frame->from_revision && !c->is_foreign && (int64_t)frame->from_revision - 1 > source->reached(s)) {
        snprintf(error, error_size,
                 "from_revision is in the future of this member: send it in hello's resume");
        return ERR_FUTURE_REV;
    }
    int err = join_topic(l, frame, error, error_size);
    if (err)
        return err;
    choose_variant(l);
    if (s->is_ready)
        resume_from(l, frame);
    return 0;
}

void stream_level_close(struct stream_sub *sub)
{
    struct level_sub *l = level_of(sub);
    if (!l->topic)
        return;
    free_known(l);
    stream_snapshot_unref(l->snapshot);
    leave_topic(l);
}

/* Permissions have changed: if the audience is another one now, the subscription moves to the topic of that
 * audience and begins with a snapshot. */
static void follow_rights(struct level_sub *l)
{
    struct stream_conn *c = l->sub.conn;
    struct stream_server *s = c->server;
    const struct stream_source *source = l->sub.kind->source;
    struct stream_topic *old = l->topic;
    struct stream_frame frame;
    char error[240];
    l->rights = s->rights;
    if (!source->audience)
        return;
    source->describe(stream_topic_view(old), &frame);
    if (audience_is_same(frame.audience, source->audience(s, &c->user, &frame)))
        return;
    void *subscriber = l->subscriber;
    list_remove(&l->reader);
    int err = join_topic(l, &frame, error, sizeof error);
    assert(!err && "the same parameters were valid before");
    (void)err;
    if (subscriber)
        source->detach(subscriber);
    stream_topic_release(old, stream_now_ms(s));
    stream_snapshot_unref(l->snapshot);
    l->snapshot = NULL;
    free_known(l);
    l->resync = l->has_state ? "rights" : l->resync;
    l->has_state = l->has_sent_state = false;
    l->unchanged_until = 0;
}

void stream_level_wake(struct stream_topic *t)
{
    LIST_FOR_EACH (link, stream_topic_readers(t))
        stream_sub_mark_dirty(&container_of(link, struct level_sub, reader)->sub);
}

/* --- frames ------------------------------------------------------------------------------------------ */

static void send_resync(struct level_sub *l, const char *reason)
{
    struct buf *head = &l->sub.conn->server->scratch;
    buf_clear(head);
    stream_write_resync(head, l->sub.sid, reason);
    metric_add(METRIC_STREAM_RESYNCS, 1);
    l->resync = NULL;
    stream_conn_send(l->sub.conn, "resync", buf_slice(head), NULL, NULL, 0);
}

/* A frame with everything up to `revision` was made: records the state that the reader has now. */
static void note_sent(struct level_sub *l, int64_t revision)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    const void *view = stream_topic_view(l->topic);
    l->has_state = true;
    l->unchanged_until = revision;
    if (source->state) {
        source->state(view, l->variant, l->sent_state);
        l->has_sent_state = true;
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

/* False: the source lacks something. A difference that is too large for a frame becomes a snapshot.
 * Sending may end the connection, and with it the subscription: the caller must not use `l` after true. */
static bool send_difference(struct level_sub *l)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    struct buf difference = {0};
    enum stream_step step =
        stream_topic_compare(l->topic, l->known->list, l->known->count, l->variant, &difference);
    l->is_waiting = step == STREAM_WAIT;
    if (step != STREAM_WAIT)
        free_known(l);
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

static void begin_snapshot(struct level_sub *l)
{
    stream_snapshot_unref(l->snapshot);
    l->snapshot = stream_topic_snapshot(l->topic, l->variant, stream_now_ms(l->sub.conn->server));
    l->part = 0;
}

/* If nothing has changed since, the snapshot is also of the view's revision now. */
static int64_t revision_of(const struct level_sub *l)
{
    const struct stream_snapshot *s = l->snapshot;
    int64_t now = stream_topic_source(l->topic)->revision(stream_topic_view(l->topic));
    return stream_topic_revision(l->topic) <= s->revision && now > s->revision ? now : s->revision;
}

/* Sends the next part, or makes a step of encoding them. False: the source lacks something. */
static bool send_part(struct level_sub *l)
{
    struct buf *head = &l->sub.conn->server->scratch;
    if (!l->part) {
        l->is_waiting = !stream_snapshot_step(l->snapshot);
        if (l->is_waiting || !l->snapshot->is_complete)
            return !l->is_waiting;
    }
    if (!l->part)
        l->snapshot_revision = revision_of(l);
    struct http_shared *part = l->snapshot->parts[l->part++];
    bool is_last = l->part == l->snapshot->count;
    buf_clear(head);
    stream_write_snapshot_head(head, l->sub.sid, l->snapshot_revision, l->part, is_last);
    if (is_last) {
        l->sub.revision = l->snapshot_revision;
        note_sent(l, l->snapshot_revision);
    }
    http_shared_ref(part); /* sending may end the connection, which frees the snapshot */
    struct stream_snapshot *done = is_last ? l->snapshot : NULL;
    if (is_last)
        l->snapshot = NULL;
    stream_conn_send(l->sub.conn, "snapshot", buf_slice(head), part, &l->sub,
                     is_last ? l->snapshot_revision : 0);
    http_shared_unref(part);
    stream_snapshot_unref(done);
    return true;
}

/* True: the changes leave this reader's state as it is, so no frame is needed. */
static bool is_state_unchanged(const struct level_sub *l)
{
    const struct stream_source *source = stream_topic_source(l->topic);
    uint64_t state[2];
    if (!source->state || !l->has_sent_state)
        return false;
    source->state(stream_topic_view(l->topic), l->variant, state);
    return state[0] == l->sent_state[0] && state[1] == l->sent_state[1];
}

/* Sends the changes after the reader's revision. STREAM_DELTA: a frame was sent. */
static enum stream_step send_changes(struct level_sub *l)
{
    struct http_shared *tail;
    int64_t revision, from = l->unchanged_until > l->sub.revision ? l->unchanged_until : l->sub.revision;
    enum stream_step step = stream_topic_delta(l->topic, from, l->variant, &tail, &revision);
    l->is_waiting = step == STREAM_WAIT;
    if (step != STREAM_DELTA)
        return step;
    if (is_state_unchanged(l)) {
        l->unchanged_until = revision;
        return STREAM_UP_TO_DATE;
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
        return false; /* stream_server_turn marks it dirty again when the view is ready */
    if (l->rights != sub->conn->server->rights)
        follow_rights(l);
    l->is_waiting = false;
    if (l->snapshot && !l->snapshot->is_evicted)
        return send_part(l);
    choose_variant(l);
    if (l->known)
        return send_difference(l);
    if (l->has_state && !l->snapshot && !l->resync) {
        enum stream_step step = send_changes(l);
        if (step != STREAM_SNAPSHOT)
            return step == STREAM_DELTA;
        l->resync = "overflow";
        l->has_state = false;
    }
    if (l->resync) {
        send_resync(l, l->resync);
        return true;
    }
    begin_snapshot(l);
    return send_part(l);
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
