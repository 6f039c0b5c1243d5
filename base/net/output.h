/* SPDX-License-Identifier: Apache-2.0
 * Output budget: the bytes in all connections of the process that clients have requested and not read.
 *
 * Each connection has an account. output_set updates the bytes that wait now; output_took counts the bytes
 * that the socket has accepted. A connection stops reading requests when its own output is too long. This
 * module closes connections that do not read even then:
 *
 *   stalled  The socket has accepted nothing for stall_ms.
 *   total    More than bytes_max wait in all connections. The connection that holds the most is closed, then
 *            the next one. A connection is spared in its first second and while it reads at least 1 MiB/s.
 *            Spared bytes do not count, up to 4 * bytes_max in all; beyond that no client is spared.
 *
 * Streams between members are exempt: their bytes count, but they are never closed here. A flood of clients
 * must not cost the cluster its quorum. These streams have their own bounds and timeouts. They take at most
 * half of bytes_max from the clients.
 *
 * Pure: no clock, no socket. output_set closes nothing; output_budget_turn does. */
#ifndef BASE_NET_OUTPUT_H
#define BASE_NET_OUTPUT_H

#include "base/heap.h"
#include "base/list.h"

enum output_reason { OUTPUT_STALLED, OUTPUT_TOTAL, OUTPUT_REASONS };

struct output_account;

struct output_budget {
    uint64_t bytes_max, stall_ms; /* set by the caller; 0 = no limit */
    uint64_t bytes;               /* of all accounts */
    uint64_t exempt_bytes;        /* of the exempt accounts */
    struct heap largest;          /* accounts with bytes, most first */
    struct link oldest;           /* the same accounts, the one without progress for the longest time first */
    uint64_t closed[OUTPUT_REASONS];
    uint64_t check_ms; /* time of the next check */
};

struct output_account {
    struct output_budget *budget; /* NULL = nothing is counted */
    /* Closes the connection, at once or soon, and calls output_forget. */
    void (*close)(struct output_account *a, enum output_reason why);
    void (*measure)(struct output_account *a); /* NULL, or updates the account before the check */
    bool is_exempt;
    uint64_t bytes;
    struct heap_node node;                         /* in `largest`; an exempt account is in neither */
    struct link link;                              /* in `oldest` */
    uint64_t since_ms, took_ms;                    /* when bytes began to wait; last progress */
    uint64_t second_ms, second_bytes, last_second; /* bytes accepted in this second and the one before */
};

void output_budget_init(struct output_budget *b, uint64_t bytes_max, uint64_t stall_ms);
void output_budget_done(struct output_budget *b);
/* Closes connections as the rules demand; true: call it again soon, there may be more to close. */
bool output_budget_turn(struct output_budget *b, uint64_t now_ms);
const char *output_reason_text(enum output_reason why);

void output_open(struct output_account *a, struct output_budget *b,
                 void (*close)(struct output_account *a, enum output_reason why));
void output_exempt(struct output_account *a); /* from now on, until output_forget */
void output_change(struct output_account *a, uint64_t bytes, uint64_t now_ms);
void output_took(struct output_account *a, uint64_t bytes, uint64_t now_ms);
void output_forget(struct output_account *a); /* the connection is closed */

static inline void output_set(struct output_account *a, uint64_t bytes, uint64_t now_ms)
{
    if (a->budget && bytes != a->bytes)
        output_change(a, bytes, now_ms);
}

#endif
