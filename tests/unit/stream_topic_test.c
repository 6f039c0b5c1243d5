/* SPDX-License-Identifier: Apache-2.0
 * Tests of topics: the changes since a revision, made once for many readers; random readers against a model;
 * snapshots and their budget. The source is a small array. */
#include "server/stream/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"
#include "tests/unit/unit.h"

enum { ITEMS = 40 };

struct fake {
    struct stream_topic *topic;
    int64_t now, changed;
    int64_t revisions[ITEMS]; /* 0 = not there */
    size_t padding;           /* bytes of each item */
    unsigned written;         /* how often an item was encoded */
    int opened;
    bool is_reading, lacks, is_personal;
};
static struct fake fake;

static int fake_key(const struct stream_frame *ask, struct buf *ret_key, char *error, size_t error_size)
{
    if (!ask->name.size) {
        snprintf(error, error_size, "no name");
        return ERR_INVALID;
    }
    buf_add_slice(ret_key, ask->name);
    return 0;
}

static void *fake_open(void *owner, struct stream_topic *topic, const struct stream_frame *ask)
{
    (void)owner, (void)ask;
    fake.topic = topic;
    fake.opened++;
    return &fake;
}

static void fake_close(void *view)
{
    assert_ptr_equal(view, &fake);
    fake.opened--;
}

static int64_t fake_revision(const void *view)
{
    return ((const struct fake *)view)->now;
}

static int64_t fake_changed(const void *view)
{
    return ((const struct fake *)view)->changed;
}

/* place: the index of the next item, as a byte. */
static bool fake_each(const void *view, struct buf *place, size_t places,
                      bool (*fn)(void *arg, struct slice id), void *arg)
{
    char id[8];
    int i = place->size ? place->data[0] : 0;
    bool goes_on = true;
    (void)view;
    for (; goes_on && places && i < ITEMS; i++, places--) {
        snprintf(id, sizeof id, "i%02d", i);
        if (fake.revisions[i])
            goes_on = fn(arg, slice_text(id));
    }
    buf_clear(place);
    buf_add_byte(place, (uint8_t)i);
    return i < ITEMS;
}

static int64_t fake_item(const void *view, struct slice id, uint32_t variant, struct json_writer *w)
{
    const struct fake *f = view;
    uint64_t i;
    assert_int_equal(text_to_u64(slice_of(id.data + 1, id.size - 1), &i), 0);
    if (i >= ITEMS || !f->revisions[i])
        return 0;
    if (w) {
        fake.written++;
        jw_open(w, '{');
        jw_key(w, "id");
        jw_string(w, id);
        jw_key(w, "revision");
        jw_int(w, f->revisions[i]);
        jw_key(w, "variant");
        jw_uint(w, variant);
        struct buf padding = {0};
        memset(buf_reserve(&padding, f->padding + 1), 'x', f->padding);
        jw_key(w, "padding");
        jw_string(w, slice_of(padding.data, f->padding));
        buf_done(&padding);
        jw_close(w, '}');
    }
    return f->revisions[i];
}

static const struct stream_source source = {
    .kind = "fake",
    .key = fake_key,
    .open = fake_open,
    .close = fake_close,
    .revision = fake_revision,
    .changed = fake_changed,
    .each = fake_each,
    .item = fake_item,
};

/* A source with forms, whose content may be missing. */
static uint32_t fake_variant(void *view, const struct registry_subscriber *who)
{
    (void)view, (void)who;
    return 0;
}

static bool fake_begin(void *view, size_t bytes)
{
    (void)bytes;
    return !((struct fake *)view)->is_reading;
}

static bool fake_is_personal(const void *view)
{
    return ((const struct fake *)view)->is_personal;
}

static bool fake_end(void *view)
{
    return !((struct fake *)view)->lacks;
}

static const struct stream_source rich_source = {
    .kind = "rich",
    .key = fake_key,
    .open = fake_open,
    .close = fake_close,
    .revision = fake_revision,
    .changed = fake_changed,
    .variant = fake_variant,
    .is_personal = fake_is_personal,
    .begin = fake_begin,
    .end = fake_end,
    .each = fake_each,
    .item = fake_item,
};

static struct stream_topics *topics;

static struct stream_topic *hold(const char *name, int64_t began)
{
    struct stream_frame ask = {.name = slice_text(name)};
    struct stream_topic *t;
    char error[200];
    assert_int_equal(stream_topic_hold(topics, &source, &ask, began, error, sizeof error, &t), 0);
    return t;
}

static struct stream_topic *hold_rich(void)
{
    struct stream_frame ask = {.name = slice_text("rich")};
    struct stream_topic *t;
    char error[200];
    assert_int_equal(stream_topic_hold(topics, &rich_source, &ask, 0, error, sizeof error, &t), 0);
    return t;
}

static void change(int i, bool is_there, int64_t revision)
{
    char id[8];
    snprintf(id, sizeof id, "i%02d", i);
    fake.now = fake.changed = revision;
    fake.revisions[i] = is_there ? revision : 0;
    stream_topic_changed(fake.topic, slice_text(id), revision);
}

static int open_topics(void **state)
{
    (void)state;
    struct stream_topics_options options = {.snapshot_bytes_max = 300 * 1024, .idle_max = 2};
    memset(&fake, 0, sizeof fake);
    fake.now = fake.changed = 10;
    topics = stream_topics_new(&options);
    return 0;
}

static int close_topics(void **state)
{
    (void)state;
    stream_topics_free(topics);
    assert_int_equal(fake.opened, 0);
    return 0;
}

/* A reader's own state. */
struct reader {
    int64_t at;
    bool has_state;
    int64_t items[ITEMS];
};

static void put_items(struct reader *r, json_t *list)
{
    json_t *item;
    size_t i;
    json_array_foreach(list, i, item) r->items[atoi(json_string_value(json_object_get(item, "id")) + 1)] =
        json_integer_value(json_object_get(item, "revision"));
}

static json_t *members(struct slice tail)
{
    struct buf text = {0};
    char error[200];
    json_t *root;
    buf_add_byte(&text, '{');
    buf_add_slice(&text, tail);
    if (json_parse(buf_slice(&text), &root, error, sizeof error))
        fail_msg("%s in %s", error, buf_text(&text));
    buf_done(&text);
    return root;
}

/* The whole of it; NULL: the source lacks something. */
static struct stream_snapshot *take_snapshot(struct stream_topic *t, uint32_t variant)
{
    struct stream_snapshot *s = stream_topic_snapshot(t, variant, 0);
    do {
        if (!stream_snapshot_step(s)) {
            stream_snapshot_unref(s); /* the topic keeps it */
            return NULL;
        }
    } while (!s->is_complete);
    return s;
}

static void read_snapshot(struct reader *r, struct stream_topic *t)
{
    struct stream_snapshot *s = take_snapshot(t, 0);
    memset(r->items, 0, sizeof r->items);
    for (size_t i = 0; i < s->count; i++) {
        json_t *root = members(blob_slice(s->parts[i]->text));
        put_items(r, json_object_get(root, "items"));
        json_decref(root);
    }
    r->at = fake.now;
    r->has_state = true;
    stream_snapshot_unref(s);
}

/* One step of a reader; false: it is up to date. */
static bool step(struct reader *r, struct stream_topic *t)
{
    struct http_shared *tail;
    int64_t revision;
    enum stream_step what =
        r->has_state ? stream_topic_delta(t, r->at, 0, &tail, &revision) : STREAM_SNAPSHOT;
    if (what == STREAM_UP_TO_DATE)
        return false;
    if (what == STREAM_SNAPSHOT) {
        read_snapshot(r, t);
        return true;
    }
    json_t *root = members(blob_slice(tail->text)), *id;
    size_t i;
    put_items(r, json_object_get(root, "put"));
    json_array_foreach(json_object_get(root, "delete"), i, id) r->items[atoi(json_string_value(id) + 1)] = 0;
    json_decref(root);
    assert_true(revision > r->at && revision <= fake.now);
    r->at = revision;
    return true;
}

/* Readers that read now and then always end with the present state. */
static void test_model(void **state)
{
    (void)state;
    struct reader readers[5] = {0};
    struct stream_topic *t = hold("a", 0);
    unsigned seed = 12345;
    for (int round = 0; round < 3000; round++) {
        seed = seed * 1103515245 + 12345;
        unsigned n = seed >> 16;
        int64_t revision = fake.now + 1 + n % 3;
        for (unsigned k = 0; k <= n % 3; k++) /* several of one revision */
            change((int)((n / 7 + k * 11) % ITEMS), (n + k) % 4 != 0, revision);
        if (n % 50 == 0)
            stream_topic_invalidate(t, fake.now);
        for (int i = 0; i < 5; i++) {
            if (n % (unsigned)(i * i * 10 + 1) != 0)
                continue;
            while (step(&readers[i], t))
                ;
            assert_memory_equal(readers[i].items, fake.revisions, sizeof fake.revisions);
        }
    }
    stream_topic_release(t, 0);
}

static void test_made_once(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 0);
    struct http_shared *first, *again;
    int64_t revision;
    assert_ptr_equal(hold("a", 0), t);
    assert_int_equal(stream_topic_delta(t, 10, 0, &first, &revision), STREAM_UP_TO_DATE);
    assert_int_equal(stream_topic_delta(t, 9, 0, &first, &revision), STREAM_SNAPSHOT);
    assert_null(stream_topics_next(topics));
    change(1, true, 20);
    change(2, true, 30);
    assert_ptr_equal(stream_topics_next(topics), t);
    assert_null(stream_topics_next(topics));
    /* Readers at any revision between two changes share the next frame. */
    fake.written = 0;
    assert_int_equal(stream_topic_delta(t, 20, 0, &first, &revision), STREAM_DELTA);
    for (int64_t from = 20; from < 30; from++) {
        assert_int_equal(stream_topic_delta(t, from, 0, &again, &revision), STREAM_DELTA);
        assert_ptr_equal(again, first);
    }
    assert_int_equal(fake.written, 1);
    assert_int_equal(stream_topic_delta(t, 15, 0, &again, &revision), STREAM_DELTA);
    assert_ptr_not_equal(again, first);
    assert_int_equal(fake.written, 3);
    assert_int_equal(stream_topic_delta(t, 20, 7, &again, &revision), STREAM_DELTA); /* another form */
    assert_non_null(memmem(again->text->data, again->text->size, "\"variant\":7", 11));
    assert_int_equal(stream_topic_delta(t, 30, 0, &again, &revision), STREAM_UP_TO_DATE);
    struct stream_snapshot *a = take_snapshot(t, 0), *b = take_snapshot(t, 0);
    assert_ptr_equal(a, b);
    stream_snapshot_unref(a);
    stream_snapshot_unref(b);
    stream_topic_release(t, 0);
    stream_topic_release(t, 0);
}

/* Beyond the journal's end there is only a snapshot. */
static void test_floor(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 12); /* changes before 12 are not known */
    struct http_shared *tail;
    int64_t revision;
    char id[16];
    assert_int_equal(stream_topic_delta(t, 11, 0, &tail, &revision), STREAM_SNAPSHOT);
    assert_int_equal(stream_topic_delta(t, 12, 0, &tail, &revision), STREAM_UP_TO_DATE);
    for (int i = 0; i < 5000; i++) {
        snprintf(id, sizeof id, "i%05d", i % 4500 * 40);
        fake.now = fake.changed = 100 + i;
        stream_topic_changed(t, slice_text(id), 100 + i);
    }
    assert_int_equal(stream_topic_delta(t, 99, 0, &tail, &revision), STREAM_SNAPSHOT);
    assert_int_equal(stream_topic_delta(t, 5000 + 99 - 4096, 0, &tail, &revision), STREAM_DELTA);
    stream_topic_release(t, 0);
}

/* Changes that are too large for a frame come in several, cut between revisions. */
static void test_large_deltas(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 0);
    struct reader r = {.at = 10, .has_state = true};
    struct http_shared *tail;
    int64_t revision;
    fake.padding = 10000;
    for (int i = 0; i < 30; i++)
        change(i, true, 11 + i);
    assert_int_equal(stream_topic_delta(t, 10, 0, &tail, &revision), STREAM_DELTA);
    assert_in_range(tail->text->size, 60000, 80000);
    assert_in_range(revision, 15, 20);
    int frames = 0;
    while (step(&r, t))
        frames++;
    assert_in_range(frames, 4, 6);
    assert_memory_equal(r.items, fake.revisions, sizeof fake.revisions);
    for (int i = 0; i < 30; i++)
        change(i, true, 100); /* of one revision: not cut */
    assert_int_equal(stream_topic_delta(t, 99, 0, &tail, &revision), STREAM_DELTA);
    assert_true(tail->text->size > 300000);
    assert_int_equal(revision, 100);
    stream_topic_release(t, 0);
}

/* Old snapshots are evicted when all together are too large; the newest stays. */
static void test_budget(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 0);
    struct stream_snapshot *held[4];
    fake.padding = 5000;
    for (int i = 0; i < ITEMS; i++)
        change(i, true, 11);
    for (int i = 0; i < 4; i++) {
        change(0, true, 20 + i);
        held[i] = take_snapshot(t, 0);
        assert_non_null(held[i]->parts);
        assert_in_range(held[i]->count, 4, 5);
        for (size_t k = 0; k < held[i]->count; k++)
            assert_true(held[i]->parts[k]->text->size <= 65536);
    }
    assert_null(held[0]->parts);
    assert_null(held[2]->parts);
    assert_non_null(held[3]->parts);
    for (int i = 0; i < 4; i++)
        stream_snapshot_unref(held[i]);
    stream_topics_sweep(topics, 10000);
    stream_topic_release(t, 0);
}

static void take_items(struct reader *r, const struct http_shared *part)
{
    json_t *root = members(blob_slice(part->text));
    put_items(r, json_object_get(root, "items"));
    json_decref(root);
}

/* A snapshot is made a part at a time. It begins again when something changes between two steps; after three
 * times it goes on, and what has changed comes again in the delta after it. */
static void test_steps(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 0);
    struct reader r = {0};
    fake.padding = 5000;
    for (int i = 0; i < ITEMS; i++)
        change(i, i != 39, 11);
    struct stream_snapshot *s = stream_topic_snapshot(t, 0, 0), *other;
    for (int k = 0; k < 3; k++) {
        unsigned before = fake.written;
        assert_true(stream_snapshot_step(s));
        assert_true(s->count == 1 && !s->is_complete && s->revision == 11 + k);
        assert_in_range(fake.written - before, 10, 15); /* the part, and the item that did not fit */
        change(5, true, 12 + k);
        change(6, true, 12 + k); /* in the same revision: one restart */
        assert_true(s->count == 0 && s->bytes == 0);
        other = stream_topic_snapshot(t, 0, 0); /* a reader that comes now shares it */
        assert_ptr_equal(s, other);
        stream_snapshot_unref(other);
    }
    assert_true(stream_snapshot_step(s));
    change(0, true, 15);  /* is in the first part */
    change(1, false, 16); /* as well */
    change(38, false, 17);
    change(39, true, 18);
    assert_true(s->is_mixed && s->count == 1);
    other = stream_topic_snapshot(t, 0, 0);
    assert_ptr_not_equal(s, other); /* a reader that comes now begins with one of its own */
    stream_snapshot_unref(other);
    while (!s->is_complete)
        assert_true(stream_snapshot_step(s));
    assert_true(s->revision == 14);
    for (size_t i = 0; i < s->count; i++)
        take_items(&r, s->parts[i]);
    assert_true(r.items[0] == 11 && r.items[1] == 11 && r.items[38] == 0 && r.items[39] == 18);
    r.at = s->revision;
    r.has_state = true;
    stream_snapshot_unref(s);
    while (step(&r, t))
        ;
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(r.items[i], fake.revisions[i]);
    stream_topic_release(t, 0);
}

/* A step that lacks something is undone, and made again later. */
static void test_step_waits(void **state)
{
    (void)state;
    struct stream_topic *t = hold_rich();
    struct reader r = {0};
    fake.padding = 5000;
    for (int i = 0; i < ITEMS; i++)
        change(i, true, 11);
    struct stream_snapshot *s = stream_topic_snapshot(t, 0, 0);
    for (int i = 0; i < 2; i++) {
        fake.lacks = true;
        assert_false(stream_snapshot_step(s));
        fake.is_reading = true;
        assert_false(stream_snapshot_step(s));
        fake.lacks = fake.is_reading = false;
        assert_int_equal(s->count, i);
        assert_true(stream_snapshot_step(s));
        assert_int_equal(s->count, i + 1);
    }
    while (!s->is_complete)
        assert_true(stream_snapshot_step(s));
    for (size_t i = 0; i < s->count; i++)
        take_items(&r, s->parts[i]);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(r.items[i], 11);
    stream_snapshot_unref(s);
    /* Forms are numbered anew at a change: it always begins again, and is made in one go. */
    change(2, true, 12);
    s = stream_topic_snapshot(t, 0, 0);
    for (int i = 0; i < 5; i++) {
        fake.is_personal = false;
        assert_true(stream_snapshot_step(s));
        fake.is_personal = true;
        change(3, true, 13 + i);
        assert_true(!s->parts && !s->is_mixed);
    }
    assert_true(stream_snapshot_step(s));
    assert_true(s->is_complete && s->count > 3);
    stream_snapshot_unref(s);
    stream_topic_release(t, 0);
}

/* Snapshots count against the budget of all caches while a reader may still get them; parts in flight stay.
 */
static void test_snapshots_are_counted(void **state)
{
    (void)state;
    struct cache_budget budget;
    struct stream_topics *before = topics;
    cache_budget_init(&budget, 60000);
    struct stream_topics_options options = {.cache_budget = &budget};
    topics = stream_topics_new(&options);
    struct stream_topic *a = hold("a", 0), *b = hold("b", 0);
    fake.padding = 4000;
    for (int i = 0; i < 10; i++)
        change(i, true, fake.now + 1);
    struct stream_snapshot *first = take_snapshot(a, 0);
    assert_in_range(budget.bytes, 40000, 42000);
    struct http_shared *part = http_shared_ref(first->parts[0]);
    struct stream_snapshot *second = take_snapshot(b, 0);
    assert_in_range(budget.bytes, 80000, 84000);
    cache_budget_trim(&budget);
    assert_in_range(budget.bytes, 40000, 42000);
    assert_null(first->parts); /* the oldest is evicted */
    assert_non_null(second->parts);
    assert_true(part->text->size > 40000);
    http_shared_unref(part);
    stream_snapshot_unref(first);
    stream_snapshot_unref(second);
    stream_topic_release(a, 0);
    stream_topic_release(b, 0);
    stream_topics_free(topics);
    assert_int_equal(budget.bytes, 0);
    topics = before;
}

/* Encoded changes count against the budget of all caches, until the next change or until they are evicted. */
static void test_deltas_are_counted(void **state)
{
    (void)state;
    struct cache_budget budget;
    struct stream_topics *before = topics;
    cache_budget_init(&budget, 100000);
    struct stream_topics_options options = {.cache_budget = &budget};
    topics = stream_topics_new(&options);
    struct stream_topic *t = hold("a", 0);
    struct http_shared *tail;
    int64_t revision;
    fake.padding = 30000;
    for (int i = 0; i < 10; i++)
        change(i, true, fake.now + 1);
    int64_t now = fake.now;
    for (int64_t from = now - 3; from < now; from++)
        assert_int_equal(stream_topic_delta(t, from, 0, &tail, &revision), STREAM_DELTA);
    assert_true(budget.bytes > 6 * 30000 && budget.bytes < 6 * 30000 + 4000); /* of 3, 2 and 1 items */
    tail = http_shared_ref(tail);
    cache_budget_trim(&budget);
    assert_true(budget.bytes > 30000 && budget.bytes <= 100000);
    struct http_shared *again; /* the newest is still there, the oldest is made anew */
    unsigned written = fake.written;
    assert_int_equal(stream_topic_delta(t, now - 1, 0, &again, &revision), STREAM_DELTA);
    assert_ptr_equal(again, tail);
    assert_int_equal(fake.written, written);
    assert_int_equal(stream_topic_delta(t, now - 3, 0, &again, &revision), STREAM_DELTA);
    assert_int_equal(fake.written, written + 3);
    change(0, true, fake.now + 1);
    assert_int_equal(budget.bytes, 0);
    assert_true(tail->text->size > 30000); /* a reader that holds it keeps it */
    http_shared_unref(tail);
    stream_topic_release(t, 0);
    stream_topics_free(topics);
    topics = before;
}

static void test_compare(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 0);
    struct buf tail = {0};
    change(1, true, 11);
    change(2, true, 12);
    change(3, true, 13);
    struct stream_known known[] = {{slice_text("i01"), 11, 0, 0},
                                   {slice_text("i02"), 5, 0, 0},
                                   {slice_text("i09"), 4, 0, 0},
                                   {slice_text("i01"), 11, 0, 0}};
    assert_int_equal(stream_topic_compare(t, known, 4, 0, &tail), STREAM_DELTA);
    json_t *root = members(buf_slice(&tail));
    assert_int_equal(json_array_size(json_object_get(root, "put")), 2);
    assert_int_equal(json_array_size(json_object_get(root, "delete")), 1);
    json_decref(root);
    buf_clear(&tail);
    fake.padding = 10000;
    for (int i = 0; i < ITEMS; i++)
        change(i, true, 20);
    assert_int_equal(stream_topic_compare(t, known, 0, 0, &tail), STREAM_SNAPSHOT);
    buf_done(&tail);
    stream_topic_release(t, 0);
}

/* A frame with missing content is void, is not kept, and comes when the content is ready. */
static void test_waiting(void **state)
{
    (void)state;
    struct stream_topic *t = hold_rich();
    struct http_shared *tail;
    int64_t revision;
    struct buf text = {0};
    change(1, true, 11);
    assert_ptr_equal(stream_topics_next(topics), t);
    fake.lacks = true;
    assert_int_equal(stream_topic_delta(t, 10, 0, &tail, &revision), STREAM_WAIT);
    assert_null(take_snapshot(t, 0));
    assert_int_equal(stream_topic_compare(t, NULL, 0, 0, &text), STREAM_WAIT);
    assert_null(stream_topics_next(topics));
    fake.lacks = false;
    stream_topic_ready(t);
    assert_ptr_equal(stream_topics_next(topics), t);
    assert_int_equal(stream_topic_delta(t, 10, 0, &tail, &revision), STREAM_DELTA);
    struct stream_snapshot *s = take_snapshot(t, 0);
    assert_int_equal(s->count, 1);
    stream_snapshot_unref(s);
    /* A frame that was made before is not sent while the source reads. */
    fake.is_reading = true;
    assert_int_equal(stream_topic_delta(t, 10, 0, &tail, &revision), STREAM_WAIT);
    assert_null(take_snapshot(t, 0));
    assert_int_equal(stream_topic_delta(t, 11, 0, &tail, &revision), STREAM_UP_TO_DATE);
    assert_int_equal(stream_topic_delta(t, 9, 0, &tail, &revision), STREAM_SNAPSHOT);
    fake.is_reading = false;
    buf_done(&text);
    stream_topic_release(t, 0);
}

/* Readers of many forms, in any order: each form is made once. */
static void test_forms(void **state)
{
    (void)state;
    enum { FORMS = 20 };
    struct stream_topic *t = hold_rich();
    struct http_shared *tail;
    int64_t revision;
    change(1, true, 11);
    unsigned before = fake.written;
    for (int i = 0; i < 3 * FORMS; i++) {
        assert_int_equal(stream_topic_delta(t, 10, (uint32_t)i % FORMS, &tail, &revision), STREAM_DELTA);
        stream_snapshot_unref(take_snapshot(t, (uint32_t)i % FORMS));
    }
    assert_int_equal(fake.written - before, 2 * FORMS);
    stream_topics_sweep(topics, 10000); /* snapshots are dropped after a while */
    stream_snapshot_unref(take_snapshot(t, 7));
    assert_int_equal(fake.written - before, 2 * FORMS + 1);
    stream_topic_release(t, 0);
}

/* Kept for a while without a reader, so that a returning client gets a delta. */
static void test_idle(void **state)
{
    (void)state;
    struct stream_topic *t = hold("a", 0);
    struct http_shared *tail;
    int64_t revision;
    stream_topic_release(t, 1000);
    change(1, true, 20);
    stream_topics_sweep(topics, 60000);
    assert_ptr_equal(hold("a", 0), t);
    assert_int_equal(stream_topic_delta(t, 10, 0, &tail, &revision), STREAM_DELTA);
    stream_topic_release(t, 60000);
    stream_topics_sweep(topics, 119999);
    assert_int_equal(stream_topics_count(topics), 1);
    stream_topics_sweep(topics, 120000);
    assert_int_equal(stream_topics_count(topics), 0);
    assert_int_equal(fake.opened, 0);
    for (int i = 0; i < 4; i++) { /* at most two of them */
        char name[2] = {(char)('a' + i), 0};
        stream_topic_release(hold(name, 0), 0);
    }
    assert_int_equal(stream_topics_count(topics), 2);
    struct stream_frame ask = {0};
    char error[200];
    assert_int_equal(stream_topic_hold(topics, &source, &ask, 0, error, sizeof error, &t), ERR_INVALID);
}

int main(void)
{
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_topics, close_topics)
    const struct CMUnitTest tests[] = {
        TEST(test_model),
        TEST(test_made_once),
        TEST(test_floor),
        TEST(test_large_deltas),
        TEST(test_budget),
        TEST(test_steps),
        TEST(test_step_waits),
        TEST(test_deltas_are_counted),
        TEST(test_compare),
        TEST(test_waiting),
        TEST(test_forms),
        TEST(test_idle),
        TEST(test_snapshots_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
