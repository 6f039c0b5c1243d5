/* SPDX-License-Identifier: Apache-2.0
 * Topics: a journal of changes, with deltas and snapshots that are encoded once for many readers. See
 * topic.h.
 *
 *   journal (order of last change)      floor | a@12  d@15  b@19  c@19 | topic revision 19
 *
 *   a reader at 15 lacks b and c; one at 13 lacks d, b, c; one below the floor gets a snapshot. */
#include "server/stream/topic.h"

#include <assert.h>
#include <stdlib.h>

enum {
    CHANGES_MAX = 4096,        /* items that the journal remembers */
    FRAME_BYTES = 64 * 1024,   /* of a snapshot's part; a delta goes beyond it only within one revision */
    HEAD_BYTES = 160,          /* what a connection puts before the shared members */
    DELTA_SLOTS = 4,           /* readers stand at so many different places at once, mostly at one */
    FORM_SLOTS = 32,           /* of a source with variants: so many deltas and snapshots */
    SNAPSHOT_UNUSED_MS = 2000, /* for those who come together */
    COMPARE_BYTES = 256 << 10, /* a difference beyond is sent as a snapshot */
    STEP_PLACES = 256,         /* of a walk, in one step of a snapshot */
    RESTARTS_MAX = 3           /* of a snapshot, because the topic has changed between two steps */
};

struct entry {
    struct link link; /* in the journal */
    int64_t revision; /* of its last change */
    size_t size;
    uint8_t id[];
};

/* The fields of a delta, for each reader whose revision is in [low, high). */
struct delta {
    int64_t low, high;
    int64_t revision; /* of the last change in it; 0: it has all changes that there are */
    uint32_t variant;
    struct http_shared *tail; /* NULL: none */
    size_t bytes;
    struct link link; /* in topics->deltas, oldest first */
};

struct stream_topic {
    struct stream_topics *topics;
    const struct stream_source *source;
    void *view;
    size_t references;
    struct link readers;
    struct link building; /* snapshots that are not complete */
    struct link dirty;    /* in topics->dirty */
    struct link idle;     /* in topics->idle, while it has no reference */
    uint64_t idle_since_ms;
    struct strmap entries;
    struct link journal;
    int64_t floor;        /* all changes after this revision are in the journal */
    int64_t revision;     /* of the last change */
    struct delta *deltas; /* made when the first is needed */
    unsigned next_delta, next_snapshot;
    struct stream_snapshot *
        *snapshots; /* of the view as it is now, one a form; made when the first is needed */
    struct buf key;
};

struct stream_topics {
    struct stream_topics_options options;
    struct strmap by_key;
    struct link dirty, idle, snapshots, deltas;
    size_t idle_count, snapshot_bytes;
    struct cache_share share; /* of snapshots */
    struct cache_share delta_share;
    struct buf scratch;
};

/* --- keeping them ------------------------------------------------------------------------------------ */

static bool evict_oldest(struct cache_share *share);
static bool evict_delta(struct cache_share *share);

struct stream_topics *stream_topics_new(const struct stream_topics_options *options)
{
    struct stream_topics *ts = mem_new(sizeof *ts);
    ts->options = *options;
    if (!ts->options.snapshot_bytes_max)
        ts->options.snapshot_bytes_max = (size_t)64 << 20;
    if (!ts->options.idle_max)
        ts->options.idle_max = 1024;
    if (!ts->options.idle_ms)
        ts->options.idle_ms = 60 * 1000;
    list_init(&ts->dirty);
    list_init(&ts->idle);
    list_init(&ts->snapshots);
    list_init(&ts->deltas);
    cache_share_init(&ts->share, options->cache_budget, METRIC_CACHE_SNAPSHOTS, evict_oldest);
    cache_share_init(&ts->delta_share, options->cache_budget, METRIC_CACHE_DELTAS, evict_delta);
    return ts;
}

size_t stream_topics_count(const struct stream_topics *ts)
{
    return ts->by_key.count;
}

static unsigned delta_slots(const struct stream_topic *t)
{
    return t->source->variant ? FORM_SLOTS : DELTA_SLOTS;
}

static unsigned snapshot_slots(const struct stream_topic *t)
{
    return t->source->variant ? FORM_SLOTS : 1;
}

static void drop_delta(struct stream_topics *ts, struct delta *d)
{
    if (!d->tail)
        return;
    http_shared_unref(d->tail);
    list_remove(&d->link);
    cache_share_sub(&ts->delta_share, d->bytes);
    *d = (struct delta){0};
}

static bool evict_delta(struct cache_share *share)
{
    struct stream_topics *ts = container_of(share, struct stream_topics, delta_share);
    if (list_is_empty(&ts->deltas))
        return false;
    drop_delta(ts, container_of(ts->deltas.next, struct delta, link));
    return true;
}

static void restart_building(struct stream_topic *t);

static void forget_encodings(struct stream_topic *t)
{
    for (unsigned i = 0; t->deltas && i < delta_slots(t); i++)
        drop_delta(t->topics, &t->deltas[i]);
    restart_building(t);
    for (unsigned i = 0; t->snapshots && i < snapshot_slots(t); i++) {
        struct stream_snapshot *s = t->snapshots[i];
        if (!s || (!s->is_complete && !s->is_mixed))
            continue;
        stream_snapshot_unref(s);
        t->snapshots[i] = NULL;
    }
}

static void drop_entry(struct stream_topic *t, struct entry *e)
{
    list_remove(&e->link);
    strmap_remove(&t->entries, slice_of(e->id, e->size));
    mem_free(e);
}

static void free_topic(struct stream_topic *t)
{
    struct stream_topics *ts = t->topics;
    assert(t->references == 0 && list_is_empty(&t->readers));
    t->source->close(t->view);
    for (unsigned i = 0; t->deltas && i < delta_slots(t); i++)
        drop_delta(t->topics, &t->deltas[i]);
    for (unsigned i = 0; t->snapshots && i < snapshot_slots(t); i++)
        stream_snapshot_unref(t->snapshots[i]);
    mem_free(t->deltas);
    mem_free(t->snapshots);
    while (!list_is_empty(&t->journal))
        drop_entry(t, container_of(t->journal.next, struct entry, link));
    strmap_done(&t->entries);
    list_remove(&t->dirty);
    if (link_is_in_list(&t->idle))
        ts->idle_count--;
    list_remove(&t->idle);
    strmap_remove(&ts->by_key, buf_slice(&t->key));
    buf_done(&t->key);
    mem_free(t);
}

void stream_topics_free(struct stream_topics *ts)
{
    while (!list_is_empty(&ts->idle))
        free_topic(container_of(ts->idle.next, struct stream_topic, idle));
    assert(ts->by_key.count == 0 && list_is_empty(&ts->snapshots) && list_is_empty(&ts->deltas));
    strmap_done(&ts->by_key);
    cache_share_done(&ts->share);
    cache_share_done(&ts->delta_share);
    buf_done(&ts->scratch);
    mem_free(ts);
}

static struct stream_topic *new_topic(struct stream_topics *ts, const struct stream_source *source,
                                      const struct stream_frame *frame, struct buf *key, int64_t began)
{
    struct stream_topic *t = mem_new(sizeof *t);
    t->topics = ts;
    t->source = source;
    t->key = buf_move(key);
    list_init(&t->readers);
    list_init(&t->journal);
    list_init(&t->building);
    t->view = source->open(ts->options.owner, t, frame);
    t->revision = t->floor = source->changed(t->view);
    if (began > t->floor)
        t->floor = began;
    strmap_put(&ts->by_key, buf_slice(&t->key), t);
    return t;
}

int stream_topic_hold(struct stream_topics *ts, const struct stream_source *source,
                      const struct stream_frame *frame, int64_t began, char *error, size_t error_size,
                      struct stream_topic **ret_topic)
{
    struct buf key = {0};
    buf_add_text(&key, source->kind);
    buf_add_byte(&key, 0);
    int err = source->key(frame, &key, error, error_size);
    if (!err) {
        struct stream_topic *t = strmap_get(&ts->by_key, buf_slice(&key));
        if (!t)
            t = new_topic(ts, source, frame, &key, began);
        if (link_is_in_list(&t->idle))
            ts->idle_count--;
        list_remove(&t->idle);
        t->references++;
        *ret_topic = t;
    }
    buf_done(&key);
    return err;
}

void stream_topic_release(struct stream_topic *t, uint64_t now_ms)
{
    struct stream_topics *ts = t->topics;
    assert(t->references > 0);
    if (--t->references > 0)
        return;
    t->idle_since_ms = now_ms;
    list_add_last(&ts->idle, &t->idle);
    if (++ts->idle_count > ts->options.idle_max)
        free_topic(container_of(ts->idle.next, struct stream_topic, idle));
}

void stream_topics_sweep(struct stream_topics *ts, uint64_t now_ms)
{
    LIST_FOR_EACH_SAFE (l, &ts->idle) {
        struct stream_topic *t = container_of(l, struct stream_topic, idle);
        if (now_ms - t->idle_since_ms < ts->options.idle_ms)
            break;
        free_topic(t);
    }
    if (list_is_empty(&ts->snapshots))
        return;
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&ts->by_key, &at, &key, &value);) {
        struct stream_topic *t = value;
        for (unsigned i = 0; t->snapshots && i < snapshot_slots(t); i++) {
            if (!t->snapshots[i] || now_ms - t->snapshots[i]->used_ms <= SNAPSHOT_UNUSED_MS)
                continue;
            stream_snapshot_unref(t->snapshots[i]);
            t->snapshots[i] = NULL;
        }
    }
}

/* --- changes ----------------------------------------------------------------------------------------- */

void stream_topic_ready(struct stream_topic *t)
{
    if (!link_is_in_list(&t->dirty))
        list_add_last(&t->topics->dirty, &t->dirty);
}

static void mark_changed(struct stream_topic *t, int64_t revision)
{
    assert(revision >= t->revision);
    t->revision = revision;
    forget_encodings(t);
    stream_topic_ready(t);
}

void stream_topic_changed(struct stream_topic *t, struct slice id, int64_t revision)
{
    struct entry *e = strmap_get(&t->entries, id);
    if (!e) {
        e = mem_alloc(sizeof *e + id.size);
        *e = (struct entry){.size = id.size};
        if (id.size)
            memcpy(e->id, id.data, id.size);
        strmap_put(&t->entries, id, e);
    }
    list_remove(&e->link);
    list_add_last(&t->journal, &e->link);
    e->revision = revision;
    if (t->entries.count > CHANGES_MAX) {
        struct entry *oldest = container_of(t->journal.next, struct entry, link);
        if (oldest->revision > t->floor)
            t->floor = oldest->revision;
        drop_entry(t, oldest);
    }
    mark_changed(t, revision);
}

void stream_topic_note_changed(struct stream_topic *t, int64_t revision)
{
    stream_topic_changed(t, (struct slice){0}, revision);
}

void stream_topic_drop_encodings(struct stream_topic *t)
{
    forget_encodings(t);
}

void stream_topic_invalidate(struct stream_topic *t, int64_t revision)
{
    while (!list_is_empty(&t->journal))
        drop_entry(t, container_of(t->journal.next, struct entry, link));
    mark_changed(t, revision);
    t->floor = revision;
}

/* --- getters ----------------------------------------------------------------------------------------- */

const struct stream_source *stream_topic_source(const struct stream_topic *t)
{
    return t->source;
}

void *stream_topic_view(const struct stream_topic *t)
{
    return t->view;
}

struct link *stream_topic_readers(struct stream_topic *t)
{
    return &t->readers;
}

int64_t stream_topic_revision(const struct stream_topic *t)
{
    return t->revision;
}

struct stream_topic *stream_topics_next(struct stream_topics *ts)
{
    struct link *l = list_take_first(&ts->dirty);
    return l ? container_of(l, struct stream_topic, dirty) : NULL;
}

static void add_note(const struct stream_topic *t, uint32_t variant, struct json_writer *w)
{
    if (t->source->note)
        t->source->note(t->view, variant, w);
}

static bool begin_frame(struct stream_topic *t, size_t bytes)
{
    return !t->source->begin || t->source->begin(t->view, bytes);
}

static bool end_frame(struct stream_topic *t)
{
    return !t->source->end || t->source->end(t->view);
}

/* --- deltas ----------------------------------------------------------------------------------------- */

static struct delta *find_delta(struct stream_topic *t, int64_t from, uint32_t variant)
{
    for (unsigned i = 0; t->deltas && i < delta_slots(t); i++) {
        struct delta *d = &t->deltas[i];
        if (d->tail && d->variant == variant && from >= d->low && from < d->high)
            return d;
    }
    return NULL;
}

static void add_deleted(struct json_writer *w, const struct buf *deleted)
{
    jw_key(w, "delete");
    jw_open(w, '[');
    if (deleted->size)
        jw_raw(w, slice_of(deleted->data + 1, deleted->size - 1));
    jw_close(w, ']');
}

static void add_name(struct buf *list, struct slice id)
{
    struct json_writer w = {.out = list};
    buf_add_byte(list, ',');
    jw_string(&w, id);
}

/* A delta from the first entry after the reader's revision, until the frame is full and a revision ends.
 * It has no tail if the source lacks something. */
static struct delta make_delta(struct stream_topic *t, struct entry *first, int64_t low, uint32_t variant)
{
    struct delta d = {.low = low, .high = first->revision, .variant = variant};
    struct buf *out = &t->topics->scratch, deleted = {0};
    struct json_writer w = {.out = out};
    struct link *l = &first->link;
    buf_clear(out);
    jw_key(&w, "put");
    jw_open(&w, '[');
    for (; l != &t->journal; l = l->next) {
        const struct entry *e = container_of(l, struct entry, link);
        if (out->size + deleted.size > FRAME_BYTES && e->revision != d.revision)
            break;
        d.revision = e->revision;
        struct slice id = slice_of(e->id, e->size);
        if (id.size && !t->source->item(t->view, id, variant, &w)) /* without an id: note_changed */
            add_name(&deleted, id);
    }
    if (l == &t->journal)
        d.revision = 0;
    jw_close(&w, ']');
    add_deleted(&w, &deleted);
    add_note(t, variant, &w);
    jw_close(&w, '}');
    if (end_frame(t)) {
        d.tail = http_shared_new(buf_slice(out));
        d.bytes = cache_block_bytes(sizeof(struct http_shared) + out->size);
    }
    buf_done(&deleted);
    return d;
}

enum stream_step stream_topic_delta(struct stream_topic *t, int64_t from, uint32_t variant,
                                    struct http_shared **ret_tail, int64_t *ret_revision)
{
    if (from >= t->revision && from >= t->floor)
        return STREAM_UP_TO_DATE;
    if (from < t->floor)
        return STREAM_SNAPSHOT;
    if (!begin_frame(t, 0)) /* the encoded deltas are outdated too */
        return STREAM_WAIT;
    struct delta *d = find_delta(t, from, variant);
    if (!d) {
        struct link *l = t->journal.prev;
        while (l != &t->journal && container_of(l, struct entry, link)->revision > from)
            l = l->prev;
        int64_t low = l == &t->journal ? t->floor : container_of(l, struct entry, link)->revision;
        assert(l->next != &t->journal); /* the topic's revision is the last entry's */
        struct delta made = make_delta(t, container_of(l->next, struct entry, link), low, variant);
        if (!made.tail)
            return STREAM_WAIT;
        if (!t->deltas)
            t->deltas = mem_new(delta_slots(t) * sizeof *t->deltas);
        d = &t->deltas[t->next_delta++ % delta_slots(t)];
        drop_delta(t->topics, d);
        *d = made;
        list_add_last(&t->topics->deltas, &d->link);
        cache_share_add(&t->topics->delta_share, d->bytes);
    }
    *ret_tail = d->tail;
    *ret_revision = d->revision ? d->revision : t->source->revision(t->view);
    return STREAM_DELTA;
}

/* --- comparing -------------------------------------------------------------------------------------- */

struct comparison {
    struct stream_topic *topic;
    struct strmap known; /* id -> its place in the client's list, plus 1 */
    const struct stream_known *list;
    uint32_t variant;
    struct json_writer *w;
};

static bool compare_one(void *arg, struct slice id)
{
    struct comparison *c = arg;
    const struct stream_source *source = c->topic->source;
    int64_t revision = source->item(c->topic->view, id, c->variant, NULL);
    if (c->w->out->size > COMPARE_BYTES)
        return false;
    if (!revision)
        return true;
    const struct stream_known *known = strmap_remove(&c->known, id);
    bool is_same = known && (source->is_known ? source->is_known(c->topic->view, id, c->variant, known)
                                              : known->revision == revision);
    if (!is_same)
        source->item(c->topic->view, id, c->variant, c->w);
    return true;
}

enum stream_step stream_topic_compare(struct stream_topic *t, const struct stream_known *known, size_t count,
                                      uint32_t variant, struct buf *ret_tail)
{
    if (!begin_frame(t, 0))
        return STREAM_WAIT;
    struct json_writer w = {.out = ret_tail};
    struct comparison c = {.topic = t, .list = known, .variant = variant, .w = &w};
    struct buf deleted = {0}, place = {0};
    struct slice id;
    void *value;
    for (size_t i = 0; i < count; i++)
        strmap_put(&c.known, known[i].id, (void *)(uintptr_t)&known[i]);
    jw_key(&w, "put");
    jw_open(&w, '[');
    t->source->each(t->view, &place, SIZE_MAX, compare_one, &c);
    buf_done(&place);
    jw_close(&w, ']');
    for (size_t at = 0; strmap_next(&c.known, &at, &id, &value);)
        add_name(&deleted, id);
    add_deleted(&w, &deleted);
    add_note(t, variant, &w);
    jw_close(&w, '}');
    buf_done(&deleted);
    strmap_done(&c.known);
    return !end_frame(t) ? STREAM_WAIT : ret_tail->size <= COMPARE_BYTES ? STREAM_DELTA : STREAM_SNAPSHOT;
}

/* --- snapshots -------------------------------------------------------------------------------------- */

static void end_building(struct stream_snapshot *s)
{
    list_remove(&s->building);
    buf_done(&s->place);
    buf_done(&s->open);
}

static void free_parts(struct stream_snapshot *s)
{
    struct stream_topics *ts = s->topic->topics;
    for (size_t i = 0; i < s->count; i++)
        http_shared_unref(s->parts[i]);
    mem_free(s->parts);
    s->parts = NULL;
    s->count = 0;
    ts->snapshot_bytes -= s->bytes;
    cache_share_sub(&ts->share, s->bytes);
    s->bytes = 0;
}

static void drop_parts(struct stream_snapshot *s)
{
    free_parts(s);
    s->is_evicted = true;
    list_remove(&s->link);
    end_building(s);
}

void stream_snapshot_unref(struct stream_snapshot *s)
{
    if (!s || --s->references > 0)
        return;
    drop_parts(s);
    mem_free(s);
}

static void begin_part(struct stream_snapshot *s)
{
    buf_clear(&s->open);
    s->writer = (struct json_writer){.out = &s->open};
    jw_key(&s->writer, "items");
    jw_open(&s->writer, '[');
}

/* The topic has changed: a snapshot under way begins again, so that it is of one revision. After RESTARTS_MAX
 * it goes on with each item as it is then. A personal one always begins again: forms are numbered anew. */
static void restart_building(struct stream_topic *t)
{
    bool is_personal = t->source->is_personal && t->source->is_personal(t->view);
    LIST_FOR_EACH (l, &t->building) {
        struct stream_snapshot *s = container_of(l, struct stream_snapshot, building);
        if (!s->revision) /* there was no step yet */
            continue;
        s->is_mixed = !is_personal && s->restarts == RESTARTS_MAX;
        if (s->is_mixed)
            continue;
        s->restarts++;
        s->revision = 0;
        free_parts(s);
        buf_clear(&s->place);
        begin_part(s);
    }
}

/* Ends the part after its first `size` bytes of items. */
static void end_part(struct stream_snapshot *s, size_t size)
{
    s->open.size = size;
    jw_close(&s->writer, ']');
    add_note(s->topic, s->variant, &s->writer);
    jw_close(&s->writer, '}');
    if ((s->count & (s->count - 1)) == 0)
        s->parts = mem_resize(s->parts, (s->count ? s->count * 2 : 1) * sizeof(struct http_shared *));
    s->parts[s->count++] = http_shared_new(buf_slice(&s->open));
}

struct step {
    struct stream_snapshot *snapshot;
    bool is_whole; /* it goes on after a part */
};

static bool stream_topic_add_item(void *arg, struct slice id)
{
    const struct step *step = arg;
    struct stream_snapshot *s = step->snapshot;
    const struct stream_topic *t = s->topic;
    size_t before = s->open.size;
    if (!t->source->item(t->view, id, s->variant, &s->writer))
        return true;
    size_t empty = sizeof "\"items\":[" - 1;
    if (s->open.size <= FRAME_BYTES - HEAD_BYTES || before == empty)
        return true;
    end_part(s, before);
    begin_part(s);
    t->source->item(t->view, id, s->variant, &s->writer);
    return step->is_whole;
}

/* Parts that a connection is sending have a reference of their own: they stay until they are sent. */
static bool evict_oldest(struct cache_share *share)
{
    struct stream_topics *ts = container_of(share, struct stream_topics, share);
    if (list_is_empty(&ts->snapshots))
        return false;
    drop_parts(container_of(ts->snapshots.next, struct stream_snapshot, link));
    return true;
}

static void stream_topic_make_room(struct stream_topics *ts)
{
    while (ts->snapshot_bytes > ts->options.snapshot_bytes_max && ts->snapshots.next->next != &ts->snapshots)
        drop_parts(container_of(ts->snapshots.next, struct stream_snapshot, link));
}

/* Counts the parts that were added. The snapshot becomes the newest: it is not evicted for its own parts. */
static void account(struct stream_snapshot *s, size_t first)
{
    struct stream_topics *ts = s->topic->topics;
    size_t bytes = 0;
    for (size_t i = first; i < s->count; i++)
        bytes += s->parts[i]->text->size;
    list_remove(&s->link);
    ts->snapshot_bytes += bytes;
    s->bytes += bytes;
    cache_share_add(&ts->share, bytes);
    list_add_last(&ts->snapshots, &s->link);
    stream_topic_make_room(ts);
}

/* The state before a step. */
struct undo {
    size_t count;
    bool needs_comma;
    struct buf place, open;
};

static void undo_step(struct stream_snapshot *s, struct undo *u)
{
    while (s->count > u->count)
        http_shared_unref(s->parts[--s->count]);
    buf_done(&s->place);
    buf_done(&s->open);
    s->place = buf_move(&u->place);
    s->open = buf_move(&u->open);
    s->writer = (struct json_writer){.out = &s->open, .needs_comma = u->needs_comma};
}

bool stream_snapshot_step(struct stream_snapshot *s)
{
    struct stream_topic *t = s->topic;
    bool is_whole = t->source->is_personal && t->source->is_personal(t->view);
    struct step step = {s, is_whole};
    struct undo undo = {.count = s->count, .needs_comma = s->writer.needs_comma};
    if (!begin_frame(t, s->bytes + s->open.size))
        return false;
    if (s->is_complete)
        return true;
    if (t->source->end) {
        buf_add_slice(&undo.place, buf_slice(&s->place));
        buf_add_slice(&undo.open, buf_slice(&s->open));
    }
    if (!s->revision)
        s->revision = t->source->revision(t->view);
    bool has_more =
        t->source->each(t->view, &s->place, is_whole ? SIZE_MAX : STEP_PLACES, stream_topic_add_item, &step);
    bool is_good = end_frame(t);
    if (is_good && !has_more)
        end_part(s, s->open.size);
    if (!is_good)
        undo_step(s, &undo);
    else
        account(s, undo.count);
    if (is_good && !has_more && !s->is_evicted) {
        s->is_complete = true;
        end_building(s);
    }
    buf_done(&undo.place);
    buf_done(&undo.open);
    return is_good;
}

static struct stream_snapshot *new_snapshot(struct stream_topic *t, uint32_t variant)
{
    struct stream_snapshot *s = mem_new(sizeof *s);
    *s = (struct stream_snapshot){.references = 1, .variant = variant, .topic = t};
    begin_part(s);
    list_add_last(&t->topics->snapshots, &s->link);
    list_add_last(&t->building, &s->building);
    return s;
}

/* The slot for a form's snapshot: its own, else a free one, else that of another form. */
static struct stream_snapshot **stream_topic_place_of(struct stream_topic *t, uint32_t variant)
{
    struct stream_snapshot **free_place = NULL;
    if (!t->snapshots)
        t->snapshots = mem_new(snapshot_slots(t) * sizeof(struct stream_snapshot *));
    for (unsigned i = 0; i < snapshot_slots(t); i++) {
        if (t->snapshots[i] && t->snapshots[i]->variant == variant)
            return &t->snapshots[i];
        if (!t->snapshots[i] && !free_place)
            free_place = &t->snapshots[i];
    }
    return free_place ? free_place : &t->snapshots[t->next_snapshot++ % snapshot_slots(t)];
}

struct stream_snapshot *stream_topic_snapshot(struct stream_topic *t, uint32_t variant, uint64_t now_ms)
{
    struct stream_snapshot **place = stream_topic_place_of(t, variant), *s = *place;
    if (!s || s->is_evicted || s->variant != variant) {
        stream_snapshot_unref(*place);
        s = *place = new_snapshot(t, variant);
    }
    s->used_ms = now_ms;
    s->references++;
    return s;
}
