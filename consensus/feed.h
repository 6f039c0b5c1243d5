/* SPDX-License-Identifier: Apache-2.0
 * Feed of key changes inside the process: the whole state of some prefixes once, then every change. Registry
 * and config center keep their views in memory with it. It uses kv.h only; loop thread only.
 *
 * Invariant: changes come in order, each revision is whole, and none is missing or repeated.
 *
 *   - The first state is read after a linearizable barrier. So a member never shows a view that is older than
 *     what was committed when the feed began.
 *   - If history was compacted before the feed could read it (a snapshot was installed), the feed gives the
 *     whole state again: begin has is_whole.
 *   - A whole state comes in slices of some milliseconds, over as many turns as it needs. If it is compacted
 *     in the meantime, it starts again: another begin comes before any end.
 *   - One revision with many changes comes in slices, too, if takes_slices is set. */
#ifndef CONSENSUS_FEED_H
#define CONSENSUS_FEED_H

#include "consensus/kv.h"

struct feed;

/* Called from feed_turn; must not free the feed. */
struct feed_events {
    /* The changes of one revision follow, or (is_whole) the whole state at that revision: a key that is not
     * put before the end does not exist. */
    void (*begin)(void *arg, int64_t revision, bool is_whole);
    void (*put)(void *arg, const Mvccpb__KeyValue *pair);
    void (*remove)(void *arg, struct slice key, int64_t revision);
    /* All changes were given. False: the view needs more time, and end is called again in the next turn. It
     * should return at until_ns (io's clock). */
    bool (*end)(void *arg, uint64_t until_ns);
    bool takes_slices; /* the changes of one revision may come in several turns */
};

struct feed *feed_new(struct kv *kv, const char *const *prefixes, size_t count,
                      const struct feed_events *events, void *arg);
void feed_free(struct feed *f); /* before the kv is closed; removes all waiters */
/* In each turn of the loop, after kv_turn. True: there is more to do, the loop must not sleep. */
bool feed_turn(struct feed *f);
/* False before the first state, and while the state is read again. */
bool feed_is_following(const struct feed *f);

/* Everything up to this revision was given; 0 = the first state is not complete yet. */
int64_t feed_revision(const struct feed *f);

/* Calls fn once, when everything up to revision was given: inside feed_wait if it was already, else from
 * feed_turn. fn may call feed_wait and feed_forget for its own waiter, for no other one. */
struct feed_waiter {
    struct link link;
    int64_t revision;
    void (*fn)(struct feed_waiter *w);
};
void feed_wait(struct feed *f, struct feed_waiter *w, int64_t revision);
void feed_forget(struct feed_waiter *w);

#endif
