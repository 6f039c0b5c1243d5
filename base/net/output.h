/* SPDX-License-Identifier: Apache-2.0
 * Output budget: the bytes that clients have asked for and not taken, in all connections of the process.
 *
 * Each connection has an account and keeps it up to date: output_set is what waits now, output_took is what
 * the socket has taken. A connection stops reading by itself when its own output is too long; what happens
 * here is the end of those that do not read even then:
 *
 *   stalled  the socket has taken nothing for stall_ms
 *   total    more than bytes_max wait in all. The connection that holds the most is closed, and so on. It
 *            is spared in its first second and while it takes at least 1 MiB/s; spared bytes do not count,
 *            up to 4 * bytes_max in all: beyond that nobody is spared
 *
 * Streams between members are exempt: their bytes count, but they are never closed here, because a flood of
 * clients must not cost the cluster its quorum. They have bounds and timeouts of their own. They take at most
 * half of bytes_max from the clients.
 *
 * Pure: no clock, no socket. Nothing is closed inside output_set; output_budget_turn does that. */
#ifndef BASE_NET_OUTPUT_H
#define BASE_NET_OUTPUT_H

#include "base/heap.h"
#include "base/list.h"

enum output_reason { OUTPUT_STALLED, OUTPUT_TOTAL, OUTPUT_REASONS };

struct output_account;

struct output_budget {
    uint64_t bytes_max, stall_ms; /* given; 0 = no limit */
    uint64_t bytes;               /* of all accounts */
    uint64_t exempt_bytes;        /* of those that are exempt */
    struct heap largest;          /* accounts with bytes, most first */
    struct link oldest;           /* the same, the one that took nothing for the longest time first */
    uint64_t closed[OUTPUT_REASONS];
    uint64_t look_ms; /* the next look for one to be closed */
};

struct output_account {
    struct output_budget *budget; /* NULL = nothing is counted */
    /* Closes the connection, at once or soon, and forgets the account. */
    void (*close)(struct output_account *a, enum output_reason why);
    void (*measure)(struct output_account *a); /* NULL, or brings the account up to date before that */
    bool is_exempt;
    uint64_t bytes;
    struct heap_node node;                         /* in `largest`; an exempt account is in neither */
    struct link link;                              /* in `oldest` */
    uint64_t since_ms, took_ms;                    /* when bytes came to wait; when some were last taken */
    uint64_t second_ms, second_bytes, last_second; /* bytes taken in this second and the one before */
};

void output_budget_init(struct output_budget *b, uint64_t bytes_max, uint64_t stall_ms);
void output_budget_done(struct output_budget *b);
/* Closes what must be closed; true: there may be more to close at once. */
bool output_budget_turn(struct output_budget *b, uint64_t now_ms);
const char *output_reason_text(enum output_reason why);

void output_open(struct output_account *a, struct output_budget *b,
                 void (*close)(struct output_account *a, enum output_reason why));
void output_exempt(struct output_account *a); /* from now on, until output_forget */
void output_change(struct output_account *a, uint64_t bytes, uint64_t now_ms);
void output_took(struct output_account *a, uint64_t bytes, uint64_t now_ms);
void output_forget(struct output_account *a); /* the connection has gone */

static inline void output_set(struct output_account *a, uint64_t bytes, uint64_t now_ms)
{
    if (a->budget && bytes != a->bytes)
        output_change(a, bytes, now_ms);
}

#endif
