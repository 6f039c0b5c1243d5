/* SPDX-License-Identifier: Apache-2.0
 * The command `service register-list`: instances of a file, registered together and kept alive by one session. */
#include "sdk/ctl/ctl.h"

enum { LIST_BYTES = 256 * 1024 }; /* as the server's limit of a body */

struct instance_list {
    struct buf body;
    char session[32], key[64]; /* of the last answer; the key of the session that it opened. "" = none */
};

/* The file has the request's object, or its list of instances alone. */
static enum ctl_exit read_list(struct ctl *c, struct instance_list *list)
{
    struct buf text = {0};
    json_t *root = NULL;
    char error[200];
    const char *path = c->line.args[0];
    enum ctl_exit how = ctl_read_file(c, path, LIST_BYTES, &text);
    if (!how && json_parse(buf_slice(&text), &root, error, sizeof error) != OK)
        how = ctl_fail(c, CTL_ERROR, "%s is no JSON: %s", path, error);
    if (!how && json_is_array(root)) {
        json_t *object = json_object();
        json_object_set_new(object, "instances", root);
        root = object;
    }
    if (!how && !json_is_object(root))
        how = ctl_fail(c, CTL_ERROR, "%s is not a list of instances", path);
    if (!how && ctl_flag_value(&c->line, "ttl"))
        json_object_set_new(root, "ttl", json_integer((ctl_duration_ms(&c->line, "ttl") + 999) / 1000));
    if (!how)
        ctl_show_json(&list->body, root);
    json_decref(root);
    buf_done(&text);
    return how;
}

/* Sends the PUT that registers, keeps alive, and registers lost instances again. */
static enum ctl_exit put_list(struct ctl *c, struct instance_list *list, bool reports_errors,
                              json_t **ret_doc)
{
    struct ctl_call call = {.method = "PUT", .body = buf_slice(&list->body), .has_body = true};
    enum ctl_exit how;
    char error[200];
    if (list->key[0])
        buf_addf(&call.fields, "X-Cairn-Session-Key: %s\r\n", list->key);
    ctl_path(&call, "/api/v1/instances");
    ctl_query_names(c, &call);
    if (reports_errors) {
        how = ctl_call_json(c, &call, ret_doc);
    } else {
        int err = ctl_send(c, &call);
        bool is_fine = !err && call.status < 300 &&
                       json_parse(buf_slice(&call.answer), ret_doc, error, sizeof error) == OK;
        how = is_fine ? CTL_DONE : err == ERR_CANCELED ? CTL_INTERRUPTED : CTL_ERROR;
    }
    const char *session = how ? NULL : json_string_value(json_object_get(*ret_doc, "session"));
    const char *key = how ? NULL : json_string_value(json_object_get(*ret_doc, "session_key"));
    if (session)
        snprintf(list->session, sizeof list->session, "%s", session);
    if (key)
        snprintf(list->key, sizeof list->key, "%s", key);
    ctl_call_done(&call);
    return how;
}

/* Sends heartbeats until the run is stopped. A failed heartbeat is repeated each second: the instances are lost
 * only after the TTL. */
static void keep_list(struct ctl *c, struct instance_list *list, int64_t heartbeat_ms)
{
    bool is_failing = false;
    while (!ctl_pause(c, is_failing ? 1000 : heartbeat_ms)) {
        json_t *doc = NULL;
        enum ctl_exit how = put_list(c, list, false, &doc);
        json_decref(doc);
        if (how == CTL_INTERRUPTED)
            continue;
        if (how && !is_failing)
            ctl_note(c, "a heartbeat failed at %s; trying again", c->endpoints[c->at].text);
        else if (!how && is_failing)
            ctl_note(c, "heartbeats work again, at %s", c->endpoints[c->at].text);
        is_failing = how != CTL_DONE;
    }
}

/* Ends the session, which deregisters its instances. It ignores the stop signal that has arrived already. */
static enum ctl_exit end_session(struct ctl *c, const struct instance_list *list)
{
    int stop_fd = c->stop_fd;
    struct ctl_call call = {.method = "DELETE"};
    json_t *doc = NULL;
    c->stop_fd = -1;
    enum ctl_exit how = ctl_use_endpoints(c);
    if (list->key[0])
        buf_addf(&call.fields, "X-Cairn-Session-Key: %s\r\n", list->key);
    ctl_path(&call, "/api/v1/sessions");
    ctl_segment(&call, list->session);
    if (!how)
        how = ctl_call_json(c, &call, &doc);
    c->stop_fd = stop_fd;
    if (!how)
        ctl_note(c, "deregistered %lld instances", (long long)ctl_json_int(doc, "instances"));
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_service_register_list(struct ctl *c)
{
    struct instance_list list = {0};
    json_t *doc = NULL;
    enum ctl_exit how = read_list(c, &list);
    if (!how)
        how = put_list(c, &list, true, &doc);
    if (how)
        goto out;
    ctl_print_done(c, doc, "%lld instances written%s%s", (long long)ctl_json_int(doc, "changed"),
                   list.session[0] ? ", session " : "", list.session);
    (void)ctl_flush(c);
    if (ctl_bool(&c->line, "once") || !list.session[0])
        goto out; /* instances with checks alone need no heartbeat */
    if (c->has_terminal)
        ctl_note(c, "sending heartbeats; Ctrl-C deregisters");
    keep_list(c, &list, ctl_json_int(doc, "heartbeat_ms"));
    how = end_session(c, &list);
out:
    json_decref(doc);
    buf_done(&list.body);
    return how;
}
