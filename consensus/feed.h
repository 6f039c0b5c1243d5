/* SPDX-License-Identifier: Apache-2.0
 * Following keys from inside the process: the whole state of some prefixes once, then every change, in order,
 * each revision whole, nothing missed and nothing twice. For views that are kept in memory (registry, config
 * center). On kv.h alone; loop thread only.
 *
 * The first state is read after a linearizable barrier, so that a member never shows a view older than what
 * was committed when it began. When history was compacted before it could be read (a snapshot was installed),
 * the whole state is given again: begin says so. A whole state comes in slices of some milliseconds, over as
 * many turns as it takes; if it is compacted meanwhile it begins anew, with another begin before any end. So
 * does one revision with many changes, for a view that takes slices. */
#ifndef CONSENSUS_FEED_H
#define CONSENSUS_FEED_H

#include "consensus/kv.h"

struct feed;

/* Called from feed_turn; must not free the feed. */
struct feed_events {
    /* Changes of one revision follow, or (is_whole) everything there is at that revision: what is not put
     * until the end is not there. */
    void (*begin)(void *arg, int64_t revision, bool is_whole);
    void (*put)(void *arg, const Mvccpb__KeyValue *pair);
    void (*remove)(void *arg, struct slice key, int64_t revision);
    /* False: the view has more to do for it, and is called again in the next turn; it should return when
     * until_ns has come (io's clock). */
    bool (*end)(void *arg, uint64_t until_ns);
    bool takes_slices; /* the changes of one revision may come in several turns */
};

struct feed *feed_new(struct kv *kv, const char *const *prefixes, size_t count,
                      const struct feed_events *events, void *arg);
void feed_free(struct feed *f); /* before the kv is closed; its waiters are forgotten */
/* After kv_turn, in each turn of the loop. True: there is more to do, the loop must not sleep. */
bool feed_turn(struct feed *f);
/* False before the first state, and while the state is read anew. */
bool feed_is_following(const struct feed *f);

/* Everything up to this revision was given; 0 = the first state is not there yet. */
int64_t feed_revision(const struct feed *f);

/* fn once everything up to revision was given: at once, within this call, if it was; else from feed_turn. fn
 * may wait again and forget its own waiter, no other. */
struct feed_waiter {
    struct link link;
    int64_t revision;
    void (*fn)(struct feed_waiter *w);
};
void feed_wait(struct feed *f, struct feed_waiter *w, int64_t revision);
void feed_forget(struct feed_waiter *w);

#endif
