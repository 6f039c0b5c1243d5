/* SPDX-License-Identifier: Apache-2.0
 * Private declarations of the files behind registry.h: requests as pending operations
 * (consensus/pending_op.h), and the steps that all writes share.
 *
 * The life of a write:
 *   1. The request decides on this member's view, which may be behind the log.
 *   2. It proposes one transaction that compares everything on which it was decided: the mod revision of the
 *      key, and that the session exists (its mod revision, where another instance joins a session that was
 *      made for one instance alone).
 *   3. After a failed compare it waits until the view shows the newer state, and decides again. After
 *      REGISTRY_ATTEMPTS_MAX failed compares it ends with ERR_CONFLICT.
 *   4. It ends when the view shows the write, so that its client can read the write from this member without
 *      a barrier.
 *
 * A request that would change nothing (the same document again) is decided again after a barrier, and ends
 * without a write.
 *
 * A write whose caller has canceled it, or has disconnected, continues: a lease that it granted must not be
 * left over. */
#ifndef REGISTRY_REGISTRY_PRIVATE_H
#define REGISTRY_REGISTRY_PRIVATE_H

#include "consensus/pending_op.h"
#include "registry/janitor.h"
#include "registry/quota.h"
#include "registry/registry.h"
#include "registry/registry_check.h"
#include "registry/registry_event.h"
#include "registry/registry_report.h"
#include "proto/txn.h"

struct registry {
    struct pending_ops pending_ops;
    struct kv *kv;
    struct feed *feed;
    struct catalog *catalog;
    struct janitor *janitor;
    struct checks *checks;
    struct reports *reports;
    struct events *events;           /* NULL = they are not stored */
    struct projections *projections; /* NULL = none */
    struct registry_options options; /* member is a copy */
    struct buf names;                /* of the key being parsed */
    struct quota quota;

    /* registry_watch.c */
    struct strmap watched;    /* namespace -> struct watch_list, of watches of many services */
    struct link checking;     /* session_right.c: struct session_wait, in the order in which they came */
    struct link draining;     /* registry_drain.c: drains that wait for acknowledgements */
    bool was_acknowledged;    /* in this turn: a subscriber has acknowledged or left */
    struct link *notify_next; /* the next link of the walk under way */
    struct watch_list *notify_list; /* the list of that walk */
    size_t subscriber_count;
    bool is_notifying; /* in catalog_end_some */
};

/* First in a request's struct. */
struct registry_op {
    struct pending_op pending_ops; /* first */
    struct registry *registry;
    struct registry_request *request;
    struct registry_result result;
    void (*on_free)(struct registry_op *op); /* may be NULL */
    struct quota_claim claim;
    uint64_t source;             /* registry_request.source */
    struct author author;        /* registry_request.author */
    int64_t opened;              /* the session that it opened; 0 = none */
    struct registry_proof proof; /* has_proof */
    bool has_proof;
    bool is_admitted;                       /* registry_admit */
    char session_key[SESSION_KEY_SIZE + 1]; /* of a session that it opens */
};

/* A new op. size: of the struct that begins with it, zeroed. q may be NULL: no caller waits. */
void *registry_op_new(struct registry *r, struct registry_request *q, size_t size);
int64_t registry_wall_ms(const struct registry *r);
/* True: users are enabled, and the client neither opened the session nor shows its key, so it acts on what
 * another one holds. s NULL: there is no session, and nobody holds it. */
bool registry_is_by_operator(const struct registry_op *op, const struct catalog_session *s);
/* Adds a record of the audit trail to the transaction; returns its text, for audit_written. */
struct slice registry_audit(struct registry_op *op, struct txn *txn, enum txn_side side, const char *kind,
                            const char *operation, const struct registry_key *key);
/* pending_op_written, and sets the result's revision. */
void registry_op_written(struct registry_op *op, int64_t revision);
/* Ends it with ERR_NOT_FOUND: there is no such instance. */
void registry_refuse_absent(struct registry_op *op, const struct registry_key *key);

/* registry_watch.c */
void registry_notify(struct registry *r, const struct catalog_change *change);
void registry_watch_done(struct registry *r);

/* The subscribers of a service, which need not exist: of its own watches and of those of many services. */
void registry_each_subscriber(const struct registry *r, const struct registry_key *key,
                              void (*fn)(void *arg, const struct registry_watch *w), void *arg);

/* registry_metric.c: sets the gauges at each scrape. */
void registry_metric_collect(void *arg, struct buf *out);

/* registry_drain.c */
void registry_drain_again(struct registry *r);

/* session_right.c: a check that waits for registry_session_check. */
struct session_wait {
    struct link link; /* list_remove ends the wait */
    int64_t session;
    const struct auth_who *who; /* borrowed */
    /* The check takes little time now, until the next turn. It may have to wait again after that. */
    void (*ready)(struct session_wait *w);
};
/* The caller sets session, who and ready before. */
void registry_session_wait(struct registry *r, struct session_wait *w);
void registry_session_checks(struct registry *r); /* in each turn */

/* registry_write.c: shared parts of all writes. */
/* The names, checked and copied into the op's arena, and the store's key of that kind. False: the op has
 * ended with a sentence. */
bool registry_write_begin(struct registry_op *op, const struct registry_key *key, enum name_kind kind,
                          struct registry_key *ret_key, struct slice *ret_at);
struct slice registry_key_text(struct arena *a, enum name_kind kind, const struct registry_key *key);
struct slice registry_session_key(struct arena *a, int64_t session);
/* A new session's document: its owner and the digest of a new key, which the op keeps. */
void registry_sign_session(struct registry_op *op, struct session *doc);
/* The reason why the client may not use this session; NULL: it may. */
const char *registry_session_refusal(const struct registry_op *op, const struct catalog_session *s);
/* The document that repairs a damaged session, for a client that may use it: the document from before the
 * damage. If that is not known, the client becomes the owner, provided that it may write all instances of the
 * session. ttl_s: of its lease. */
struct slice registry_session_repair(const struct registry_op *op, const struct catalog_session *s,
                                     uint32_t ttl_s, struct arena *a);
struct catalog_instance *registry_find(const struct registry *r, const struct registry_key *key);
struct quota_key registry_quota_key(const struct registry_key *key);
struct slice registry_copy(struct arena *a, struct slice s);
/* For the transaction that deregisters the instance: also ends its drain, and keeps the operator's part of
 * the override. Compares the override's mod revision. False: there is no drain, and nothing was added. */
bool registry_end_drain(struct txn *txn, const struct catalog_instance *i, struct slice override_key);
/* True: a write with this error may have been applied. */
bool registry_is_unknown(int err);
/* Checks the bytes that a client puts against consensus/write_limits.h, once a request. ns empty: the write
 * belongs to no namespace. False: the op has ended with a sentence. */
bool registry_admit(struct registry_op *op, struct slice ns, size_t bytes);
/* Revokes the lease in the background. A lease that cannot be revoked expires. */
void registry_revoke(struct registry *r, int64_t lease);

#define REGISTRY_ATTEMPTS_MAX 8 /* failed compares, then ERR_CONFLICT */

#endif
