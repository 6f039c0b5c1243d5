/* SPDX-License-Identifier: Apache-2.0
 * Reports to the program: states of the connections, and the event log.
 *
 * Reports are queued and delivered before the loop sleeps. So a callback of the program may stop any object,
 * and none of them runs in the middle of the library's work. CAIRN_STATES in cairn.h is the one table: names,
 * texts and levels of the log come from it. */
#include <stdarg.h>
#include <stdio.h>

#include "sdk/private.h"

#define CAIRN_S(name, text, level) {#name, text, level},
static const struct {
    const char *name, *text;
    enum cairn_log_level level;
} table[] = {CAIRN_STATES(CAIRN_S)};
#undef CAIRN_S

struct report {
    struct link link;
    bool is_state; /* else it is a line of the log */
    struct cairn_state_change change;
    char endpoint[272];
    enum cairn_log_level level;
    char line[1024];
};

const char *cairn_state_name(enum cairn_state state)
{
    return (unsigned)state < CAIRN_STATE_COUNT ? table[state].name : "?";
}

const char *cairn_state_text(enum cairn_state state)
{
    return (unsigned)state < CAIRN_STATE_COUNT ? table[state].text : "unknown state";
}

enum cairn_state state_of_error(int code)
{
    switch (code) {
    case CAIRN_UNAUTHENTICATED:
        return CAIRN_STATE_UNAUTHENTICATED;
    case CAIRN_LIMIT:
        return CAIRN_STATE_LIMITED;
    case CAIRN_LOST:
        return CAIRN_STATE_SESSION_LOST;
    case CAIRN_UNAVAILABLE:
    case CAIRN_TIMEOUT:
    case CAIRN_UNKNOWN:
        return CAIRN_STATE_LOST;
    default:
        return CAIRN_STATE_REFUSED;
    }
}

static void report_add(struct cairn_client *c, struct report *r)
{
    list_add_last(&c->reports, &r->link);
    uv_async_send(&c->wake); /* the loop may be about to sleep */
}

void client_log(struct cairn_client *c, enum cairn_log_level level, const char *format, ...)
{
    va_list args;
    if (!c->on_log)
        return;
    struct report *r = mem_new(sizeof *r);
    r->level = level;
    va_start(args, format);
    vsnprintf(r->line, sizeof r->line, format, args);
    va_end(args);
    report_add(c, r);
}

void client_report(struct cairn_client *c, enum cairn_link connection, enum cairn_state state,
                   const char *endpoint, const struct cairn_error *error)
{
    const char *why = error && error->message[0] ? error->message : "";
    client_log(c, table[state].level, "%s: %s%s%s%s%s", connection == CAIRN_LINK_STREAM ? "stream" : "calls",
               table[state].text, *endpoint ? ": " : "", endpoint, *why ? ": " : "", why);
    if (!c->on_state)
        return;
    struct report *r = mem_new(sizeof *r);
    r->is_state = true;
    snprintf(r->endpoint, sizeof r->endpoint, "%s", endpoint);
    r->change = (struct cairn_state_change){.state = state, .link = connection, .endpoint = r->endpoint};
    if (error)
        r->change.reason = *error;
    report_add(c, r);
}

void client_deliver_reports(struct cairn_client *c)
{
    for (struct link *l; (l = list_take_first(&c->reports));) {
        struct report *r = container_of(l, struct report, link);
        if (r->is_state)
            c->on_state(c, &r->change, c->report_arg);
        else
            c->on_log(c, r->level, r->line, c->report_arg);
        mem_free(r);
    }
}
