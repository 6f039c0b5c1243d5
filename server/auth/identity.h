/* SPDX-License-Identifier: Apache-2.0
 * Public API of server/auth: authentication of requests, and logins. One object serves all front ends of
 * the process.
 *
 * Users, roles and permissions are the store's (kv.h). This folder has the credentials: passwords, tokens,
 * and the names in client certificates. Loop thread only; bcrypt runs on a thread of its own. */
#ifndef SERVER_AUTH_IDENTITY_H
#define SERVER_AUTH_IDENTITY_H

#include "base/list.h"
#include "base/mem.h"
#include "consensus/kv.h"

struct cache_budget;
struct uv_loop_s;
struct identity;

struct identity_options {
    struct uv_loop_s *loop;
    struct kv *kv;
    const char *auth_token; /* --auth-token: "simple" or "jwt,…" */
    uint64_t bcrypt_cost;
    bool client_cert_auth;             /* the CN of a client certificate names a user */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
};

MUST_CHECK int identity_new(const struct identity_options *options, char *error, size_t error_size,
                            struct identity **ret);
/* All logins must be done or cancelled. It waits for the bcrypt thread; run the loop afterwards. NULL is
 * fine. */
void identity_free(struct identity *i);
/* Checks --auth-token. ERR_INVALID with a sentence in error. */
MUST_CHECK int identity_check_option(const char *auth_token, char *error, size_t error_size);

/* Data that guard.c stores in the identity; identity_free frees it. NULL at first. */
struct identity_cache {
    void *data;
    void (*free)(void *data);
};
struct identity_cache *identity_cache(const struct identity *i);
struct cache_budget *identity_cache_budget(const struct identity *i); /* NULL = none */
bool identity_uses_certificates(const struct identity *i);
struct kv *identity_kv(const struct identity *i);

/* --- authentication: call it only while kv_auth_is_enabled ------------------------------------------- */
struct identity_shown {
    struct slice token;      /* empty = none */
    const char *common_name; /* of the client's certificate; NULL or "" = none */
};

/* The user of a credential, in the arena. Without a credential: OK, and no user. ERR_INVALID_AUTH_TOKEN.
 * ERR_NOT_READY: this member has not applied the token yet; kv_auth_wait tells when to call again. */
MUST_CHECK int identity_of(struct identity *i, const struct identity_shown *shown, struct arena *a,
                           struct auth_who *ret_who);

/* --- logging in -------------------------------------------------------------------------------------- */
/* One login. The caller embeds it, zeroed, and may free it in done or after identity_cancel. done is never
 * called from inside the call that started the login. */
struct identity_login {
    void (*done)(struct identity_login *l, int err, const char *token);
    const char
        *peer; /* the client's address, with or without its port; NULL = not known. Read in the call. */
    /* Private to identity.c. */
    uint64_t party; /* peer and user: password.h */
    struct link link;
    struct identity *owner;
    struct kv_request request;
    struct password_job *job;
    char *user, *password;
    uint64_t revision; /* auth revision at which the password was right */
    bool is_basic;
    int decoy_err; /* the result for a user without a password, after a decoy was compared */
};

/* etcd's Authenticate: checks the password and makes a token. done gets ERR_AUTH_NOT_ENABLED,
 * ERR_AUTH_FAILED, ERR_NO_PASSWORD_USER, ERR_TOO_MANY_REQUESTS, or the error of a write. */
void identity_authenticate(struct identity *i, struct identity_login *l, const char *user,
                           const char *password);
/* Checks the password for a single request (HTTP's Basic); done's token is NULL. A right one is remembered
 * for a minute, or until users change, so that not each request costs 50 ms of CPU. */
void identity_check_password(struct identity *i, struct identity_login *l, const char *user,
                             const char *password);
/* True: the password is remembered as right; no check is needed. */
bool identity_remembers(const struct identity *i, const char *user, const char *password);
void identity_cancel(struct identity_login *l);

/* The hash of a password, for UserAdd and UserChangePassword; see password_hash. */
struct password_job *identity_hash(struct identity *i, const char *password,
                                   void (*done)(void *arg, int err, const char *hash), void *arg,
                                   int *ret_err);

#endif
