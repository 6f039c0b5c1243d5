/* SPDX-License-Identifier: Apache-2.0
 * Lease table: leases, the keys attached to them, and their ends. Pure: time is an argument (milliseconds of
 * the monotonic clock), changes come from the log, and time passes only on a primary (the leader).
 *
 * Invariants:
 * - A lease lives at least its TTL: now_ms must not be older than the request for which it is used.
 * - Expiry only proposes: a lease ends when the log revokes it. */
#ifndef CONSENSUS_STORE_LEASE_H
#define CONSENSUS_STORE_LEASE_H

#include "base/buf.h"
#include "base/err.h"

struct lease_table;

#define LEASE_TTL_MAX                9000000000LL /* seconds; etcd's own limit */
#define LEASE_CHECKPOINT_INTERVAL_MS 300000       /* leases with more time left are checkpointed so often */
#define LEASE_EXPIRE_PER_SECOND                                                                              \
    750 /* a new primary spreads expiries: at most this many a second, as
                                               etcd */

struct lease_table *lease_table_new(int64_t min_ttl_s);
void lease_table_free(struct lease_table *t);
/* Sets another interval than LEASE_CHECKPOINT_INTERVAL_MS before any lease is granted; for tests with short
 * times. */
void lease_table_set_checkpoint_interval(struct lease_table *t, uint64_t interval_ms);
/* Removes all leases and keys before a snapshot is installed; the table is not primary afterwards. */
void lease_table_reset(struct lease_table *t);

/* Applies a grant of the log: ERR_LEASE_EXISTS, ERR_LEASE_TTL_TOO_LARGE, ERR_LEASE_NOT_FOUND (id 0, as etcd).
 * A TTL below the minimum is raised; ret_ttl_s is the granted TTL. now_ms is used on a primary only. */
MUST_CHECK int lease_grant(struct lease_table *t, int64_t id, int64_t ttl_s, uint64_t now_ms,
                           int64_t *ret_ttl_s);
/* Removes the lease; the caller has read its keys with lease_keys and deleted them. */
MUST_CHECK int lease_revoke(struct lease_table *t, int64_t id);
/* Restores a lease at the start, before any promote; remaining_s 0 = full TTL. */
void lease_restore(struct lease_table *t, int64_t id, int64_t ttl_s, int64_t remaining_s);
/* Applies a checkpoint of the log: the time with which the next promote starts. 0 = full TTL. */
void lease_set_remaining(struct lease_table *t, int64_t id, int64_t remaining_s);

bool lease_exists(const struct lease_table *t, int64_t id);
/* The store reports the lease of a key; the key is copied. attach moves it from an older lease. The lease of
 * an attach must exist. detach of a key that is not attached does nothing. */
void lease_attach(struct lease_table *t, int64_t id, struct slice key);
void lease_detach(struct lease_table *t, int64_t id, struct slice key);
/* The keys in byte order, borrowed until the next change of this lease. The caller frees the array *ret_keys
 * (mem_free). ERR_LEASE_NOT_FOUND. */
MUST_CHECK int lease_keys(const struct lease_table *t, int64_t id, struct slice **ret_keys,
                          size_t *ret_count);
/* True if the keys are few and short enough to be read in one turn, or if there is no such lease. */
bool lease_has_few_keys(const struct lease_table *t, int64_t id);

/* True if a lease has so many keys that checks of them are remembered. */
bool lease_is_any_long(const struct lease_table *t);
size_t lease_key_count(const struct lease_table *t, int64_t id);
bool lease_has_key(const struct lease_table *t, int64_t id, struct slice key);

/* The arguments of a key check. Two checks with equal arguments have the same result for the same key. */
struct lease_key_check {
    const void *user;
    uint64_t revision;
    bool is_write, leaves_out; /* leaves_out: one key is skipped, always the same of this lease */
};

/* Calls check for all keys of the lease, in no order, and returns the first error; OK when there is no such
 * lease. For the latest checks the table remembers how many keys were OK, and that the next one was not. Then
 * only the others are checked, at least one. user NULL: nothing is remembered. */
MUST_CHECK int lease_check_keys(struct lease_table *t, int64_t id, const struct lease_key_check *q,
                                int (*check)(void *arg, struct slice key), void *arg);
/* The same in parts: subtracts its cost from *units, and the table remembers how far it is, while keys come
 * and go. True: lease_check_keys checks few keys, or finds the first error soon. */
MUST_CHECK bool lease_check_some(struct lease_table *t, int64_t id, const struct lease_key_check *q,
                                 int (*check)(void *arg, struct slice key), void *arg, int64_t *units);
/* Returns at most max keys, in no order. *position is NULL at the start, and valid while no key of this lease
 * is added or removed. Fewer than max: these were the last. */
size_t lease_some_keys(const struct lease_table *t, int64_t id, void **position, struct slice *ret_keys,
                       size_t max);

/* A walk over all keys of a lease in byte order, or over all leases as in lease_list, in parts. Leases and
 * keys may come and go between two steps: the result is that of the moment when the walk began. Call
 * lease_walk_step until it is ready, then lease_walk_take_* until it is empty. */
struct lease_walk;
struct lease_walk *lease_walk_keys(struct lease_table *t, int64_t id); /* NULL: there is no such lease */
struct lease_walk *lease_walk_all(struct lease_table *t);
void lease_walk_free(struct lease_walk *w);
/* Subtracts its cost from *units. ERR_LEASE_NOT_FOUND: the lease ended, or the table was reset, before all
 * keys were collected. ERR_LIMIT: the keys have more bytes than a message may have. */
MUST_CHECK int lease_walk_step(struct lease_walk *w, int64_t *units, bool *ret_is_ready);
/* The keys live until the walk is freed. */
size_t lease_walk_take_keys(struct lease_walk *w, int64_t *units, struct slice *ret_keys, size_t max);
size_t lease_walk_take_ids(struct lease_walk *w, int64_t *units, int64_t *ret_ids, size_t max);
bool lease_walk_is_taken(const struct lease_walk *w);

/* Starts and stops the clocks. lease_promote gives every lease its full TTL (or its checkpointed rest) plus
 * extend_ms. lease_demote stops all clocks at once, in the turn in which leadership ends. Both take the same
 * time for any number of leases: promote starts the first 1,000 clocks, and lease_start_clocks starts the
 * others in parts. A lease that is renewed or read gets its clock started then. A lease whose clock is not
 * started does not end. */
void lease_promote(struct lease_table *t, uint64_t now_ms, uint64_t extend_ms);
/* Starts at most max clocks; true: there are more to start. */
bool lease_start_clocks(struct lease_table *t, size_t max);
void lease_demote(struct lease_table *t);
bool lease_is_primary(const struct lease_table *t);

/* Renews a lease on a primary (else ERR_NOT_PRIMARY_LESSOR). A lease whose time is over, or whose revocation
 * is proposed, is never renewed: ERR_LEASE_NOT_FOUND. */
MUST_CHECK int lease_renew(struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_ttl_s);
/* True: the log holds, or may soon hold, a shortened rest of this lease. Then a renewal is answered only
 * after a checkpoint of 0 went through the log; otherwise the next leader would end the lease too early (etcd
 * does the same). lease_renew also makes that checkpoint due at once in lease_checkpoints. */
bool lease_is_checkpointed(const struct lease_table *t, int64_t id);
/* The shortened rest in the log, equal on all members that have applied the same entries. 0 = none. */
int64_t lease_logged_rest(const struct lease_table *t, int64_t id);
/* The remaining time in whole seconds (the full TTL on a member that is not primary). No such lease:
 * remaining -1, granted 0 (OK). */
void lease_time_to_live(const struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_remaining_s,
                        int64_t *ret_granted_s);
/* Ids whose time is over, at most max, earliest first. Each is returned again only after retry_ms, because
 * its proposal may be lost. */
size_t lease_expired(struct lease_table *t, uint64_t now_ms, uint64_t retry_ms, int64_t *ret_ids, size_t max);
/* Milliseconds until the next expiry, UINT64_MAX = none or not primary. */
uint64_t lease_next_expiry_ms(const struct lease_table *t, uint64_t now_ms);
/* All ids sorted by expiry (by id where it is equal, or not on a primary). The caller frees them with
 * mem_free. */
size_t lease_list(const struct lease_table *t, int64_t **ret_ids);
size_t lease_count(const struct lease_table *t);
/* Leases whose rest should be written to the log (more than 5 minutes left, not written for 5 minutes): id
 * and remaining seconds. */
size_t lease_checkpoints(struct lease_table *t, uint64_t now_ms, int64_t *ret_ids, int64_t *ret_remaining_s,
                         size_t max);

#endif
