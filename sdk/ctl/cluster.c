/* SPDX-License-Identifier: Apache-2.0
 * The commands `cluster status` and `doctor`. They query every member, also members that --endpoints does
 * not name. Unknown values are left out of the facts. */
#include "sdk/ctl/doctor.h"
#include "sdk/ctl/member.h"

#include <inttypes.h>
#include <stdio.h>

static json_t *hex(uint64_t id)
{
    char text[20];
    snprintf(text, sizeof text, "%" PRIx64, id);
    return json_string(text);
}

static void ctl_cluster_add_status(json_t *m, const Etcdserverpb__StatusResponse *r)
{
    const char *role = r->islearner ? "learner" : r->leader == r->header->member_id ? "leader" : "follower";
    json_object_set_new(m, "reachable", json_true());
    json_object_set_new(m, "role", json_string(role));
    if (r->leader)
        json_object_set_new(m, "leader", hex(r->leader));
    json_object_set_new(m, "cluster_id", hex(r->header->cluster_id));
    json_object_set_new(m, "version", json_string(r->version));
    json_object_set_new(m, "revision", json_integer(r->header->revision));
    json_object_set_new(m, "term", json_integer((json_int_t)r->raftterm));
    json_object_set_new(m, "index", json_integer((json_int_t)r->raftindex));
    json_object_set_new(m, "applied", json_integer((json_int_t)r->raftappliedindex));
    json_object_set_new(m, "db_size", json_integer(r->dbsize));
    json_object_set_new(m, "db_size_in_use", json_integer(r->dbsizeinuse));
    json_object_set_new(m, "db_size_quota", json_integer(r->dbsizequota));
    json_t *errors = json_array();
    for (size_t i = 0; i < r->n_errors; i++)
        json_array_append_new(errors, json_string(r->errors[i]));
    json_object_set_new(m, "errors", errors);
}

/* Queries a member at the first of its client URLs that works. */
static enum ctl_exit query_member(struct ctl *c, const Etcdserverpb__Member *member, json_t *m)
{
    struct ctl_rpc rpc = {0};
    Etcdserverpb__StatusResponse *r;
    const char *const url[] = {member->n_clienturls ? member->clienturls[0] : NULL};
    json_object_set_new(m, "id", hex(member->id));
    json_object_set_new(m, "name", json_string(member->name));
    json_object_set_new(m, "peer_url", json_string(member->n_peerurls ? member->peerurls[0] : ""));
    json_object_set_new(m, "reachable", json_false());
    json_object_set_new(m, "role", json_string(member->islearner ? "learner" : "voter"));
    if (!url[0])
        return CTL_DONE;
    json_object_set_new(m, "endpoint", json_string(url[0]));
    enum ctl_exit how = ctl_set_endpoints(c, url, 1);
    if (!how)
        how = ctl_get_status(c, 0, &rpc, &r);
    if (how == CTL_INTERRUPTED)
        return how;
    if (how)
        json_object_set_new(m, "error", json_string(*rpc.error ? rpc.error : "it cannot be asked"));
    else
        ctl_cluster_add_status(m, r);
    return CTL_DONE;
}

/* Queries all members; *ret is NULL if no endpoint returns the list of members. */
static enum ctl_exit query_members(struct ctl *c, bool is_quiet, json_t **ret)
{
    Etcdserverpb__MemberListResponse *list;
    *ret = NULL;
    enum ctl_exit how = ctl_list_members(c, true, is_quiet, &list);
    if (how)
        return how;
    json_t *members = json_array();
    for (size_t i = 0; !how && i < list->n_members; i++) {
        json_t *m = json_object();
        how = query_member(c, list->members[i], m);
        json_array_append_new(members, m);
    }
    *ret = members;
    return how;
}

enum ctl_exit ctl_cluster_status(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},
        {"ID", "id", CTL_CELL_PLAIN},
        {"ENDPOINT", "endpoint", CTL_CELL_PLAIN},
        {"ROLE", "role", CTL_CELL_PLAIN},
        {"UP", "reachable", CTL_CELL_YES},
        {"VERSION", "version", CTL_CELL_PLAIN},
        {"TERM", "term", CTL_CELL_PLAIN},
        {"INDEX", "index", CTL_CELL_PLAIN},
        {"REVISION", "revision", CTL_CELL_PLAIN},
        {"SIZE", "db_size", CTL_CELL_PLAIN},
        {"IN USE", "db_size_in_use", CTL_CELL_PLAIN},
        {"ERRORS", "errors", CTL_CELL_PLAIN},
    };
    json_t *members;
    enum ctl_exit how = query_members(c, false, &members);
    bool is_whole = !how;
    for (size_t i = 0; i < json_array_size(members); i++)
        is_whole = is_whole && json_is_true(ctl_json_at(json_array_get(members, i), "reachable"));
    if (!how) {
        json_t *doc = json_pack("{s:O}", "members", members);
        ctl_print_rows(c, doc, "members", columns, sizeof columns / sizeof *columns);
        json_decref(doc);
    }
    json_decref(members);
    return how ? how : is_whole ? CTL_DONE : CTL_INTERRUPTED;
}

/* --- doctor --------------------------------------------------------------------------------------------- */

/* Adds the given endpoints that do not respond. */
static enum ctl_exit query_endpoints(struct ctl *c, json_t *facts)
{
    json_t *silent = json_array();
    enum ctl_exit how = CTL_DONE;
    size_t good = c->endpoint_count;
    for (size_t i = 0; !how && i < c->endpoint_count; i++) {
        struct ctl_rpc rpc;
        Etcdserverpb__StatusResponse *r;
        enum ctl_exit one = ctl_get_status(c, i, &rpc, &r);
        if (one == CTL_INTERRUPTED)
            how = one;
        else if (one)
            json_array_append_new(
                silent, json_pack("{s:s, s:s}", "endpoint", c->endpoints[i].text, "error", rpc.error));
        else if (good == c->endpoint_count)
            good = i;
    }
    if (good < c->endpoint_count)
        c->at = good;
    json_object_set_new(facts, "endpoints", silent);
    return how;
}

static void query_alarms(struct ctl *c, json_t *facts)
{
    Etcdserverpb__AlarmResponse *r;
    json_t *list = json_array();
    if (ctl_list_alarms(c, true, &r) == CTL_DONE) {
        for (size_t i = 0; i < r->n_alarms; i++) {
            json_t *a = json_object();
            json_object_set_new(a, "member", hex(r->alarms[i]->memberid));
            json_object_set_new(a, "alarm", json_string(ctl_alarm_name((int)r->alarms[i]->alarm)));
            json_array_append_new(list, a);
        }
    }
    json_object_set_new(facts, "alarms", list);
}

/* Gets an optional fact over HTTP; NULL on failure, which is not reported. */
static json_t *get_optional(struct ctl *c, struct ctl_call *call)
{
    json_t *doc = NULL;
    char error[200];
    if (ctl_send(c, call) == OK && call->status == 200 &&
        json_parse(buf_slice(&call->answer), &doc, error, sizeof error) != OK)
        doc = NULL;
    ctl_call_done(call);
    return doc;
}

static void query_services(struct ctl *c, json_t *facts)
{
    struct ctl_call call = {.method = "GET"};
    ctl_path(&call, "/api/v1/services");
    ctl_query(&call, "consistency", "local");
    ctl_query(&call, "namespace", ctl_flag_value(&c->line, "namespace"));
    ctl_query(&call, "group", "*");
    json_t *doc = get_optional(c, &call), *lost = json_array();
    const json_t *services = ctl_json_at(doc, "services");
    for (size_t i = 0; i < json_array_size(services); i++) {
        const json_t *s = json_array_get(services, i);
        if (ctl_json_int(s, "states.lost"))
            json_array_append_new(lost, json_pack("{s:s, s:I}", "service", ctl_json_text(s, "name"),
                                                  "instances", (json_int_t)ctl_json_int(s, "states.lost")));
    }
    json_object_set_new(facts, "lost", lost);
    json_decref(doc);
}

static void query_auth(struct ctl *c, json_t *facts)
{
    struct ctl_call call = {.method = "POST", .body = slice_text("{}"), .has_body = true, .is_read = true};
    ctl_path(&call, "/v3/auth/status");
    json_t *doc = get_optional(c, &call);
    if (doc)
        json_object_set_new(facts, "auth", json_boolean(json_is_true(ctl_json_at(doc, "enabled"))));
    json_decref(doc);
}

static void print_findings(struct ctl *c, const json_t *findings)
{
    static const char *const levels[] = {"bad", "warn", "fine", "info"}, *const colours[] = {"31", "33", "32",
                                                                                             "36"};
    for (size_t i = 0; i < json_array_size(findings); i++) {
        const json_t *f = json_array_get(findings, i);
        const char *level = ctl_json_text(f, "level"), *todo = ctl_json_text(f, "do");
        for (size_t k = 0; k < 4; k++) {
            if (strcmp(level, levels[k]) == 0 && c->has_colour)
                buf_addf(&c->out, "\033[%sm%-4s\033[0m  ", colours[k], level);
            else if (strcmp(level, levels[k]) == 0)
                buf_addf(&c->out, "%-4s  ", level);
        }
        ctl_add_line(&c->out, slice_text(ctl_json_text(f, "what")));
        buf_addf(&c->out, "%s%s\n", *todo ? "\n      " : "", todo);
    }
}

enum ctl_exit ctl_doctor(struct ctl *c)
{
    json_t *facts = json_object(), *members = NULL;
    enum ctl_exit how = query_endpoints(c, facts);
    bool has_any = json_array_size(ctl_json_at(facts, "endpoints")) < c->endpoint_count;
    if (!how && has_any) {
        query_alarms(c, facts);
        query_services(c, facts);
        query_auth(c, facts);
        how = query_members(c, true, &members);
    }
    if (how == CTL_INTERRUPTED)
        goto out;
    if (members)
        json_object_set(facts, "members", members);
    json_t *diagnosis = ctl_diagnose(facts);
    if (c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML)
        ctl_show_rows(&c->out, c->form, diagnosis, NULL, NULL, 0);
    else
        print_findings(c, ctl_json_at(diagnosis, "findings"));
    how = json_is_true(ctl_json_at(diagnosis, "healthy")) ? CTL_DONE : CTL_INTERRUPTED;
    json_decref(diagnosis);
out:
    json_decref(facts);
    json_decref(members);
    return how;
}
