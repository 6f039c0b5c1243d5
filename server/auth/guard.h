/* SPDX-License-Identifier: Apache-2.0
 * Authorization of the native API by the roles of the keys that it stands on: authentication (Bearer token,
 * Basic, or a certificate), and the permissions of the user.
 *
 * A request needs one or more ranges of keys: an instance's key, all instances of a service, the head of a
 * configuration (which stands for its releases too), and so on. They are checked when the request comes.
 * Registry and config center check a write again when it is applied: its author goes with it
 * (registry_request.who, config_request.who). Reads that take long are checked again by guard_epoch.
 */
#ifndef SERVER_AUTH_GUARD_H
#define SERVER_AUTH_GUARD_H

#include "registry/registry.h"
#include "server/auth/identity.h"

/* --- who? ----------------------------------------------------------------------------------------------- */
/* The caller embeds it, zeroed. */
struct guard {
    void (*done)(struct guard *g, int err);
    const char *peer;    /* the client's address, as identity_login has it */
    struct auth_who who; /* in the arena; nobody while auth is not enabled */
    /* The guard's own. */
    struct identity *identity;
    struct arena *arena;
    struct slice token;
    struct kv_request request;
    struct identity_login login;
    bool is_waiting, is_login;
};

/* Is there anything to ask? One branch. */
bool guard_is_on(const struct identity *i);
/* authorization: the header's value, or a bare token. OK or an error: that is it. ERR_NOT_READY: done comes
 * later. ERR_USER_EMPTY: nothing was shown. */
MUST_CHECK int guard_identify(struct guard *g, struct identity *i, struct slice authorization,
                              const char *common_name, struct arena *a);
void guard_cancel(struct guard *g); /* done does not come; nothing if it would not */
/* For people: what to do about an error of guard_identify. */
const char *guard_text(int err);

/* kv_auth_epoch: rights that were checked hold until it moves. 1 without an identity. */
uint64_t guard_epoch(const struct identity *i);
/* OK while auth is not enabled; else whether the author is a user that exists and whose credential is not
 * void: ERR_USER_EMPTY, ERR_USER_NOT_FOUND, ERR_AUTH_OLD_REVISION, and a sentence. */
MUST_CHECK int guard_check_user(const struct identity *i, const struct auth_who *who, char *error,
                                size_t error_size);

/* --- may he? ----------------------------------------------------------------------------------------------
 */
enum guard_kind {
    GUARD_INSTANCES, /* name empty: of all services; id empty: all of a service */
    GUARD_SETTINGS,
    GUARD_OVERRIDE,
    GUARD_SESSIONS,
    GUARD_CONFIG,
    GUARD_DRAFT,
};

struct guard_need {
    enum guard_kind kind;
    bool is_write;
    bool is_prefix;                   /* all names that begin so, not this one */
    struct slice ns, group, name, id; /* ns empty: all of them; group empty: all of them */
};

/* OK while auth is not enabled; else what kv_auth_check_range says, and a sentence. */
MUST_CHECK int guard_check(const struct identity *i, const struct auth_who *who,
                           const struct guard_need *need, char *error, size_t error_size);
/* The key that a need is checked by, or with true the prefix of all keys that it is checked by. */
MUST_CHECK bool guard_need_key(const struct guard_need *need, struct buf *key);
MUST_CHECK int guard_check_keys(const struct identity *i, const struct auth_who *who, struct slice key,
                                struct slice range_end, bool is_write, char *error, size_t error_size);
/* --- what is shown ----------------------------------------------------------------------------------------
 */
/* The audience that the caller belongs to: which projected instances it is shown. NULL: all of them; while
 * auth is not enabled that is one branch. Valid until the return to the loop; audience_ref keeps it. */
struct audience *guard_audience(const struct identity *i, const struct auth_who *who,
                                const struct registry *r);
/* The caller without credentials, on surfaces that allow one: what the role AUTH_ANONYMOUS may read. */
struct auth_who guard_anonymous(void);
/* Its audience, for audience_sees_service as well. */
struct audience *guard_anonymous_audience(const struct identity *i, const struct registry *r);
/* Changes whenever rights may have changed; 0 while auth is not enabled. */
uint64_t guard_revision(const struct identity *i);
/* Logs, once each time auth becomes enabled (and at start), what callers without credentials may read. Call
 * it in each turn: it is one comparison. r may be NULL. *seen: of the last call, 0 at first. */
void guard_log_anonymous(const struct identity *i, const struct registry *r, uint64_t *seen);

/* To keep, end or join a session, behind a barrier of the registry: fills what the registry must know to
 * judge (registry.h, struct registry_proof), but for the key. OK when there is no such session, and when it
 * is for the registry to refuse. A caller with WRITE on the session's own key may use it; of every other each
 * instance on the session, and every key on its lease, must be one that it may write. */
MUST_CHECK int guard_check_session(const struct identity *i, const struct auth_who *who,
                                   const struct registry *r, int64_t session,
                                   struct registry_proof *ret_proof, char *error, size_t error_size);
/* What a client is told that is not known: one error for all of them. */
int guard_public_error(int err);

#endif
