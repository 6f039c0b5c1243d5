/* SPDX-License-Identifier: Apache-2.0
 * Watchers: ordered streams of the changes of keys, with the semantics of etcd's Watch.
 *
 * The way of an event from the commit to the client:
 *
 *     store_end (an entry is applied)           store_changes (past revisions)
 *         |                                         ^
 *         v                                         |
 *     watch_deliver                             watch_turn: some revisions a turn
 *         |                                         |
 *         v                                         v
 *     synced watchers                           unsynced watchers
 *         |   full: becomes unsynced                |   full: next_revision stays, to be read again
 *         v                                         v
 *     +--------------------- output queue of the stream ---------------------+
 *                                      |
 *                                      v
 *     on_ready (from watch_turn), then watch_next while the transport takes more
 *
 * A watcher is `synced` or `unsynced`, as in etcd. A synced watcher was offered every revision and gets each
 * new one as it is applied. An unsynced watcher re-reads from the store. A stream is what one client
 * connection multiplexes.
 *
 * A slow watcher, step by step:
 * 1. The queue of its stream is full: stream_queue_max, stream_bytes_max or the rest of total_bytes_max.
 * 2. The next event is not queued. The watcher becomes unsynced and stores only this revision.
 * 3. It costs no work and no more memory until the client has read half of the queue.
 * 4. watch_turn re-reads from the stored revision until the watcher has every revision: it is synced again.
 * 5. If a compaction passes the stored revision before, the watcher is canceled with compact_revision.
 *
 * Guarantees, as etcd's: ordered, unique, reliable, atomic, resumable, bookmarkable (README.md, "Watchers and
 * leases"). A progress response never overtakes events: it is an item of the same ordered queue.
 *
 * The interface is pull, not push. The hub calls on_ready once when an empty stream has output. The owner
 * then calls watch_next as long as its transport takes more. Loop thread only; no clock, no I/O of its own.
 */
#ifndef CONSENSUS_STORE_WATCH_H
#define CONSENSUS_STORE_WATCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/rpc.pb-c.h"

struct store;
struct store_change;
struct watch_hub;
struct watch_stream;

struct watch_options {
    struct store *store;
    size_t stream_queue_max;    /* responses queued on one stream, in addition to one for each watcher, before
                                   its watchers become unsynced: 1,024 */
    size_t stream_bytes_max;    /* bytes of events queued on one stream: 4 MiB */
    size_t total_bytes_max;     /* bytes queued on all streams, about: 256 MiB. The rest of it limits each
                                   stream, too */
    size_t stream_watchers_max; /* 100,000; a request for more is refused */
    size_t watchers_bytes_max;  /* of all watchers of streams that have a source; 0 = no limit */
    size_t response_bytes_max;  /* fragments are cut here: max request bytes + 512 KiB */
    uint64_t progress_interval_ms; /* 10 minutes */
    /* watch_turn has work that no event of the loop announces: a stream was drained and its watchers may
     * re-read, or a watcher starts in the past. Other watch_ functions call it. NULL: the owner calls
     * watch_turn often anyway. */
    void (*on_work)(void *arg);
    void *on_work_arg;
};

/* Options that are 0 get the defaults above. The caller frees the hub with watch_hub_free. */
struct watch_hub *watch_hub_new(const struct watch_options *options);
void watch_hub_free(struct watch_hub *h); /* the caller has closed all streams */

/* Delivers one revision to the synced watchers; the store's on_change calls it. Each event is encoded once,
 * and the streams share the bytes. on_ready is called in watch_turn, so that all revisions of one turn leave
 * together. */
void watch_deliver(struct watch_hub *h, const struct store_change *change);
/* Announces keys that are about to change: prefetches what their delivery touches into the CPU's caches. */
enum { WATCH_WILL_DELIVER_MAX = 64 };
void watch_will_deliver(const struct watch_hub *h, const struct slice *keys, size_t count);
/* Runs once a loop turn, after entries were applied. It
 * - re-reads for some unsynced watchers (about a millisecond of work),
 * - queues progress responses that are due,
 * - calls on_ready for streams that have new output.
 *
 * True: there is more to do in the next turn. */
bool watch_turn(struct watch_hub *h, uint64_t now_ms);
/* Continues with another store after a snapshot was installed. Every watcher re-reads from its own next
 * revision, neither below nor above it. */
void watch_store_replaced(struct watch_hub *h, struct store *store);

/* Checks the permissions of all watchers again, after users or roles have changed. Each stream that has a
 * permission check calls it for each of its watchers, some watchers a turn. A stream gives no output before
 * all its watchers are checked. A watcher that lost its permission gets nothing that was queued before this
 * call. */
void watch_recheck_permissions(struct watch_hub *h);

/* Opens a stream; the caller closes it. Every watch_ function may call on_ready, except watch_deliver,
 * watch_next and watch_has_next. */
struct watch_stream *watch_stream_open(struct watch_hub *h, void (*on_ready)(void *arg), void *arg);
void watch_stream_close(struct watch_stream *s);
/* Sets the function that decides whether a range may still be watched. It returns NULL, or the reason with
 * which the watcher is canceled. watch_next and watch_turn call it with on_ready's arg; it must not call
 * watch_ functions. Without it every range is allowed. */
void watch_stream_set_permission_check(struct watch_stream *s,
                                       const char *(*check)(void *arg, struct slice key,
                                                            struct slice range_end));

/* Counts the watchers of this stream against watchers_bytes_max, in the share of this source
 * (watch_budget.h). Call it before the first watcher is created. Streams without a source have limits
 * elsewhere. */
void watch_stream_set_source(struct watch_stream *s, uint64_t source);

/* Queues the created response, or created+canceled with etcd's reason: empty range, duplicate id, negative
 * revision, too many watchers. refuse_reason not NULL: the answer is created+canceled with this text
 * (permission failures). */
void watch_create(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *request,
                  const char *refuse_reason);
void watch_cancel(struct watch_stream *s, int64_t watch_id); /* an unknown id gets no answer */
void watch_cancel_all(struct watch_stream *s, const char *reason);
void watch_request_progress(struct watch_stream *s);
/* True: the client sends requests and does not read the responses. 16,384 responses more are queued than the
 * limit for events. The owner calls watch_next, and closes the stream if that does not help. */
bool watch_is_full(const struct watch_stream *s);

#define WATCH_PIECES_MAX 64

/* The next response: a WatchResponse message WITHOUT its header field, encoded, and the revision for the
 * header (0 = the header has revision 0). The owner prepends the encoded header; protobuf allows fields in
 * any order. Valid until the next watch_next on any stream or the return to the loop: send or copy it before.
 * watch_next returns false when the queue is empty; on_ready comes later. */
struct watch_output {
    int64_t header_revision;
    bool is_rest;                          /* it goes on with the response of the output before */
    size_t left;                           /* bytes of this response that further outputs will bring */
    size_t count;                          /* pieces to send one after the other; may be 0 */
    struct slice pieces[WATCH_PIECES_MAX]; /* shared encoded events and the small parts between them */
};
bool watch_next(struct watch_stream *s, struct watch_output *ret_output);
/* The same, for an owner that composes a long response over several turns of the loop: a response or a
 * fragment of more than part_bytes of events comes in outputs of about so many, `left` of the last one is 0.
 * The outputs behind each other are the response. An output that is no rest, after one with `left`: the
 * watcher has lost its right, and the response that was begun must not be sent. */
bool watch_next_part(struct watch_stream *s, size_t part_bytes, struct watch_output *ret_output);
/* The next response would come in several outputs. */
bool watch_next_is_long(const struct watch_stream *s, size_t part_bytes);
bool watch_has_next(const struct watch_stream *s);

struct watch_counts {
    size_t streams, watchers, unsynced;
    size_t queued_bytes;   /* a shared event counts once for each stream that queues it */
    size_t watchers_bytes; /* of streams that have a source */
};
struct watch_counts watch_counts(const struct watch_hub *h);

#endif
