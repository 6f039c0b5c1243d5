/* SPDX-License-Identifier: Apache-2.0
 * THE DOOR of server/auth: who a request is from, and who may log in. One for the process, for every front
 * end. The rules of users and roles are the store's (kv.h); here are passwords, tokens as clients show them,
 * and the names in client certificates. Loop thread only; bcrypt runs elsewhere. */
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
    bool client_cert_auth;             /* a certificate's CN is a user */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
};

MUST_CHECK int identity_new(const struct identity_options *options, char *error, size_t error_size,
                            struct identity **ret);
/* No login is under way any more; waits for bcrypt. Run the loop after. NULL is fine. */
void identity_free(struct identity *i);
/* Is --auth-token one that identity_new takes? */
MUST_CHECK int identity_check_option(const char *auth_token, char *error, size_t error_size);

/* What guard.c keeps with the identity: freed with it. NULL at first. */
struct identity_cache {
    void *data;
    void (*free)(void *data);
};
struct identity_cache *identity_cache(const struct identity *i);
struct cache_budget *identity_cache_budget(const struct identity *i); /* NULL = none */
bool identity_uses_certificates(const struct identity *i);
struct kv *identity_kv(const struct identity *i);

/* --- who is it? Ask only while kv_auth_is_enabled. ------------------------------------------------------ */
struct identity_shown {
    struct slice token;      /* empty = none */
    const char *common_name; /* of the client's certificate; NULL or "" = none */
};

/* Nothing shown: OK, and nobody. The user lies in the arena. ERR_INVALID_AUTH_TOKEN; ERR_NOT_READY: a token
 * that this member has not heard of yet, kv_auth_wait says when to ask again. */
MUST_CHECK int identity_of(struct identity *i, const struct identity_shown *shown, struct arena *a,
                           struct auth_who *ret_who);

/* --- logging in ---------------------------------------------------------------------------------------- */
/* The caller embeds it, zeroed, and may free it in done or after identity_cancel. done never comes from
 * inside the call that started it. */
struct identity_login {
    void (*done)(struct identity_login *l, int err, const char *token);
    const char
        *peer; /* the client's address, with or without its port; NULL = not known. Read in the call. */
    /* The identity's own. */
    uint64_t party; /* peer and user: password.h */
    struct link link;
    struct identity *owner;
    struct kv_request request;
    struct password_job *job;
    char *user, *password;
    uint64_t revision; /* at which the password was right */
    bool is_basic;
    int decoy_err; /* of a user without a password, whom nothing is compared for but the time it takes */
};

/* Authenticate: the password is looked at, the token made. ERR_AUTH_NOT_ENABLED, ERR_AUTH_FAILED,
 * ERR_NO_PASSWORD_USER, ERR_TOO_MANY_REQUESTS, or what a write ends with. */
void identity_authenticate(struct identity *i, struct identity_login *l, const char *user,
                           const char *password);
/* Only whether the password is right, for a single request (HTTP's Basic); token is NULL. A right one is
 * remembered for a minute, or until users change, so that each request does not cost 50 ms of a CPU. */
void identity_check_password(struct identity *i, struct identity_login *l, const char *user,
                             const char *password);
/* True: it was right a moment ago; there is nothing to wait for. */
bool identity_remembers(const struct identity *i, const char *user, const char *password);
void identity_cancel(struct identity_login *l);

/* A password for UserAdd and UserChangePassword: its hash; see password.h. */
struct password_job *identity_hash(struct identity *i, const char *password,
                                   void (*done)(void *arg, int err, const char *hash), void *arg,
                                   int *ret_err);

#endif
