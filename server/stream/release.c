/* SPDX-License-Identifier: Apache-2.0
 * Cache of configuration releases; see release.h. An entry is in exactly one list:
 *
 *   QUEUED --room under READS_MAX--> READING --read--> CACHED, in the order of use; the oldest is evicted
 *     ^                                 |
 *     +---- failed: after RETRY_MS -----+
 *
 * "Not found" counts only when the view has reached the revision at which the store answered so. Before that
 * the store is ahead of the view and may have removed a release that the view still names: it is retried. */
#include "server/stream/release.h"

#include <assert.h>

#include "base/document.h"
#include "base/mem.h"
#include "base/mutant.h"

enum {
    READS_MAX = 128, /* under way at once */
    RETRY_MS = 200,
    STALE_CHECKS = 2, /* entries a turn that are compared with their item's head */
};

struct item; /* the entries of one configuration */

struct entry {
    struct config_request request; /* READING */
    struct link link;
    struct link sibling; /* in item.entries */
    struct item *item;
    enum { ENTRY_QUEUED, ENTRY_READING, ENTRY_CACHED } state;
    struct stream_releases *releases;
    struct stream_release release;
    struct digest digest;
    struct stream_release_id id; /* its texts are slices of `key` */
    struct link fetches;
    uint64_t retry_ms; /* QUEUED: not before */
    struct buf members;
    struct slice key; /* owned */
};

struct item {
    struct link entries;
    struct slice key; /* a prefix of each entry's key; owned */
};

struct stream_releases {
    struct stream_releases_options options;
    struct strmap entries, items;
    struct cache_share share;
    struct link queued, reading, cached; /* cached: the least recently used first */
    size_t reading_count, cached_count, bytes, reads, stale_at;
    struct buf scratch;
    uint64_t now_ms;
};

static bool evict_oldest(struct cache_share *share);

struct stream_releases *stream_releases_new(const struct stream_releases_options *options)
{
    struct stream_releases *rs = mem_new(sizeof *rs);
    rs->options = *options;
    if (!rs->options.bytes_max)
        rs->options.bytes_max = (size_t)64 << 20;
    if (!rs->options.count_max)
        rs->options.count_max = 65536;
    if (!rs->options.read)
        rs->options.read = config_read;
    list_init(&rs->queued);
    list_init(&rs->reading);
    list_init(&rs->cached);
    cache_share_init(&rs->share, options->cache_budget, METRIC_CACHE_RELEASES, evict_oldest);
    return rs;
}

struct stream_releases_counts stream_releases_counts(const struct stream_releases *rs)
{
    return (struct stream_releases_counts){rs->cached_count, rs->bytes, rs->reading_count, rs->reads};
}

/* --- entries ----------------------------------------------------------------------------------------- */

/* ns 0 group 0 name 0 */
static struct slice item_key_of(struct stream_releases *rs, const struct config_id *key)
{
    buf_clear(&rs->scratch);
    buf_add_slice(&rs->scratch, key->ns);
    buf_add_byte(&rs->scratch, 0);
    buf_add_slice(&rs->scratch, key->group);
    buf_add_byte(&rs->scratch, 0);
    buf_add_slice(&rs->scratch, key->name);
    buf_add_byte(&rs->scratch, 0);
    return buf_slice(&rs->scratch);
}

/* The item's key, life, seq. A new entry copies it and takes its texts from the copy. */
static struct slice stream_release_key_of(struct stream_releases *rs, const struct stream_release_id *id)
{
    uint8_t numbers[16];
    (void)item_key_of(rs, &id->key);
    put_be64(numbers, (uint64_t)id->life);
    put_be64(numbers + 8, id->seq);
    buf_add(&rs->scratch, numbers, sizeof numbers);
    return buf_slice(&rs->scratch);
}

static struct item *item_of(struct stream_releases *rs, const struct config_id *id)
{
    struct slice key = item_key_of(rs, id);
    struct item *i = strmap_get(&rs->items, key);
    if (i)
        return i;
    i = mem_new(sizeof *i);
    i->key = slice_of(mem_copy(key.data, key.size), key.size);
    list_init(&i->entries);
    strmap_put(&rs->items, i->key, i);
    return i;
}

static void leave_item(struct entry *e)
{
    struct item *i = e->item;
    list_remove(&e->sibling);
    if (!list_is_empty(&i->entries))
        return;
    strmap_remove(&e->releases->items, i->key);
    mem_free(i->key.data);
    mem_free(i);
}

static struct entry *new_entry(struct stream_releases *rs, const struct stream_release_id *id)
{
    struct entry *e = mem_new(sizeof *e);
    struct slice key = stream_release_key_of(rs, id);
    uint8_t *at = mem_copy(key.data, key.size);
    e->key = slice_of(at, key.size);
    e->releases = rs;
    e->id = *id;
    e->id.key.ns.data = at;
    e->id.key.group.data = at += id->key.ns.size + 1;
    e->id.key.name.data = at + id->key.group.size + 1;
    list_init(&e->fetches);
    strmap_put(&rs->entries, e->key, e);
    e->item = item_of(rs, &e->id.key);
    list_add_last(&e->item->entries, &e->sibling);
    list_add_last(&rs->queued, &e->link);
    return e;
}

/* The bytes of an entry with its slots in the two maps and its item, which usually has one entry only. */
static size_t size_of(const struct entry *e)
{
    return cache_block_bytes(sizeof *e) + cache_block_bytes(e->members.capacity) +
           2 * cache_block_bytes(e->key.size) + cache_block_bytes(sizeof(struct item)) +
           4 * sizeof(struct link);
}

static void free_entry(struct entry *e)
{
    struct stream_releases *rs = e->releases;
    assert(list_is_empty(&e->fetches));
    if (e->state == ENTRY_CACHED) {
        rs->bytes -= size_of(e);
        cache_share_sub(&rs->share, size_of(e));
        rs->cached_count--;
    } else if (e->state == ENTRY_READING) {
        config_cancel(rs->options.config, &e->request);
        rs->reading_count--;
    }
    list_remove(&e->link);
    leave_item(e);
    strmap_remove(&rs->entries, e->key);
    buf_done(&e->members);
    mem_free(e->key.data);
    mem_free(e);
}

static bool evict_oldest(struct cache_share *share)
{
    struct stream_releases *rs = container_of(share, struct stream_releases, share);
    if (list_is_empty(&rs->cached))
        return false;
    free_entry(container_of(rs->cached.next, struct entry, link));
    return true;
}

/* --- superseded releases ----------------------------------------------------------------------------- */

static bool is_named(const struct entry *e, const struct config_item *item)
{
    const struct config_head *head = item ? item->head : NULL;
    if (!head || e->id.life != item->create_revision)
        return false;
    if (!head->is_deleted && head->seq == e->id.seq) /* it may have been sealed again: see config_reseal.c */
        return e->release.is_missing || digest_equal(&head->digest, &e->digest);
    for (size_t i = 0; i < head->gray.count; i++)
        if (head->gray.list[i].seq == e->id.seq)
            return true;
    return false;
}

/* A seq after the head's last one is not superseded: the release may be ahead of this view. */
static bool is_superseded(const struct entry *e, const struct config_item *item)
{
    if (e->state != ENTRY_CACHED || MUTANT(SUPERSEDED_KEPT))
        return false;
    bool is_ahead =
        item && item->head && e->id.life == item->create_revision && e->id.seq > item->head->last_seq;
    return !is_ahead && !is_named(e, item);
}

void stream_releases_drop_superseded(struct stream_releases *rs, const struct config_id *key,
                                     const struct config_item *item)
{
    struct item *i = strmap_get(&rs->items, item_key_of(rs, key));
    if (!i)
        return;
    bool is_last = false;
    for (struct link *l = i->entries.next, *next; !is_last; l = next) {
        struct entry *e = container_of(l, struct entry, sibling);
        next = l->next;
        is_last = next == &i->entries; /* free_entry frees the item with its last entry */
        if (is_superseded(e, item))
            free_entry(e);
    }
}

/* No topic reports changes of items that it does not watch: so each turn checks a few entries, in
 * rotation. */
static void drop_stale(struct stream_releases *rs)
{
    struct slice key;
    void *value;
    for (int i = 0; i < STALE_CHECKS && rs->entries.count; i++) {
        if (!strmap_next(&rs->entries, &rs->stale_at, &key, &value)) {
            rs->stale_at = 0;
            continue;
        }
        struct entry *e = value;
        if (is_superseded(e, config_find(rs->options.config, &e->id.key)))
            free_entry(e);
    }
}

/* The newest entry stays, whatever its size. */
static void stream_release_make_room(struct stream_releases *rs)
{
    while ((rs->bytes > rs->options.bytes_max || rs->cached_count > rs->options.count_max) &&
           rs->cached.next->next != &rs->cached)
        free_entry(container_of(rs->cached.next, struct entry, link));
}

void stream_releases_free(struct stream_releases *rs)
{
    struct link *lists[] = {&rs->queued, &rs->reading, &rs->cached};
    for (size_t i = 0; i < 3; i++)
        while (!list_is_empty(lists[i]))
            free_entry(container_of(lists[i]->next, struct entry, link));
    strmap_done(&rs->entries);
    strmap_done(&rs->items);
    cache_share_done(&rs->share);
    buf_done(&rs->scratch);
    mem_free(rs);
}

/* --- reading ----------------------------------------------------------------------------------------- */

void stream_release_write(const char *md5, enum format format, uint64_t size, struct slice title,
                          struct json_writer *w)
{
    document_add_text(w, "md5", slice_text(md5));
    document_add_text(w, "format", slice_text(format_name(format)));
    document_add_number(w, "size", (int64_t)size);
    document_add_text(w, "title", title);
}

static void stream_release_keep(struct entry *e, const struct config_release *r)
{
    struct json_writer w = {.out = &e->members};
    e->release = (struct stream_release){.is_missing = !r};
    if (r && r->operation == CONFIG_DELETE) {
        e->release.is_deleted = true;
    } else if (r) {
        e->release.is_large = r->content.size > RELEASE_INLINE_MAX || content_is_unopened(r->content);
        e->digest = r->digest;
        stream_release_write(r->digest.md5, r->format, content_size(r->content, r->unopened_size), r->title,
                             &w);
        if (!e->release.is_large)
            document_add_bytes(&w, "content", r->content);
    }
    if (e->members.size) { /* give back what doubling has left over */
        e->members.data = mem_resize(e->members.data, e->members.size);
        e->members.capacity = e->members.size;
    }
    e->release.members = buf_slice(&e->members);
}

static void start_reads(struct stream_releases *rs);

static void requeue(struct entry *e)
{
    e->state = ENTRY_QUEUED;
    e->retry_ms = e->releases->now_ms + RETRY_MS;
    list_add_last(&e->releases->queued, &e->link);
}

static void stream_release_on_read(struct config_request *q, int err, const struct config_result *result)
{
    struct entry *e = container_of(q, struct entry, request);
    struct stream_releases *rs = e->releases;
    struct link *l;
    bool is_sealed = (err == ERR_KEY_MISSING || err == ERR_CORRUPT) && result->release;
    bool is_gone = err == ERR_NOT_FOUND && result->revision <= config_revision(rs->options.config);
    list_remove(&e->link);
    rs->reading_count--;
    if (err && !is_gone && !is_sealed) {
        requeue(e); /* the read failed, or the store is ahead of the view */
        return;
    }
    stream_release_keep(e, is_gone ? NULL : result->release);
    e->state = ENTRY_CACHED;
    rs->bytes += size_of(e);
    cache_share_add(&rs->share, size_of(e));
    rs->cached_count++;
    list_add_last(&rs->cached, &e->link);
    struct link ready;
    list_init(&ready);
    list_move_all(&ready, &e->fetches);
    stream_release_make_room(rs); /* never evicts this one */
    start_reads(rs);
    while ((l = list_take_first(&ready))) {
        struct stream_fetch *w = container_of(l, struct stream_fetch, link);
        w->ready(w);
    }
}

static void start_reads(struct stream_releases *rs)
{
    LIST_FOR_EACH_SAFE (l, &rs->queued) {
        struct entry *e = container_of(l, struct entry, link);
        if (rs->reading_count >= READS_MAX)
            return;
        if (list_is_empty(&e->fetches)) {
            free_entry(e);
            continue;
        }
        if (e->retry_ms > rs->now_ms)
            continue;
        list_remove(&e->link);
        e->state = ENTRY_READING;
        list_add_last(&rs->reading, &e->link);
        rs->reading_count++;
        rs->reads++;
        e->request = (struct config_request){.done = stream_release_on_read};
        rs->options.read(rs->options.config, &e->request, &e->id.key, e->id.seq, true);
    }
}

void stream_releases_turn(struct stream_releases *rs, uint64_t now_ms)
{
    rs->now_ms = now_ms;
    if (!list_is_empty(&rs->queued) && config_is_ready(rs->options.config))
        start_reads(rs);
    drop_stale(rs);
}

/* --- get and fetch ----------------------------------------------------------------------------------- */

const struct stream_release *stream_releases_get(struct stream_releases *rs,
                                                 const struct stream_release_id *id)
{
    struct entry *e = strmap_get(&rs->entries, stream_release_key_of(rs, id));
    if (!e || e->state != ENTRY_CACHED)
        return NULL;
    list_remove(&e->link);
    list_add_last(&rs->cached, &e->link);
    return &e->release;
}

void stream_release_fetch(struct stream_releases *rs, struct stream_fetch *w,
                          const struct stream_release_id *id)
{
    struct entry *e = strmap_get(&rs->entries, stream_release_key_of(rs, id));
    if (e && e->state == ENTRY_CACHED) { /* read it again: ready is never called from inside this function */
        free_entry(e);
        e = NULL;
    }
    if (!e)
        e = new_entry(rs, id);
    list_add_last(&e->fetches, &w->link);
    start_reads(rs);
}

void stream_release_fetch_cancel(struct stream_fetch *w)
{
    list_remove(&w->link); /* a read that is under way goes on, and its result is cached */
}

void stream_release_forget_missing(struct stream_releases *rs, const struct stream_release_id *id)
{
    struct entry *e = strmap_get(&rs->entries, stream_release_key_of(rs, id));
    if (e && e->state == ENTRY_CACHED && e->release.is_missing)
        free_entry(e);
}
