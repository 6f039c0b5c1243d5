/* SPDX-License-Identifier: Apache-2.0
 * The native API behind the same roles as the keys it stands on: who asks (Bearer token, Basic, or a
 * certificate), and whether he may. Registry and config center write as the process itself, so what is not
 * looked at here is not looked at anywhere.
 *
 * What a request needs is one range of keys: an instance's key, all instances of a service, the head of a
 * configuration (which stands for its releases too), and so on. It is looked at when the request comes. */
#ifndef SERVER_AUTH_GUARD_H
#define SERVER_AUTH_GUARD_H

#include "registry/registry.h"
#include "server/auth/identity.h"

/* --- who? ----------------------------------------------------------------------------------------------- */
/* The caller embeds it, zeroed. */
struct guard {
    void (*done)(struct guard *g, int err);
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
MUST_CHECK int guard_check_keys(const struct identity *i, const struct auth_who *who, struct slice key,
                                struct slice range_end, bool is_write, char *error, size_t error_size);
/* To keep, end or join a session, behind a barrier of the registry: every instance on it, and every key, must
 * be one that he may write; a session without any is that of who may write its own key. OK when there is
 * none. */
MUST_CHECK int guard_check_session(const struct identity *i, const struct auth_who *who,
                                   const struct registry *r, int64_t session, char *error, size_t error_size);
/* What a client is told that is not known: one error for all of them. */
int guard_public_error(int err);

#endif
