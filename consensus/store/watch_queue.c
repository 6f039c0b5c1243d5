/* SPDX-License-Identifier: Apache-2.0
 * Output queue of a watch stream. A response is composed when watch_next takes it: small events are copied
 * one after the other into a scratch buffer, large ones are sent from where they are stored. */
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/store/watch_queue.h"

#include <assert.h>

#define PIECE_SHARED_MIN 4096 /* smaller events are copied: a piece of its own costs more than the copy */
#define SHARED_MAX                                                                                           \
    (WATCH_PIECES_MAX / 2 - 1) /* half of the pieces; copied pieces lie between and
                                                       around them */
#define SCRATCH_KEPT_MAX (1 << 18)
#define HEADER_BYTES     64   /* the size of a response header, counted when fragments are cut */
#define FREED_AT_ONCE    8192 /* events of responses that are not sent */

void watch_queue_init(struct watch_queue *q, size_t *total, struct link *garbage)
{
    *q = (struct watch_queue){.total = total, .garbage = garbage};
    list_init(&q->items);
}

/* Frees at most events_max events of it, and the item itself when none is left. Returns how many. */
static uint32_t item_release(struct watch_item *item, size_t *total, uint32_t events_max)
{
    uint32_t left = item->count - item->sent, n = left < events_max ? left : events_max;
    for (uint32_t i = 0; i < n; i++)
        blob_unref(item->blobs[item->sent++]);
    if (n < left)
        return n;
    if (item->blobs != item->few)
        mem_free(item->blobs);
    mem_free(item->head.cancel_reason);
    list_remove(&item->link);
    *total -= item->bytes + sizeof *item;
    mem_give(item, sizeof *item);
    return n;
}

static void item_free(struct watch_queue *q, struct watch_item *item)
{
    if (item->open)
        watch_queue_close_item(item->open);
    list_remove(&item->link);
    q->count--;
    q->bytes -= item->bytes;
    metric_add(METRIC_PENDING_EVENTS, -(double)(item->count - item->sent)); /* dropped */
    if (item->count - item->sent > FREED_AT_ONCE)
        list_add_last(q->garbage, &item->link);
    else
        item_release(item, q->total, FREED_AT_ONCE);
}

bool watch_garbage_release(struct link *garbage, size_t *total)
{
    uint32_t left = FREED_AT_ONCE;
    while (left && !list_is_empty(garbage))
        left -= item_release(container_of(garbage->next, struct watch_item, link), total, left);
    return !list_is_empty(garbage);
}

void watch_queue_done(struct watch_queue *q)
{
    while (!list_is_empty(&q->items))
        item_free(q, container_of(q->items.next, struct watch_item, link));
    assert(q->count == 0 && q->bytes == 0);
}

static struct watch_item *item_add(struct watch_queue *q, const struct watch_head *head,
                                   int64_t header_revision)
{
    struct watch_item *item = mem_take(sizeof *item);
    *item = (struct watch_item){.head = *head, .header_revision = header_revision, .barrier = q->barrier};
    item->blobs = item->few;
    item->capacity = sizeof item->few / sizeof *item->few;
    list_add_last(&q->items, &item->link);
    q->count++;
    *q->total += sizeof *item;
    return item;
}

void watch_queue_add_control(struct watch_queue *q, const struct watch_head *head, int64_t header_revision)
{
    q->barrier++;
    struct watch_item *item = item_add(q, head, header_revision);
    if (head->cancel_reason)
        item->head.cancel_reason = mem_string(head->cancel_reason);
}

void watch_queue_add_first(struct watch_queue *q, const struct watch_head *head, int64_t header_revision)
{
    watch_queue_add_control(q, head, header_revision);
    struct link *last = q->items.prev;
    list_remove(last);
    list_add_first(&q->items, last);
}

int64_t watch_queue_drop(struct watch_queue *q, bool (*is_wanted)(void *arg, const struct watch_item *item),
                         void *arg)
{
    int64_t begun = -1;
    LIST_FOR_EACH_SAFE (l, &q->items) {
        struct watch_item *item = container_of(l, struct watch_item, link);
        if (!item->count || is_wanted(arg, item))
            continue;
        if (item->has_fragments)
            begun = item->head.watch_id;
        item_free(q, item);
    }
    return begun;
}

void watch_queue_close_item(struct watch_item **open)
{
    if (*open) {
        (*open)->open = NULL;
        (*open)->is_partial = false;
    }
    *open = NULL;
}

void watch_queue_drop_partial(struct watch_queue *q, struct watch_item **open)
{
    if (*open && (*open)->is_partial)
        item_free(q, *open);
}

static bool may_join(const struct watch_queue *q, const struct watch_item *item, int64_t revision,
                     size_t size)
{
    if (item->last_revision == revision)
        return !MUTANT(WATCH_REVISION_SPLIT);
    return item->barrier == q->barrier && item->revisions < WATCH_REVISIONS_MAX &&
           item->bytes + size <= WATCH_JOIN_BYTES;
}

static void item_grow(struct watch_item *item)
{
    uint32_t capacity = item->capacity * 4;
    if (item->blobs == item->few) {
        item->blobs = mem_alloc(capacity * sizeof(struct blob *));
        memcpy(item->blobs, item->few, sizeof item->few);
    } else {
        item->blobs = mem_resize(item->blobs, capacity * sizeof(struct blob *));
    }
    item->capacity = capacity;
}

void watch_queue_add_event(struct watch_queue *q, struct watch_item **open, const struct watch_head *head,
                           bool may_fragment, int64_t revision, int64_t header_revision, struct blob *b)
{
    struct watch_item *item = *open;
    if (!item || !may_join(q, item, revision, b->size)) {
        watch_queue_close_item(open);
        item = item_add(q, head, header_revision);
        item->may_fragment = may_fragment;
        item->open = open;
        *open = item;
    }
    assert(item->last_revision <= revision);
    if (item->last_revision != revision)
        item->revisions++;
    item->last_revision = revision;
    if (item->header_revision < header_revision)
        item->header_revision = header_revision;
    if (item->count == item->capacity)
        item_grow(item);
    item->blobs[item->count++] = blob_ref(b);
    metric_add(METRIC_PENDING_EVENTS, 1);
    item->bytes += b->size;
    q->bytes += b->size;
    *q->total += b->size;
}

/* --- output ------------------------------------------------------------------------------------- */
void watch_scratch_clear(struct watch_scratch *s)
{
    for (size_t i = 0; i < s->held_count; i++)
        blob_unref(s->held[i]);
    s->held_count = 0;
    buf_clear(&s->bytes);
    if (s->bytes.capacity > SCRATCH_KEPT_MAX)
        buf_done(&s->bytes);
}

/* Decides which of the unsent events go into the next response. As in etcd, a response below the limit or of
 * one event is never cut. Otherwise events are added, at least one, while the response stays below the
 * limit. */
static void response_begin(struct watch_item *item, size_t response_bytes_max)
{
    size_t overhead = HEADER_BYTES + WATCH_HEAD_SIZE_MAX, size = 0;
    uint32_t end = item->sent;
    if (!item->may_fragment || item->bytes + overhead < response_bytes_max) {
        end = item->count;
        size = item->bytes;
    }
    for (; end < item->count; end++) {
        size_t more = item->blobs[end]->size;
        if (size + more + overhead >= response_bytes_max && end > item->sent)
            break;
        size += more;
    }
    item->response_end = end;
    item->response_left = size;
    item->head.is_fragment = end < item->count;
}

/* How many of the unsent events make part_bytes. */
static uint32_t count_part(const struct watch_item *item, size_t part_bytes, size_t *ret_bytes)
{
    uint32_t n = item->sent;
    size_t size = 0;
    for (; n < item->response_end && size < part_bytes; n++)
        size += item->blobs[n]->size;
    *ret_bytes = size;
    return n - item->sent;
}

/* Composes the head and the next `send` events, and takes the events out of the item. */
static void compose(struct watch_item *item, uint32_t send, struct watch_scratch *scratch,
                    struct watch_output *out)
{
    struct buf *bytes = &scratch->bytes;
    struct blob **blobs = item->blobs + item->sent;
    size_t copied = 2 * WATCH_HEAD_SIZE_MAX, shared = 0, start = 0;
    for (uint32_t i = 0; i < send; i++)
        if (blobs[i]->size < PIECE_SHARED_MIN || shared++ >= SHARED_MAX)
            copied += blobs[i]->size;
    if (item->head.cancel_reason)
        copied += strlen(item->head.cancel_reason);
    buf_reserve(bytes, copied); /* one reservation: the pieces point into the buffer */
    const uint8_t *data = bytes->data;
    if (!item->is_begun)
        watch_encode_head(&item->head, bytes);
    out->count = 0;
    for (uint32_t i = 0; i < send; i++) {
        if (blobs[i]->size < PIECE_SHARED_MIN || scratch->held_count == SHARED_MAX) {
            buf_add(bytes, blobs[i]->data, blobs[i]->size);
            blob_unref(blobs[i]);
            continue;
        }
        if (bytes->size > start)
            out->pieces[out->count++] = slice_of(bytes->data + start, bytes->size - start);
        start = bytes->size;
        out->pieces[out->count++] = blob_slice(blobs[i]);
        scratch->held[scratch->held_count++] = blobs[i]; /* takes over the item's reference */
    }
    if (bytes->size > start)
        out->pieces[out->count++] = slice_of(bytes->data + start, bytes->size - start);
    assert(bytes->data == data && out->count <= WATCH_PIECES_MAX);
}

bool watch_queue_has_next(const struct watch_queue *q)
{
    return q->count && !container_of(q->items.next, struct watch_item, link)->is_partial;
}

bool watch_queue_next_is_long(const struct watch_queue *q, size_t part_bytes)
{
    if (!watch_queue_has_next(q))
        return false;
    const struct watch_item *item = container_of(q->items.next, struct watch_item, link);
    return item->bytes > part_bytes;
}

bool watch_queue_next(struct watch_queue *q, size_t response_bytes_max, size_t part_bytes,
                      struct watch_scratch *scratch, struct watch_output *ret_output)
{
    watch_scratch_clear(scratch);
    if (!watch_queue_has_next(q))
        return false;
    struct watch_item *item = container_of(q->items.next, struct watch_item, link);
    if (item->open)
        watch_queue_close_item(item->open);
    ret_output->header_revision = item->header_revision;
    ret_output->is_rest = item->is_begun;
    if (!item->is_begun)
        response_begin(item, response_bytes_max);
    size_t sent_bytes;
    uint32_t send = count_part(item, part_bytes, &sent_bytes);
    compose(item, send, scratch, ret_output);
    item->sent += send;
    metric_add(METRIC_EVENTS, send);
    metric_add(METRIC_PENDING_EVENTS, -(double)send);
    item->bytes -= sent_bytes;
    item->response_left -= sent_bytes;
    item->is_begun = item->sent < item->response_end;
    item->has_fragments |= !item->is_begun;
    ret_output->left = item->response_left;
    q->bytes -= sent_bytes;
    *q->total -= sent_bytes;
    if (item->sent == item->count)
        item_free(q, item);
    return true;
}
