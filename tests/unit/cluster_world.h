/* SPDX-License-Identifier: Apache-2.0
 * Several members in one thread on virtual time, for tests of a cluster through its public API (kv.h).
 * Streams between members are mailboxes that lose nothing unless a machine is cut off. The simulator
 * (tests/sim) tests the effects of faults on a cluster. */
#ifndef TESTS_UNIT_CLUSTER_WORLD_H
#define TESTS_UNIT_CLUSTER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "consensus/kv.h"
#include "tests/sim/sim_io.h"

enum { WORLD_MACHINES = 5 };

struct world;

struct machine {
    struct peers peers; /* first: the I/O interface returns this */
    struct world *world;
    uint64_t id; /* after it was started once */
    char name[4], url[32];
    struct sim_disk *disk;
    struct io *io;
    struct kv *kv; /* NULL = it does not run */
    const struct peer_events *events;
    void *events_arg;
    uint64_t known[16], removed[16];
    size_t known_count, removed_count;
    unsigned feature_level; /* of the build that starts next; 0 = this one's */
    int64_t max_learners;   /* as kv_options */
    bool is_cut, is_ready, is_closed, promotes_learners, limits_learners_at_start;
    unsigned done_count;     /* of world_count_done */
    void (*turn)(void *arg); /* after kv_turn, in each step while it runs; may be NULL */
    void *arg;
};

struct world {
    struct sim_clock clock;
    struct machine machines[WORLD_MACHINES];
    unsigned bootstrap;
    uint64_t seed;
};

/* For members that start from now on: */
extern uint64_t world_catchup_entries;   /* 5,000 */
extern size_t world_max_snapshots;       /* 0 = no limit */
extern int64_t world_slice_units;        /* 0 = by the clock */
extern uint64_t world_check_interval_ms; /* 0 = states are not compared */
extern bool world_advances_ticks;        /* false */

/* The first count machines make a cluster. */
struct world *world_new(unsigned count);
void world_free(struct world *w);
void machine_start(struct machine *m, bool force_new_cluster);
void machine_join(struct machine *m, const struct kv_join *join);
void machine_stop(struct machine *m);
void machine_crash(struct machine *m); /* as kill -9 and a power cut */
void world_step(struct world *w);
void world_run_ms(struct world *w, uint64_t ms);
void world_count_done(void *arg); /* of a machine */

/* Of the machines that run and are not cut off. */
struct machine *world_leader(struct world *w);          /* NULL = none */
struct machine *world_follower(struct world *w);        /* the first one */
struct machine *world_wait_for_leader(struct world *w); /* until all follow one */

/* As machine_start, or as machine_join if join is set; false: it was refused, with this sentence. */
bool machine_try_start(struct machine *m, const struct kv_join *join, char *error, size_t size);

/* A request and its result; the response is a copy. */
struct question {
    struct kv_request request;
    bool is_done;
    int err;
    ProtobufCMessage *response;
};

void question_on_done(struct kv_request *r, int err, const ProtobufCMessage *response);
void question_done(struct question *q);
void world_wait_for(struct world *w, struct question *q);

#define ASK(m, q, call, message)                                                                             \
    do {                                                                                                     \
        (q)->request.done = question_on_done;                                                                \
        call((m)->kv, &(q)->request, message);                                                               \
        assert_false((q)->is_done);                                                                          \
        world_wait_for((m)->world, q);                                                                       \
    } while (0)

ProtobufCBinaryData world_bytes(const char *text);
int world_put(struct machine *m, const char *key, const char *value, int64_t lease);
/* The value that a linearizable read through m returns; "" when there is none or on an error. */
const char *world_get(struct machine *m, const char *key, int *ret_err);
void world_expect(struct machine *m, const char *key, const char *value);
void world_expect_equal_stores(struct world *w);

#endif
