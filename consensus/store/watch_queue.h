/* SPDX-License-Identifier: Apache-2.0
 * Output queue of a watch stream: responses in the order in which things happened.
 *
 * A response holds references to encoded events. The last response of a watcher stays open for further
 * revisions of this watcher until a control response (created, canceled, progress) is queued. A revision is
 * never split over two responses, except into flagged fragments for watchers that allow fragments. */
#ifndef CONSENSUS_STORE_WATCH_QUEUE_H
#define CONSENSUS_STORE_WATCH_QUEUE_H

#include "base/blob.h"
#include "base/list.h"
#include "consensus/store/watch.h"
#include "consensus/store/watch_encode.h"

#define WATCH_REVISIONS_MAX 1000  /* different revisions in one response, as in etcd */
#define WATCH_JOIN_BYTES    32768 /* a revision joins a response only up to this size */

struct watch_item {
    struct link link; /* watch_queue.items */
    struct watch_head head;
    int64_t header_revision;
    int64_t last_revision;    /* of the newest event */
    struct watch_item **open; /* the watcher's pointer to this item, while events may join it */
    struct blob **blobs;      /* `few`, or an allocation */
    struct blob *few[3];
    uint32_t count, capacity, sent;
    uint32_t response_end; /* the end of the response that was begun: `count`, or that of a fragment */
    uint32_t revisions;
    size_t bytes;         /* of the blobs that are not sent yet */
    size_t response_left; /* of them, those of the response that was begun */
    uint32_t barrier;
    bool may_fragment;
    bool is_begun;      /* the first of several outputs that make one response was taken */
    bool has_fragments; /* the client has some of its fragments: it waits for the rest */
    bool is_partial;    /* more of its last revision follows: neither it nor the items after it are sent */
};

struct watch_queue {
    struct link items;
    size_t count, bytes;
    size_t *total; /* bytes and responses of all queues together */
    struct link *garbage;
    uint32_t barrier; /* incremented by each control response: events do not join items before it */
};

/* Buffer of the response that is being sent; one for all streams. */
struct watch_scratch {
    struct buf bytes;
    struct blob *held[WATCH_PIECES_MAX];
    size_t held_count;
};

/* Responses with very many events are not freed at once. They stay in `garbage`, and in the total, until
 * watch_garbage_release. */
void watch_queue_init(struct watch_queue *q, size_t *total, struct link *garbage);
void watch_queue_done(struct watch_queue *q);
/* Frees some of it: about half a millisecond. True: there is more. */
bool watch_garbage_release(struct link *garbage, size_t *total);

/* Copies cancel_reason. */
void watch_queue_add_control(struct watch_queue *q, const struct watch_head *head, int64_t header_revision);
/* Adds an event of the watcher `head`. *open is the watcher's open item; the function changes it as needed.
 * Takes a reference of its own to b. */
void watch_queue_add_event(struct watch_queue *q, struct watch_item **open, const struct watch_head *head,
                           bool may_fragment, int64_t revision, int64_t header_revision, struct blob *b);
/* Drops responses with events for which is_wanted returns false. Returns the id of the watcher whose response
 * was dropped after some of its fragments had been sent, or -1. */
int64_t watch_queue_drop(struct watch_queue *q, bool (*is_wanted)(void *arg, const struct watch_item *item),
                         void *arg);
/* Adds a control response before all others. */
void watch_queue_add_first(struct watch_queue *q, const struct watch_head *head, int64_t header_revision);
/* Drops the response: the rest of its revision will never come. */
void watch_queue_drop_partial(struct watch_queue *q, struct watch_item **open);
/* Closes the open item: the watcher ends or must not reach the item any more. */
void watch_queue_close_item(struct watch_item **open);
bool watch_queue_has_next(const struct watch_queue *q);
/* Takes the next response out of the queue, or its next part_bytes or so. False: there is none. */
bool watch_queue_next(struct watch_queue *q, size_t response_bytes_max, size_t part_bytes,
                      struct watch_scratch *scratch, struct watch_output *ret_output);
bool watch_queue_next_is_long(const struct watch_queue *q, size_t part_bytes);

void watch_scratch_clear(struct watch_scratch *s);

#endif
