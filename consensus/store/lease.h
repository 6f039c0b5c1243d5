/* SPDX-License-Identifier: Apache-2.0
 * Leases: which exist, what hangs on them, when they end. Pure: time is an argument (milliseconds of the
 * monotonic clock), changes come from the log, and only a primary (the leader) lets time pass.
 *
 * A lease lives at least its TTL: now_ms must not be older than the request it is used for. Expiry is only a
 * proposal: a lease goes when the log says so. */
#ifndef CONSENSUS_STORE_LEASE_H
#define CONSENSUS_STORE_LEASE_H

#include "base/buf.h"
#include "base/err.h"

struct lease_table;

#define LEASE_TTL_MAX                9000000000LL /* seconds; etcd's own limit */
#define LEASE_CHECKPOINT_INTERVAL_MS 300000 /* leases with more than this left are checkpointed so often */
#define LEASE_EXPIRE_PER_SECOND      750    /* a new primary spreads expiries to at most so many, as etcd */

struct lease_table *lease_table_new(int64_t min_ttl_s);
void lease_table_free(struct lease_table *t);
/* Another interval than LEASE_CHECKPOINT_INTERVAL_MS, before any lease is granted: for tests in which time is
 * short. */
void lease_table_set_checkpoint_interval(struct lease_table *t, uint64_t interval_ms);
/* Forgets all leases and keys, before a snapshot is installed; not primary afterwards. */
void lease_table_reset(struct lease_table *t);

/* From the log: ERR_LEASE_EXISTS, ERR_LEASE_TTL_TOO_LARGE, ERR_LEASE_NOT_FOUND (id 0, as etcd). A TTL under
 * the minimum is raised. ret_ttl_s is what was really granted. now_ms matters on a primary only. */
MUST_CHECK int lease_grant(struct lease_table *t, int64_t id, int64_t ttl_s, uint64_t now_ms,
                           int64_t *ret_ttl_s);
/* Removes the lease; its keys were taken with lease_keys and deleted by the caller before. */
MUST_CHECK int lease_revoke(struct lease_table *t, int64_t id);
/* Restores at start, before any promote: remaining_s 0 = full TTL. */
void lease_restore(struct lease_table *t, int64_t id, int64_t ttl_s, int64_t remaining_s);
/* A checkpoint from the log: where the clock starts at the next promote. 0 = full TTL. */
void lease_set_remaining(struct lease_table *t, int64_t id, int64_t remaining_s);

bool lease_exists(const struct lease_table *t, int64_t id);
/* The store tells which key hangs on which lease; the key is copied. attach moves it from an older lease. The
 * lease of an attach exists. Detaching what does not hang there does nothing. */
void lease_attach(struct lease_table *t, int64_t id, struct slice key);
void lease_detach(struct lease_table *t, int64_t id, struct slice key);
/* The keys in byte order, borrowed until the next change of this lease: *ret_keys is freed by the caller
 * (mem_free). ERR_LEASE_NOT_FOUND. */
MUST_CHECK int lease_keys(const struct lease_table *t, int64_t id, struct slice **ret_keys,
                          size_t *ret_count);
/* So few and short that they may be looked at in one turn; true where there is no such lease. */
bool lease_has_few_keys(const struct lease_table *t, int64_t id);

size_t lease_key_count(const struct lease_table *t, int64_t id);
bool lease_has_key(const struct lease_table *t, int64_t id, struct slice key);

/* A question about a key: while these are equal, so is the answer. */
struct lease_question {
    const void *asker;
    uint64_t revision;
    bool is_write, leaves_out; /* leaves_out: one key, always the same of this lease */
};

/* check of all keys of the lease, in no order; returns the first error. It is remembered for the latest
 * questions how far all keys were OK, or which was not: then only the keys that came since are looked at, and
 * at least one. asker NULL: nothing is remembered. OK when there is no such lease. */
MUST_CHECK int lease_check_keys(struct lease_table *t, int64_t id, const struct lease_question *q,
                                int (*check)(void *arg, struct slice key), void *arg);
/* At most max keys, in no order; *position is NULL at the begin, and good while no key of this lease comes or
 * goes. Fewer than max: these were the last. */
size_t lease_some_keys(const struct lease_table *t, int64_t id, void **position, struct slice *ret_keys,
                       size_t max);

/* All keys of a lease in byte order, or all leases as lease_list gives them, a part at a time. Leases and
 * keys may come and go between two steps: the result is that of the moment at which the walk began.
 * lease_walk_step until it is ready, then lease_walk_take_* until it is taken. */
struct lease_walk;
struct lease_walk *lease_walk_keys(struct lease_table *t, int64_t id); /* NULL: there is no such lease */
struct lease_walk *lease_walk_all(struct lease_table *t);
void lease_walk_free(struct lease_walk *w);
/* Takes from *units what it did. ERR_LEASE_NOT_FOUND: the lease has ended, or the table was reset, before all
 * was gathered; ERR_LIMIT: more bytes of keys than a message may have. */
MUST_CHECK int lease_walk_step(struct lease_walk *w, int64_t *units, bool *ret_is_ready);
/* The keys live until the walk is freed. */
size_t lease_walk_take_keys(struct lease_walk *w, int64_t *units, struct slice *ret_keys, size_t max);
size_t lease_walk_take_ids(struct lease_walk *w, int64_t *units, int64_t *ret_ids, size_t max);
bool lease_walk_is_taken(const struct lease_walk *w);

/* Leadership. promote gives every lease its full TTL (or its checkpointed rest) plus extend_ms; demote stops
 * all clocks at once, in the same turn in which leadership ends. Both take the same time however many leases
 * there are: promote starts the first 1,000 clocks itself, lease_start_clocks the others, some at a time, and
 * a lease that is renewed, or asked for, has its clock started then. Until then it does not end. */
void lease_promote(struct lease_table *t, uint64_t now_ms, uint64_t extend_ms);
/* Starts at most max clocks; true: there are more to start. */
bool lease_start_clocks(struct lease_table *t, size_t max);
void lease_demote(struct lease_table *t);
bool lease_is_primary(const struct lease_table *t);

/* Primary only (else ERR_NOT_PRIMARY_LESSOR). A lease whose time is up, or whose revocation is proposed, is
 * never renewed: ERR_LEASE_NOT_FOUND. */
MUST_CHECK int lease_renew(struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_ttl_s);
/* True: the log holds, or may soon hold, a shortened rest for this lease. Then a renewal is answered only
 * after a checkpoint of 0 went through the log, else the next leader would end the lease before its time
 * (etcd does the same). lease_renew also makes that checkpoint due at once in lease_checkpoints. */
bool lease_is_checkpointed(const struct lease_table *t, int64_t id);
/* The shortened rest that the log holds: the same on all members that have applied the same. 0 = none. */
int64_t lease_logged_rest(const struct lease_table *t, int64_t id);
/* remaining in whole seconds (the full TTL on a member that is not primary), -1 and granted 0 when there is
 * no such lease (OK). */
void lease_time_to_live(const struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_remaining_s,
                        int64_t *ret_granted_s);
/* Ids whose time is up, at most max, earliest first; each is handed out again only after retry_ms (the
 * proposal may be lost). */
size_t lease_expired(struct lease_table *t, uint64_t now_ms, uint64_t retry_ms, int64_t *ret_ids, size_t max);
/* Milliseconds until the next expiry, UINT64_MAX = none or not primary. */
uint64_t lease_next_expiry_ms(const struct lease_table *t, uint64_t now_ms);
/* All ids sorted by expiry (by id where equal or not primary); caller frees with mem_free. */
size_t lease_list(const struct lease_table *t, int64_t **ret_ids);
size_t lease_count(const struct lease_table *t);
/* Leases whose rest should be written to the log (longer than 5 min, not done for 5 min): id and remaining.
 */
size_t lease_checkpoints(struct lease_table *t, uint64_t now_ms, int64_t *ret_ids, int64_t *ret_remaining_s,
                         size_t max);

#endif
