/* SPDX-License-Identifier: Apache-2.0
 * The fields of a health check, read and written; see check.h. */
#include "registry/check.h"

#include <stdio.h>

#include "base/text.h"
#include "registry/document.h"

#define MS_NS 1000000

static const char *const type_names[CHECK_TYPES] = {"tcp", "http", "https", "grpc", "ttl"};

const char *check_type_name(enum check_type type)
{
    return type_names[type];
}

/* --- reading -------------------------------------------------------------------------------------------- */

static void take_type(struct document_reader *r, struct check *c)
{
    struct slice text = {0};
    document_text(r, "type", &text);
    if (!text.size)
        document_refuse_last(r, "type", "is missing: give tcp, http, https, grpc or ttl");
    for (int i = 0; i < CHECK_TYPES; i++)
        if (slice_equal(text, slice_text(type_names[i]))) {
            c->type = (enum check_type)i;
            return;
        }
    if (text.size)
        document_refuse(r, "type", "is not one of tcp, http, https, grpc, ttl");
}

static void take_ms(struct document_reader *r, const char *field, uint32_t min_ms, uint32_t max_ms,
                    uint32_t *ret_ms)
{
    struct slice text = {0};
    int64_t ns;
    document_text(r, field, &text);
    if (!text.size)
        return;
    if (text_to_duration_ns(text, &ns) || ns % MS_NS || ns / MS_NS < min_ms || ns / MS_NS > max_ms) {
        struct buf why = {0};
        buf_add_slice(&why, slice_text("is not a duration from "));
        text_add_duration(&why, (int64_t)min_ms * MS_NS);
        buf_add_slice(&why, slice_text(" to "));
        text_add_duration(&why, (int64_t)max_ms * MS_NS);
        document_refuse(r, field, buf_text(&why));
        buf_done(&why);
        return;
    }
    *ret_ms = (uint32_t)(ns / MS_NS);
}

/* A field that only some types have: types is a mask of 1 << type. */
static void refuse_unless(struct document_reader *r, const struct check *c, const char *field, bool is_given,
                          unsigned types)
{
    char why[60];
    if (!is_given || types & 1u << c->type)
        return;
    snprintf(why, sizeof why, "is given, but the type is %s", type_names[c->type]);
    document_refuse(r, field, why);
}

static bool is_printable(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] <= 0x20 || text.data[i] >= 0x7f)
            return false;
    return true;
}

/* It is sent as it is: no blank or control character that would end the request's first line. */
static void take_path(struct document_reader *r, struct check *c)
{
    document_text(r, "path", &c->path);
    if (!c->path.size)
        return;
    if (c->path.data[0] != '/' || !is_printable(c->path))
        document_refuse(r, "path", "is not a path that begins with / and is printable ASCII without blanks");
    else
        refuse_unless(r, c, "path", true, 1u << CHECK_HTTP | 1u << CHECK_HTTPS);
    if (slice_equal(c->path, slice_text("/")))
        c->path = (struct slice){0};
}

static void take_grpc(struct document_reader *r, struct check *c)
{
    document_bool(r, "tls", &c->is_tls);
    refuse_unless(r, c, "tls", c->is_tls, 1u << CHECK_GRPC);
    document_text(r, "service", &c->service);
    if (!is_printable(c->service) || c->service.size > CHECK_SERVICE_MAX)
        document_refuse(r, "service", "is not printable ASCII without blanks, of at most 200 bytes");
    refuse_unless(r, c, "service", c->service.size > 0, 1u << CHECK_GRPC);
}

static void take_run(struct document_reader *r, const char *field, uint16_t *ret)
{
    int64_t value;
    if (document_number(r, field, 1, CHECK_RUNS_MAX, &value))
        *ret = (uint16_t)value;
}

/* The fields of a check that a member runs: how, and when the outcomes change the state. */
static void take_probe(struct document_reader *r, struct check *c)
{
    int64_t port;
    c->interval_ms = CHECK_INTERVAL_MS;
    c->failures = 3;
    c->successes = 1;
    if (document_number(r, "port", 1, 65535, &port))
        c->port = (uint16_t)port;
    take_path(r, c);
    take_grpc(r, c);
    document_bool(r, "insecure", &c->is_insecure);
    refuse_unless(r, c, "insecure", c->is_insecure, 1u << CHECK_HTTPS | 1u << CHECK_GRPC);
    if (c->is_insecure && c->type == CHECK_GRPC && !c->is_tls)
        document_refuse(r, "insecure", "is given, but tls is not");
    take_ms(r, "interval", CHECK_INTERVAL_MIN_MS, CHECK_INTERVAL_MAX_MS, &c->interval_ms);
    c->timeout_ms = c->interval_ms < CHECK_TIMEOUT_MS ? c->interval_ms : CHECK_TIMEOUT_MS;
    take_ms(r, "timeout", CHECK_TIMEOUT_MIN_MS, CHECK_TIMEOUT_MAX_MS, &c->timeout_ms);
    if (c->timeout_ms > c->interval_ms)
        document_refuse(r, "timeout", "is longer than interval");
    take_run(r, "failures", &c->failures);
    take_run(r, "successes", &c->successes);
}

static void take_ttl(struct document_reader *r, struct check *c)
{
    static const char *const others[] = {"port",     "path",    "service",  "tls",      "insecure",
                                         "interval", "timeout", "failures", "successes"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        refuse_unless(r, c, others[i], document_take(r, others[i]) != NULL, 0);
    take_ms(r, "ttl", CHECK_TTL_MIN_MS, CHECK_TTL_MAX_MS, &c->ttl_ms);
    if (!c->ttl_ms)
        document_refuse_last(r, "ttl", "is missing: give the longest time between two reports");
}

static int read_config(struct document_reader *r, struct check *c)
{
    uint32_t deregister_ms = 0;
    take_type(r, c);
    if (c->type == CHECK_TTL) {
        take_ttl(r, c);
    } else {
        refuse_unless(r, c, "ttl", document_take(r, "ttl") != NULL, 0);
        take_probe(r, c);
    }
    take_ms(r, "deregister_after", 60000, INSTANCE_TIME_MAX_S * 1000u, &deregister_ms);
    c->deregister_after_s = deregister_ms / 1000;
    return document_end(r);
}

static bool is_result(enum instance_state state)
{
    return state == INSTANCE_STARTING || state == INSTANCE_UP || state == INSTANCE_WARN ||
           state == INSTANCE_DOWN;
}

static void take_state_of(struct document_reader *r, const char *field, enum instance_state *ret)
{
    struct slice text = {0};
    document_text(r, field, &text);
    if (text.size && instance_state_find(text, ret) != OK)
        document_refuse(r, field, "is no state");
}

static int read_result(struct document_reader *r, struct check *c)
{
    take_state_of(r, "state", &c->result);
    if (!is_result(c->result))
        document_refuse(r, "state", "is no result of a check");
    take_state_of(r, "registered", &c->registered);
    document_text(r, "output", &c->output);
    return document_end(r);
}

/* An object inside of the document, with the errors of its own fields. */
static void read_object(struct document_reader *r, const char *field, json_t *object, struct check *c,
                        int (*read)(struct document_reader *r, struct check *c))
{
    char error[200] = "", why[240];
    struct document_reader inner =
        document_reader_of(r->is_strict ? DOCUMENT_STRICT : DOCUMENT_TOLERANT, r->arena, error, sizeof error);
    if (!json_is_object(object)) {
        document_refuse(r, field, "is not an object");
        return;
    }
    document_begin_value(&inner, object);
    if (read(&inner, c) == OK)
        return;
    snprintf(why, sizeof why, "is wrong: %s", error);
    document_refuse(r, field, why);
}

void check_read(struct document_reader *r, bool is_stored, enum instance_state *state, struct check **ret)
{
    json_t *config = document_take(r, "check");
    json_t *result = is_stored ? document_take(r, "checked") : NULL;
    if (!config)
        return;
    struct check *c = arena_new(r->arena, sizeof *c);
    c->registered = *state;
    c->result = INSTANCE_STARTING;
    read_object(r, "check", config, c, read_config);
    if (result)
        c->registered = INSTANCE_UP; /* left out when it is this */
    if (result)
        read_object(r, "checked", result, c, read_result);
    if (r->err)
        return;
    *state = check_effect(c->registered, c->result);
    *ret = c;
}

/* --- writing -------------------------------------------------------------------------------------------- */

static void add_ms(struct json_writer *w, const char *key, uint64_t ms)
{
    struct buf text = {0};
    text_add_duration(&text, (int64_t)ms * MS_NS);
    document_add_text(w, key, buf_slice(&text));
    buf_done(&text);
}

static void add_config(const struct check *c, struct json_writer *w)
{
    jw_open(w, '{');
    jw_key(w, "type");
    jw_text(w, type_names[c->type]);
    if (c->port)
        document_add_number(w, "port", c->port);
    document_add_text(w, "path", c->path);
    document_add_text(w, "service", c->service);
    if (c->is_tls) {
        jw_key(w, "tls");
        jw_bool(w, true);
    }
    if (c->is_insecure) {
        jw_key(w, "insecure");
        jw_bool(w, true);
    }
    if (c->type == CHECK_TTL) {
        add_ms(w, "ttl", c->ttl_ms);
    } else {
        add_ms(w, "interval", c->interval_ms);
        add_ms(w, "timeout", c->timeout_ms);
        document_add_number(w, "failures", c->failures);
        document_add_number(w, "successes", c->successes);
    }
    if (c->deregister_after_s)
        add_ms(w, "deregister_after", (uint64_t)c->deregister_after_s * 1000);
    jw_close(w, '}');
}

void check_write_members(const struct check *c, struct json_writer *w)
{
    jw_key(w, "check");
    add_config(c, w);
    jw_key(w, "checked");
    jw_open(w, '{');
    jw_key(w, "state");
    jw_text(w, instance_state_name(c->result));
    if (c->registered != INSTANCE_UP) {
        jw_key(w, "registered");
        jw_text(w, instance_state_name(c->registered));
    }
    document_add_text(w, "output", c->output);
    jw_close(w, '}');
}

/* --- states --------------------------------------------------------------------------------------------- */

enum instance_state check_effect(enum instance_state registered, enum instance_state result)
{
    if (registered != INSTANCE_UP && registered != INSTANCE_WARN)
        return registered;
    if (result == INSTANCE_UP)
        return registered;
    return result;
}

bool check_is_valid(const struct check *c)
{
    if (c->type == CHECK_TTL)
        return c->ttl_ms >= CHECK_TTL_MIN_MS && c->ttl_ms <= CHECK_TTL_MAX_MS;
    return c->type < CHECK_TYPES && c->interval_ms >= CHECK_INTERVAL_MIN_MS &&
           c->interval_ms <= CHECK_INTERVAL_MAX_MS && c->timeout_ms >= CHECK_TIMEOUT_MIN_MS &&
           c->timeout_ms <= CHECK_TIMEOUT_MAX_MS && c->timeout_ms <= c->interval_ms && c->failures > 0 &&
           c->failures <= CHECK_RUNS_MAX && c->successes > 0 && c->successes <= CHECK_RUNS_MAX;
}

bool check_equal(const struct check *a, const struct check *b)
{
    return a->type == b->type && a->port == b->port && a->is_tls == b->is_tls &&
           a->is_insecure == b->is_insecure && slice_equal(a->path, b->path) &&
           slice_equal(a->service, b->service) && a->interval_ms == b->interval_ms &&
           a->timeout_ms == b->timeout_ms && a->ttl_ms == b->ttl_ms &&
           a->deregister_after_s == b->deregister_after_s && a->failures == b->failures &&
           a->successes == b->successes;
}
