/* SPDX-License-Identifier: Apache-2.0
 * The commands `downgrade validate|enable|cancel`, as of etcdctl 3.7. */
#include "sdk/ctl/rpc.h"

static enum ctl_exit downgrade(struct ctl *c, Etcdserverpb__DowngradeRequest__DowngradeAction action,
                               const char *name)
{
    Etcdserverpb__DowngradeRequest request = ETCDSERVERPB__DOWNGRADE_REQUEST__INIT;
    Etcdserverpb__DowngradeResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/maintenance/downgrade",
                          .request = &request.base,
                          .answer = &etcdserverpb__downgrade_response__descriptor};
    request.action = action;
    rpc.is_read = action == ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__VALIDATE;
    if (action != ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__CANCEL) {
        if (!c->line.arg_count)
            return ctl_fail(c, CTL_BAD_ARGS, "TARGET_VERSION not provided");
        if (c->line.arg_count > 1)
            return ctl_fail(c, CTL_BAD_ARGS, "too many arguments");
        if (!*c->line.args[0])
            return ctl_fail(c, CTL_BAD_ARGS, "target version not provided");
        request.version = (char *)(uintptr_t)c->line.args[0];
    }
    ctl_refuse_form(c, CTL_FORM_FIELDS);
    enum ctl_exit how = ctl_no_table(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (how)
        return how;
    if (c->form == CTL_FORM_NONE || c->form == CTL_FORM_SIMPLE || c->form == CTL_FORM_NAME) {
        buf_addf(&c->out, "Downgrade %s success, cluster version %s\n", name, r->version);
    } else if (c->form == CTL_FORM_FIELDS) {
        ctl_show_header_fields(c, r->header);
        buf_addf(&c->out, "\"Version\" : \"%s\"\n", r->version);
    } else {
        ctl_show_message(c, &r->base);
    }
    return CTL_DONE;
}

enum ctl_exit ctl_downgrade_validate(struct ctl *c)
{
    return downgrade(c, ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__VALIDATE, "validate");
}

enum ctl_exit ctl_downgrade_enable(struct ctl *c)
{
    return downgrade(c, ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__ENABLE, "enable");
}

enum ctl_exit ctl_downgrade_cancel(struct ctl *c)
{
    return downgrade(c, ETCDSERVERPB__DOWNGRADE_REQUEST__DOWNGRADE_ACTION__CANCEL, "cancel");
}
