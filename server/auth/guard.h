/* SPDX-License-Identifier: Apache-2.0
 * Authentication and authorization of the native API.
 *
 * Authentication: a Bearer token, Basic, or a client certificate names the user. Authorization: the roles of the
 * user must permit the keys that the request reads or writes. Such keys are an instance's key, all instances of
 * a service, or the head of a configuration, which stands for its releases too.
 *
 *   1. A request is checked when it comes.
 *   2. The registry and the config center check a write again when it is applied: the author goes with it
 *      (registry_request.who, config_request.who).
 *   3. Long reads and subscriptions are checked again when guard_epoch has moved.
 *
 * (The storm guard of the registry is something else.) */
#ifndef SERVER_AUTH_GUARD_H
#define SERVER_AUTH_GUARD_H

#include "registry/registry.h"
#include "server/auth/identity.h"

/* --- authentication ---------------------------------------------------------------------------------- */
/* One authentication. The caller embeds it, zeroed. */
struct guard {
    void (*done)(struct guard *g, int err);
    const char *peer;    /* the client's address, as identity_login has it */
    struct auth_who who; /* the result, in the arena; no user while auth is not enabled */
    /* Private to guard.c. */
    struct identity *identity;
    struct arena *arena;
    struct slice token;
    struct kv_request request;
    struct identity_login login;
    bool is_waiting, is_login;
};

/* True: auth is enabled. It costs one branch. */
bool guard_is_on(const struct identity *i);
/* Authenticates. authorization: the header's value, or a bare token. ERR_NOT_READY: done is called later.
 * With OK and every other error done is not called. ERR_USER_EMPTY: there is no credential. */
MUST_CHECK int guard_identify(struct guard *g, struct identity *i, struct slice authorization,
                              const char *common_name, struct arena *a);
void guard_cancel(struct guard *g); /* done is not called any more; it may be called at any time */
/* A sentence for the user about an error of guard_identify, with what to do. */
const char *guard_text(int err);

/* kv_auth_epoch: permissions that were checked stay valid until it changes. 1 without an identity. */
uint64_t guard_epoch(const struct identity *i);
/* Checks that the user exists and that its credential is still valid. OK while auth is not enabled.
 * ERR_USER_EMPTY, ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION with a sentence in error. */
MUST_CHECK int guard_check_user(const struct identity *i, const struct auth_who *who, char *error,
                                size_t error_size);

/* --- authorization ----------------------------------------------------------------------------------- */
enum guard_kind {
    GUARD_INSTANCES, /* name empty: of all services; id empty: all of a service */
    GUARD_SETTINGS,
    GUARD_OVERRIDE,
    GUARD_SESSIONS,
    GUARD_CONFIG,
    GUARD_DRAFT,
    GUARD_AUDIT,     /* no names */
    GUARD_REVIEW,    /* to review changes of a configuration */
    GUARD_EMERGENCY, /* to publish it without a review */
    GUARD_POLICY,    /* of a namespace: no other names */
    GUARD_SCHEMA,    /* of configurations; name: its pattern */
    GUARD_NAMESPACE, /* ns alone: its document */
    GUARD_QUOTAS,    /* ns alone */
};

struct guard_need {
    enum guard_kind kind;
    bool is_write;
    bool is_prefix;                   /* all names with the prefix `name`, instead of this one */
    struct slice ns, group, name, id; /* an empty ns or group means all */
};

/* OK while auth is not enabled; else the result of kv_auth_check_range, with a sentence in error. */
MUST_CHECK int guard_check(const struct identity *i, const struct auth_who *who,
                           const struct guard_need *need, char *error, size_t error_size);
/* Appends the key that a need is checked with; true: it is the prefix of all such keys. */
MUST_CHECK bool guard_need_key(const struct guard_need *need, struct buf *key);
MUST_CHECK int guard_check_keys(const struct identity *i, const struct auth_who *who, struct slice key,
                                struct slice range_end, bool is_write, char *error, size_t error_size);
/* --- audiences --------------------------------------------------------------------------------------- */
/* The audience of a caller: it determines which projected instances the caller sees. NULL: all of them
 * (while auth is not enabled that costs one branch). Valid until the return to the loop; audience_ref
 * keeps it. */
struct audience *guard_audience(const struct identity *i, const struct auth_who *who,
                                const struct registry *r);
/* The same with READ on services and their instances judged too (audience_may_read), and that for READ on
 * configurations (guard_sees_config). NULL: the caller sees all of them. */
struct audience *guard_service_audience(const struct identity *i, const struct auth_who *who,
                                        const struct registry *r);
struct audience *guard_config_audience(const struct identity *i, const struct auth_who *who,
                                       const struct registry *r);
/* The audience, of guard_config_audience, may read this configuration. */
bool guard_sees_config(const struct audience *a, struct slice ns, struct slice group, struct slice name);
/* The caller without credentials: it has the permissions of the role AUTH_ANONYMOUS. For DNS and http_sd
 * only. */
struct auth_who guard_anonymous(void);
/* The audience of that caller; audience_sees_service works with it too. */
struct audience *guard_anonymous_audience(const struct identity *i, const struct registry *r);
/* A number that changes whenever permissions may have changed; 0 while auth is not enabled. */
uint64_t guard_revision(const struct identity *i);
/* Logs, once each time auth becomes enabled (and at start), what callers without credentials may read. Call
 * it in each turn: it is one comparison. r may be NULL. *seen: of the last call, 0 at first. */
void guard_log_anonymous(const struct identity *i, const struct registry *r, uint64_t *seen);

/* Checks that a caller may keep, end or join a session. Call it after a read barrier of the registry.
 * Fills ret_proof (registry.h, struct registry_proof) for the registry's own check, but for the session
 * key. A caller may use a session if it has WRITE
 *   - on the session's own key, or
 *   - on every instance of the session and on every key of its lease.
 * OK also when there is no such session, or when the registry decides. ERR_NOT_READY: the check takes long;
 * call registry_session_prepare, and this again when it has ended. */
MUST_CHECK int guard_check_session(const struct identity *i, const struct auth_who *who,
                                   const struct registry *r, int64_t session,
                                   struct registry_proof *ret_proof, char *error, size_t error_size);
/* The error code for the client: one code for all failures of authentication. */
int guard_public_error(int err);

#endif
