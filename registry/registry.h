/* SPDX-License-Identifier: Apache-2.0
 * THE DOOR of registry/: services, instances, sessions, the operator's word on them, and who is looking.
 * Front ends (HTTP, streams, DNS, http_sd) come in here and nowhere else; what they read is the catalog.
 *
 * All is on the loop thread. A request is a struct that the caller embeds; its done is called exactly once,
 * never from inside the call that started it, unless registry_cancel came first. What a request was given
 * (slices, documents) is copied where it is needed later; the struct itself must live until done. A result is
 * valid only during done.
 *
 * Outcomes: as in consensus/kv.h: a write that ended with ERR_TIMEOUT (or a variant) or ERR_STOPPED may have
 * happened; every other error means that nothing was changed. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "consensus/kv.h"
#include "registry/audience.h"
#include "registry/catalog.h"
#include "registry/document.h"
#include "registry/name.h"
#include "registry/projection.h"
#include "registry/select.h"

struct registry;

struct registry_options {
    struct kv *kv;
    const char *member;   /* this member's name, for subscribers */
    uint64_t txn_ops_max; /* the kv's; 0 = 128 */
    /* Namespaces that hold something; services and instances (as many overrides) of one of them; sessions,
     * which have none, of all together. Looked at where a request comes in, so that requests on several
     * members at once may pass them by a little. 0 = no limit. */
    size_t namespaces_max, services_max, instances_max, sessions_max;
    struct projections *projections; /* taken over; NULL = none */
    bool session_keys;               /* without users, a session that has a key asks for it */
    struct write_limits *limits;     /* borrowed; NULL = none */
};

struct registry *registry_new(const struct registry_options *options);
/* Before the kv is closed, after the front ends are stopped and have ended their watches: what is pending
 * ends with ERR_STOPPED. */
void registry_free(struct registry *r);
/* In each turn of the loop, after kv_turn: follows the keys, tells watchers, ends requests, lets time act
 * (leader only). It sees to it that the loop turns again when there is more to do. */
void registry_turn(struct registry *r);
/* False until the first state is there, and while it is read anew: no view may be shown (503). */
bool registry_is_ready(const struct registry *r);
/* The view shows everything up to this revision, whoever's keys it changed: at least catalog_revision. */
int64_t registry_revision(const struct registry *r);
/* No batch of changes is under way. One revision with many changes takes several turns: what follows watches
 * of many things (streams) waits until it is over. */
bool registry_is_settled(const struct registry *r);
/* The view of this member as it is. Between turns it does not change. */
struct catalog *registry_catalog(struct registry *r);

/* Readers with these rights: what they see of projected instances (NULL: all), and, with_services, of
 * services. The caller owns it. */
struct audience *registry_audience(const struct registry *r, const struct auth_ranges *readable,
                                   bool with_services);

/* --- requests ------------------------------------------------------------------------------------------ */
struct registry_key { /* of a service (id empty) or an instance; slices as people write them */
    struct slice ns, group, service, id;
};

struct registry_waiting { /* who has not acknowledged a drain; only `member`: that one did not answer */
    struct slice client_id, peer, member;
};

struct registry_result {
    int64_t revision;        /* of the write, or of the view */
    bool is_unchanged;       /* what was put was there already: nothing was written */
    int64_t session;         /* register, session requests */
    const char *session_key; /* of a session that this request opened; told once, never logged. NULL = none */
    uint32_t ttl_s;
    size_t instances;                       /* session_close: how many went with it */
    size_t acknowledged;                    /* drain: subscribers that have seen it */
    const struct registry_waiting *waiting; /* drain: those that have not, up to 100 */
    size_t waiting_count;                   /* all of them */
    const char *error; /* with an error: one sentence for the client, or NULL: err_text serves */
};

/* What a client shows of its right to a session (README.md, "Whose session it is"). To register into a
 * session, to keep it alive or to close it, one of these must hold: the client is an operator; it shows the
 * session's key; it is the user that opened it; nobody is known to have opened it, and it may write all that
 * hangs on it; users are not enabled, and no key is asked for. A key that is shown and is another one is
 * refused. */
struct registry_proof {
    struct slice user;  /* empty while users are not enabled */
    struct slice key;   /* the session key; empty = none is shown */
    bool has_users;     /* users are enabled */
    bool is_operator;   /* may write the session's own key in the store */
    int64_t may_all_of; /* has_users: all instances of this session are the client's to write */
};

struct registry_request {
    /* Copied when the request begins; NULL: the process itself, which proves nothing. */
    const struct registry_proof *proof;
    void (*done)(struct registry_request *q, int err, const struct registry_result *result);
    /* The client that writes, copied when the request begins; NULL: the process itself. What it must be
     * allowed (server/auth/README.md) is checked again when the write is applied, on every member:
     * ERR_USER_EMPTY, ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION, ERR_PERMISSION_DENIED. */
    const struct auth_who *who;
    uint64_t source; /* sources_id of the client's address, for --registry-max-sessions; 0 = not counted */
    void *impl;      /* the door's own */
};

/* Names are checked here (name_check): ERR_INVALID with a sentence. ERR_QUOTA when a limit of the
 * namespace is reached. */

/* ERR_PERMISSION_DENIED with a sentence: the session is somebody else's (struct registry_proof). */

/* session 0: the one that it hangs on if that lives, else a new one with the document's ttl. The same
 * document again only keeps the session alive. ERR_SESSION_GONE: the given session is not there (410). */
void registry_register(struct registry *r, struct registry_request *q, const struct registry_key *key,
                       const struct instance *doc, int64_t session);
/* ERR_NOT_FOUND. A session that was made for this instance alone ends with it. */
void registry_deregister(struct registry *r, struct registry_request *q, const struct registry_key *key);

void registry_session_open(struct registry *r, struct registry_request *q, const struct session *doc);
void registry_session_heartbeat(struct registry *r, struct registry_request *q, int64_t session);
/* In one transaction with all instances that hang on it (a session with more than fit into one transaction:
 * instances first, in parts, the session last). */
void registry_session_close(struct registry *r, struct registry_request *q, int64_t session);
/* The session that the instance hangs on now, in the view; 0 = none that is there. */
int64_t registry_session_of(const struct registry *r, const struct registry_key *key);
/* In the view: was it opened by a user that is known? */
bool registry_session_has_owner(const struct registry *r, int64_t session);
/* In the view: fn for each instance that hangs on it, until fn says false. False: there is no such session.
 */
bool registry_session_instances(const struct registry *r, int64_t session,
                                bool (*fn)(void *arg, const struct registry_key *key), void *arg);

/* doc NULL takes it away (ERR_NOT_FOUND). */
void registry_put_settings(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct settings *doc);
void registry_put_override(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct override *doc);

/* Sets the instance to draining (an override with that state, reason "drain"); with wait, done comes when
 * every subscriber of the service on every member has acknowledged a revision that shows it, or at the
 * deadline: then result->waiting says who has not. 0 = 30,000 ms; at most 600,000. Deregistering the
 * instance, or closing its session, ends the drain; the operator's own override stays. */
void registry_drain(struct registry *r, struct registry_request *q, const struct registry_key *key,
                    uint64_t deadline_ms, bool does_wait);

/* Done when the catalog shows everything that was committed before this call: a linearizable read. */
void registry_barrier(struct registry *r, struct registry_request *q);
/* Done when the catalog has reached this revision (a resume token from another member); ERR_TIMEOUT. */
void registry_wait_revision(struct registry *r, struct registry_request *q, int64_t revision,
                            uint64_t timeout_ms);

void registry_cancel(struct registry *r, struct registry_request *q);

/* --- watching: level-triggered, told once a batch ------------------------------------------------------
 * A batch is one revision, whole, or all that changed while the state was read anew. One with thousands of
 * changes is told in several turns, each of its services as catalog_events says, when all of it is in the
 * view. From inside `changed` everything of this door may be called but registry_turn and registry_free. */

/* Who is behind a watch, shown to operators and waited for by drains. Owned by the front end, which keeps it
 * as long as any of its watches. */
struct registry_subscriber {
    struct slice client_id;
    const char *peer;      /* address */
    const char *transport; /* "websocket", "sse", "poll" */
    struct document_map labels;
};

struct registry_watch {
    /* Something of the service has changed (ids say what); never called from inside registry_watch_…. For a
     * watch of many services: one call for each. May end and begin watches, its own too. */
    void (*changed)(struct registry_watch *w, const struct catalog_change *change);
    const struct registry_subscriber *subscriber; /* NULL: not shown, not waited for (long polls, DNS) */
    int64_t acknowledged;                         /* set by registry_acknowledge */
    int64_t since;                                /* revision of the view with which it began */
    /* The door's own. */
    struct registry *registry;
    struct link link;
    struct catalog_service *service; /* held; NULL for many */
    struct slice group, prefix;      /* of many; owned */
    struct watched *watched;
};
/* Set changed and subscriber before; the rest is filled in. */
void registry_watch_service(struct registry *r, struct registry_watch *w, const struct registry_key *key);
/* All services of a namespace (group empty = of all groups) whose names begin with prefix. */
void registry_watch_services(struct registry *r, struct registry_watch *w, struct slice ns,
                             struct slice group, struct slice prefix);
void registry_unwatch(struct registry_watch *w);
/* The client has everything up to revision. */
void registry_acknowledge(struct registry_watch *w, int64_t revision);

/* Those that look at a service, on all members: done with result->revision; fn for each before it, on the
 * loop, from inside. The members that did not answer are counted. */
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

#endif
