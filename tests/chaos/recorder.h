/* SPDX-License-Identifier: Apache-2.0
 * Shared state of the recorder: one history, its options and counters; clients (traffic.c) and watchers
 * (watching.c) write to it. */
#ifndef TESTS_CHAOS_RECORDER_H
#define TESTS_CHAOS_RECORDER_H

#include "tests/chaos/convert.h"

enum { ENDPOINTS_MAX = 16, PHASES = 3 };

/* Set by signals: each operation counts for the phase in which its response arrived. */
enum phase { PHASE_BEFORE, PHASE_FAULT, PHASE_AFTER };

struct recorder {
    struct endpoint endpoints[ENDPOINTS_MAX];
    size_t endpoint_count;
    unsigned keys, clients_per_endpoint, think_ms, op_limit_ms, compact_every_ms, compact_keep, patience_s,
        watchers;
    struct history history;
    struct arena scratch; /* of one message */
    enum phase phase;
    bool is_ending; /* nothing new is begun */
    /* State that all parts of the recorder share. */
    int64_t revision;  /* the highest in any header */
    int64_t replayed;  /* all commits up to here are in the history */
    int64_t compacted; /* asked for */
    /* Counters. */
    uint64_t writes[PHASES], reads[PHASES], unknown, failed, events, resumed;
    int64_t last_write_ns, longest_gap_ns;
    uint64_t random_state;
};

extern struct recorder recorder;

uint64_t random_below(uint64_t n);
bool chance(unsigned percent);
void saw_revision(int64_t revision);

/* Clients. */
void traffic_start(void);
void traffic_tick(void);
bool traffic_is_idle(void); /* nothing is under way */
void traffic_give_up(void); /* pending requests keep an unknown outcome */

/* Watchers, and the replay of everything. */
void watching_start(void);
void watching_tick(void);
/* Called at the end with the last revision: requests progress, true when all open watchers have reached it.
 */
bool watching_is_complete(int64_t revision);
/* All open watchers had enough time: an event up to revision that did not arrive is missing. */
void watching_finish(int64_t revision);

#endif
