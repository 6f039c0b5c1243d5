/* SPDX-License-Identifier: Apache-2.0
 * libcairn: locks and elections. cairn.h includes this header; do not include it alone.
 *
 *     struct cairn_lock_request q = {.name = cairn_text("jobs/cleanup"), .ttl_seconds = 10};
 *     struct cairn_lock *lock;
 *     if (cairn_lock_acquire(client, &q, on_change, NULL, &lock, &error) == CAIRN_OK) {
 *         ...
 *         cairn_lock_release(lock, &error);
 *     }
 *
 * The keys are those of etcd's clients: NAME/LEASE, where LEASE is the lease's id in hexadecimal. The key that
 * was created first holds the lock. So these functions, `etcdctl lock`, `etcdctl elect`, etcd's Go client and
 * the Lock and Election services exclude each other. The library uses transactions and not the Lock service: a
 * call of that service ends with the connection, and nobody knows then whether it has the lock. Each step here
 * can be repeated at another member.
 *
 * An election is a lock whose keys have values: the candidate that holds the lock is the leader.
 *
 * Safety. A program can be paused for longer than its lease lives, and believe for a moment that it holds a
 * lock that another has. Send `revision` of the lock along with what it protects, and let the receiver refuse
 * a lower revision than one that it has seen. The library reports a loss no later than the lease's end on the
 * server, if the program's thread runs at all: it counts the TTL from the moment that a refresh was sent. */
#ifndef CAIRN_LOCK_H
#define CAIRN_LOCK_H

#include "cairn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A lock that is wanted or held. It has a lease of its own, which the library keeps alive. */
struct cairn_lock;

enum cairn_lock_state {
    CAIRN_LOCK_HELD, /* the program has the lock */
    /* The program does not have the lock, and will not get it. No more callbacks; others may have it. The error:
     *
     *   CAIRN_LOST      the lease or the key was removed, or the lease expired on the server
     *   CAIRN_TIMEOUT   before HELD: the deadline of the request. After it: no member was reached for a TTL
     *   CAIRN_CONFLICT  `no_wait`, and another one has the lock
     *   CAIRN_CANCELED  by the cancel of the request
     *   any other       the server refused it: CAIRN_DENIED, CAIRN_UNAUTHENTICATED ... */
    CAIRN_LOCK_ENDED
};

struct cairn_lock_info {
    bool is_held;
    int64_t lease;    /* 0 = not granted yet */
    int64_t revision; /* of the key's creation: a fencing token, greater than that of any holder before */
    char key[1100];   /* text of the key; it holds the name's bytes as they are */
    size_t key_size;
};

struct cairn_lock_request {
    struct cairn_bytes name;  /* 1 to 1,024 bytes */
    struct cairn_bytes value; /* of the key: what a candidate proposes; empty for a lock */
    int ttl_seconds;          /* of the lease; 0 = 15. Others get the lock so long after this program dies */
    bool no_wait;             /* end with CAIRN_CONFLICT instead of waiting for another holder */
    uint32_t timeout_ms;      /* of the wait; 0 = no limit */
    struct cairn_cancel *cancel; /* of the wait; NULL = none */
};

/* Wants a lock and does not wait. The callback tells when the program has it, and when it ends. */
int cairn_lock_start(struct cairn_client *c, const struct cairn_lock_request *request,
                     void (*callback)(struct cairn_lock *lock, enum cairn_lock_state state,
                                      const struct cairn_error *error, void *arg),
                     void *arg, struct cairn_lock **ret_lock, struct cairn_error *error);
/* The same, and waits until the program has the lock. With an error there is no lock to release. The callback
 * (NULL = none) then tells only the end of a lock that was held. */
int cairn_lock_acquire(struct cairn_client *c, const struct cairn_lock_request *request,
                       void (*callback)(struct cairn_lock *lock, enum cairn_lock_state state,
                                        const struct cairn_error *error, void *arg),
                       void *arg, struct cairn_lock **ret_lock, struct cairn_error *error);
int cairn_lock_now(struct cairn_lock *lock, struct cairn_lock_info *ret); /* without a request */
/* Replaces the value of the key of a lock that is held: another proposal of the leader. CAIRN_LOST: it is not
 * held any more. */
int cairn_lock_set_value(struct cairn_lock *lock, struct cairn_bytes value, struct cairn_error *error);
/* Ends the lock, in any state, and frees it: the next one in the queue gets it at once. It waits at most the
 * command timeout, and not at all in a callback. With an error the lease may live on, for its TTL at most.
 * NULL is allowed. After the return the callback never runs again. */
int cairn_lock_release(struct cairn_lock *lock, struct cairn_error *error);

/* ---- the leader of an election ------------------------------------------------------------------------ */

struct cairn_leader_watch;
struct cairn_leader {
    bool is_elected;               /* false: there is none now */
    struct cairn_bytes key, value; /* of the holder: what it proposed last */
    int64_t revision;              /* of the key's creation: it grows with each leader */
};
/* Follows the holder of a lock, from the first state on. It may miss states, but never the last one. `error`
 * is not NULL in the last callback only: the server refused it. */
int cairn_leader_start(struct cairn_client *c, struct cairn_bytes name,
                       void (*callback)(struct cairn_leader_watch *w, const struct cairn_leader *now,
                                        const struct cairn_error *error, void *arg),
                       void *arg, struct cairn_leader_watch **ret_watch, struct cairn_error *error);
void cairn_leader_stop(struct cairn_leader_watch *w); /* as cairn_watch_stop */

#ifdef __cplusplus
}
#endif

#endif
