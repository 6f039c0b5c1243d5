/* SPDX-License-Identifier: Apache-2.0
 * Records of idempotency keys: counted by a feed on every member, deleted by the leader after their time; see
 * idempotency.h. */
#include "consensus/idempotency.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/document.h"
#include "base/hash.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/log.h"
#include "base/map.h"
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/feature.h"
#include "consensus/feed.h"

enum {
    DELETES_MAX = 64, /* in one transaction */
    USER_SIZE = 32,   /* digits of the user's digest in the key */
    SPARE_PART = 64,  /* of the quota: with less room there is no record */
    FAILED_MS = 10000,
    WAKE_MAX_MS = 600000 /* the wall clock may jump */
};

struct record_entry {
    struct heap_node expiry; /* by the record's time */
    struct link deleting;    /* of the deletion under way, instead of the heap */
    size_t size;
    uint64_t generation;
    struct user *user;
    size_t key_size;
    uint8_t key[];
};

struct user { /* by the digest in the keys */
    size_t count;
};

struct idempotency {
    struct kv *kv;
    struct io *io;
    struct idempotency_options options;
    struct feed *feed;
    struct strmap entries, users;
    struct heap expiries;
    struct link deleting;
    uint64_t bytes;
    uint64_t generation; /* of whole states: entries of an older one are gone */
    bool is_whole;
    struct io_timer timer;
    uint64_t pause_until_ms;
    /* The deletion under way. */
    bool is_busy;
    struct kv_request request;
    struct txn txn;
    struct arena arena;
};

/* --- keys and records ---------------------------------------------------------------------------------- */

static void add_digest(struct slice text, size_t digits, struct buf *out)
{
    uint8_t digest[32];
    struct sha256 *s = sha256_new();
    sha256_add(s, text.data, text.size);
    sha256_finish(s, digest);
    for (size_t n = 0; n < digits / 2; n++)
        buf_addf(out, "%02x", digest[n]);
}

void idempotency_add_key(struct slice user, struct slice key, struct buf *out)
{
    buf_add_text(out, IDEMPOTENCY_PREFIX);
    add_digest(user, USER_SIZE, out);
    buf_add_byte(out, '/');
    add_digest(key, IDEMPOTENCY_DIGEST_SIZE, out);
}

static struct slice user_of(struct slice key)
{
    size_t at = sizeof IDEMPOTENCY_PREFIX - 1;
    return key.size < at + USER_SIZE ? (struct slice){0} : slice_of(key.data + at, USER_SIZE);
}

void idempotency_put(struct txn *t, struct io *io, struct slice key, const struct idempotency_record *r)
{
    struct buf text = {0};
    struct json_writer w = {.out = &text};
    jw_open(&w, '{');
    document_add_number(&w, "time_ms", (int64_t)(io->ops->wall_ns(io) / 1000000));
    document_add_text(&w, "digest", r->digest);
    document_add_text(&w, "answer", r->answer);
    jw_close(&w, '}');
    if (!MUTANT(IDEMPOTENCY_UNCOMPARED))
        txn_if_revision(t, key, 0);
    txn_put(t, key, slice_of(arena_copy(t->arena, text.data, text.size), text.size), 0);
    buf_done(&text);
}

int idempotency_read(struct slice text, struct arena *a, struct idempotency_record *ret)
{
    char error[200];
    struct document_reader r = document_reader_of(DOCUMENT_TOLERANT, a, error, sizeof error);
    struct idempotency_record record = {0};
    document_begin(&r, text);
    document_number(&r, "time_ms", 0, INT64_MAX, &record.time_ms);
    document_string(&r, "digest", IDEMPOTENCY_DIGEST_SIZE, &record.digest);
    document_string(&r, "answer", IDEMPOTENCY_ANSWER_MAX, &record.answer);
    int err = document_end(&r);
    if (!err)
        *ret = record;
    return err;
}

/* --- the count ----------------------------------------------------------------------------------------- */

static void forget(struct idempotency *i, struct slice key, struct record_entry *e)
{
    heap_remove(&i->expiries, &e->expiry);
    list_remove(&e->deleting);
    i->bytes -= e->size;
    if (--e->user->count == 0)
        mem_free(strmap_remove(&i->users, user_of(key)));
    mem_free(e);
}

static struct user *user_find(struct idempotency *i, struct slice key)
{
    struct user *u = strmap_get(&i->users, user_of(key));
    if (!u) {
        u = mem_new(sizeof *u);
        strmap_put(&i->users, user_of(key), u);
    }
    return u;
}

static void on_begin(void *arg, int64_t revision, bool is_whole)
{
    struct idempotency *i = arg;
    (void)revision;
    i->is_whole = is_whole;
    i->generation += is_whole;
}

static void on_put(void *arg, const Mvccpb__KeyValue *pair)
{
    struct idempotency *i = arg;
    struct slice key = slice_of(pair->key.data, pair->key.len);
    struct arena a = {0};
    struct idempotency_record record = {0};
    int err = idempotency_read(slice_of(pair->value.data, pair->value.len), &a, &record);
    struct record_entry *e = strmap_get(&i->entries, key);
    if (!e) {
        e = mem_new(sizeof *e + key.size);
        e->key_size = key.size;
        memcpy(e->key, key.data, key.size);
        e->user = user_find(i, key);
        e->user->count++;
        strmap_put(&i->entries, key, e);
    }
    i->bytes += key.size + pair->value.len - e->size;
    e->size = key.size + pair->value.len;
    e->generation = i->generation;
    heap_remove(&i->expiries, &e->expiry);
    list_remove(&e->deleting);
    heap_add(&i->expiries, &e->expiry, err ? 0 : (uint64_t)record.time_ms); /* unreadable: deleted soon */
    arena_done(&a);
}

static void on_remove(void *arg, struct slice key, int64_t revision)
{
    struct idempotency *i = arg;
    struct record_entry *e = strmap_remove(&i->entries, key);
    (void)revision;
    if (e)
        forget(i, key, e);
}

/* After a whole state: what it did not have is gone. */
static bool on_end(void *arg, uint64_t until_ns)
{
    struct idempotency *i = arg;
    struct slice key;
    void *value;
    (void)until_ns;
    for (size_t at = 0; i->is_whole && strmap_next(&i->entries, &at, &key, &value);) {
        struct record_entry *e = value;
        if (e->generation == i->generation)
            continue;
        struct buf name = {0};
        buf_add_slice(&name, key);
        strmap_remove(&i->entries, buf_slice(&name));
        forget(i, buf_slice(&name), e);
        buf_done(&name);
    }
    return true;
}

static const struct feed_events events = {on_begin, on_put, on_remove, on_end, true};
static const char *const prefixes[] = {IDEMPOTENCY_PREFIX};

size_t idempotency_count(const struct idempotency *i)
{
    return i->entries.count;
}

uint64_t idempotency_bytes(const struct idempotency *i)
{
    return i->bytes;
}

int idempotency_admit(const struct idempotency *i, struct slice store_key, char *error, size_t error_size)
{
    if (!i)
        return OK;
    int err = kv_check_feature_level(i->kv, FEATURE_LEVEL_CONTENTS, "idempotency keys", error, error_size);
    if (err)
        return err;
    const struct user *u = strmap_get(&i->users, user_of(store_key));
    const struct kv_space space = kv_space(i->kv);
    size_t user_max = i->options.count_max - i->options.count_max / 2;
    const char *why = NULL;
    if (i->entries.count >= i->options.count_max || i->bytes >= i->options.bytes_max)
        why = "too many idempotency keys of the last 24 hours are kept";
    else if (u && u->count >= user_max)
        why = "this user has too many idempotency keys of the last 24 hours";
    else if (space.quota && space.live + IDEMPOTENCY_ANSWER_MAX >= space.quota - space.quota / SPARE_PART)
        why = "the store is too full to keep an idempotency key";
    if (!why)
        return OK;
    snprintf(error, error_size, "%s: send the request without Idempotency-Key, or later", why);
    return ERR_QUOTA;
}

/* --- deletion ------------------------------------------------------------------------------------------ */

static uint64_t now_ms(const struct idempotency *i)
{
    return i->io->ops->mono_ns(i->io) / 1000000;
}

static void on_timer(struct io_timer *timer)
{
    (void)timer; /* idempotency_turn runs next */
}

static void on_deleted(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct idempotency *i = container_of(r, struct idempotency, request);
    (void)response;
    i->is_busy = false;
    if (!err)
        return; /* the feed removes them */
    LIST_FOR_EACH_SAFE (l, &i->deleting) {
        struct record_entry *e = container_of(l, struct record_entry, deleting);
        list_remove(l);
        heap_add(&i->expiries, &e->expiry, e->expiry.key);
    }
    log_warn("old idempotency keys could not be deleted; trying again later", F_ERR(err));
    i->pause_until_ms = now_ms(i) + FAILED_MS;
}

/* Moves the oldest ones from the heap to the list. False: none is old enough. */
static bool add_deletions(struct idempotency *i, uint64_t until_ms)
{
    struct heap_node *first = heap_first(&i->expiries);
    if (!first || first->key > until_ms)
        return false;
    arena_done(&i->arena);
    txn_init(&i->txn, &i->arena);
    for (size_t n = 0; n < DELETES_MAX && first && first->key <= until_ms; n++) {
        struct record_entry *e = container_of(first, struct record_entry, expiry);
        heap_remove(&i->expiries, first);
        list_add_last(&i->deleting, &e->deleting);
        txn_delete(&i->txn, slice_of(arena_copy(&i->arena, e->key, e->key_size), e->key_size));
        first = heap_first(&i->expiries);
    }
    return true;
}

static void delete_old(struct idempotency *i)
{
    uint64_t now = now_ms(i), wall = i->io->ops->wall_ns(i->io) / 1000000, wait = WAKE_MAX_MS;
    uint64_t until = wall > i->options.retention_ms ? wall - i->options.retention_ms : 0;
    if (i->is_busy || kv_leader(i->kv) != kv_member_id(i->kv) || now < i->pause_until_ms)
        return;
    if (add_deletions(i, until)) {
        i->is_busy = true;
        i->request = (struct kv_request){.done = on_deleted, .extra_ops = DELETES_MAX};
        kv_txn(i->kv, &i->request, &i->txn.message);
        wait = 0;
    } else if (heap_first(&i->expiries)) {
        uint64_t left = heap_first(&i->expiries)->key - until;
        wait = left < WAKE_MAX_MS ? left : WAKE_MAX_MS;
    }
    i->io->ops->timer_start(i->io, &i->timer, wait);
}

/* --- life ---------------------------------------------------------------------------------------------- */

void idempotency_turn(struct idempotency *i)
{
    if (!i)
        return;
    if (feed_turn(i->feed))
        i->io->ops->timer_start(i->io, &i->timer, 0);
    if (feed_is_following(i->feed))
        delete_old(i);
}

static void collect(void *arg, struct buf *out)
{
    const struct idempotency *i = arg;
    (void)out;
    metric_set(METRIC_IDEMPOTENCY_KEYS, (double)i->entries.count);
    metric_set(METRIC_IDEMPOTENCY_BYTES, (double)i->bytes);
}

struct idempotency *idempotency_new(const struct idempotency_options *options)
{
    struct idempotency *i = mem_new(sizeof *i);
    struct idempotency_options *o = &i->options;
    i->kv = options->kv;
    i->io = kv_io(options->kv);
    *o = *options;
    o->retention_ms = o->retention_ms ? o->retention_ms : IDEMPOTENCY_RETENTION_MS;
    o->count_max = o->count_max ? o->count_max : IDEMPOTENCY_COUNT_MAX;
    o->bytes_max = o->bytes_max ? o->bytes_max : IDEMPOTENCY_BYTES_MAX;
    i->timer.fire = on_timer;
    list_init(&i->deleting);
    metric_collector_add(collect, i);
    i->feed = feed_new(i->kv, prefixes, 1, &events, i);
    return i;
}

void idempotency_free(struct idempotency *i)
{
    struct slice key;
    void *value;
    if (!i)
        return;
    metric_collector_remove(collect, i);
    feed_free(i->feed);
    i->io->ops->timer_stop(i->io, &i->timer);
    if (i->is_busy)
        kv_cancel(i->kv, &i->request);
    heap_forget(&i->expiries);
    for (size_t at = 0; strmap_next(&i->entries, &at, &key, &value);)
        mem_free(value);
    for (size_t at = 0; strmap_next(&i->users, &at, &key, &value);)
        mem_free(value);
    strmap_done(&i->entries);
    strmap_done(&i->users);
    arena_done(&i->arena);
    mem_free(i);
}
