/* SPDX-License-Identifier: Apache-2.0
 * Authentication by token, password or certificate; see identity.h. A login has these steps:
 *
 *   1. A ReadIndex round, so that a password that was changed before the login is not accepted.
 *   2. The hash is read from the store and compared on the bcrypt thread.
 *   3. The token is made by an entry of the log.
 *   4. If users have changed since step 1, the password may be outdated: the login begins again, as in etcd.
 *
 * Remembered passwords are kept as salted digests; each process has its own salt. */
#include "server/auth/identity.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log_limit.h"
#include "base/metric.h"
#include "server/auth/jwt.h"
#include "server/auth/password.h"

enum { REMEMBERED = 256, REMEMBER_MS = 60 * 1000 };

struct remembered {
    uint8_t digest[32];
    uint64_t revision, end_ms; /* end_ms 0 = free */
};

struct identity {
    struct kv *kv;
    struct jwt_keys *jwt; /* NULL = simple tokens */
    struct passwords *passwords;
    bool client_cert_auth;
    char decoy[64]; /* a hash that no password has, with the cost of ours */
    struct log_limit failures;
    struct identity_cache cache;
    struct cache_budget *cache_budget;
    struct link logins;
    uint8_t salt[32];
    struct remembered remembered[REMEMBERED];
};

/* --- life -------------------------------------------------------------------------------------------- */

static int parse(const char *text, char *error, size_t error_size, struct jwt_keys **ret)
{
    if (strcmp(text, "simple") == 0)
        return OK;
    if (strncmp(text, "jwt,", 4) == 0)
        return jwt_keys_new(slice_text(text + 4), error, error_size, ret);
    snprintf(error, error_size,
             "--auth-token must be \"simple\" or \"jwt,sign-method=…,priv-key=…\", not \"%.64s\"", text);
    return ERR_INVALID;
}

int identity_check_option(const char *auth_token, char *error, size_t error_size)
{
    return parse(auth_token, error, error_size, NULL);
}

static unsigned cost_of(uint64_t given)
{
    if (given >= PASSWORD_COST_MIN && given <= PASSWORD_COST_MAX)
        return (unsigned)given;
    log_warn("use default bcrypt cost instead of the invalid given cost", F_UINT("given-cost", given),
             F_INT("default-cost", PASSWORD_COST));
    return PASSWORD_COST;
}

/* The hash for users that do not exist: the comparison takes as long as for users that exist. The salt is
 * arbitrary. No password has this hash, because bcrypt never sets its last bits. */
static void make_decoy(struct identity *i, unsigned cost)
{
    snprintf(i->decoy, sizeof i->decoy, "$2a$%02u$abcdefghijklmnopqrstuu%.31s", cost,
             "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz");
}

int identity_new(const struct identity_options *o, char *error, size_t error_size, struct identity **ret)
{
    struct jwt_keys *jwt = NULL;
    int err = parse(o->auth_token, error, error_size, &jwt);
    if (err)
        return err;
    struct identity *i = mem_new(sizeof *i);
    i->kv = o->kv;
    i->jwt = jwt;
    i->passwords = passwords_new(o->loop, cost_of(o->bcrypt_cost));
    i->client_cert_auth = o->client_cert_auth;
    i->cache_budget = o->cache_budget;
    make_decoy(i, cost_of(o->bcrypt_cost));
    list_init(&i->logins);
    random_bytes(i->salt, sizeof i->salt);
    *ret = i;
    return OK;
}

void identity_free(struct identity *i)
{
    if (!i)
        return;
    while (!list_is_empty(&i->logins))
        identity_cancel(container_of(i->logins.next, struct identity_login, link));
    passwords_free(i->passwords);
    jwt_keys_free(i->jwt);
    if (i->cache.free)
        i->cache.free(i->cache.data);
    explicit_bzero(i->salt, sizeof i->salt);
    mem_free(i);
}

struct kv *identity_kv(const struct identity *i)
{
    return i->kv;
}

struct cache_budget *identity_cache_budget(const struct identity *i)
{
    return i->cache_budget;
}

struct identity_cache *identity_cache(const struct identity *i)
{
    return (struct identity_cache *)(uintptr_t)&i->cache;
}

bool identity_uses_certificates(const struct identity *i)
{
    return i->client_cert_auth;
}

/* --- authentication ---------------------------------------------------------------------------------- */

static uint64_t now_s(void)
{
    return clock_wall_ns() / 1000000000;
}

static int by_jwt(const struct identity *i, struct slice token, struct arena *a, struct auth_who *ret_who)
{
    struct buf user = {0};
    uint64_t revision = 0;
    int err = jwt_read(i->jwt, token, now_s(), &user, &revision);
    if (!err)
        *ret_who = (struct auth_who){.user = slice_of(arena_copy(a, user.data, user.size), user.size),
                                     .revision = revision};
    buf_done(&user);
    /* Stricter than etcd, which checks a JWT's revision for keys only, not for administration. */
    if (!err && kv_auth_check_user(i->kv, ret_who) == ERR_AUTH_OLD_REVISION)
        err = ERR_AUTH_OLD_REVISION;
    return err;
}

static int by_simple_token(struct identity *i, struct slice token, struct arena *a, struct auth_who *ret_who)
{
    int err = kv_auth_token(i->kv, token, ret_who);
    if (!err)
        ret_who->user.data = arena_copy(a, ret_who->user.data, ret_who->user.size);
    return err;
}

int identity_of(struct identity *i, const struct identity_shown *shown, struct arena *a,
                struct auth_who *ret_who)
{
    *ret_who = (struct auth_who){0};
    if (shown->token.size)
        return i->jwt ? by_jwt(i, shown->token, a, ret_who) : by_simple_token(i, shown->token, a, ret_who);
    if (i->client_cert_auth && shown->common_name && *shown->common_name) {
        struct slice name = slice_text(shown->common_name);
        *ret_who = (struct auth_who){.user = slice_of(arena_copy(a, name.data, name.size), name.size),
                                     .revision = AUTH_REVISION_ANY,
                                     .is_renewed = true};
    }
    return OK;
}

/* --- remembered passwords ---------------------------------------------------------------------------- */

static void digest_of(const struct identity *i, const char *user, const char *password, uint8_t digest[32])
{
    struct sha256 *sha = sha256_new();
    sha256_add(sha, i->salt, sizeof i->salt);
    sha256_add(sha, user, strlen(user) + 1);
    sha256_add(sha, password, strlen(password));
    sha256_finish(sha, digest);
}

static struct remembered *identity_place_of(const struct identity *i, const uint8_t digest[32])
{
    return (struct remembered *)(uintptr_t)&i->remembered[get_be32(digest) % REMEMBERED];
}

bool identity_remembers(const struct identity *i, const char *user, const char *password)
{
    uint8_t digest[32];
    digest_of(i, user, password, digest);
    const struct remembered *r = identity_place_of(i, digest);
    return r->end_ms > clock_mono_ms() && r->revision == kv_auth_revision(i->kv) &&
           kv_auth_is_enabled(i->kv) && memcmp(r->digest, digest, sizeof digest) == 0;
}

static void identity_remember(struct identity *i, const struct identity_login *l)
{
    uint8_t digest[32];
    digest_of(i, l->user, l->password, digest);
    struct remembered *r = identity_place_of(i, digest);
    memcpy(r->digest, digest, sizeof digest);
    r->revision = l->revision;
    r->end_ms = clock_mono_ms() + REMEMBER_MS;
}

/* --- logging in -------------------------------------------------------------------------------------- */

static void wipe(struct identity_login *l)
{
    if (l->password)
        explicit_bzero(l->password, strlen(l->password));
    mem_free(l->password);
    mem_free(l->user);
    l->password = l->user = NULL;
    list_remove(&l->link);
}

static void identity_finish(struct identity_login *l, int err, const char *token)
{
    wipe(l);
    l->done(l, err, token);
}

void identity_cancel(struct identity_login *l)
{
    if (!link_is_in_list(&l->link))
        return;
    kv_cancel(l->owner->kv, &l->request);
    password_forget(l->job);
    l->job = NULL;
    wipe(l);
}

static void identity_begin(struct identity_login *l);

/* Gets the simple token from the log's entry, or makes a JWT of the same revision. */
static void on_token(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct identity_login *l = container_of(r, struct identity_login, request);
    struct identity *i = l->owner;
    struct buf token = {0};
    if (!err && l->revision != kv_auth_revision(i->kv)) {
        log_info("revision when password checked became stale; retrying");
        identity_begin(l);
        return;
    }
    if (!err && i->jwt)
        err = jwt_make(i->jwt, l->user, l->revision, now_s(), &token);
    else if (!err)
        buf_add_text(&token, ((const Etcdserverpb__AuthenticateResponse *)m)->token);
    identity_finish(l, err, err ? NULL : buf_text(&token));
    buf_done(&token);
}

static void on_compared(void *arg, int err, const char *hash)
{
    (void)hash;
    struct identity_login *l = arg;
    struct identity *i = l->owner;
    l->job = NULL;
    if (err) {
        metric_add(METRIC_LOGINS_FAILED, 1);
        log_warn_limited(&i->failures, clock_mono_ms(), "invalid authentication was requested",
                         F_STR("user", l->user), F_ERR(l->decoy_err ? l->decoy_err : err));
        if (l->decoy_err && err == ERR_AUTH_FAILED)
            err = l->decoy_err;
        identity_finish(l, err, NULL);
        return;
    }
    if (l->is_basic && l->revision != kv_auth_revision(i->kv)) {
        identity_begin(l); /* the password may be outdated */
        return;
    }
    if (l->is_basic) {
        identity_remember(i, l);
        identity_finish(l, OK, NULL);
        return;
    }
    l->request.done = on_token;
    kv_authenticate(i->kv, &l->request, l->user, !i->jwt);
}

static void on_caught_up(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)m;
    struct identity_login *l = container_of(r, struct identity_login, request);
    struct identity *i = l->owner;
    struct slice hash;
    if (!err)
        err = kv_auth_password(i->kv, l->user, &hash);
    l->decoy_err = err == ERR_AUTH_FAILED || err == ERR_NO_PASSWORD_USER ? err : OK;
    if (l->decoy_err) {
        hash = slice_text(i->decoy);
        err = OK;
    }
    if (!err) {
        l->revision = kv_auth_revision(i->kv);
        l->job = password_compare(i->passwords, l->party, l->password, hash, on_compared, l, &err);
    }
    if (err)
        identity_finish(l, err, NULL);
}

static void identity_begin(struct identity_login *l)
{
    l->request.done = on_caught_up;
    kv_barrier(l->owner->kv, &l->request);
}

/* A login's party: the client's address (of IPv6 the /64, which one host may own) and the user that it
 * names. So tries from one address do not delay other addresses, and behind one proxy tries for one user
 * do not delay the other users. */
static uint64_t party_of(const char *peer, const char *user)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct in6_addr v6;
    const char *from = peer ? peer : "";
    size_t size = *from == '[' ? strcspn(++from, "]") : strlen(from);
    const char *colon = strchr(from, ':');
    if (colon && strchr(colon + 1, ':') == NULL) /* IPv4 with a port */
        size = (size_t)(colon - from);
    memcpy(text, from, size < sizeof text ? size : sizeof text - 1);
    uint64_t source = hash64(text, strlen(text));
    if (inet_pton(AF_INET6, text, &v6) == 1 && !IN6_IS_ADDR_V4MAPPED(&v6))
        source = hash64(&v6, sizeof v6 / 2);
    return hash64_u64(source ^ hash64(user, strlen(user))) | 1;
}

static void identity_start(struct identity *i, struct identity_login *l, const char *user,
                           const char *password)
{
    l->owner = i;
    l->party = party_of(l->peer, user);
    l->peer = NULL;
    l->user = mem_string(user);
    l->password = mem_string(password);
    list_add_last(&i->logins, &l->link);
    identity_begin(l);
}

void identity_authenticate(struct identity *i, struct identity_login *l, const char *user,
                           const char *password)
{
    l->is_basic = false;
    identity_start(i, l, user, password);
}

void identity_check_password(struct identity *i, struct identity_login *l, const char *user,
                             const char *password)
{
    l->is_basic = true;
    identity_start(i, l, user, password);
}

struct password_job *identity_hash(struct identity *i, const char *password,
                                   void (*done)(void *arg, int err, const char *hash), void *arg,
                                   int *ret_err)
{
    return password_hash(i->passwords, password, done, arg, ret_err);
}
