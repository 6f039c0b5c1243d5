/* SPDX-License-Identifier: Apache-2.0
 * The native API's permissions; see guard.h. */
#include "server/auth/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

#include "base/text.h"

/* --- who? ------------------------------------------------------------------------------------------------
 */

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
    g->who = (struct auth_who){slice_of(arena_copy(g->arena, name.data, name.size), name.size),
                               kv_auth_revision(identity_kv(g->identity)), true};
}

/* RFC 7617: user:password in base64. A password that was right a moment ago is not hashed again. */
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
            g->login = (struct identity_login){.done = on_login};
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

const char *guard_text(int err)
{
    switch (err) {
    case ERR_USER_EMPTY:
        return "authentication is enabled: send Authorization: Bearer <token>, with a token from POST "
               "/v3/auth/authenticate, or Basic";
    case ERR_INVALID_AUTH_TOKEN:
    case ERR_AUTH_OLD_REVISION:
        return "the token is not valid, or not any more: get another from POST /v3/auth/authenticate";
    case ERR_AUTH_FAILED:
    case ERR_NO_PASSWORD_USER:
        return "the user or the password is wrong";
    default:
        return err_text(err);
    }
}

/* --- may he? ---------------------------------------------------------------------------------------------
 */

static const char *const folders[] = {
    [GUARD_INSTANCES] = "/cairn/registry/instances/", [GUARD_SETTINGS] = "/cairn/registry/services/",
    [GUARD_OVERRIDE] = "/cairn/registry/overrides/",  [GUARD_SESSIONS] = "/cairn/registry/sessions/",
    [GUARD_CONFIG] = "/cairn/config/heads/",          [GUARD_DRAFT] = "/cairn/config/drafts/",
};

/* The key, or what all keys that are meant begin with. */
static bool add_key(struct buf *key, const struct guard_need *need)
{
    buf_add_text(key, folders[need->kind]);
    if (!need->ns.size)
        return true;
    buf_add_slice(key, need->ns);
    buf_add_byte(key, '/');
    if (!need->group.size)
        return true;
    buf_add_slice(key, need->group);
    buf_add_byte(key, '/');
    buf_add_slice(key, need->name);
    if (!need->name.size || need->is_prefix)
        return true;
    if (need->kind != GUARD_INSTANCES && need->kind != GUARD_OVERRIDE)
        return false;
    buf_add_byte(key, '/');
    buf_add_slice(key, need->id);
    return !need->id.size;
}

int guard_check_keys(const struct identity *i, const struct auth_who *who, struct slice key,
                     struct slice range_end, bool is_write, char *error, size_t error_size)
{
    int err = kv_auth_check_range(identity_kv(i), who, key, range_end, is_write);
    if (err == ERR_PERMISSION_DENIED)
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
    if (add_key(&key, need)) {
        buf_add_slice(&end, buf_slice(&key)); /* UTF-8: its last byte is no 0xff */
        end.data[end.size - 1]++;
    }
    int err = guard_check_keys(i, who, buf_slice(&key), buf_slice(&end), need->is_write, error, error_size);
    buf_done(&key);
    buf_done(&end);
    return err;
}

struct session_check {
    const struct identity *identity;
    const struct auth_who *who;
    char *error;
    size_t error_size, count;
    int err;
};

static bool check_instance(void *arg, const struct registry_key *key)
{
    struct session_check *c = arg;
    const struct guard_need need = {GUARD_INSTANCES, true, false, key->ns, key->group, key->service, key->id};
    c->count++;
    c->err = guard_check(c->identity, c->who, &need, c->error, c->error_size);
    return !c->err;
}

int guard_check_session(const struct identity *i, const struct auth_who *who, const struct registry *r,
                        int64_t session, char *error, size_t error_size)
{
    char text[64];
    size_t others = 0;
    struct session_check c = {i, who, error, error_size, 0, OK};
    if (!guard_is_on(i) || !registry_session_instances(r, session, check_instance, &c))
        return OK;
    if (c.err)
        return c.err;
    snprintf(text, sizeof text, "%s%016" PRIx64, folders[GUARD_SESSIONS], (uint64_t)session);
    int err = kv_auth_check_lease(identity_kv(i), who, session, true, slice_text(text), &others);
    if (err == ERR_PERMISSION_DENIED)
        snprintf(error, error_size,
                 "keys hang on the session that the roles of the user do not allow to write");
    else if (err && err != ERR_LEASE_NOT_FOUND)
        snprintf(error, error_size, "%s", guard_text(err));
    else
        err = OK;
    if (!err && !others && !c.count)
        err = guard_check_keys(i, who, slice_text(text), (struct slice){0}, true, error, error_size);
    return err;
}

int guard_public_error(int err)
{
    bool is_unknown = err == ERR_USER_EMPTY || err == ERR_AUTH_FAILED || err == ERR_NO_PASSWORD_USER ||
                      err == ERR_AUTH_OLD_REVISION;
    return is_unknown ? ERR_INVALID_AUTH_TOKEN : err == ERR_USER_NOT_FOUND ? ERR_PERMISSION_DENIED : err;
}
