/* SPDX-License-Identifier: Apache-2.0
 * Watchers: cursors over the store's revisions. A watcher is `level` (it has seen everything, gets each
 * change as it is applied) or `behind` (it re-reads from the store, some revisions a turn, until it is level
 * again). A stream is what one client connection multiplexes; a slow stream never makes the hub buffer
 * without bound: its watchers fall behind and re-read.
 *
 * Guarantees, as etcd's: ordered, unique, reliable, atomic, resumable, bookmarkable (README.md, "Watchers and
 * leases"). Progress never overtakes events: it is an item in the same ordered output.
 *
 * Pull, not push: the hub calls on_ready once when a stream that was empty has something; the owner then
 * calls watch_next as long as its transport takes more. Loop thread only. */
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
    size_t stream_queue_max;    /* responses queued on one stream, beside one per watcher, before its watchers
                                   fall behind: 1,024 */
    size_t stream_bytes_max;    /* and bytes: 4 MiB */
    size_t total_bytes_max;     /* on all streams about: 256 MiB. What is left of it bounds a stream too */
    size_t stream_watchers_max; /* 100,000; more are refused */
    size_t watchers_bytes_max;  /* of all watchers of streams that have a source; 0 = no limit */
    size_t response_bytes_max;  /* fragments are cut here: max request bytes + 512 KiB */
    uint64_t progress_interval_ms; /* 10 minutes */
    /* There is something to do for watch_turn that no event of the loop will announce: a stream was drained
     * and its watchers may re-read, a watcher starts in the past. Called from other watch_ functions; may be
     * NULL if watch_turn is called often anyway. */
    void (*on_work)(void *arg);
    void *on_work_arg;
};

/* Options that are 0 get the default named above. */
struct watch_hub *watch_hub_new(const struct watch_options *options);
void watch_hub_free(struct watch_hub *h); /* all streams closed before */

/* The store's on_change. Encodes each event once; streams share the bytes. on_ready follows in watch_turn, so
 * that all revisions of one turn can go out together. */
void watch_deliver(struct watch_hub *h, const struct store_change *change);
/* These keys are about to change: what delivering them will touch is fetched into the CPU's caches. */
enum { WATCH_WILL_DELIVER_MAX = 64 };
void watch_will_deliver(const struct watch_hub *h, const struct slice *keys, size_t count);
/* Once a loop turn, after applying: catches up some behind watchers within a budget (about 2 ms), sends due
 * progress, tells ready streams. True = there is more to do, come again next turn. */
bool watch_turn(struct watch_hub *h, uint64_t now_ms);
/* After a snapshot was installed: every watcher re-reads from its own cursor; never lower, never higher. */
void watch_store_replaced(struct watch_hub *h, struct store *store);

/* Rights have changed: every stream that has a judge is asked anew for each of its watchers, some watchers a
 * turn. A stream gives nothing out before all of its watchers were judged; after this call nothing that was
 * queued before goes to a watcher that lost its right. */
void watch_rejudge(struct watch_hub *h);

/* on_ready may be called from within any watch_ function but watch_deliver, watch_next and watch_has_next. */
struct watch_stream *watch_stream_open(struct watch_hub *h, void (*on_ready)(void *arg), void *arg);
void watch_stream_close(struct watch_stream *s);
/* The owner of the stream decides whether a range may still be watched: NULL, or the reason with which the
 * watcher is canceled. Called from watch_next and watch_turn; it must not call watch_ functions. Without a
 * judge everything is allowed. arg is on_ready's. */
void watch_stream_set_judge(struct watch_stream *s,
                            const char *(*judge)(void *arg, struct slice key, struct slice range_end));

/* Counts the watchers of this stream against watchers_bytes_max, in the share of a source (watch_room.h).
 * Before the first watcher. Streams without a source have limits elsewhere. */
void watch_stream_set_source(struct watch_stream *s, uint64_t source);

/* Queues the created response (or created+canceled with etcd's reason: empty range, duplicate id, negative
 * revision, too many). refuse_reason not NULL: answers created+canceled with that text (permission failures).
 */
void watch_create(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *request,
                  const char *refuse_reason);
void watch_cancel(struct watch_stream *s, int64_t watch_id); /* unknown id: no answer */
void watch_cancel_all(struct watch_stream *s, const char *reason);
void watch_request_progress(struct watch_stream *s);
/* True: the client sends requests and reads no answers; 16,384 more of them wait than the stream may queue
 * for events. The owner takes what it can by watch_next, and ends the stream if that does not help. */
bool watch_is_full(const struct watch_stream *s);

#define WATCH_PIECES_MAX 64

/* The next response, encoded as a WatchResponse message WITHOUT its header field, and the revision the header
 * must carry (0 = leave revision 0). Valid until the next watch_next on any stream or the return to the loop:
 * send or copy it before. False = nothing (on_ready will come). The owner prepends the encoded header:
 * protobuf fields may come in any order. */
struct watch_output {
    int64_t header_revision;
    bool is_rest;                          /* it goes on with the response of the output before */
    size_t left;                           /* bytes of this response that further outputs will bring */
    size_t count;                          /* pieces to send one after the other; may be 0 */
    struct slice pieces[WATCH_PIECES_MAX]; /* shared encoded events and the small parts between them */
};
bool watch_next(struct watch_stream *s, struct watch_output *ret_output);
/* The same, for an owner that composes a long response over several turns of the loop: a response of more than
 * part_bytes of events comes in outputs of about so many, `left` of the last one is 0. The outputs behind each
 * other are the response. An output that is no rest, after one with `left`: the watcher has lost its right,
 * and the response that was begun must not be sent. */
bool watch_next_part(struct watch_stream *s, size_t part_bytes, struct watch_output *ret_output);
/* The next response would come in several outputs. */
bool watch_next_is_long(const struct watch_stream *s, size_t part_bytes);
bool watch_has_next(const struct watch_stream *s);

struct watch_counts {
    size_t streams, watchers, behind;
    size_t queued_bytes;   /* shared events counted for each stream that waits for them */
    size_t watchers_bytes; /* of streams that have a source */
};
struct watch_counts watch_counts(const struct watch_hub *h);

#endif
