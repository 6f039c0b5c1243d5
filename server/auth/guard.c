/* SPDX-License-Identifier: Apache-2.0
 * Authentication and authorization of the native API; see guard.h. */
#include "server/auth/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "base/log.h"
#include "base/name.h"
#include "base/text.h"
#include "server/auth/audiences.h"

enum { LEASE_KEYS_AT_ONCE = 256 };

/* --- authentication ---------------------------------------------------------------------------------- */

bool guard_is_on(const struct identity *i)
{
    return i && kv_auth_is_enabled(identity_kv(i));
}

static bool take_word(struct slice *s, const char *word)
{
    size_t size = strlen(word);
    if (s->size <= size || strncasecmp((const char *)s->data, word, size) != 0)
        return false;
    *s = slice_of(s->data + size, s->size - size);
    return true;
}

static void on_login(struct identity_login *l, int err, const char *token)
{
    (void)token;
    struct guard *g = container_of(l, struct guard, login);
    g->is_waiting = false;
    g->who.revision = l->revision; /* when the password was right */
    if (err)
        g->who = (struct auth_who){0};
    g->done(g, err);
}

static void on_known(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)m;
    struct guard *g = container_of(r, struct guard, request);
    const struct identity_shown shown = {.token = g->token};
    g->is_waiting = false;
    if (!err)
        err = identity_of(g->identity, &shown, g->arena, &g->who);
    g->done(g, err == ERR_NOT_READY || err == ERR_TIMEOUT ? ERR_INVALID_AUTH_TOKEN : err);
}

static void say_who(struct guard *g, const char *user)
{
    struct slice name = slice_text(user);
    g->who = (struct auth_who){.user = slice_of(arena_copy(g->arena, name.data, name.size), name.size),
                               .revision = kv_auth_revision(identity_kv(g->identity)),
                               .is_renewed = true};
}

/* RFC 7617: user:password in base64. A password that identity_remembers is not hashed again. */
static int identify_basic(struct guard *g, struct slice text)
{
    struct buf pair = {0};
    int err = ERR_AUTH_FAILED;
    char *colon = base64_decode(text, &pair) ? NULL : strchr(buf_text(&pair), ':');
    if (colon && strlen((char *)pair.data) == pair.size) {
        const char *user = (const char *)pair.data, *password = colon + 1;
        *colon = 0;
        err = OK;
        say_who(g, user);
        if (!identity_remembers(g->identity, user, password)) {
            g->is_waiting = g->is_login = true;
            g->login = (struct identity_login){.done = on_login, .peer = g->peer};
            identity_check_password(g->identity, &g->login, user, password);
            err = ERR_NOT_READY;
        }
    }
    if (pair.size)
        explicit_bzero(pair.data, pair.size);
    buf_done(&pair);
    return err;
}

int guard_identify(struct guard *g, struct identity *i, struct slice authorization, const char *common_name,
                   struct arena *a)
{
    g->identity = i;
    g->arena = a;
    g->who = (struct auth_who){0};
    if (take_word(&authorization, "Basic "))
        return identify_basic(g, authorization);
    (void)take_word(&authorization, "Bearer ");
    const struct identity_shown shown = {.token = authorization, .common_name = common_name};
    int err = identity_of(i, &shown, a, &g->who);
    if (err == ERR_NOT_READY) {
        g->is_waiting = true;
        g->is_login = false;
        g->token = slice_of(arena_copy(a, authorization.data, authorization.size), authorization.size);
        g->request = (struct kv_request){.done = on_known};
        kv_auth_wait(identity_kv(i), &g->request, g->token);
    }
    return !err && !g->who.revision ? ERR_USER_EMPTY : err;
}

void guard_cancel(struct guard *g)
{
    if (!g->is_waiting)
        return;
    g->is_waiting = false;
    if (g->is_login)
        identity_cancel(&g->login);
    else
        kv_cancel(identity_kv(g->identity), &g->request);
}

uint64_t guard_epoch(const struct identity *i)
{
    return i ? kv_auth_epoch(identity_kv(i)) : 1;
}

int guard_check_user(const struct identity *i, const struct auth_who *who, char *error, size_t error_size)
{
    if (!guard_is_on(i) || who->is_role) /* a caller without a user is checked by its role */
        return OK;
    int err = kv_auth_check_user(identity_kv(i), who);
    if (err)
        snprintf(error, error_size, "%s", guard_text(err));
    return err;
}

const char *guard_text(int err)
{
    switch (err) {
    case ERR_USER_EMPTY:
        return "authentication is enabled: send Authorization: Bearer <token>, with a token from POST "
               "/v3/auth/authenticate, or Basic";
    case ERR_INVALID_AUTH_TOKEN:
    case ERR_AUTH_OLD_REVISION:
    case ERR_USER_NOT_FOUND:
        return "the token is invalid or expired: get another from POST /v3/auth/authenticate";
    case ERR_AUTH_FAILED:
    case ERR_NO_PASSWORD_USER:
        return "the user or the password is wrong";
    default:
        return err_text(err);
    }
}

/* --- authorization ----------------------------------------------------------------------------------- */

static const char *const folders[] = {
    [GUARD_INSTANCES] = "/cairn/registry/instances/",
    [GUARD_SETTINGS] = "/cairn/registry/services/",
    [GUARD_OVERRIDE] = "/cairn/registry/overrides/",
    [GUARD_SESSIONS] = "/cairn/registry/sessions/",
    [GUARD_CONFIG] = "/cairn/config/heads/",
    [GUARD_DRAFT] = "/cairn/config/drafts/",
    [GUARD_AUDIT] = "/cairn/audit/",
    [GUARD_REVIEW] = "/cairn/config/reviews/",
    [GUARD_EMERGENCY] = "/cairn/config/emergency/",
    [GUARD_POLICY] = "/cairn/config/policies/",
    [GUARD_SCHEMA] = "/cairn/config/schemas/",
    [GUARD_NAMESPACE] = "/cairn/namespaces/documents/",
    [GUARD_QUOTAS] = "/cairn/namespaces/quotas/",
};

/* The stored key, or the prefix of all stored keys that the need covers. */
bool guard_need_key(const struct guard_need *need, struct buf *key)
{
    buf_add_text(key, folders[need->kind]);
    if (!need->ns.size)
        return true;
    name_add_segment(key, need->ns);
    if (need->kind == GUARD_NAMESPACE || need->kind == GUARD_QUOTAS)
        return false;
    buf_add_byte(key, '/');
    if (!need->group.size)
        return true;
    name_add_segment(key, need->group);
    buf_add_byte(key, '/');
    name_add_segment(key, need->name);
    if (!need->name.size || need->is_prefix)
        return true;
    if (need->kind != GUARD_INSTANCES && need->kind != GUARD_OVERRIDE)
        return false;
    buf_add_byte(key, '/');
    name_add_segment(key, need->id);
    return !need->id.size;
}

int guard_check_keys(const struct identity *i, const struct auth_who *who, struct slice key,
                     struct slice range_end, bool is_write, char *error, size_t error_size)
{
    int err = kv_auth_check_range(identity_kv(i), who, key, range_end, is_write);
    if (err && who->is_role)
        snprintf(
            error, error_size,
            "authentication is enabled: send Authorization: Bearer <token> or Basic, or give the role %.*s "
            "READ on %s%.*s",
            (int)who->user.size, (const char *)who->user.data, range_end.size ? "all of " : "",
            (int)(key.size < 300 ? key.size : 300), (const char *)key.data);
    else if (err == ERR_PERMISSION_DENIED)
        snprintf(error, error_size, "the roles of user %.*s do not allow this: %s is needed on %s%.*s",
                 (int)(who->user.size < 64 ? who->user.size : 64), (const char *)who->user.data,
                 is_write ? "WRITE" : "READ", range_end.size ? "all of " : "",
                 (int)(key.size < 300 ? key.size : 300), (const char *)key.data);
    else
        snprintf(error, error_size, "%s", guard_text(err));
    return err;
}

int guard_check(const struct identity *i, const struct auth_who *who, const struct guard_need *need,
                char *error, size_t error_size)
{
    struct buf key = {0}, end = {0};
    if (!guard_is_on(i))
        return OK;
    if (guard_need_key(need, &key)) {
        buf_add_slice(&end, buf_slice(&key)); /* UTF-8: its last byte is never 0xff */
        end.data[end.size - 1]++;
    }
    int err = guard_check_keys(i, who, buf_slice(&key), buf_slice(&end), need->is_write, error, error_size);
    buf_done(&key);
    buf_done(&end);
    return err;
}

/* --- audiences --------------------------------------------------------------------------------------- */

struct auth_who guard_anonymous(void)
{
    return (struct auth_who){.user = slice_text(AUTH_ANONYMOUS), .is_role = true};
}

static struct audience *find_audience(const struct identity *i, const struct auth_who *who,
                                      const struct registry *r, enum audience_scope scope)
{
    struct identity_cache *cache = identity_cache(i);
    if (!cache->data)
        *cache = (struct identity_cache){audiences_new(identity_cache_budget(i)), audiences_free};
    return audiences_get(cache->data, identity_kv(i), r, who, scope);
}

struct audience *guard_audience(const struct identity *i, const struct auth_who *who,
                                const struct registry *r)
{
    return guard_is_on(i) ? find_audience(i, who, r, AUDIENCE_PROJECTED) : NULL;
}

struct audience *guard_service_audience(const struct identity *i, const struct auth_who *who,
                                        const struct registry *r)
{
    return guard_is_on(i) ? find_audience(i, who, r, AUDIENCE_SERVICES) : NULL;
}

struct audience *guard_config_audience(const struct identity *i, const struct auth_who *who,
                                       const struct registry *r)
{
    return guard_is_on(i) ? find_audience(i, who, r, AUDIENCE_CONFIGS) : NULL;
}

bool guard_sees_config(const struct audience *a, struct slice ns, struct slice group, struct slice name)
{
    const struct guard_need need = {.kind = GUARD_CONFIG, .ns = ns, .group = group, .name = name};
    struct buf key = {0};
    bool is_prefix = a && guard_need_key(&need, &key);
    bool sees = !a || (!is_prefix && auth_ranges_allow(&a->ranges, buf_slice(&key), (struct slice){0}));
    buf_done(&key);
    return sees;
}

struct audience *guard_anonymous_audience(const struct identity *i, const struct registry *r)
{
    const struct auth_who who = guard_anonymous();
    return guard_is_on(i) ? find_audience(i, &who, r, AUDIENCE_SERVICES) : NULL;
}

uint64_t guard_revision(const struct identity *i)
{
    return guard_is_on(i) ? kv_auth_revision(identity_kv(i)) : 0;
}

void guard_log_anonymous(const struct identity *i, const struct registry *r, uint64_t *seen)
{
    uint64_t now = guard_revision(i);
    bool was_on = *seen;
    if (now == *seen || !r || !registry_is_ready(r))
        return;
    *seen = now;
    if (!now || was_on)
        return;
    if (audience_sees_registry(guard_anonymous_audience(i, r)))
        log_info("authentication is enabled: DNS and /sd/prometheus answer callers without credentials with "
                 "what the role anonymous may read");
    else
        log_warn("authentication is enabled: DNS and /sd/prometheus answer no caller without credentials, "
                 "because the role anonymous has no READ on services; to show some: etcdctl role add "
                 "anonymous; etcdctl role grant-permission anonymous --prefix=true read "
                 "/cairn/registry/instances/default/");
}

/* --- sessions ---------------------------------------------------------------------------------------- */

struct session_check {
    const struct identity *identity;
    const struct auth_who *who;
    const struct registry *registry;
    int64_t session;
    char *error;
    size_t error_size;
    size_t count;    /* instances, and other keys of the lease */
    bool is_refused; /* an instance */
};

static int check_instances(struct session_check *c)
{
    struct registry_key key;
    int err = registry_session_check(c->registry, c->session, c->who, &c->count, &key);
    c->is_refused = err && err != ERR_NOT_READY;
    if (!c->is_refused)
        return err;
    const struct guard_need need = {GUARD_INSTANCES, true, false, key.ns, key.group, key.service, key.id};
    return guard_check(c->identity, c->who, &need, c->error, c->error_size);
}

/* The keys of the lease but the session's own. */
static int check_lease(struct session_check *c, struct slice own)
{
    const struct kv *kv = identity_kv(c->identity);
    int64_t units = LEASE_KEYS_AT_ONCE;
    size_t others = 0;
    if (!kv_auth_prepare_lease(kv, c->who, c->session, true, own, &units))
        return ERR_NOT_READY;
    int err = kv_auth_check_lease(kv, c->who, c->session, true, own, &others);
    c->count += others;
    if (err == ERR_PERMISSION_DENIED)
        snprintf(c->error, c->error_size,
                 "the session has keys that the roles of the user do not allow to write");
    else if (err && err != ERR_LEASE_NOT_FOUND)
        snprintf(c->error, c->error_size, "%s", guard_text(err));
    else
        err = OK;
    return err;
}

int guard_check_session(const struct identity *i, const struct auth_who *who, const struct registry *r,
                        int64_t session, struct registry_proof *ret_proof, char *error, size_t error_size)
{
    char text[64];
    struct session_check c = {i, who, r, session, error, error_size, 0, false};
    if (!guard_is_on(i))
        return OK;
    ret_proof->has_users = true;
    ret_proof->user = who->user;
    if (!session || !registry_session_exists(r, session))
        return OK;
    snprintf(text, sizeof text, "%s%016" PRIx64, folders[GUARD_SESSIONS], (uint64_t)session);
    struct slice own = slice_text(text);
    int may_write = guard_check_keys(i, who, own, (struct slice){0}, true, error, error_size);
    ret_proof->is_operator = !may_write;
    int err = check_instances(&c);
    /* An operator needs no permission for the instances, but for the other keys on the lease. */
    bool is_excused = ret_proof->is_operator && c.is_refused;
    if (!err || is_excused)
        err = check_lease(&c, own);
    if (err || is_excused)
        return err;
    if (c.count)
        ret_proof->may_all_of = session;
    else if (may_write && !registry_session_has_owner(r, session) && !ret_proof->key.size)
        return may_write;
    return OK;
}

int guard_public_error(int err)
{
    bool is_unknown = err == ERR_USER_EMPTY || err == ERR_AUTH_FAILED || err == ERR_NO_PASSWORD_USER ||
                      err == ERR_AUTH_OLD_REVISION || err == ERR_USER_NOT_FOUND;
    return is_unknown ? ERR_INVALID_AUTH_TOKEN : err;
}
