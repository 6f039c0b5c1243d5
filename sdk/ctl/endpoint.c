/* SPDX-License-Identifier: Apache-2.0
 * The commands `endpoint ...` and `defrag`: each endpoint gets its own request; the outputs are etcdctl's. */
#include "sdk/ctl/member.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

enum ctl_exit ctl_use_cluster(struct ctl *c)
{
    Etcdserverpb__MemberListResponse *r;
    enum ctl_exit how = ctl_list_members(c, true, false, &r);
    size_t count = 0;
    const char *urls[CTL_ENDPOINTS_MAX];
    for (size_t i = 0; !how && i < r->n_members; i++) {
        for (size_t k = 0; k < r->members[i]->n_clienturls && count < CTL_ENDPOINTS_MAX; k++)
            urls[count++] = r->members[i]->clienturls[k];
    }
    return how ? how : ctl_set_endpoints(c, urls, count);
}

static enum ctl_exit choose_endpoints(struct ctl *c)
{
    return ctl_bool(&c->line, "cluster") ? ctl_use_cluster(c) : CTL_DONE;
}

static bool wants_table(const struct ctl *c)
{
    return c->form == CTL_FORM_TABLE || (c->form == CTL_FORM_NONE && !c->line.is_etcdctl);
}

static void show_table(struct ctl *c, struct ctl_table *t)
{
    if (c->line.is_etcdctl)
        ctl_table_show_boxed(t, &c->out);
    else
        ctl_table_show(t, &c->out);
    ctl_table_done(t);
}

static void add_heads(struct ctl_table *t, const char *const *heads)
{
    for (size_t i = 0; i < t->columns; i++)
        ctl_table_add(t, slice_text(heads[i]));
}

/* Prints the objects of a JSON array. A list of no endpoint is null in Go. */
static void show_list(struct ctl *c, struct buf *objects)
{
    if (objects->size || !c->line.is_etcdctl)
        buf_addf(&c->out, "[%s]\n", buf_text(objects));
    else
        buf_add_text(&c->out, "null\n");
    buf_done(objects);
}

static const char *yes(bool is)
{
    return is ? "true" : "false";
}

/* --- status --------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_get_status(struct ctl *c, size_t endpoint, struct ctl_rpc *rpc,
                             Etcdserverpb__StatusResponse **ret)
{
    Etcdserverpb__StatusRequest request = ETCDSERVERPB__STATUS_REQUEST__INIT;
    *rpc = (struct ctl_rpc){.path = "/v3/maintenance/status",
                            .request = &request.base,
                            .answer = &etcdserverpb__status_response__descriptor,
                            .is_read = true,
                            .is_quiet = true};
    enum ctl_exit how = ctl_rpc_at(c, endpoint, rpc, ret);
    if (!how && !(*ret)->header) {
        snprintf(rpc->error, sizeof rpc->error, "an answer without a header");
        how = CTL_ERROR;
    }
    return how;
}

struct status_row {
    const char *endpoint;
    const Etcdserverpb__StatusResponse *r;
};

/* The cells about the use of the store's file, which etcdctl has since 3.6. */
static void add_space_cells(struct ctl_table *t, const Etcdserverpb__StatusResponse *r, struct buf *text)
{
    buf_clear(text);
    ctl_add_bytes(text, r->dbsizeinuse);
    ctl_table_add(t, buf_slice(text));
    ctl_table_addf(t, "%d%%", r->dbsize > 0 ? (int)(100 - r->dbsizeinuse * 100 / r->dbsize) : 0);
    buf_clear(text);
    ctl_add_bytes(text, r->dbsizequota);
    ctl_table_add(t, buf_slice(text));
}

/* Appends the cells in the order of the columns, which all forms except the table share. */
static void ctl_endpoint_add_status(struct ctl_table *t, const struct status_row *row, bool is_etcdctl)
{
    const Etcdserverpb__StatusResponse *r = row->r;
    struct buf text = {0};
    ctl_table_add(t, slice_text(row->endpoint));
    ctl_table_addf(t, "%" PRIx64, r->header->member_id);
    ctl_table_add(t, slice_text(r->version));
    if (is_etcdctl)
        ctl_table_add(t, slice_text(r->storageversion));
    ctl_add_bytes(&text, r->dbsize);
    ctl_table_add(t, buf_slice(&text));
    if (is_etcdctl)
        add_space_cells(t, r, &text);
    ctl_table_add(t, slice_text(yes(r->leader == r->header->member_id)));
    ctl_table_add(t, slice_text(yes(r->islearner)));
    ctl_table_addf(t, "%" PRIu64, r->raftterm);
    ctl_table_addf(t, "%" PRIu64, r->raftindex);
    ctl_table_addf(t, "%" PRIu64, r->raftappliedindex);
    buf_clear(&text);
    for (size_t i = 0; i < r->n_errors; i++)
        buf_addf(&text, "%s%s", i ? ", " : "", r->errors[i]);
    ctl_table_add(t, buf_slice(&text));
    if (is_etcdctl) {
        ctl_table_add(t, slice_text(r->downgradeinfo ? r->downgradeinfo->targetversion : ""));
        ctl_table_add(t, slice_text(yes(r->downgradeinfo && r->downgradeinfo->enabled)));
    }
    buf_done(&text);
}

static void show_status_fields(struct ctl *c, const struct status_row *row)
{
    const Etcdserverpb__StatusResponse *r = row->r;
    ctl_show_header_fields(c, r->header);
    buf_addf(&c->out,
             "\"Version\" : \"%s\"\n\"StorageVersion\" : \"%s\"\n\"DBSize\" : %" PRId64
             "\n\"DBSizeInUse\" : %" PRId64 "\n\"DBSizeQuota\" : %" PRId64 "\n\"Leader\" : %" PRIu64
             "\n\"IsLearner\" : %s\n",
             r->version, r->storageversion, r->dbsize, r->dbsizeinuse, r->dbsizequota, r->leader,
             yes(r->islearner));
    buf_addf(&c->out,
             "\"RaftIndex\" : %" PRIu64 "\n\"RaftTerm\" : %" PRIu64 "\n\"RaftAppliedIndex\" : %" PRIu64
             "\n\"Errors\" : [",
             r->raftindex, r->raftterm, r->raftappliedindex);
    for (size_t i = 0; i < r->n_errors; i++)
        buf_addf(&c->out, "%s%s", i ? " " : "", r->errors[i]);
    buf_addf(&c->out,
             "]\n\"Endpoint\" : \"%s\"\n\"DowngradeTargetVersion\" : \"%s\"\n\"DowngradeEnabled\" : %s\n\n",
             row->endpoint, r->downgradeinfo ? r->downgradeinfo->targetversion : "",
             yes(r->downgradeinfo && r->downgradeinfo->enabled));
}

static void show_statuses(struct ctl *c, const struct status_row *rows, size_t count)
{
    static const char *const heads[] = {"ENDPOINT",           "ID",         "VERSION",   "DB SIZE",
                                        "IS LEADER",          "IS LEARNER", "RAFT TERM", "RAFT INDEX",
                                        "RAFT APPLIED INDEX", "ERRORS"};
    static const char *const etcds[] = {"ENDPOINT",
                                        "ID",
                                        "VERSION",
                                        "STORAGE VERSION",
                                        "DB SIZE",
                                        "IN USE",
                                        "PERCENTAGE NOT IN USE",
                                        "QUOTA",
                                        "IS LEADER",
                                        "IS LEARNER",
                                        "RAFT TERM",
                                        "RAFT INDEX",
                                        "RAFT APPLIED INDEX",
                                        "ERRORS",
                                        "DOWNGRADE TARGET VERSION",
                                        "DOWNGRADE ENABLED"};
    bool is_etcdctl = c->line.is_etcdctl;
    struct ctl_table t = {.columns = is_etcdctl ? 16 : 10};
    if (c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML) {
        struct buf list = {0};
        struct json_writer w = {.out = &list};
        for (size_t i = 0; i < count; i++) {
            struct buf status = {0};
            ctl_add_go_json(&status, &rows[i].r->base);
            jw_open(&w, '{');
            jw_key(&w, "Endpoint");
            jw_text(&w, rows[i].endpoint);
            jw_key(&w, "Status");
            jw_raw(&w, buf_slice(&status));
            jw_close(&w, '}');
            buf_done(&status);
        }
        show_list(c, &list);
        return;
    }
    if (wants_table(c))
        add_heads(&t, is_etcdctl ? etcds : heads);
    for (size_t i = 0; i < count; i++) {
        if (c->form == CTL_FORM_FIELDS)
            show_status_fields(c, &rows[i]);
        else
            ctl_endpoint_add_status(&t, &rows[i], c->line.is_etcdctl);
    }
    if (wants_table(c))
        show_table(c, &t);
    else
        ctl_table_show_joined(&t, ", ", &c->out);
    ctl_table_done(&t);
}

enum ctl_exit ctl_endpoint_status(struct ctl *c)
{
    enum ctl_exit how = choose_endpoints(c), all = CTL_DONE;
    struct status_row rows[CTL_ENDPOINTS_MAX];
    size_t count = 0;
    ctl_refuse_form(c, CTL_FORM_PROTOBUF);
    for (size_t i = 0; !how && i < c->endpoint_count; i++) {
        struct ctl_rpc rpc;
        Etcdserverpb__StatusResponse *r;
        enum ctl_exit one = ctl_get_status(c, i, &rpc, &r);
        if (one == CTL_INTERRUPTED)
            return one;
        if (!one) {
            rows[count++] = (struct status_row){c->endpoints[i].text, r};
            continue;
        }
        all = CTL_BAD_CONNECTION; /* as etcdctl: one failed endpoint decides the exit code */
        ctl_note(c, "Failed to get the status of endpoint %s (%s)", c->endpoints[i].text, rpc.error);
    }
    if (!how)
        show_statuses(c, rows, count);
    return how ? how : all && !c->refused_form ? CTL_ERROR : CTL_DONE;
}

/* --- health --------------------------------------------------------------------------------------------- */

struct health {
    const char *endpoint, *error; /* "" = healthy */
    int64_t took_ns;
};

static char *took_text(struct ctl *c, int64_t ns)
{
    struct buf text = {0};
    text_add_duration(&text, ns);
    char *copy = arena_string(&c->arena, text.data, text.size);
    buf_done(&text);
    return copy;
}

/* An endpoint with an alarm is not healthy. cairnctl needs no right to read alarms, etcdctl does. */
static enum ctl_exit query_alarms(struct ctl *c, size_t at, struct health *ret)
{
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    Etcdserverpb__AlarmResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/maintenance/alarm",
                          .request = &request.base,
                          .answer = &etcdserverpb__alarm_response__descriptor,
                          .is_read = true,
                          .is_quiet = true};
    enum ctl_exit how = ctl_rpc_at(c, at, &rpc, &r);
    if (how == CTL_INTERRUPTED)
        return how;
    if (how && c->line.is_etcdctl)
        ret->error = "Unable to fetch the alarm list";
    if (how || r->n_alarms == 0)
        return CTL_DONE;
    struct buf text = {0};
    buf_add_text(&text, "Active Alarm(s): ");
    for (size_t i = 0; i < r->n_alarms; i++)
        buf_addf(&text, "%s ", ctl_alarm_name((int)r->alarms[i]->alarm));
    ret->error = arena_string(&c->arena, text.data, text.size);
    buf_done(&text);
    return CTL_DONE;
}

/* Checks an endpoint: a linearizable read must succeed, and there must be no alarm. */
static enum ctl_exit query_health(struct ctl *c, size_t at, struct health *ret)
{
    Etcdserverpb__RangeRequest request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    request.key = ctl_bytes("health");
    struct ctl_rpc rpc = {.path = "/v3/kv/range",
                          .request = &request.base,
                          .answer = &etcdserverpb__range_response__descriptor,
                          .is_read = true,
                          .is_quiet = true};
    uint64_t from = clock_mono_ns();
    enum ctl_exit how = ctl_rpc_at(c, at, &rpc, &r);
    *ret = (struct health){c->endpoints[at].text, "", (int64_t)(clock_mono_ns() - from)};
    bool is_denied = rpc.code == 7; /* a denied read also proves that the cluster has a quorum */
    if (how == CTL_INTERRUPTED)
        return how;
    if (how && !is_denied)
        ret->error = arena_string(&c->arena, rpc.error, strlen(rpc.error));
    return *ret->error ? CTL_DONE : query_alarms(c, at, ret);
}

static void show_health(struct ctl *c, const struct health *list, size_t count)
{
    static const char *const heads[] = {"ENDPOINT", "HEALTH", "TOOK", "ERROR"};
    struct ctl_table t = {.columns = 4};
    struct json_writer w = {.out = &c->out};
    bool is_json = c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML;
    if (is_json)
        jw_open(&w, '[');
    if (wants_table(c))
        add_heads(&t, heads);
    for (size_t i = 0; i < count; i++) {
        const struct health *h = &list[i];
        const char *took = took_text(c, h->took_ns);
        if (is_json) {
            jw_open(&w, '{');
            jw_key(&w, "endpoint");
            jw_text(&w, h->endpoint);
            jw_key(&w, "health");
            jw_bool(&w, !*h->error);
            jw_key(&w, "took");
            jw_text(&w, took);
            if (*h->error) {
                jw_key(&w, "error");
                jw_text(&w, h->error);
            }
            jw_close(&w, '}');
        } else if (c->form == CTL_FORM_FIELDS) {
            buf_addf(&c->out, "\"Endpoint\" : \"%s\"\n\"Health\" : %s\n\"Took\" : %s\n\"Error\" : %s\n\n",
                     h->endpoint, yes(!*h->error), took, h->error);
        } else if (wants_table(c)) {
            ctl_table_add(&t, slice_text(h->endpoint));
            ctl_table_add(&t, slice_text(yes(!*h->error)));
            ctl_table_add(&t, slice_text(took));
            ctl_table_add(&t, slice_text(h->error));
        } else if (!*h->error) {
            buf_addf(&c->out, "%s is healthy: successfully committed proposal: took = %s\n", h->endpoint,
                     took);
        } else {
            ctl_note(c, "%s is unhealthy: failed to commit proposal: %s", h->endpoint, h->error);
        }
    }
    if (is_json) {
        jw_close(&w, ']');
        buf_add_byte(&c->out, '\n');
    }
    if (wants_table(c))
        show_table(c, &t);
}

enum ctl_exit ctl_endpoint_health(struct ctl *c)
{
    enum ctl_exit how = choose_endpoints(c);
    struct health list[CTL_ENDPOINTS_MAX];
    bool is_ill = false;
    ctl_refuse_form(c, CTL_FORM_PROTOBUF);
    for (size_t i = 0; !how && i < c->endpoint_count; i++) {
        how = query_health(c, i, &list[i]);
        is_ill = is_ill || *list[i].error;
    }
    if (how)
        return how;
    show_health(c, list, c->endpoint_count);
    if (!is_ill || c->refused_form)
        return CTL_DONE;
    return c->line.is_etcdctl ? ctl_fail(c, CTL_ERROR, "unhealthy cluster") : CTL_INTERRUPTED;
}

/* --- hash ----------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_endpoint_hashkv(struct ctl *c)
{
    static const char *const heads[] = {"ENDPOINT", "HASH", "HASH REVISION"};
    Etcdserverpb__HashKVRequest request = ETCDSERVERPB__HASH_KVREQUEST__INIT;
    enum ctl_exit how = choose_endpoints(c), all = CTL_DONE;
    struct ctl_table t = {.columns = c->line.is_etcdctl ? 3 : 2};
    struct buf list = {0};
    struct json_writer w = {.out = &list};
    bool is_json = c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML;
    request.revision = ctl_int(&c->line, "rev");
    if (wants_table(c))
        add_heads(&t, heads);
    ctl_refuse_form(c, CTL_FORM_PROTOBUF);
    for (size_t i = 0; !how && i < c->endpoint_count; i++) {
        Etcdserverpb__HashKVResponse *r;
        struct ctl_rpc rpc = {.path = "/v3/maintenance/hashkv",
                              .request = &request.base,
                              .answer = &etcdserverpb__hash_kvresponse__descriptor,
                              .is_read = true,
                              .is_quiet = true};
        enum ctl_exit one = ctl_rpc_at(c, i, &rpc, &r);
        if (one) {
            ctl_note(c, "Failed to get the hash of endpoint %s (%s)", c->endpoints[i].text, rpc.error);
            all = CTL_ERROR;
        } else if (is_json) {
            struct buf hash = {0};
            ctl_add_go_json(&hash, &r->base);
            jw_open(&w, '{');
            jw_key(&w, "Endpoint");
            jw_text(&w, c->endpoints[i].text);
            jw_key(&w, "HashKV");
            jw_raw(&w, buf_slice(&hash));
            jw_close(&w, '}');
            buf_done(&hash);
        } else if (c->form == CTL_FORM_FIELDS) {
            ctl_show_header_fields(c, r->header);
            buf_addf(&c->out,
                     "\"Endpoint\" : \"%s\"\n\"Hash\" : %" PRIu32 "\n\"HashRevision\" : %" PRId64 "\n\n",
                     c->endpoints[i].text, r->hash, r->hash_revision);
        } else {
            ctl_table_add(&t, slice_text(c->endpoints[i].text));
            ctl_table_addf(&t, "%" PRIu32, r->hash);
            if (c->line.is_etcdctl)
                ctl_table_addf(&t, "%" PRId64, r->hash_revision);
        }
    }
    if (is_json) {
        show_list(c, &list);
    } else if (wants_table(c)) {
        show_table(c, &t);
    } else {
        ctl_table_show_joined(&t, ", ", &c->out);
    }
    ctl_table_done(&t);
    return how || c->refused_form ? how : all;
}

/* --- defrag --------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_defrag(struct ctl *c)
{
    if (ctl_flag_value(&c->line, "data-dir"))
        return ctl_defrag_folder(c);
    if (c->line.is_etcdutl)
        return ctl_fail(c, CTL_ERROR, "required flag(s) \"data-dir\" not set");
    Etcdserverpb__DefragmentRequest request = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    enum ctl_exit how = choose_endpoints(c), all = CTL_DONE;
    for (size_t i = 0; !how && i < c->endpoint_count; i++) {
        Etcdserverpb__DefragmentResponse *r;
        struct ctl_rpc rpc = {.path = "/v3/maintenance/defragment",
                              .request = &request.base,
                              .answer = &etcdserverpb__defragment_response__descriptor,
                              .is_read = true,
                              .is_quiet = true};
        uint64_t from = clock_mono_ns();
        enum ctl_exit one = ctl_rpc_at(c, i, &rpc, &r);
        const char *took = took_text(c, (int64_t)(clock_mono_ns() - from));
        if (one) {
            ctl_note(c, "Failed to defragment etcd member[%s]. took %s. (%s)", c->endpoints[i].text, took,
                     rpc.error);
            all = CTL_ERROR;
        } else {
            buf_addf(&c->out, "Finished defragmenting etcd member[%s]. took %s\n", c->endpoints[i].text,
                     took);
        }
    }
    return how ? how : all;
}
