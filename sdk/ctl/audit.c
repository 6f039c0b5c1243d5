/* SPDX-License-Identifier: Apache-2.0
 * The command `audit`: the audit trail, the newest change first. */
#include <inttypes.h>
#include <time.h>

#include "sdk/ctl/ctl.h"

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum ctl_exit ctl_audit(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"TIME", "time_ms", CTL_CELL_TIME},
        {"AUTHOR", "author", CTL_CELL_PLAIN},
        {"ON BEHALF OF", "on_behalf_of", CTL_CELL_PLAIN},
        {"ADDRESS", "address", CTL_CELL_PLAIN},
        {"KIND", "kind", CTL_CELL_PLAIN},
        {"OPERATION", "operation", CTL_CELL_PLAIN},
        {"NAMESPACE", "namespace", CTL_CELL_PLAIN},
        {"NAME", "name", CTL_CELL_PLAIN},
        {"INSTANCE", "id", CTL_CELL_PLAIN},
        {"SEQ", "seq", CTL_CELL_PLAIN},
        {"EMERGENCY", "emergency", CTL_CELL_PLAIN},
        {"ERROR", "error", CTL_CELL_PLAIN},
    };
    static const char *const filters[] = {"kind", "name", "namespace"};
    const struct ctl_command_line *t = &c->line;
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    ctl_path(&call, "/api/v1/audit");
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        ctl_query(&call, filters[i], ctl_flag_value(t, filters[i]));
    ctl_query(&call, "user", ctl_flag_value(t, "author"));
    if (ctl_flag_value(t, "since"))
        ctl_query_int(&call, "from", wall_ms() - ctl_duration_ms(t, "since"));
    enum ctl_exit how = ctl_call_some(c, &call, "changes", ctl_int(t, "limit"), &doc);
    if (!how)
        ctl_print_rows(c, doc, "changes", columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}
