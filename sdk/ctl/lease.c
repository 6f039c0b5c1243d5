/* SPDX-License-Identifier: Apache-2.0
 * The commands `lease ...`, as of etcdctl. The JSON output is that of clientv3's structs, which differ from
 * the messages. */
#include "sdk/ctl/rpc.h"

#include <inttypes.h>

#include "base/text.h"

#define KEEP_ALIVE_TICK_MS 500

/* Begins the JSON object with the header's fields, without their own braces. */
static struct json_writer open_json(struct ctl *c, const Etcdserverpb__ResponseHeader *h)
{
    struct json_writer w = {.out = &c->out};
    jw_open(&w, '{');
    ctl_add_go_header(&c->out, h);
    w.needs_comma = true;
    return w;
}

static void close_json(struct ctl *c, struct json_writer *w)
{
    jw_close(w, '}');
    buf_add_byte(&c->out, '\n');
}

static bool is_json(const struct ctl *c)
{
    return c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML;
}

static void jw_named(struct json_writer *w, const char *name, int64_t value)
{
    jw_key(w, name);
    jw_int(w, value);
}

static enum ctl_exit one_lease(struct ctl *c, const char *complaint, int64_t *ret_id)
{
    if (c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "%s", complaint);
    return ctl_read_lease(c, c->line.args[0], "lease ID arg", ret_id);
}

enum ctl_exit ctl_lease_grant(struct ctl *c)
{
    Etcdserverpb__LeaseGrantRequest request = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__LeaseGrantResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/grant",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_grant_response__descriptor};
    if (c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "lease grant command needs TTL argument");
    if (text_to_i64(slice_text(c->line.args[0]), &request.ttl) != OK)
        return ctl_fail(c, CTL_BAD_ARGS, "bad TTL (strconv.ParseInt: parsing \"%s\": invalid syntax)",
                        c->line.args[0]);
    enum ctl_exit how = ctl_no_table(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (how)
        return how;
    if (is_json(c)) {
        struct json_writer w = open_json(c, r->header);
        jw_named(&w, "ID", r->id);
        jw_named(&w, "TTL", r->ttl);
        jw_key(&w, "Error");
        jw_text(&w, r->error);
        close_json(c, &w);
    } else if (c->form == CTL_FORM_PROTOBUF) {
        ctl_show_with_header(c, &r->base, r->header);
    } else if (c->form == CTL_FORM_FIELDS) {
        ctl_show_header_fields(c, r->header);
        ctl_show_lease_id(c, r->id);
        buf_addf(&c->out, "\"TTL\" : %" PRId64 "\n", r->ttl);
    } else {
        buf_addf(&c->out, "lease %016" PRIx64 " granted with TTL(%" PRId64 "s)\n", r->id, r->ttl);
    }
    return CTL_DONE;
}

enum ctl_exit ctl_lease_revoke(struct ctl *c)
{
    Etcdserverpb__LeaseRevokeRequest request = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    Etcdserverpb__LeaseRevokeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/revoke",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_revoke_response__descriptor,
                          .is_quiet = true};
    enum ctl_exit how = one_lease(c, "lease revoke command needs 1 argument", &request.id);
    if (!how)
        how = ctl_no_table(c);
    if (how)
        return how;
    how = ctl_rpc(c, &rpc, &r);
    if (how == CTL_INTERRUPTED)
        return how;
    if (how)
        return ctl_fail(c, how, "failed to revoke lease (%s)", rpc.error);
    if (c->form == CTL_FORM_FIELDS)
        ctl_show_header_fields(c, r->header);
    else if (is_json(c) || c->form == CTL_FORM_PROTOBUF)
        ctl_show_message(c, &r->base);
    else
        buf_addf(&c->out, "lease %016" PRIx64 " revoked\n", request.id);
    return CTL_DONE;
}

static void show_ttl(struct ctl *c, const Etcdserverpb__LeaseTimeToLiveResponse *r, bool with_keys)
{
    if (r->grantedttl == 0 && r->ttl == -1) {
        buf_addf(&c->out, "lease %016" PRIx64 " already expired\n", r->id);
        return;
    }
    buf_addf(&c->out, "lease %016" PRIx64 " granted with TTL(%" PRId64 "s), remaining(%" PRId64 "s)", r->id,
             r->grantedttl, r->ttl);
    if (with_keys) {
        buf_add_text(&c->out, ", attached keys([");
        for (size_t i = 0; i < r->n_keys; i++) {
            buf_add_text(&c->out, i ? " " : "");
            buf_add(&c->out, r->keys[i].data, r->keys[i].len);
        }
        buf_add_text(&c->out, "])");
    }
    buf_add_byte(&c->out, '\n');
}

enum ctl_exit ctl_lease_timetolive(struct ctl *c)
{
    Etcdserverpb__LeaseTimeToLiveRequest request = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    Etcdserverpb__LeaseTimeToLiveResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/timetolive",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_time_to_live_response__descriptor,
                          .is_read = true};
    enum ctl_exit how = one_lease(c, "lease timetolive command needs lease ID as argument", &request.id);
    request.keys = ctl_bool(&c->line, "keys");
    if (!how)
        how = ctl_no_table(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (how)
        return how;
    if (is_json(c)) {
        struct json_writer w = open_json(c, r->header);
        jw_named(&w, "id", r->id);
        jw_named(&w, "ttl", r->ttl);
        jw_named(&w, "granted-ttl", r->grantedttl);
        jw_key(&w, "keys");
        if (r->n_keys)
            jw_open(&w, '[');
        for (size_t i = 0; i < r->n_keys; i++)
            jw_base64(&w, slice_of(r->keys[i].data, r->keys[i].len));
        if (r->n_keys)
            jw_close(&w, ']');
        else
            jw_raw(&w, slice_text("null"));
        close_json(c, &w);
    } else if (c->form == CTL_FORM_PROTOBUF) {
        ctl_show_with_header(c, &r->base, r->header);
    } else if (c->form == CTL_FORM_FIELDS) {
        ctl_show_header_fields(c, r->header);
        ctl_show_lease_id(c, r->id);
        buf_addf(&c->out, "\"TTL\" : %" PRId64 "\n\"GrantedTTL\" : %" PRId64 "\n", r->ttl, r->grantedttl);
        for (size_t i = 0; i < r->n_keys; i++) {
            buf_add_text(&c->out, "\"Key\" : ");
            ctl_add_quoted(&c->out, slice_of(r->keys[i].data, r->keys[i].len));
            buf_add_byte(&c->out, '\n');
        }
    } else {
        show_ttl(c, r, request.keys);
    }
    return CTL_DONE;
}

enum ctl_exit ctl_lease_list(struct ctl *c)
{
    Etcdserverpb__LeaseLeasesRequest request = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    Etcdserverpb__LeaseLeasesResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/lease/leases",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_leases_response__descriptor,
                          .is_read = true};
    enum ctl_exit how = ctl_no_table(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (how)
        return how;
    if (is_json(c)) {
        struct json_writer w = open_json(c, r->header);
        jw_key(&w, "leases");
        jw_open(&w, '[');
        for (size_t i = 0; i < r->n_leases; i++) {
            jw_open(&w, '{');
            jw_named(&w, "id", r->leases[i]->id);
            jw_close(&w, '}');
        }
        jw_close(&w, ']');
        close_json(c, &w);
        return CTL_DONE;
    }
    if (c->form == CTL_FORM_PROTOBUF) {
        ctl_show_with_header(c, &r->base, r->header);
        return CTL_DONE;
    }
    if (c->form == CTL_FORM_FIELDS)
        ctl_show_header_fields(c, r->header);
    else
        buf_addf(&c->out, "found %zu leases\n", r->n_leases);
    for (size_t i = 0; i < r->n_leases; i++)
        if (c->form == CTL_FORM_FIELDS)
            ctl_show_lease_id(c, r->leases[i]->id);
        else
            buf_addf(&c->out, "%016" PRIx64 "\n", r->leases[i]->id);
    return CTL_DONE;
}

static void show_keep_alive(struct ctl *c, const Etcdserverpb__LeaseKeepAliveResponse *r)
{
    if (is_json(c)) {
        struct json_writer w = open_json(c, r->header);
        jw_named(&w, "ID", r->id);
        jw_named(&w, "TTL", r->ttl);
        close_json(c, &w);
    } else if (c->form == CTL_FORM_PROTOBUF) {
        ctl_show_with_header(c, &r->base, r->header);
    } else if (c->form == CTL_FORM_FIELDS) {
        ctl_show_header_fields(c, r->header);
        ctl_show_lease_id(c, r->id);
        buf_addf(&c->out, "\"TTL\" : %" PRId64 "\n", r->ttl);
    } else {
        buf_addf(&c->out, "lease %016" PRIx64 " keepalived with TTL(%" PRId64 ")\n", r->id, r->ttl);
    }
}

static enum ctl_exit keep_alive_once(struct ctl *c, int64_t id, int64_t *ret_ttl)
{
    Etcdserverpb__LeaseKeepAliveRequest request = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    Etcdserverpb__LeaseKeepAliveResponse *r = NULL;
    struct ctl_rpc rpc = {.path = "/v3/lease/keepalive",
                          .request = &request.base,
                          .answer = &etcdserverpb__lease_keep_alive_response__descriptor};
    struct ctl_stream s = {0};
    request.id = id;
    enum ctl_exit how = ctl_stream_open(c, &rpc, &s);
    if (!how)
        how = ctl_stream_next(c, &s, c->command_ms, &r);
    *ret_ttl = r ? r->ttl : 0;
    if (!how && *ret_ttl > 0)
        show_keep_alive(c, r);
    ctl_stream_done(&s);
    return how;
}

/* The number of lines that scripts see in a time depends on it. */
int64_t ctl_keep_alive_pause_ms(int64_t ttl)
{
    int64_t third_ms = ttl * 1000 / 3, ticks = (third_ms + KEEP_ALIVE_TICK_MS - 1) / KEEP_ALIVE_TICK_MS;
    return (ticks > 0 ? ticks : 1) * KEEP_ALIVE_TICK_MS;
}

enum ctl_exit ctl_lease_keep_alive(struct ctl *c)
{
    int64_t id, ttl = 0;
    bool is_once = ctl_bool(&c->line, "once");
    enum ctl_exit how = one_lease(c, "lease keep-alive command needs lease ID as argument", &id);
    if (!how)
        how = is_once ? ctl_no_table(c) : ctl_no_table_ever(c);
    while (!how) {
        how = keep_alive_once(c, id, &ttl);
        if (!how && ttl <= 0 && is_once)
            return ctl_fail(c, CTL_BAD_CONNECTION, "etcdserver: requested lease not found");
        if (!how && ttl <= 0) {
            buf_addf(&c->out, "lease %016" PRIx64 " expired or revoked.\n", id);
            return CTL_DONE;
        }
        if (how || is_once)
            return how;
        if (!ctl_flush(c))
            return CTL_IO;
        if (ctl_pause(c, ctl_keep_alive_pause_ms(ttl)))
            how = CTL_INTERRUPTED;
    }
    return how;
}
