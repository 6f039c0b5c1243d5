/* SPDX-License-Identifier: Apache-2.0
 * A fake store that is only a list of revisions, and a client that unpacks responses, for tests of the watch
 * hub. This file defines the four functions of store.h that the hub calls, so it is included, not linked. */
#ifndef TESTS_UNIT_WATCH_FAKE_H
#define TESTS_UNIT_WATCH_FAKE_H

#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "consensus/store/store.h"
#include "consensus/store/watch.h"

enum { FAKE_OPS_MAX = 8, FAKE_REVISIONS_MAX = 4000 };

/* One operation; the state of its key before and after it follows from the list. */
struct fake_op {
    char key[12];
    bool is_delete;
    int64_t create_revision, version;
    size_t value_size;
    struct fake_op *before; /* the put this one replaces or deletes, or NULL */
    int64_t revision;
};

struct store {
    struct fake_op ops[FAKE_REVISIONS_MAX][FAKE_OPS_MAX]; /* by revision */
    size_t counts[FAKE_REVISIONS_MAX];
    int64_t revision, compact_revision;
    size_t scans;
    bool needs_previous, needs_events;
};

static uint8_t fake_value[1 << 20];
static struct store *fake_new(void)
{
    struct store *s = mem_new(sizeof *s);
    s->revision = 1;
    s->compact_revision = -1;
    return s;
}

/* The last operation on key at or before revision. */
static struct fake_op *fake_last(struct store *s, const char *key, int64_t revision)
{
    for (int64_t r = revision; r > 1; r--)
        for (size_t i = 0; i < s->counts[r]; i++)
            if (strcmp(s->ops[r][i].key, key) == 0)
                return &s->ops[r][i];
    return NULL;
}

/* Adds to the revision being built; false when nothing changes (a delete of nothing) or the key is already in
 * it. */
static bool fake_add(struct store *s, const char *key, bool is_delete, size_t value_size)
{
    int64_t revision = s->revision + 1;
    assert(revision < FAKE_REVISIONS_MAX);
    struct fake_op *last = fake_last(s, key, revision);
    struct fake_op *before = last && !last->is_delete ? last : NULL;
    if (s->counts[revision] == FAKE_OPS_MAX || (last && last->revision == revision) || (is_delete && !before))
        return false;
    struct fake_op *op = &s->ops[revision][s->counts[revision]++];
    *op = (struct fake_op){.is_delete = is_delete, .before = before, .revision = revision};
    snprintf(op->key, sizeof op->key, "%s", key);
    op->value_size = is_delete ? 0 : value_size;
    op->create_revision = is_delete ? 0 : before ? before->create_revision : revision;
    op->version = before ? before->version : 0;
    op->version = is_delete ? 0 : op->version + 1;
    return true;
}

static Mvccpb__KeyValue fake_kv(const struct fake_op *op)
{
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    kv.key.data = (uint8_t *)(uintptr_t)op->key;
    kv.key.len = strlen(op->key);
    kv.mod_revision = op->revision;
    kv.create_revision = op->create_revision;
    kv.version = op->version;
    kv.value.data = fake_value;
    kv.value.len = op->value_size;
    return kv;
}

static void fake_notify(struct store *s, int64_t revision, bool needs_previous,
                        void (*fn)(void *arg, const struct store_change *change), void *arg)
{
    struct store_event events[FAKE_OPS_MAX] = {0};
    for (size_t i = 0; i < s->counts[revision]; i++) {
        const struct fake_op *op = &s->ops[revision][i];
        events[i].is_delete = op->is_delete;
        events[i].kv = fake_kv(op);
        if (!op->before || !needs_previous || revision - 1 < s->compact_revision)
            continue;
        events[i].has_previous = true;
        events[i].previous = fake_kv(op->before);
    }
    struct store_change change = {.revision = revision, .count = s->counts[revision], .events = events};
    fn(arg, &change);
}

static void fake_deliver(void *hub, const struct store_change *change)
{
    watch_deliver(hub, change);
}

/* The revision being built is whole; hub NULL: it was applied elsewhere (a snapshot). */
static bool fake_commit(struct store *s, struct watch_hub *hub)
{
    if (!s->counts[s->revision + 1])
        return false;
    s->revision++;
    if (hub && !s->needs_events)
        watch_deliver(hub, &(struct store_change){.revision = s->revision});
    else if (hub)
        fake_notify(s, s->revision, s->needs_previous, fake_deliver, hub);
    return true;
}

int64_t store_revision(const struct store *s)
{
    return s->revision;
}

int64_t store_compact_revision(const struct store *s)
{
    return s->compact_revision;
}

void store_set_needs_previous(struct store *s, bool needs)
{
    s->needs_previous = needs;
}

void store_set_needs_events(struct store *s, bool needs)
{
    s->needs_events = needs;
}

int store_changes(struct store *s, int64_t from, int64_t to, size_t max_revisions, size_t max_bytes,
                  bool needs_previous, void (*fn)(void *arg, const struct store_change *change), void *arg,
                  int64_t *ret_next)
{
    if (from < s->compact_revision)
        return ERR_COMPACTED;
    assert_true(to <= s->revision);
    s->scans++;
    size_t bytes = 0, revisions = 0;
    int64_t r = from < 2 ? 2 : from;
    for (; r <= to && revisions < max_revisions && bytes < max_bytes; r++, revisions++) {
        fake_notify(s, r, needs_previous, fn, arg);
        for (size_t i = 0; i < s->counts[r]; i++)
            bytes += s->ops[r][i].value_size + 40;
    }
    *ret_next = r;
    return OK;
}

/* Nothing is large here: watch_store_test.c tests large data. */
int store_changes_part(struct store *s, int64_t revision, uint32_t *sub, size_t max, bool needs_previous,
                       void (*fn)(void *arg, const struct store_change *change), void *arg, bool *ret_is_last)
{
    (void)s, (void)revision, (void)sub, (void)max, (void)needs_previous, (void)fn, (void)arg,
        (void)ret_is_last;
    fail();
    return ERR_INTERNAL;
}

/* --- the client's side -------------------------------------------------------------------------- */

/* The next response unpacked, NULL when there is none; *ret_size its bytes. */
static inline Etcdserverpb__WatchResponse *take(struct watch_stream *s, int64_t *ret_header_revision,
                                                size_t *ret_size)
{
    struct watch_output out;
    bool has_next = watch_has_next(s);
    bool got = watch_next(s, &out);
    assert_int_equal(got, has_next);
    if (!got)
        return NULL;
    struct buf b = {0};
    assert_true(out.count <= WATCH_PIECES_MAX);
    for (size_t i = 0; i < out.count; i++)
        buf_add_slice(&b, out.pieces[i]);
    Etcdserverpb__WatchResponse *r = etcdserverpb__watch_response__unpack(NULL, b.size, b.data);
    assert_non_null(r);
    *ret_header_revision = out.header_revision;
    if (ret_size)
        *ret_size = b.size;
    buf_done(&b);
    return r;
}

static void count_ready(void *arg)
{
    ++*(int *)arg;
}

static Etcdserverpb__WatchCreateRequest request_of(const char *key, const char *end, int64_t start_revision)
{
    Etcdserverpb__WatchCreateRequest r = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    r.key.data = (uint8_t *)(uintptr_t)key;
    r.key.len = strlen(key);
    if (end) {
        r.range_end.data = (uint8_t *)(uintptr_t)end;
        r.range_end.len = end[0] ? strlen(end) : 1; /* "" stands for "\0" */
    }
    r.start_revision = start_revision;
    return r;
}

#endif
