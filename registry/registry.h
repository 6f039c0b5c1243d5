/* SPDX-License-Identifier: Apache-2.0
 * Public API of the service registry: services, instances, sessions, operator overrides, drains, subscribers.
 *
 * Front ends (HTTP, streams, DNS, http_sd) include this header alone; they read the catalog. Loop thread
 * only.
 *
 *   - A request is a struct that the caller embeds and keeps until done. done is called exactly once, never
 *     from inside the call that started it, and not after registry_cancel.
 *   - Slices and documents of a request are copied. A result is valid only during done.
 *   - Outcomes are those of consensus/kv.h: a write that ended with ERR_TIMEOUT (or a variant) or ERR_STOPPED
 *     may have been applied; every other error means that nothing was changed. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "consensus/kv.h"
#include "registry/audience.h"
#include "registry/catalog.h"
#include "registry/check_prober.h"
#include "registry/document.h"
#include "registry/event_journal.h"
#include "registry/name.h"
#include "registry/projection.h"
#include "registry/select.h"

struct registry;

struct registry_options {
    struct kv *kv;
    const char *member;   /* this member's name, for subscribers */
    uint64_t txn_ops_max; /* the kv's; 0 = 128 */
    /* Namespaces that are not empty; services and instances (and as many overrides) of one namespace;
     * sessions of all. Each member checks them when a request begins, so concurrent requests on several
     * members can exceed them a little. 0 = no limit. */
    size_t namespaces_max, services_max, instances_max, sessions_max;
    size_t checks_max,
        namespace_checks_max;        /* instances with a check: of all, of one namespace; 0 = no limit */
    size_t check_concurrency;        /* checks that this member runs at once; 0 = no limit */
    struct check_prober *prober;     /* borrowed; NULL: this member runs no checks */
    struct projections *projections; /* takes it; NULL = none */
    bool session_keys;               /* a session that has a key requires it even without users */
    bool has_events;                 /* changes of services are stored as events while this member leads */
    struct audit *audit;             /* borrowed; NULL = none */
    struct write_limits *limits;     /* borrowed; NULL = none */
    const struct namespace_view *namespaces; /* borrowed; NULL = none: quotas, deletions */
};

struct registry *registry_new(const struct registry_options *options);
/* Before the kv is closed, and after the front ends have stopped and ended their watches. Pending requests
 * end with ERR_STOPPED. */
void registry_free(struct registry *r);
/* In each turn of the loop, after kv_turn: follows the keys, notifies watches, ends requests, runs the
 * janitor. Schedules another turn if there is more to do. */
void registry_turn(struct registry *r);
/* False until the state has been read, and while it is read again: no view may be shown (503). */
bool registry_is_ready(const struct registry *r);
/* The view shows all changes up to this revision, which may lie outside the registry's keys. */
int64_t registry_revision(const struct registry *r);
/* No batch of changes is under way. A revision with many changes takes several turns; streams, which watch
 * many services, wait until it is complete. */
bool registry_is_settled(const struct registry *r);
/* The view of this member. It does not change between turns. */
/* The options: limits of namespaces without quotas of their own. */
const struct registry_options *registry_defaults(const struct registry *r);
struct catalog *registry_catalog(struct registry *r);

/* The projected instances that readers with these rights see (NULL: all) and, with_services, the services.
 * The caller owns it. */
struct audience *registry_audience(const struct registry *r, const struct auth_ranges *readable,
                                   bool with_services);

/* --- requests ------------------------------------------------------------------------------------------ */
struct registry_key { /* of a service (id empty) or an instance; names are not encoded */
    struct slice ns, group, service, id;
};

/* A subscriber that has not acknowledged a drain. Only `member` is set: that member did not answer. */
struct registry_waiting {
    struct slice client_id, peer, member;
};

struct registry_result {
    int64_t revision;        /* of the write, or of the view */
    bool is_unchanged;       /* the same document exists already: nothing was written */
    int64_t session;         /* register, session requests */
    const char *session_key; /* of the session that this request opened; never logged. NULL = none */
    uint32_t ttl_s;
    size_t instances;                       /* session_close: instances that were deleted */
    size_t changed;                         /* register: instances that were written */
    size_t acknowledged;                    /* drain: subscribers that have acknowledged it */
    const struct registry_waiting *waiting; /* drain: the others, up to 100 */
    size_t waiting_count;                   /* drain: of all the others */
    const char *error; /* with an error: one sentence for the client; NULL: use err_text */
};

/* A client's proof of its right to a session (registry_proof.c has the table). To register into a session,
 * keep it alive or close it, one of these must hold:
 *   - the client is an operator;
 *   - it shows the session's key;
 *   - it is the user that opened the session;
 *   - the session has no known owner, and the client may write all of its instances;
 *   - users are not enabled, and no key is required.
 * A wrong key is always refused. */
struct registry_proof {
    struct slice user;  /* empty while users are not enabled */
    struct slice key;   /* the session key; empty = none */
    bool has_users;     /* users are enabled */
    bool is_operator;   /* may write the session's own key in the store */
    int64_t may_all_of; /* has_users: the client may write all instances of this session */
};

struct registry_request {
    /* Copied when the request begins; NULL: this process itself sends the request and needs no proof. */
    const struct registry_proof *proof;
    void (*done)(struct registry_request *q, int err, const struct registry_result *result);
    /* The client that writes, copied when the request begins; NULL: this process. Its permissions
     * (server/auth/README.md) are checked again when the write is applied, on every member: ERR_USER_EMPTY,
     * ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED. */
    const struct auth_who *who;
    struct author author; /* of settings and overrides; copied when the request begins */
    uint64_t source; /* sources_id of the client's address, for --registry-max-sessions; 0 = not counted */
    void *impl;      /* private */
};

/* Errors of all writes, each with a sentence in result->error:
 *   ERR_INVALID            a name (name_check) or a field is wrong
 *   ERR_QUOTA              a limit is reached
 *   ERR_PERMISSION_DENIED  the client has no right to the session (struct registry_proof)
 *   ERR_CONFLICT           eight concurrent writes were faster */

/* An instance with a check (doc->check) belongs to no session: session must be 0, and the result has none.
 * Without a check, session 0: the session that the instance belongs to if it is alive, else a new one with the document's ttl.
 * The same document again only keeps the session alive. ERR_SESSION_GONE: the given session does not
 * exist. */
void registry_register(struct registry *r, struct registry_request *q, const struct registry_key *key,
                       const struct instance *doc, int64_t session);
struct registry_item {
    struct registry_key key;
    const struct instance *doc; /* its ttl_s is not used */
};
#define REGISTRY_LIST_MAX 100 /* and not more than txn_ops_max */
/* Registers several instances in one transaction, all or none. An error of one of them names its place in the
 * list: "instances[2]: host is missing". All without a check belong to one session: the given one; with
 * session 0 the one that they share already, if its TTL is ttl_s; else a new one, which does not end with its
 * instances. Instances that are as wanted are not written; if all are, the session is kept alive. */
void registry_register_list(struct registry *r, struct registry_request *q, const struct registry_item *list,
                            size_t count, uint32_t ttl_s, int64_t session);
/* ERR_NOT_FOUND. A session that was made for this instance alone ends with it. */
void registry_deregister(struct registry *r, struct registry_request *q, const struct registry_key *key);

/* A client's report for an instance with a TTL check: its state (up, warn, down) and an output of at most CHECK_OUTPUT_MAX
 * bytes. It is written if it changes something, or if the member that holds the check does not confirm it; else
 * is_unchanged is set. ERR_NOT_FOUND; ERR_CONFLICT: the instance has no TTL check. */
void registry_report(struct registry *r, struct registry_request *q, const struct registry_key *key,
                     enum instance_state state, struct slice output);

void registry_session_open(struct registry *r, struct registry_request *q, const struct session *doc);
void registry_session_heartbeat(struct registry *r, struct registry_request *q, int64_t session);
/* Deletes the session and all of its instances in one transaction. If they are too many for one, it deletes
 * the instances in parts, and the session last. */
void registry_session_close(struct registry *r, struct registry_request *q, int64_t session);
/* The session that the instance belongs to, in the view; 0 = none that exists. */
int64_t registry_session_of(const struct registry *r, const struct registry_key *key);
/* In the view: the user that opened the session is known. */
bool registry_session_has_owner(const struct registry *r, int64_t session);
bool registry_session_exists(const struct registry *r, int64_t session); /* in the view */
/* In the view: who may write all instances of the session, *ret_count of them. Errors of kv_auth_check_range,
 * with the instance in *ret_refused, valid until the return to the loop. ERR_NOT_READY: the check takes long;
 * call registry_session_prepare, and check again when it has ended. A session that does not exist has no
 * instances. */
MUST_CHECK int registry_session_check(const struct registry *r, int64_t session, const struct auth_who *who,
                                      size_t *ret_count, struct registry_key *ret_refused);
/* The slow part of the check of q->who, and of kv_auth_check_lease for the session's lease. q->done is called
 * in the turn in which it has ended: there, both checks take little time. */
void registry_session_prepare(struct registry *r, struct registry_request *q, int64_t session);

/* doc NULL deletes it (ERR_NOT_FOUND). */
void registry_put_settings(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct settings *doc);
void registry_put_override(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct override *doc);

/* Sets the instance to draining: an override with that state and the reason "drain". With does_wait, done
 * is called when every subscriber of the service on every member has acknowledged a revision that shows it.
 * At the deadline it is called with the others in result->waiting. deadline_ms 0 = 30,000; at most 600,000.
 * Deregistering the instance, or closing its session, ends the drain; the operator's own override stays. */
void registry_drain(struct registry *r, struct registry_request *q, const struct registry_key *key,
                    uint64_t deadline_ms, bool does_wait);

/* Ends when the catalog shows all that was committed before this call: a linearizable read. */
void registry_barrier(struct registry *r, struct registry_request *q);
/* Ends when the catalog has reached this revision (a resume token from another member), or with
 * ERR_TIMEOUT. */
void registry_wait_revision(struct registry *r, struct registry_request *q, int64_t revision,
                            uint64_t timeout_ms);

void registry_cancel(struct registry *r, struct registry_request *q);

/* --- watches -------------------------------------------------------------------------------------------
 * Level-triggered: a watch learns that a service changed, and reads its state. A batch is one whole
 * revision, or all that changed while the state was read again. Watches are notified when all of the batch
 * is in the view; a batch with thousands of changes takes several turns (catalog_events). From inside
 * `changed` every function of this header may be called except registry_turn and registry_free. */

/* The client of a watch: shown to operators; drains wait for its acknowledgement. The front end owns it,
 * and keeps it as long as any of its watches. */
struct registry_subscriber {
    struct slice client_id;
    const char *peer;      /* address */
    const char *transport; /* "websocket", "sse", "poll" */
    struct document_map labels;
};

struct registry_watch {
    /* The service has changed (change->ids). Never called from inside registry_watch_…. A watch of many
     * services gets one call for each. It may begin and end watches, also this one. */
    void (*changed)(struct registry_watch *w, const struct catalog_change *change);
    /* Of a watch of many services: a service that fits namespace, group and prefix must fit this too. NULL =
     * none. */
    bool (*fits)(const struct registry_watch *w, const struct catalog_service *s);
    const struct registry_subscriber *subscriber; /* NULL: not shown, not waited for (long polls, DNS) */
    int64_t acknowledged;                         /* set by registry_acknowledge */
    int64_t since;                                /* revision of the view with which it began */
    /* Private. */
    struct registry *registry;
    struct link link;
    struct catalog_service *service; /* held; NULL for many */
    struct slice group, prefix;      /* of many; owned */
    struct watch_list *watched;
};
/* The caller sets changed and subscriber before. */
void registry_watch_service(struct registry *r, struct registry_watch *w, const struct registry_key *key);
/* All services of a namespace (ns empty = of all; group empty = of all groups) whose names begin with prefix. */
void registry_watch_services(struct registry *r, struct registry_watch *w, struct slice ns,
                             struct slice group, struct slice prefix);
void registry_unwatch(struct registry_watch *w);
/* The client has received everything up to revision. */
void registry_acknowledge(struct registry_watch *w, int64_t revision);

/* The subscribers of a service, on all members: `seen` is called for each, then done with result->revision.
 * Members that did not answer are counted. */
struct registry_seen {
    struct slice client_id, peer, member, transport;
    struct document_map labels;
    int64_t revision; /* acknowledged */
};
struct registry_subscribers {
    struct registry_request request; /* first */
    void (*seen)(struct registry_subscribers *s, const struct registry_seen *seen);
    size_t members_silent, left_out; /* left_out: subscribers that an answer had no room for */
};
void registry_subscribers(struct registry *r, struct registry_subscribers *s, const struct registry_key *key);

/* --- events -------------------------------------------------------------------------------------------- */

/* The last EVENTS_KEPT events of a service, the newest first, as the store of this member has them. The event is
 * valid during fn. Without has_events there are those that were stored before. */
MUST_CHECK int registry_events(struct registry *r, const struct registry_key *key,
                               void (*fn)(void *arg, const struct event *e), void *arg);
/* The revision of the last change of what registry_events gives; 0 without has_events. */
int64_t registry_events_changed(struct registry *r, const struct registry_key *key);
/* The caller sets changed before. */
void registry_watch_events(struct registry *r, struct journal_watch *w, const struct registry_key *key);
void registry_unwatch_events(struct registry *r, struct journal_watch *w);

#endif
