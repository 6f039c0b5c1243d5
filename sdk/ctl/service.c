/* SPDX-License-Identifier: Apache-2.0
 * The commands `service ...`: the registry, by the native API. */
#include "sdk/ctl/ctl.h"

#include "base/text.h"

static const char *arg(const struct ctl *c, size_t i)
{
    return c->line.args[i];
}

/* /api/v1/services[/SERVICE[/instances/ID]] */
static void service_path(struct ctl_call *call, const char *service, const char *instance)
{
    ctl_path(call, "/api/v1/services");
    if (service)
        ctl_segment(call, service);
    if (instance) {
        ctl_path(call, "/instances");
        ctl_segment(call, instance);
    }
}

static const struct ctl_column instance_columns[] = {
    {"ID", "id", CTL_CELL_PLAIN},           {"ADDRESS", "", CTL_CELL_ADDRESS},
    {"STATE", "", CTL_CELL_STATE},          {"SERVING", "serving", CTL_CELL_YES},
    {"WEIGHT", "weight", CTL_CELL_PLAIN},   {"ZONE", "zone", CTL_CELL_PLAIN},
    {"VERSION", "version", CTL_CELL_PLAIN}, {"TAGS", "tags", CTL_CELL_PLAIN},
    {"SOURCE", "source", CTL_CELL_PLAIN},
};
enum { INSTANCE_COLUMNS = sizeof instance_columns / sizeof *instance_columns };

enum ctl_exit ctl_service_ls(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},
        {"GROUP", "group", CTL_CELL_PLAIN},
        {"INSTANCES", "instances", CTL_CELL_PLAIN},
        {"UP", "states.up", CTL_CELL_PLAIN},
        {"WARN", "states.warn", CTL_CELL_PLAIN},
        {"STARTING", "states.starting", CTL_CELL_PLAIN},
        {"DRAINING", "states.draining", CTL_CELL_PLAIN},
        {"LOST", "states.lost", CTL_CELL_PLAIN},
        {"DOWN", "states.down", CTL_CELL_PLAIN},
    };
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    service_path(&call, NULL, NULL);
    ctl_query_names(c, &call);
    ctl_query(&call, "prefix", c->line.arg_count ? arg(c, 0) : NULL);
    enum ctl_exit how = ctl_call_pages(c, &call, "services", &doc);
    if (!how)
        ctl_print_rows(c, doc, "services", columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_service_get(struct ctl *c)
{
    static const char *const filters[] = {"zone", "cluster", "version"};
    bool is_one = c->line.arg_count == 2;
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    service_path(&call, arg(c, 0), is_one ? arg(c, 1) : NULL);
    ctl_query_names(c, &call);
    for (size_t i = 0; !is_one && i < sizeof filters / sizeof *filters; i++)
        ctl_query(&call, filters[i], ctl_flag_value(&c->line, filters[i]));
    ctl_query(&call, "healthy", !is_one && ctl_bool(&c->line, "healthy") ? "true" : NULL);
    for (size_t i = 0; !is_one && i < ctl_list(&c->line, "tag")->count; i++)
        ctl_query(&call, "tag", ctl_list(&c->line, "tag")->list[i]);
    for (size_t i = 0; !is_one && i < ctl_list(&c->line, "label")->count; i++)
        ctl_query(&call, "label", ctl_list(&c->line, "label")->list[i]);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how && is_one) {
        if (c->form == CTL_FORM_NONE)
            c->form = CTL_FORM_YAML; /* one instance has too many fields for a line */
        ctl_print_rows(c, ctl_json_at(doc, "instance"), NULL, instance_columns, INSTANCE_COLUMNS);
    } else if (!how) {
        ctl_print_rows(c, doc, "instances", instance_columns, INSTANCE_COLUMNS);
        if (json_is_true(ctl_json_at(doc, "protected")) && c->form <= CTL_FORM_TABLE)
            ctl_note(c, "protected: too few instances are up, so callers get all of them");
    }
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* --- register ------------------------------------------------------------------------------------------- */

/* host:port, [::1]:port */
static bool add_address(json_t *instance, const char *text)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (!colon || colon == text || text_to_u64(slice_text(colon + 1), &port) != OK || port == 0 ||
        port > 65535)
        return false;
    bool has_brackets = text[0] == '[' && colon[-1] == ']';
    size_t size = (size_t)(colon - text);
    json_object_set_new(instance, "host",
                        has_brackets ? json_stringn(text + 1, size - 2) : json_stringn(text, size));
    json_object_set_new(instance, "port", json_integer((json_int_t)port));
    return true;
}

/* The pairs of --meta. */
static enum ctl_exit read_metadata(struct ctl *c, json_t *metadata)
{
    const struct ctl_value *pairs = ctl_list(&c->line, "meta");
    for (size_t i = 0; i < pairs->count; i++) {
        const char *pair = pairs->list[i], *equals = strchr(pair, '=');
        if (!equals)
            return ctl_fail(c, CTL_BAD_ARGS, "--meta is \"%s\"; it must be key=value", pair);
        json_object_setn_new(metadata, pair, (size_t)(equals - pair), json_string(equals + 1));
    }
    return CTL_DONE;
}

static enum ctl_exit read_instance(struct ctl *c, json_t *instance)
{
    static const char *const texts[] = {"zone", "region", "cluster", "version", "protocol"};
    const struct ctl_command_line *t = &c->line;
    if (!add_address(instance, arg(c, 2)))
        return ctl_fail(c, CTL_BAD_ARGS, "\"%s\" is not an address; use host:port", arg(c, 2));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (ctl_flag_value(t, texts[i]))
            json_object_set_new(instance, texts[i], json_string(ctl_flag_value(t, texts[i])));
    }
    if (ctl_flag_value(t, "weight"))
        json_object_set_new(instance, "weight", json_integer(ctl_int(t, "weight")));
    json_object_set_new(instance, "ttl", json_integer((ctl_duration_ms(t, "ttl") + 999) / 1000));
    if (ctl_flag_value(t, "check-ttl"))
        json_object_set_new(instance, "check",
                            json_pack("{s:s, s:s}", "type", "ttl", "ttl", ctl_flag_value(t, "check-ttl")));
    json_t *tags = json_array(), *metadata = json_object();
    for (size_t i = 0; i < ctl_list(t, "tag")->count; i++)
        json_array_append_new(tags, json_string(ctl_list(t, "tag")->list[i]));
    enum ctl_exit how = read_metadata(c, metadata);
    json_object_set_new(instance, "tags", tags);
    json_object_set_new(instance, "metadata", metadata);
    return how;
}

/* Stores the key of the session that the response reports as opened; without one the key stays. */
static void store_key(const json_t *doc, char key[64])
{
    const char *given = json_string_value(json_object_get(doc, "session_key"));
    if (given)
        snprintf(key, 64, "%s", given);
}

/* Sends the PUT that registers, keeps alive, and registers a lost instance again. key: of its session, ""
 * at first. */
static enum ctl_exit put_instance(struct ctl *c, const struct buf *body, bool reports_errors, char key[64],
                                  json_t **ret_doc)
{
    struct ctl_call call = {.method = "PUT", .body = buf_slice(body), .has_body = true};
    if (key[0])
        buf_addf(&call.fields, "X-Cairn-Session-Key: %s\r\n", key);
    service_path(&call, arg(c, 0), arg(c, 1));
    ctl_query_names(c, &call);
    enum ctl_exit how;
    char error[200];
    if (reports_errors) {
        how = ctl_call_json(c, &call, ret_doc);
    } else {
        int err = ctl_send(c, &call);
        bool is_fine = !err && call.status < 300 &&
                       json_parse(buf_slice(&call.answer), ret_doc, error, sizeof error) == OK;
        how = is_fine ? CTL_DONE : err == ERR_CANCELED ? CTL_INTERRUPTED : CTL_ERROR;
    }
    if (!how)
        store_key(*ret_doc, key);
    ctl_call_done(&call);
    return how;
}

static enum ctl_exit delete_instance(struct ctl *c, json_t **ret_doc)
{
    struct ctl_call call = {.method = "DELETE"};
    service_path(&call, arg(c, 0), arg(c, 1));
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, ret_doc);
    ctl_call_done(&call);
    return how;
}

/* Sends heartbeats until the run is stopped or the command has ended. A failed heartbeat is repeated each
 * second: the instance is lost only after its TTL. */
static void keep_alive(struct ctl *c, const struct buf *body, int64_t heartbeat_ms, char key[64],
                       struct ctl_child *child)
{
    bool is_failing = false;
    for (;;) {
        int64_t wait_ms = is_failing ? 1000 : heartbeat_ms;
        if (child ? ctl_child_wait(c, child, wait_ms) : ctl_pause(c, wait_ms))
            return;
        json_t *doc = NULL;
        enum ctl_exit how = put_instance(c, body, false, key, &doc);
        if (how == CTL_INTERRUPTED)
            continue;
        if (how && !is_failing)
            ctl_note(c, "a heartbeat for %s failed at %s; trying again", arg(c, 1), c->endpoints[c->at].text);
        else if (!how && is_failing)
            ctl_note(c, "heartbeats for %s work again, at %s", arg(c, 1), c->endpoints[c->at].text);
        is_failing = how != CTL_DONE;
        json_decref(doc);
    }
}

/* Deregisters. It ignores the stop signal that has arrived already. */
static enum ctl_exit ctl_service_leave(struct ctl *c)
{
    int stop_fd = c->stop_fd;
    c->stop_fd = -1;
    enum ctl_exit how = ctl_use_endpoints(c);
    json_t *doc = NULL;
    if (!how)
        how = delete_instance(c, &doc);
    json_decref(doc);
    c->stop_fd = stop_fd;
    if (!how)
        ctl_note(c, "deregistered %s of %s", arg(c, 1), arg(c, 0));
    return how;
}

enum ctl_exit ctl_service_register(struct ctl *c)
{
    json_t *instance = json_object(), *doc = NULL;
    struct buf body = {0};
    char key[64] = "";
    struct ctl_child child = {.exit_fd = -1};
    bool has_command = c->line.arg_count > c->line.dash_at;
    bool has_check = ctl_flag_value(&c->line, "check-ttl") != NULL;
    enum ctl_exit how = read_instance(c, instance);
    if (!how && has_check && has_command)
        how = ctl_fail(c, CTL_BAD_ARGS, "an instance with --check-ttl needs no heartbeats: give no command");
    if (how)
        goto out;
    ctl_show_json(&body, instance);
    how = put_instance(c, &body, true, key, &doc);
    if (how)
        goto out;
    if (has_check)
        ctl_print_done(c, doc, "registered %s of %s at %s; it waits for \"service report\"", arg(c, 1),
                       arg(c, 0), arg(c, 2));
    else
        ctl_print_done(c, doc, "registered %s of %s at %s, session %s", arg(c, 1), arg(c, 0), arg(c, 2),
                       ctl_json_text(doc, "session"));
    (void)ctl_flush(c);
    if (ctl_bool(&c->line, "once") || has_check)
        goto out;
    if (has_command) {
        const char **words = arena_new(&c->arena, (c->line.arg_count + 1) * sizeof *words);
        memcpy(words, c->line.args + c->line.dash_at, (c->line.arg_count - c->line.dash_at) * sizeof *words);
        how = ctl_child_start(c, words, NULL, NULL, &child);
    } else if (c->has_terminal) {
        ctl_note(c, "sending heartbeats; Ctrl-C deregisters");
    }
    if (!how)
        keep_alive(c, &body, ctl_json_int(doc, "heartbeat_ms"), key, has_command ? &child : NULL);
    if (ctl_service_leave(c) != CTL_DONE && !how)
        how = CTL_ERROR;
    if (has_command && !how)
        how = (enum ctl_exit)child.status;
out:
    json_decref(instance);
    json_decref(doc);
    buf_done(&body);
    return how;
}

/* --- one instance --------------------------------------------------------------------------------------- */

enum ctl_exit ctl_service_deregister(struct ctl *c)
{
    json_t *doc = NULL;
    enum ctl_exit how = delete_instance(c, &doc);
    if (!how)
        ctl_print_done(c, doc, "deregistered %s of %s", arg(c, 1), arg(c, 0));
    json_decref(doc);
    return how;
}

enum ctl_exit ctl_service_report(struct ctl *c)
{
    const char *state = ctl_text(&c->line, "state"), *note = ctl_flag_value(&c->line, "note");
    json_t *report = json_pack("{s:s, s:s}", "state", state, "output", note ? note : ""), *doc = NULL;
    struct buf body = {0};
    ctl_show_json(&body, report);
    struct ctl_call call = {.method = "PUT", .body = buf_slice(&body), .has_body = true};
    service_path(&call, arg(c, 0), arg(c, 1));
    ctl_path(&call, "/check");
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_done(c, doc, "reported %s of %s as %s", arg(c, 1), arg(c, 0), state);
    json_decref(report);
    json_decref(doc);
    buf_done(&body);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_service_drain(struct ctl *c)
{
    int64_t deadline_ms = ctl_duration_ms(&c->line, "deadline");
    bool waits = !ctl_bool(&c->line, "no-wait");
    json_t *body = json_pack("{s:I, s:b}", "deadline_ms", (json_int_t)deadline_ms, "wait", waits),
           *doc = NULL;
    struct buf text = {0};
    ctl_show_json(&text, body);
    struct ctl_call call = {.method = "POST",
                            .body = buf_slice(&text),
                            .has_body = true,
                            .timeout_ms = deadline_ms + c->command_ms};
    service_path(&call, arg(c, 0), arg(c, 1));
    ctl_path(&call, "/drain");
    ctl_query_author(c, &call);
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    bool is_complete = json_is_true(ctl_json_at(doc, "complete"));
    if (!how && (is_complete || !waits)) {
        ctl_print_done(c, doc, "%s of %s is out of traffic; %lld subscribers know", arg(c, 1), arg(c, 0),
                       (long long)ctl_json_int(doc, "acknowledged"));
    } else if (!how) {
        static const struct ctl_column columns[] = {{"CLIENT", "client_id", CTL_CELL_PLAIN},
                                                    {"PEER", "peer", CTL_CELL_PLAIN},
                                                    {"MEMBER", "member", CTL_CELL_PLAIN}};
        ctl_print_rows(c, doc, "waiting", columns, 3);
        how = ctl_fail(c, CTL_ERROR, "%s is drained, but %lld subscribers have not acknowledged it in time",
                       arg(c, 1), (long long)ctl_json_int(doc, "waiting_count"));
    }
    json_decref(body);
    json_decref(doc);
    buf_done(&text);
    ctl_call_done(&call);
    return how;
}

static enum ctl_exit call_override(struct ctl *c, const char *method, const struct buf *body)
{
    struct ctl_call call = {.method = method};
    json_t *doc = NULL;
    if (body) {
        call.body = buf_slice(body);
        call.has_body = true;
    }
    service_path(&call, arg(c, 0), arg(c, 1));
    ctl_path(&call, "/override");
    ctl_query_author(c, &call);
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_done(c, doc, "%s of %s %s", arg(c, 1), arg(c, 0),
                       body ? "is overridden; \"service undrain\" removes the override"
                            : "has traffic again, if it is up");
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_service_undrain(struct ctl *c)
{
    return call_override(c, "DELETE", NULL);
}

enum ctl_exit ctl_service_override(struct ctl *c)
{
    static const char *const texts[] = {"state", "reason", "until"};
    const struct ctl_command_line *t = &c->line;
    if (!ctl_bool(t, "disable") && !ctl_flag_value(t, "weight") && !ctl_flag_value(t, "state"))
        return ctl_fail(c, CTL_BAD_ARGS, "give a change: --disable, --weight or --state");
    json_t *override = json_object();
    if (ctl_bool(t, "disable"))
        json_object_set_new(override, "enabled", json_false());
    if (ctl_flag_value(t, "weight"))
        json_object_set_new(override, "weight", json_integer(ctl_int(t, "weight")));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (ctl_flag_value(t, texts[i]))
            json_object_set_new(override, texts[i], json_string(ctl_flag_value(t, texts[i])));
    }
    struct buf body = {0};
    ctl_show_json(&body, override);
    enum ctl_exit how = call_override(c, "PUT", &body);
    buf_done(&body);
    json_decref(override);
    return how;
}

/* --- settings ------------------------------------------------------------------------------------------- */

static enum ctl_exit call_settings(struct ctl *c, const char *method, const struct buf *body)
{
    struct ctl_call call = {.method = method};
    json_t *doc = NULL;
    if (body) {
        call.body = buf_slice(body);
        call.has_body = true;
    }
    service_path(&call, arg(c, 0), NULL);
    ctl_query_author(c, &call);
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_done(c, doc,
                       !body                                             ? "%s has no settings any more"
                       : json_is_true(json_object_get(doc, "unchanged")) ? "%s: no change"
                                                                         : "%s: saved",
                       arg(c, 0));
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_service_set(struct ctl *c)
{
    const char *threshold = ctl_flag_value(&c->line, "protect-threshold");
    json_t *settings = json_object(), *metadata = json_object();
    char *end = NULL;
    double share = threshold ? strtod(threshold, &end) : 0;
    struct buf body = {0};
    enum ctl_exit how = read_metadata(c, metadata);
    if (!how && !threshold && !json_object_size(metadata))
        how = ctl_fail(c, CTL_BAD_ARGS,
                       "give the settings: --meta or --protect-threshold; \"service unset\" deletes them");
    if (!how && threshold && (end == threshold || *end || !(share >= 0 && share <= 1)))
        how = ctl_fail(c, CTL_BAD_ARGS, "--protect-threshold is \"%s\"; it must be a number from 0 to 1",
                       threshold);
    json_object_set_new(settings, "metadata", metadata);
    if (threshold)
        json_object_set_new(settings, "protect_threshold", json_real(share));
    if (!how) {
        ctl_show_json(&body, settings);
        how = call_settings(c, "PUT", &body);
    }
    buf_done(&body);
    json_decref(settings);
    return how;
}

enum ctl_exit ctl_service_unset(struct ctl *c)
{
    return call_settings(c, "DELETE", NULL);
}

/* --- subscribers ---------------------------------------------------------------------------------------- */

enum ctl_exit ctl_service_subscribers(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"CLIENT", "client_id", CTL_CELL_PLAIN},  {"PEER", "peer", CTL_CELL_PLAIN},
        {"MEMBER", "member", CTL_CELL_PLAIN},     {"TRANSPORT", "transport", CTL_CELL_PLAIN},
        {"REVISION", "revision", CTL_CELL_PLAIN}, {"LABELS", "labels", CTL_CELL_PLAIN}};
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    service_path(&call, arg(c, 0), NULL);
    ctl_path(&call, "/subscribers");
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_rows(c, doc, "subscribers", columns, 6);
    if (!how && ctl_json_int(doc, "members_silent"))
        ctl_note(c, "%lld members did not respond: their subscribers are missing here",
                 (long long)ctl_json_int(doc, "members_silent"));
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* --- events --------------------------------------------------------------------------------------------- */

enum { EVENT_WAIT_S = 30 };

/* The events after a revision, the earliest first. */
static json_t *events_after(const json_t *doc, int64_t revision)
{
    const json_t *all = ctl_json_at(doc, "events");
    json_t *list = json_array();
    for (size_t i = json_array_size(all); i-- > 0;)
        if (ctl_json_int(json_array_get(all, i), "revision") > revision)
            json_array_append(list, json_array_get(all, i));
    return list;
}

static void show_events(struct ctl *c, json_t *list, bool is_first)
{
    static const struct ctl_column columns[] = {
        {"TIME", "time_ms", CTL_CELL_TIME}, {"REVISION", "revision", CTL_CELL_PLAIN},
        {"ID", "id", CTL_CELL_PLAIN},       {"CAUSE", "cause", CTL_CELL_PLAIN},
        {"FROM", "from", CTL_CELL_PLAIN},   {"STATE", "state", CTL_CELL_PLAIN},
        {"BY", "author", CTL_CELL_PLAIN},   {"REASON", "reason", CTL_CELL_PLAIN}};
    json_t *doc = json_pack("{s:O}", "events", list);
    if (is_first)
        ctl_print_rows(c, doc, "events", columns, 8);
    for (size_t i = 0; !is_first && i < json_array_size(list); i++)
        ctl_show_rows(&c->out, c->form == CTL_FORM_TABLE ? CTL_FORM_SIMPLE : c->form, json_array_get(list, i),
                      NULL, columns, 8);
    json_decref(doc);
}

/* One answer; with wait_revision >= 0 the one after the next change. *ret_doc stays NULL if there was none. */
static enum ctl_exit get_events(struct ctl *c, int64_t wait_revision, json_t **ret_doc)
{
    struct ctl_call call = {.method = "GET"};
    char error[200], timeout[16];
    enum ctl_exit how = CTL_DONE;
    service_path(&call, arg(c, 0), NULL);
    ctl_path(&call, "/events");
    ctl_query_names(c, &call);
    if (wait_revision >= 0) {
        snprintf(timeout, sizeof timeout, "%ds", EVENT_WAIT_S);
        ctl_query_int(&call, "wait_revision", wait_revision);
        ctl_query(&call, "timeout", timeout);
        call.timeout_ms = (EVENT_WAIT_S + 10) * 1000;
    }
    int err = ctl_send(c, &call);
    if (err)
        how = ctl_fail_reach(c, err);
    else if (call.status > 299 && call.status != 304)
        how = ctl_fail_status(c, &call);
    else if (call.status != 304 && json_parse(buf_slice(&call.answer), ret_doc, error, sizeof error) != OK)
        how = ctl_fail(c, CTL_ERROR, "%s sent a response that is not JSON: %s", call.endpoint, error);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_service_events(struct ctl *c)
{
    bool is_watch = ctl_bool(&c->line, "watch");
    int64_t revision = -1, shown = 0;
    enum ctl_exit how;
    do {
        json_t *doc = NULL;
        how = get_events(c, revision, &doc);
        if (doc) {
            json_t *list = events_after(doc, shown);
            show_events(c, list, revision < 0);
            if (json_array_size(list))
                shown = ctl_json_int(json_array_get(list, json_array_size(list) - 1), "revision");
            revision = ctl_json_int(doc, "revision");
            json_decref(list);
        }
        json_decref(doc);
    } while (is_watch && !how && ctl_flush(c));
    return how;
}

/* --- watch ---------------------------------------------------------------------------------------------- */

/* The last shown state of each instance, so that a snapshot after a reconnect shows only changes. */
struct shown_service {
    json_t *instances; /* id -> instance */
    json_t *snapshot;  /* ids in a snapshot whose last part has not arrived */
};

/* An item of many services has the instance in a field. */
static const json_t *fields_of(const json_t *item)
{
    const json_t *instance = ctl_json_at(item, "instance");
    return instance ? instance : item;
}

static void show_instance_change(struct ctl *c, int64_t revision, const char *change, const char *id,
                                 const json_t *instance)
{
    if (c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML) {
        json_t *line =
            json_pack("{s:I, s:s, s:s}", "revision", (json_int_t)revision, "change", change, "id", id);
        if (instance)
            json_object_set(line, "instance", (json_t *)(uintptr_t)fields_of(instance));
        if (c->form == CTL_FORM_YAML)
            buf_add_text(&c->out, "---\n");
        ctl_show_rows(&c->out, c->form, line, NULL, NULL, 0);
        json_decref(line);
        return;
    }
    static const struct ctl_column columns[] = {
        {"", "", CTL_CELL_ADDRESS}, {"", "", CTL_CELL_STATE}, {"", "zone", CTL_CELL_PLAIN}};
    if (c->form == CTL_FORM_NAME) {
        buf_addf(&c->out, "%s\n", id);
        return;
    }
    buf_addf(&c->out, "%lld\t%s\t%s%s", (long long)revision, change, id, instance ? "\t" : "\n");
    if (instance)
        ctl_show_rows(&c->out, CTL_FORM_SIMPLE, fields_of(instance), NULL, columns, 3);
}

static void show_change(struct ctl *c, struct shown_service *s, int64_t revision, const json_t *instance)
{
    const char *id = ctl_json_text(instance, "id");
    const json_t *before = json_object_get(s->instances, id);
    if (before && json_equal(before, instance))
        return;
    show_instance_change(c, revision, before ? "changed" : "added", id, instance);
    json_object_set(s->instances, id, (json_t *)(uintptr_t)instance);
}

static void show_removal(struct ctl *c, struct shown_service *s, int64_t revision, const char *id)
{
    if (json_object_del(s->instances, id) == 0)
        show_instance_change(c, revision, "removed", id, NULL);
}

static void ctl_service_on_snapshot(struct ctl *c, struct shown_service *s, const json_t *frame)
{
    int64_t revision = ctl_json_int(frame, "revision");
    const json_t *items = ctl_json_at(frame, "items");
    if (ctl_json_int(frame, "part") == 1)
        json_object_clear(s->snapshot);
    for (size_t i = 0; i < json_array_size(items); i++) {
        show_change(c, s, revision, json_array_get(items, i));
        json_object_set_new(s->snapshot, ctl_json_text(json_array_get(items, i), "id"), json_true());
    }
    if (!json_is_true(ctl_json_at(frame, "last")))
        return;
    const char *id;
    json_t *instance;
    void *next;
    json_object_foreach_safe(s->instances, next, id, instance)
    {
        if (!json_object_get(s->snapshot, id)) {
            char *copy = mem_string(id);
            show_removal(c, s, revision, copy);
            mem_free(copy);
        }
    }
}

static enum ctl_exit on_service_frame(struct ctl *c, const json_t *frame, void *arg)
{
    struct shown_service *s = arg;
    const char *type = ctl_json_text(frame, "type");
    int64_t revision = ctl_json_int(frame, "revision");
    if (strcmp(type, "snapshot") == 0)
        ctl_service_on_snapshot(c, s, frame);
    if (strcmp(type, "delta") != 0)
        return CTL_DONE;
    const json_t *put = ctl_json_at(frame, "put"), *gone = ctl_json_at(frame, "delete");
    for (size_t i = 0; i < json_array_size(put); i++)
        show_change(c, s, revision, json_array_get(put, i));
    for (size_t i = 0; i < json_array_size(gone); i++)
        show_removal(c, s, revision, json_string_value(json_array_get(gone, i)));
    return CTL_DONE;
}

static void add_selectors(const struct ctl *c, struct ctl_call *call, void *unused)
{
    static const char *const filters[] = {"cluster", "version", "protocol"};
    (void)unused;
    ctl_query(call, "name", arg(c, 0));
    ctl_query_names(c, call);
    ctl_query(call, "healthy", ctl_bool(&c->line, "healthy") ? "true" : NULL);
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        ctl_query(call, filters[i], ctl_flag_value(&c->line, filters[i]));
    for (size_t i = 0; i < ctl_list(&c->line, "tag")->count; i++)
        ctl_query(call, "tag", ctl_list(&c->line, "tag")->list[i]);
    for (size_t i = 0; i < ctl_list(&c->line, "label")->count; i++)
        ctl_query(call, "label", ctl_list(&c->line, "label")->list[i]);
}

enum ctl_exit ctl_service_watch(struct ctl *c)
{
    struct shown_service s = {json_object(), json_object()};
    const struct ctl_subscription subscription = {.kind = ctl_is_selection(c, arg(c, 0)) ? "instances"
                                                                                         : "service",
                                                  .add = add_selectors,
                                                  .on_frame = on_service_frame,
                                                  .arg = &s};
    enum ctl_exit how = ctl_follow(c, &subscription);
    json_decref(s.instances);
    json_decref(s.snapshot);
    return how;
}
