/* SPDX-License-Identifier: Apache-2.0
 * The command `audit`: the audit trail, the newest change first; with --watch as it grows. */
#include <inttypes.h>
#include <time.h>

#include "sdk/ctl/ctl.h"

static int64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

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
enum { COLUMNS = sizeof columns / sizeof *columns };

static enum ctl_exit get_changes(struct ctl *c, json_t **ret_doc)
{
    static const char *const filters[] = {"kind", "name", "namespace"};
    const struct ctl_command_line *t = &c->line;
    struct ctl_call call = {.method = "GET"};
    ctl_path(&call, "/api/v1/audit");
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        ctl_query(&call, filters[i], ctl_flag_value(t, filters[i]));
    ctl_query(&call, "user", ctl_flag_value(t, "author"));
    if (ctl_flag_value(t, "since"))
        ctl_query_int(&call, "from", wall_ms() - ctl_duration_ms(t, "since"));
    enum ctl_exit how = ctl_call_some(c, &call, "changes", ctl_int(t, "limit"), ret_doc);
    ctl_call_done(&call);
    return how;
}

/* --- watch ---------------------------------------------------------------------------------------------- */

struct audit_watch {
    int64_t revision; /* changes up to it were shown */
    json_t *snapshot; /* changes of a snapshot, the newest first, until its last part has come */
};

static void show_change(struct ctl *c, const json_t *change)
{
    if (c->form == CTL_FORM_YAML)
        buf_add_text(&c->out, "---\n");
    bool is_document = c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML;
    ctl_show_rows(&c->out, is_document ? c->form : CTL_FORM_SIMPLE, change, NULL, columns, COLUMNS);
}

/* The oldest first. A snapshot after a reconnect has changes that were shown before. */
static void show_reversed(struct ctl *c, struct audit_watch *w, const json_t *list)
{
    int64_t newest = w->revision;
    for (size_t i = json_array_size(list); i-- > 0;) {
        int64_t revision = ctl_json_int(json_array_get(list, i), "revision");
        if (revision <= w->revision)
            continue;
        show_change(c, json_array_get(list, i));
        newest = revision > newest ? revision : newest;
    }
    w->revision = newest;
}

static enum ctl_exit on_audit_frame(struct ctl *c, const json_t *frame, void *arg)
{
    struct audit_watch *w = arg;
    const char *type = ctl_json_text(frame, "type");
    if (strcmp(type, "snapshot") == 0) {
        if (ctl_json_int(frame, "part") == 1)
            json_array_clear(w->snapshot);
        const json_t *items = ctl_json_at(frame, "items");
        for (size_t i = 0; i < json_array_size(items); i++)
            json_array_append(w->snapshot, json_array_get(items, i));
        if (json_is_true(ctl_json_at(frame, "last"))) {
            show_reversed(c, w, w->snapshot);
            json_array_clear(w->snapshot);
        }
    } else if (strcmp(type, "delta") == 0) {
        const json_t *list = ctl_json_at(frame, "put");
        for (size_t i = 0; i < json_array_size(list); i++)
            show_change(c, json_array_get(list, i));
        w->revision = ctl_json_int(frame, "revision");
    } else if (strcmp(type, "resync") == 0) {
        ctl_note(c, "the history since revision %lld is compacted: the changes that are kept follow",
                 (long long)w->revision);
    }
    return CTL_DONE;
}

static void add_filters(const struct ctl *c, struct ctl_call *call, void *arg)
{
    const struct audit_watch *w = arg;
    const struct ctl_command_line *t = &c->line;
    ctl_query(call, "change_kind", ctl_flag_value(t, "kind"));
    ctl_query(call, "name", ctl_flag_value(t, "name"));
    ctl_query(call, "namespace", ctl_flag_value(t, "namespace"));
    ctl_query(call, "user", ctl_flag_value(t, "author"));
    ctl_query_int(call, "from_revision", w->revision + 1);
}

/* The list has the changes up to its revision and perhaps newer ones, which the stream has again. So the
 * stream begins after the revision of the list, and the newer ones of the list are left out. */
static enum ctl_exit watch_changes(struct ctl *c, const json_t *doc)
{
    struct audit_watch w = {.snapshot = json_array()};
    const struct ctl_subscription subscription = {
        .kind = "audit", .add = add_filters, .on_frame = on_audit_frame, .arg = &w};
    const json_t *list = ctl_json_at(doc, "changes");
    int64_t revision = ctl_json_int(doc, "revision");
    for (size_t i = json_array_size(list); i-- > 0;)
        if (ctl_json_int(json_array_get(list, i), "revision") <= revision)
            show_change(c, json_array_get(list, i));
    w.revision = revision;
    enum ctl_exit how = ctl_follow(c, &subscription);
    json_decref(w.snapshot);
    return how;
}

enum ctl_exit ctl_audit(struct ctl *c)
{
    json_t *doc = NULL;
    enum ctl_exit how = get_changes(c, &doc);
    if (!how && ctl_bool(&c->line, "watch"))
        how = watch_changes(c, doc);
    else if (!how)
        ctl_print_rows(c, doc, "changes", columns, COLUMNS);
    json_decref(doc);
    return how;
}
