/* SPDX-License-Identifier: Apache-2.0
 * Native API calls over HTTP: one endpoint after the other until one responds, and error sentences. */
#include "sdk/ctl/ctl.h"

#include <stdio.h>

#include "base/text.h"
#include "sdk/http_client.h"

/* --- building a request -------------------------------------------------------------------------------- */

void ctl_call_done(struct ctl_call *call)
{
    buf_done(&call->target);
    buf_done(&call->fields);
    buf_done(&call->answer);
}

void ctl_path(struct ctl_call *call, const char *text)
{
    buf_add_text(&call->target, text);
}

static void add_encoded(struct buf *out, const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text; text++) {
        if (strchr(plain, *text))
            buf_add_byte(out, (uint8_t)*text);
        else
            buf_addf(out, "%%%02X", (unsigned char)*text);
    }
}

void ctl_segment(struct ctl_call *call, const char *name)
{
    buf_add_byte(&call->target, '/');
    add_encoded(&call->target, name);
}

void ctl_query(struct ctl_call *call, const char *name, const char *value)
{
    if (!value)
        return;
    bool is_first = !memchr(call->target.data, '?', call->target.size);
    buf_addf(&call->target, "%c%s=", is_first ? '?' : '&', name);
    add_encoded(&call->target, value);
}

void ctl_query_int(struct ctl_call *call, const char *name, int64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    ctl_query(call, name, text);
}

void ctl_query_author(const struct ctl *c, struct ctl_call *call)
{
    ctl_query(call, "on_behalf_of", ctl_flag_value(&c->line, "on-behalf-of"));
}

void ctl_query_names(const struct ctl *c, struct ctl_call *call)
{
    ctl_query(call, "namespace", ctl_flag_value(&c->line, "namespace"));
    ctl_query(call, "group", ctl_flag_value(&c->line, "group"));
}

/* --- sending -------------------------------------------------------------------------------------------- */

struct http_client *ctl_new_client(struct ctl *c, const struct ctl_endpoint *e)
{
    struct http_server server = {.host = e->host,
                                 .port = e->port,
                                 .tls = e->is_tls ? c->tls : NULL,
                                 .checks_name = !ctl_bool(&c->line, "insecure-skip-tls-verify")};
    return http_client_new(&server, c->dial_ms, c->stop_fd);
}

static struct http_request request_of(struct ctl *c, struct ctl_call *call)
{
    if (c->token && !call->has_token)
        buf_addf(&call->fields, "Authorization: %s\r\n", c->token);
    call->has_token = true;
    return (struct http_request){.method = call->method,
                                 .target = buf_slice(&call->target),
                                 .fields = buf_slice(&call->fields),
                                 .body = call->is_two_way ? (struct slice){0} : call->body,
                                 .has_body = call->has_body,
                                 .is_streamed = call->is_two_way};
}

static int64_t timeout_of(const struct ctl *c, const struct ctl_call *call)
{
    return call->timeout_ms ? call->timeout_ms : c->command_ms;
}

/* Records the result of one attempt, for ctl_fail_reach and --debug. */
static void note_try(struct ctl *c, struct ctl_call *call, const struct ctl_endpoint *e,
                     const struct http_client *client, int err)
{
    call->endpoint = e->text;
    call->status = err ? 0 : http_client_status(client);
    bool is_read = call->is_read || strcmp(call->method, "GET") == 0;
    c->was_sent = err && !is_read && http_client_was_sent(client);
    snprintf(c->why, sizeof c->why, "%s", err ? http_client_error(client) : "");
    if (ctl_bool(&c->line, "debug"))
        ctl_note(c, "%s %s %.*s: %s", e->text, call->method, (int)call->target.size,
                 (const char *)call->target.data, err ? c->why : "answered");
}

/* True if the next endpoint may be tried: nothing was sent, or the request is a read. */
static bool can_try_next(const struct ctl *c, int err)
{
    return err && err != ERR_CANCELED && !c->was_sent;
}

int ctl_send(struct ctl *c, struct ctl_call *call)
{
    struct http_request request = request_of(c, call);
    int err = ERR_CLOSED;
    if (c->line.is_etcdctl && timeout_of(c, call) == 0) {
        snprintf(c->why, sizeof c->why, "context deadline exceeded"); /* --command-timeout=0s, as etcdctl */
        return ERR_DEADLINE;
    }
    for (size_t tries = 0; tries < c->endpoint_count; tries++) {
        struct ctl_endpoint *e = &c->endpoints[c->at];
        if (!e->client)
            e->client = ctl_new_client(c, e);
        buf_clear(&call->answer);
        err = http_client_call(e->client, &request, timeout_of(c, call), &call->answer);
        note_try(c, call, e, e->client, err);
        if (!can_try_next(c, err) || c->is_pinned)
            break;
        if (tries + 1 < c->endpoint_count)
            c->at = (c->at + 1) % c->endpoint_count;
    }
    return err;
}

static int open_one(struct ctl *c, struct ctl_call *call, const struct http_request *request,
                    struct http_client *client)
{
    int err = http_client_begin(client, request, timeout_of(c, call));
    if (!err && call->is_two_way)
        err = http_client_send_piece(client, call->body, timeout_of(c, call));
    if (!err)
        err = http_client_head(client, timeout_of(c, call));
    bool is_end = err || http_client_status(client) == 200;
    while (!err && !is_end)
        err = http_client_read(client, timeout_of(c, call), -1, &call->answer, &is_end);
    return err;
}

int ctl_open_stream(struct ctl *c, struct ctl_call *call, struct http_client **ret_client)
{
    struct http_request request = request_of(c, call);
    int err = ERR_CLOSED;
    for (size_t tries = 0; tries < c->endpoint_count; tries++) {
        struct ctl_endpoint *e = &c->endpoints[c->at];
        struct http_client *client = ctl_new_client(c, e);
        buf_clear(&call->answer);
        err = open_one(c, call, &request, client);
        note_try(c, call, e, client, err);
        if (!err && call->status == 200) {
            *ret_client = client;
            return OK;
        }
        http_client_free(client);
        if (!err || err == ERR_CANCELED)
            break;
        if (tries + 1 < c->endpoint_count)
            c->at = (c->at + 1) % c->endpoint_count;
    }
    return err;
}

/* --- errors --------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_fail_reach(struct ctl *c, int err)
{
    const struct ctl_endpoint *e = &c->endpoints[c->at];
    const char *why = c->why;
    if (err == ERR_CANCELED)
        return CTL_INTERRUPTED;
    if (c->line.is_etcdctl)
        return ctl_fail(c, CTL_ERROR, "%s",
                        err == ERR_DEADLINE || err == ERR_CLOSED ? "context deadline exceeded" : why);
    const char *others = c->endpoint_count > 1 ? " (and none of the others)" : "";
    if (!c->was_sent)
        return ctl_fail(c, CTL_BAD_CONNECTION,
                        "cannot reach %s%s: %s. Does cairnd run there? --endpoints or CAIRN_ENDPOINTS names "
                        "where it does.",
                        e->text, others, why);
    if (err == ERR_DEADLINE)
        return ctl_fail(
            c, CTL_ERROR,
            "%s did not answer in time; it is not known whether it was done. --command-timeout waits longer.",
            e->text);
    return ctl_fail(c, CTL_BAD_CONNECTION,
                    "the connection to %s broke: %s. It is not known whether it was done.", e->text, why);
}

static enum ctl_exit exit_of_status(int status)
{
    return status == 400 || status == 413 || status == 422 ? CTL_INVALID_INPUT : CTL_ERROR;
}

/* The advice for an error of the server. */
static const char *advice_of(const struct ctl_call *call, const char *code)
{
    if (call->status == 401)
        return " --user names the user.";
    if (call->status == 412)
        return " Look at what is there now and try again.";
    if (call->status == 429)
        return " Try again a little later.";
    if (strcmp(code, "outcome_unknown") == 0)
        return " Look whether it was done before you try again.";
    if (call->status == 503)
        return " \"cairnctl doctor\" says what is wrong with the cluster.";
    return "";
}

const char *ctl_gateway_advice(struct slice answer)
{
    static const char refusal[] = "CommonName of client sending a request against gateway";
    if (!answer.size || !memmem(answer.data, answer.size, refusal, sizeof refusal - 1))
        return NULL;
    return "etcd's JSON gateway serves no client whose certificate has a CN while authentication and "
           "--client-cert-auth are on; use a certificate without CN and a user with password, or name a "
           "listener of an etcd without --client-cert-auth";
}

enum ctl_exit ctl_fail_status(struct ctl *c, const struct ctl_call *call)
{
    char error[200];
    json_t *doc = NULL;
    const char *refusal = ctl_gateway_advice(buf_slice(&call->answer));
    if (refusal)
        return ctl_fail(c, CTL_ERROR, "%s: %s", call->endpoint, refusal);
    if (json_parse(buf_slice(&call->answer), &doc, error, sizeof error) != OK)
        return ctl_fail(c, CTL_ERROR, "%s answered with HTTP status %d. Is that a cairnd?", call->endpoint,
                        call->status);
    /* Errors of the native API are {"error":{...}}, of etcd's gateway {"code":5,"message":"..."}. */
    const char *message = ctl_json_text(doc, "error.message"), *code = ctl_json_text(doc, "error.code");
    if (!*message)
        message = ctl_json_text(doc, "message");
    if (c->form == CTL_FORM_JSON && !c->line.is_etcdctl)
        ctl_show_json(&c->out, doc);
    enum ctl_exit how;
    const char *advice = advice_of(call, code);
    if (c->line.is_etcdctl)
        how = ctl_fail(c, CTL_ERROR, "%s", message);
    else
        how = ctl_fail(c, exit_of_status(call->status), "%s (%s)%s%s", message, call->endpoint,
                       *advice ? "." : "", advice);
    json_decref(doc);
    return how;
}

enum ctl_exit ctl_call(struct ctl *c, struct ctl_call *call)
{
    int err = ctl_send(c, call);
    if (err)
        return ctl_fail_reach(c, err);
    return call->status > 299 ? ctl_fail_status(c, call) : CTL_DONE;
}

enum ctl_exit ctl_call_json(struct ctl *c, struct ctl_call *call, json_t **ret_doc)
{
    enum ctl_exit how = ctl_call(c, call);
    char error[200];
    if (!how && json_parse(buf_slice(&call->answer), ret_doc, error, sizeof error) != OK)
        how = ctl_fail(c, CTL_ERROR, "%s sent a response that is not JSON: %s", call->endpoint, error);
    return how;
}

enum ctl_exit ctl_call_some(struct ctl *c, struct ctl_call *call, const char *field, int64_t max,
                            json_t **ret_doc)
{
    size_t size = call->target.size;
    json_t *list = json_array(), *revision = NULL;
    char *next = mem_string("");
    enum ctl_exit how;
    for (bool has_more = true; has_more;) {
        json_decref(*ret_doc);
        *ret_doc = NULL;
        call->target.size = size;
        ctl_query_int(call, "limit", max - (int64_t)json_array_size(list));
        ctl_query(call, "continue", *next ? next : NULL);
        how = ctl_call_json(c, call, ret_doc);
        if (how)
            goto out;
        if (!revision)
            revision = json_incref(json_object_get(*ret_doc, "revision"));
        size_t before = json_array_size(list);
        json_array_extend(list, json_object_get(*ret_doc, field));
        char *last = next;
        next = mem_string(ctl_json_text(*ret_doc, "continue"));
        bool is_further = json_array_size(list) > before || strcmp(next, last) != 0;
        mem_free(last);
        has_more = *next && is_further && (int64_t)json_array_size(list) < max;
    }
    json_object_set(*ret_doc, field, list);
    if (revision)
        json_object_set(*ret_doc, "revision", revision);
out:
    mem_free(next);
    json_decref(list);
    json_decref(revision);
    return how;
}

enum ctl_exit ctl_call_pages(struct ctl *c, struct ctl_call *call, const char *field, json_t **ret_doc)
{
    size_t size = call->target.size;
    enum ctl_exit how = ctl_call_json(c, call, ret_doc);
    json_t *list = how ? NULL : json_object_get(*ret_doc, field);
    char *next = how ? NULL : mem_string(ctl_json_text(*ret_doc, "continue"));
    while (!how && *next) {
        json_t *page = NULL;
        call->target.size = size;
        ctl_query(call, "continue", next);
        how = ctl_call_json(c, call, &page);
        if (!how) {
            json_array_extend(list, json_object_get(page, field));
            mem_free(next);
            next = mem_string(ctl_json_text(page, "continue"));
        }
        json_decref(page);
    }
    mem_free(next);
    json_object_del(how ? NULL : *ret_doc, "continue");
    if (how) {
        json_decref(*ret_doc);
        *ret_doc = NULL;
    }
    return how;
}
