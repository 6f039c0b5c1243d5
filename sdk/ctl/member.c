/* SPDX-License-Identifier: Apache-2.0
 * The commands member, move-leader and alarm, as of etcdctl. */
#include "sdk/ctl/member.h"

#include <inttypes.h>

#include "base/text.h"

static void add_list(struct buf *out, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_addf(out, "%s%s", i ? "," : "", list[i]);
}

static const char *status_of(const Etcdserverpb__Member *m)
{
    return *m->name ? "started" : "unstarted";
}

/* Makes the cells of a line; the caller separates them. */
static void add_cells(const Etcdserverpb__Member *m, struct buf cells[2])
{
    buf_clear(&cells[0]);
    buf_clear(&cells[1]);
    add_list(&cells[0], m->peerurls, m->n_peerurls);
    add_list(&cells[1], m->clienturls, m->n_clienturls);
}

static void show_lines(struct ctl *c, const Etcdserverpb__MemberListResponse *r)
{
    struct buf cells[2] = {0};
    for (size_t i = 0; i < r->n_members; i++) {
        const Etcdserverpb__Member *m = r->members[i];
        add_cells(m, cells);
        buf_addf(&c->out, "%" PRIx64 ", %s, %s, %s, %s, %s\n", m->id, status_of(m), m->name,
                 buf_text(&cells[0]), buf_text(&cells[1]), m->islearner ? "true" : "false");
    }
    buf_done(&cells[0]);
    buf_done(&cells[1]);
}

static void show_table(struct ctl *c, const Etcdserverpb__MemberListResponse *r)
{
    static const char *const heads[] = {"ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER"};
    struct ctl_table t = {.columns = 6};
    struct buf cells[2] = {0};
    for (size_t i = 0; i < 6; i++)
        ctl_table_add(&t, slice_text(heads[i]));
    for (size_t i = 0; i < r->n_members; i++) {
        const Etcdserverpb__Member *m = r->members[i];
        add_cells(m, cells);
        ctl_table_addf(&t, "%" PRIx64, m->id);
        ctl_table_add(&t, slice_text(status_of(m)));
        ctl_table_add(&t, slice_text(m->name));
        ctl_table_add(&t, buf_slice(&cells[0]));
        ctl_table_add(&t, buf_slice(&cells[1]));
        ctl_table_add(&t, slice_text(m->islearner ? "true" : "false"));
    }
    if (c->line.is_etcdctl)
        ctl_table_show_boxed(&t, &c->out);
    else
        ctl_table_show(&t, &c->out);
    ctl_table_done(&t);
    buf_done(&cells[0]);
    buf_done(&cells[1]);
}

static void add_quoted_lines(struct ctl *c, const char *name, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        buf_addf(&c->out, "\"%s\" : ", name);
        ctl_add_quoted(&c->out, slice_text(list[i]));
        buf_add_byte(&c->out, '\n');
    }
}

static void show_fields(struct ctl *c, const Etcdserverpb__MemberListResponse *r)
{
    ctl_show_header_fields(c, r->header);
    for (size_t i = 0; i < r->n_members; i++) {
        const Etcdserverpb__Member *m = r->members[i];
        char *name[] = {m->name};
        ctl_show_member_id(c, "ID", m->id);
        add_quoted_lines(c, "Name", name, 1);
        add_quoted_lines(c, "PeerURL", m->peerurls, m->n_peerurls);
        add_quoted_lines(c, "ClientURL", m->clienturls, m->n_clienturls);
        buf_addf(&c->out, "\"IsLearner\" : %s\n\n", m->islearner ? "true" : "false");
    }
}

enum ctl_exit ctl_list_members(struct ctl *c, bool is_serializable, bool is_quiet,
                               Etcdserverpb__MemberListResponse **ret)
{
    Etcdserverpb__MemberListRequest request = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    request.linearizable = !is_serializable;
    struct ctl_rpc rpc = {.path = "/v3/cluster/member/list",
                          .request = &request.base,
                          .answer = &etcdserverpb__member_list_response__descriptor,
                          .is_read = true,
                          .is_quiet = is_quiet};
    return ctl_rpc(c, &rpc, ret);
}

enum ctl_exit ctl_member_list(struct ctl *c)
{
    Etcdserverpb__MemberListResponse *r;
    const char *consistency = ctl_text(&c->line, "consistency");
    bool is_serializable = strcmp(consistency, "s") == 0;
    if (!is_serializable && strcmp(consistency, "l") != 0)
        return ctl_fail(c, CTL_BAD_FEATURE, "unknown consistency flag \"%s\"", consistency);
    /* etcdctl before 3.5 read the local list of any member; under its name this program does so too. */
    enum ctl_exit how = ctl_list_members(
        c, is_serializable || (c->line.is_etcdctl && !ctl_flag_value(&c->line, "consistency")), false, &r);
    if (how)
        return how;
    if (c->form == CTL_FORM_TABLE || (c->form == CTL_FORM_NONE && !c->line.is_etcdctl))
        show_table(c, r);
    else if (c->form == CTL_FORM_FIELDS)
        show_fields(c, r);
    else if (c->form == CTL_FORM_SIMPLE || c->form == CTL_FORM_NONE)
        show_lines(c, r);
    else if (c->form != CTL_FORM_NAME)
        ctl_show_message(c, &r->base);
    for (size_t i = 0; c->form == CTL_FORM_NAME && i < r->n_members; i++)
        buf_addf(&c->out, "%" PRIx64 "\n", r->members[i]->id);
    return CTL_DONE;
}

/* --- changes -------------------------------------------------------------------------------------------- */

static bool is_sentence(const struct ctl *c)
{
    return c->form == CTL_FORM_NONE || c->form == CTL_FORM_SIMPLE || c->form == CTL_FORM_TABLE ||
           c->form == CTL_FORM_NAME;
}

/* The forms that etcdctl refuses after the change of the members is made. */
static void refuse_forms(struct ctl *c)
{
    ctl_refuse_form(c, CTL_FORM_TABLE);
    ctl_refuse_form(c, CTL_FORM_FIELDS);
}

/* Shows the response in another form than a sentence; false: the caller prints the sentence. */
static bool show_other(struct ctl *c, const ProtobufCMessage *m, const Etcdserverpb__ResponseHeader *h)
{
    if (is_sentence(c))
        return false;
    if (c->form == CTL_FORM_FIELDS)
        ctl_show_header_fields(c, h);
    else
        ctl_show_message(c, m);
    return true;
}

static enum ctl_exit read_urls(struct ctl *c, size_t *ret_count, char ***ret_urls)
{
    const char *text = ctl_flag_value(&c->line, "peer-urls");
    *ret_count = 0;
    if (!text || !*text)
        return ctl_fail(c, CTL_BAD_ARGS, "member peer urls not provided");
    *ret_urls = arena_alloc(&c->arena, (strlen(text) + 1) * sizeof **ret_urls);
    char *save, *all = arena_string(&c->arena, text, strlen(text));
    for (char *one = strtok_r(all, ",", &save); one; one = strtok_r(NULL, ",", &save))
        (*ret_urls)[(*ret_count)++] = one;
    return CTL_DONE;
}

static void show_how_to_start(struct ctl *c, const Etcdserverpb__MemberAddResponse *r,
                              const Etcdserverpb__MemberAddRequest *request)
{
    struct buf urls = {0};
    buf_addf(&c->out, "\nETCD_NAME=\"%s\"\nETCD_INITIAL_CLUSTER=\"", c->line.args[0]);
    const char *separator = "";
    for (size_t i = 0; i < r->n_members; i++) {
        for (size_t k = 0; k < r->members[i]->n_peerurls; k++) {
            const char *name = r->members[i]->id == r->member->id ? c->line.args[0] : r->members[i]->name;
            buf_addf(&c->out, "%s%s=%s", separator, name, r->members[i]->peerurls[k]);
            separator = ",";
        }
    }
    add_list(&urls, request->peerurls, request->n_peerurls);
    buf_addf(&c->out,
             "\"\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"%s\"\nETCD_INITIAL_CLUSTER_STATE=\"existing\"\n",
             buf_text(&urls));
    buf_done(&urls);
}

enum ctl_exit ctl_member_add(struct ctl *c)
{
    Etcdserverpb__MemberAddRequest request = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    Etcdserverpb__MemberAddResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/cluster/member/add",
                          .request = &request.base,
                          .answer = &etcdserverpb__member_add_response__descriptor};
    refuse_forms(c);
    if (c->line.arg_count < 1)
        return ctl_fail(c, CTL_BAD_ARGS, "member name not provided");
    if (c->line.arg_count > 1)
        return ctl_fail(c, CTL_BAD_ARGS, "too many arguments");
    request.islearner = ctl_bool(&c->line, "learner");
    enum ctl_exit how = read_urls(c, &request.n_peerurls, &request.peerurls);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (how || show_other(c, &r->base, r->header))
        return how;
    buf_addf(&c->out, "Member %16" PRIx64 " added%s to cluster %16" PRIx64 "\n", r->member->id,
             request.islearner ? " as learner" : "", r->header->cluster_id);
    show_how_to_start(c, r, &request);
    return CTL_DONE;
}

static enum ctl_exit one_member(struct ctl *c, uint64_t *ret_id)
{
    if (c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "member ID is not provided");
    return ctl_read_member(c, c->line.args[0], ret_id);
}

enum ctl_exit ctl_member_remove(struct ctl *c)
{
    Etcdserverpb__MemberRemoveRequest request = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    Etcdserverpb__MemberRemoveResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/cluster/member/remove",
                          .request = &request.base,
                          .answer = &etcdserverpb__member_remove_response__descriptor};
    refuse_forms(c);
    enum ctl_exit how = one_member(c, &request.id);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Member %16" PRIx64 " removed from cluster %16" PRIx64 "\n", request.id,
                 r->header->cluster_id);
    return how;
}

enum ctl_exit ctl_member_update(struct ctl *c)
{
    Etcdserverpb__MemberUpdateRequest request = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    Etcdserverpb__MemberUpdateResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/cluster/member/update",
                          .request = &request.base,
                          .answer = &etcdserverpb__member_update_response__descriptor};
    refuse_forms(c);
    enum ctl_exit how = one_member(c, &request.id);
    if (!how)
        how = read_urls(c, &request.n_peerurls, &request.peerurls);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Member %16" PRIx64 " updated in cluster %16" PRIx64 "\n", request.id,
                 r->header->cluster_id);
    return how;
}

enum ctl_exit ctl_member_promote(struct ctl *c)
{
    Etcdserverpb__MemberPromoteRequest request = ETCDSERVERPB__MEMBER_PROMOTE_REQUEST__INIT;
    Etcdserverpb__MemberPromoteResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/cluster/member/promote",
                          .request = &request.base,
                          .answer = &etcdserverpb__member_promote_response__descriptor};
    refuse_forms(c);
    enum ctl_exit how = one_member(c, &request.id);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Member %16" PRIx64 " promoted in cluster %16" PRIx64 "\n", request.id,
                 r->header->cluster_id);
    return how;
}

/* Sends the request to the leader: to the endpoint whose status says that it leads. */
enum ctl_exit ctl_move_leader(struct ctl *c)
{
    Etcdserverpb__MoveLeaderRequest request = ETCDSERVERPB__MOVE_LEADER_REQUEST__INIT;
    Etcdserverpb__MoveLeaderResponse *r;
    Etcdserverpb__StatusRequest ask = ETCDSERVERPB__STATUS_REQUEST__INIT;
    struct ctl_rpc rpc = {.path = "/v3/maintenance/transfer-leadership",
                          .request = &request.base,
                          .answer = &etcdserverpb__move_leader_response__descriptor};
    if (c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "move-leader command needs 1 argument");
    uint64_t leader = 0;
    size_t at = 0;
    refuse_forms(c);
    if (!ctl_hex_u64(c->line.args[0], &request.targetid))
        return ctl_fail(c, CTL_BAD_ARGS, "strconv.ParseUint: parsing \"%s\": invalid syntax",
                        c->line.args[0]);
    for (; !leader && at < c->endpoint_count; at++) {
        Etcdserverpb__StatusResponse *status;
        struct ctl_rpc status_rpc = {.path = "/v3/maintenance/status",
                                     .request = &ask.base,
                                     .answer = &etcdserverpb__status_response__descriptor,
                                     .is_read = true,
                                     .is_quiet = true};
        if (ctl_rpc_at(c, at, &status_rpc, &status) == CTL_DONE && status->header &&
            status->leader == status->header->member_id)
            leader = status->leader;
    }
    if (!leader)
        return ctl_fail(c, CTL_BAD_ARGS, "no leader endpoint given at %s",
                        c->endpoint_count ? c->endpoints[0].text : "");
    enum ctl_exit how = ctl_rpc_at(c, at - 1, &rpc, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Leadership transferred from %" PRIx64 " to %" PRIx64 "\n", leader,
                 request.targetid);
    return how;
}

/* --- alarms --------------------------------------------------------------------------------------------- */

static enum ctl_exit call_alarm(struct ctl *c, Etcdserverpb__AlarmRequest__AlarmAction action, bool is_quiet,
                                Etcdserverpb__AlarmResponse **ret)
{
    Etcdserverpb__AlarmRequest request = ETCDSERVERPB__ALARM_REQUEST__INIT;
    request.action = action;
    struct ctl_rpc rpc = {.path = "/v3/maintenance/alarm",
                          .request = &request.base,
                          .answer = &etcdserverpb__alarm_response__descriptor,
                          .is_read = true, /* disarming twice is harmless */
                          .is_quiet = is_quiet};
    return ctl_rpc(c, &rpc, ret);
}

enum ctl_exit ctl_list_alarms(struct ctl *c, bool is_quiet, Etcdserverpb__AlarmResponse **ret)
{
    return call_alarm(c, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET, is_quiet, ret);
}

const char *ctl_alarm_name(int alarm)
{
    return alarm == ETCDSERVERPB__ALARM_TYPE__NOSPACE   ? "NOSPACE"
           : alarm == ETCDSERVERPB__ALARM_TYPE__CORRUPT ? "CORRUPT"
                                                        : "NONE";
}

static enum ctl_exit show_alarms(struct ctl *c, Etcdserverpb__AlarmRequest__AlarmAction action,
                                 const char *complaint)
{
    Etcdserverpb__AlarmResponse *r;
    if (c->line.arg_count)
        return ctl_fail(c, CTL_BAD_ARGS, "%s", complaint);
    enum ctl_exit how = ctl_no_table(c);
    if (!how)
        how = call_alarm(c, action, false, &r);
    if (how)
        return how;
    /* etcd's client disarms one alarm after the other, and joins the answers without a header. */
    if (c->line.is_etcdctl && action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE)
        r->header = NULL;
    bool is_fields = c->form == CTL_FORM_FIELDS;
    if (!is_fields && !is_sentence(c)) {
        ctl_show_message(c, &r->base);
        return CTL_DONE;
    }
    if (is_fields)
        ctl_show_header_fields(c, r->header);
    for (size_t i = 0; i < r->n_alarms; i++) {
        const Etcdserverpb__AlarmMember *a = r->alarms[i];
        if (is_fields)
            ctl_show_member_id(c, "MemberID", a->memberid);
        else
            buf_addf(&c->out, "memberID:%" PRIu64, a->memberid);
        buf_addf(&c->out, is_fields ? "\"AlarmType\" : %s\n\n" : " alarm:%s \n",
                 ctl_alarm_name((int)a->alarm));
    }
    return CTL_DONE;
}

enum ctl_exit ctl_alarm_list(struct ctl *c)
{
    return show_alarms(c, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET,
                       "alarm list command accepts no arguments");
}

enum ctl_exit ctl_alarm_disarm(struct ctl *c)
{
    return show_alarms(c, ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE,
                       "alarm disarm command accepts no arguments");
}
