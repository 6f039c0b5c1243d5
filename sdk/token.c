/* SPDX-License-Identifier: Apache-2.0
 * The token of the client's user: when it is renewed.
 *
 * Authenticate (channel.c) is called
 *
 * - on each new gRPC connection,
 * - before the next use of a token that is past three quarters of its life, and
 * - after the server refused the token.
 *
 * A JWT tells its end. The life of etcd's simple tokens begins anew with each use, and only the server knows
 * how long it is: they are renewed when they are refused, unless the options say their life.
 *
 * One token is refused to many calls at once. Each call remembers the serial number of the token it was sent
 * with, so that only the first of them authenticates. After REFUSALS_MAX tokens in a row that were refused at
 * once, the refusal is the call's error. */
#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"
#include "sdk/stream.h"

enum { REFUSALS_MAX = 3 };
static const int64_t LIFE_MAX_MS = (int64_t)366 * 86400 * 1000;

/* A token that ends sooner than a clock of seconds can tell is used for a moment. */
int64_t token_life_ms(struct slice token, int64_t now_ms)
{
    struct buf text = {0};
    char why[200];
    json_t *root = NULL;
    int64_t life_ms = 0;
    const uint8_t *first = token.size ? memchr(token.data, '.', token.size) : NULL;
    const uint8_t *end = token.data + token.size;
    const uint8_t *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second)
        return 0;
    struct slice payload = slice_of(first + 1, (size_t)(second - first - 1));
    if (base64_decode(payload, &text) == OK && json_parse(buf_slice(&text), &root, why, sizeof why) == OK) {
        json_int_t until = json_integer_value(json_object_get(root, "exp"));
        json_int_t from = json_integer_value(json_object_get(root, "iat"));
        /* With the server's own time of issue, a wrong clock here does no harm. It is a whole second. */
        if (until > 0 && until < INT64_MAX / 2000 && from >= 0 && from < INT64_MAX / 2000)
            life_ms = until * 1000 - (from ? from * 1000 + 999 : now_ms);
    }
    json_decref(root);
    buf_done(&text);
    return life_ms > 0 && life_ms < LIFE_MAX_MS ? life_ms : 0;
}

void token_drop(struct cairn_client *c)
{
    if (c->token)
        explicit_bzero(c->token, strlen(c->token));
    mem_free(c->token);
    c->token = NULL;
    c->is_auth_off = false;
}

void token_take(struct cairn_client *c, const char *token)
{
    bool is_first = c->token_serial++ == 0;
    token_drop(c);
    c->token = mem_string(token);
    uint64_t life_ms = c->token_lifetime_ms;
    if (!life_ms)
        life_ms = (uint64_t)token_life_ms(slice_text(token), (int64_t)(clock_wall_ns() / 1000000));
    c->token_due_ms = life_ms ? clock_mono_ms() + life_ms / 4 * 3 : UINT64_MAX;
    client_log(c, CAIRN_LOG_DEBUG, is_first ? "the client is logged in" : "the token is renewed");
}

bool token_is_needed(const struct cairn_client *c)
{
    if (!c->user || c->is_auth_off)
        return false;
    return !c->token || clock_mono_ms() >= c->token_due_ms;
}

/* etcd's clients authenticate again after these three errors. */
bool is_token_refusal(int code, const char *message)
{
    return code == CAIRN_UNAUTHENTICATED || strstr(message, "invalid auth token") ||
           strstr(message, "user name is empty") || strstr(message, "revision of auth store is old");
}

bool token_refused(struct cairn_client *c, uint64_t serial)
{
    if (!c->user || c->token_failures >= REFUSALS_MAX)
        return false;
    if (serial != c->token_serial)
        return true; /* another call has renewed it already */
    if (c->token || c->is_auth_off)
        client_log(c, CAIRN_LOG_DEBUG, "the token was refused");
    c->token_failures += c->token != NULL;
    token_drop(c);
    return true;
}

void token_accepted(struct cairn_client *c, uint64_t serial)
{
    if (serial == c->token_serial)
        c->token_failures = 0;
}

/* --- credentials of a running client --------------------------------------------------------------------- */
struct credentials {
    struct cairn_client *client;
    char *user, *password;
};

static void swap_credentials(void *arg)
{
    struct credentials *new = arg;
    struct cairn_client *c = new->client;
    char *user = c->user, *password = c->password;
    c->user = new->user;
    c->password = new->password;
    new->user = user;
    new->password = password;
    c->token_failures = 0;
    c->token_serial++;
    token_drop(c);
    stream_retry_now(c);
}

int cairn_set_credentials(struct cairn_client *c, const char *user, const char *password,
                          struct cairn_error *error)
{
    struct credentials s = {.client = c};
    s.user = user && *user ? mem_string(user) : NULL;
    s.password = password && *password ? mem_string(password) : NULL;
    int err = client_run(c, swap_credentials, &s);
    if (s.password)
        explicit_bzero(s.password, strlen(s.password));
    mem_free(s.user);
    mem_free(s.password);
    return err ? set_error(error, err, "%s", cairn_error_text(err)) : CAIRN_OK;
}
