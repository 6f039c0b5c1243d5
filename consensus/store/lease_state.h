/* SPDX-License-Identifier: Apache-2.0
 * Private header of lease.c and lease_walk.c: the structs of the lease table. */
#ifndef CONSENSUS_STORE_LEASE_STATE_H
#define CONSENSUS_STORE_LEASE_STATE_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "consensus/store/keyset.h"
#include "consensus/store/lease.h"

struct lease_key;

/* The progress of a key check: `last` and all keys before it in the ring are OK. The key after it is refused,
 * or not checked yet. The ring itself: none is checked. */
struct lease_mark {
    struct lease_key_check check;
    struct link *last;
};

struct lease {
    int64_t id;
    int64_t ttl_s;
    int64_t remaining_s; /* the last checkpoint in the log, 0 = none */
    uint64_t expires_ms; /* on a primary */
    uint32_t epoch;
    bool rest_is_on_way; /* lease_checkpoints returned a rest that has not come back through the log */
    bool clears_rest;    /* renewed while a checkpoint shortens it: a checkpoint of 0 must go through the
                            log */
    struct heap_node expiry, checkpoint;
    uint64_t number;      /* of its grant: the order of the table's leases */
    struct link in_table; /* table's current or old */
    struct link in_all;   /* table's all */
    struct link keys;     /* lease_key.link */
    size_t key_count;
    struct lease_mark *marks; /* the one that was used last first */
    size_t mark_count, mark_capacity;
};

struct lease_key {
    struct lease *lease;
    struct link link;
    struct keyset_node node;
};

struct lease_table {
    int64_t min_ttl_s;
    uint64_t checkpoint_interval_ms;
    bool is_primary;
    uint32_t epoch, demoted; /* demoted: the epoch of the last demotion */
    uint64_t promoted_ms, extend_ms;
    struct link current, old; /* leases of this epoch; of an earlier one; in the order of their promotion */
    struct link all;          /* in the order of their numbers */
    uint64_t next_number;
    struct link walks;  /* walks that still collect */
    struct map seconds; /* of started clocks: second -> number of leases that end in it, or the next second to
                           try */
    struct map leases;  /* id -> struct lease */
    struct heap expiries, checkpoints;
    struct keyset keys;
    size_t long_count; /* leases of many keys */
};

/* lease.c: the end of the lease on a primary, also before its clock was started; 0 elsewhere. */
uint64_t lease_end_ms(const struct lease_table *t, const struct lease *l);

/* lease_walk.c: called right before the key, or the lease, is added or removed. */
void lease_walks_note_key(struct lease_table *t, const struct lease *l, const struct lease_key *k,
                          bool is_coming);
void lease_walks_note_end(struct lease_table *t, const struct lease *l);
void lease_walks_forget_table(struct lease_table *t);

#endif
