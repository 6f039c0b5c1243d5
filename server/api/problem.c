/* SPDX-License-Identifier: Apache-2.0
 * Error bodies: {"error":{...}}, or a problem of RFC 9457 for clients that accept application/problem+json; and
 * the page that the `type` of a problem refers to, /docs/errors.md.
 *
 * `type` is a path of the member itself, so it can be read where the error came from. docs/errors.md has the
 * same headings, printed by the same function. */
#include <stdio.h>

#include "server/api/call.h"
#include "server/api/private.h"

#define PAGE "/docs/errors.md"

const char API_PROBLEM_TYPE[] = "application/problem+json";

bool api_wants_problem(const struct api_call *c)
{
    const struct slice accept = c->q->accept;
    return accept.size && memmem(accept.data, accept.size, API_PROBLEM_TYPE, sizeof API_PROBLEM_TYPE - 1);
}

/* The members that both forms have under the same names. */
static void add_place(struct json_writer *w, const struct api_detail *detail)
{
    if (detail->line) {
        jw_key(w, "line");
        jw_uint(w, detail->line);
        jw_key(w, "column");
        jw_uint(w, detail->column);
    }
    if (detail->name.size) {
        jw_key(w, "name");
        jw_string(w, detail->name);
    }
}

static const char *message_of(enum api_error error, const char *message)
{
    return message && *message ? message : api_errors[error].when;
}

void api_error_open(struct json_writer *w, enum api_error error, const char *message,
                    const struct api_detail *detail)
{
    jw_key(w, "error");
    jw_open(w, '{');
    jw_key(w, "code");
    jw_text(w, api_errors[error].code);
    jw_key(w, "message");
    jw_text(w, message_of(error, message));
    add_place(w, detail);
}

void api_problem_write(struct json_writer *w, enum api_error error, const char *message,
                       const struct api_detail *detail)
{
    const struct api_error_row *row = &api_errors[error];
    char type[128];
    snprintf(type, sizeof type, PAGE "#%s", row->code);
    jw_key(w, "type");
    jw_text(w, type);
    jw_key(w, "title");
    jw_text(w, row->when);
    jw_key(w, "status");
    jw_int(w, row->status);
    jw_key(w, "detail");
    jw_text(w, message_of(error, message));
    jw_key(w, "code");
    jw_text(w, row->code);
    add_place(w, detail);
}

void api_errors_write(struct buf *out)
{
    for (size_t e = 0; e < API_ERRORS; e++)
        buf_addf(out, "%s### %s\n\nHTTP %d. %s\n\n%s\n", e ? "\n" : "", api_errors[e].code,
                 api_errors[e].status, api_errors[e].when, api_remedies[e] ? api_remedies[e] : "");
}

void api_errors_get(struct api_call *c)
{
    struct registry *registry = api_registry(c);
    struct buf text = {0};
    buf_add_text(&text, "# Errors of the HTTP API\n\n");
    api_errors_write(&text);
    api_respond(c, 200, registry && registry_is_ready(registry) ? registry_revision(registry) : 0,
                "text/markdown; charset=utf-8", buf_slice(&text));
    buf_done(&text);
}
