/* SPDX-License-Identifier: Apache-2.0
 * The commands `namespace ...`, and role templates: `role grant`, `role revoke`. A template is a list of key
 * ranges (namespace/area.def); each becomes one permission of etcd's auth. */
#include <inttypes.h>

#include "base/text.h"
#include "namespace/area.h"
#include "sdk/ctl/rpc.h"

static void namespace_path(struct ctl_call *call, const char *name)
{
    ctl_path(call, "/api/v1/namespaces");
    if (name)
        ctl_segment(call, name);
}

/* --- list and get --------------------------------------------------------------------------------------- */

static const struct ctl_column namespace_columns[] = {
    {"NAME", "name", CTL_CELL_PLAIN},
    {"TITLE", "title", CTL_CELL_PLAIN},
    {"OWNER", "owner", CTL_CELL_PLAIN},
    {"SERVICES", "usage.services", CTL_CELL_PLAIN},
    {"INSTANCES", "usage.instances", CTL_CELL_PLAIN},
    {"CONFIGURATIONS", "usage.configurations", CTL_CELL_PLAIN},
    {"BYTES", "usage.bytes", CTL_CELL_PLAIN},
    {"DELETING", "deleting", CTL_CELL_PLAIN},
};
enum { NAMESPACE_COLUMNS = sizeof namespace_columns / sizeof *namespace_columns };

enum ctl_exit ctl_namespace_list(struct ctl *c)
{
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    namespace_path(&call, NULL);
    ctl_query(&call, "prefix", c->line.arg_count ? c->line.args[0] : NULL);
    enum ctl_exit how = ctl_call_pages(c, &call, "namespaces", &doc);
    if (!how)
        ctl_print_rows(c, doc, "namespaces", namespace_columns, NAMESPACE_COLUMNS);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_namespace_get(struct ctl *c)
{
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    namespace_path(&call, c->line.args[0]);
    if (ctl_bool(&c->line, "deletion"))
        ctl_path(&call, "/deletion");
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how) {
        if (c->form == CTL_FORM_NONE)
            c->form = CTL_FORM_YAML; /* too many fields for a line */
        ctl_print_rows(c, doc, NULL, namespace_columns, NAMESPACE_COLUMNS);
    }
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* --- put ------------------------------------------------------------------------------------------------ */

/* The fields of the stored document that a put may set; *ret_revision: 0 = there is no document. */
static enum ctl_exit read_document(struct ctl *c, json_t *document, int64_t *ret_revision)
{
    static const char *const fields[] = {"title", "description", "owner", "labels", "quotas"};
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    enum ctl_exit how = CTL_DONE;
    namespace_path(&call, c->line.args[0]);
    int err = ctl_send(c, &call);
    if (err)
        how = ctl_fail_reach(c, err);
    else if (call.status != 404 && call.status != 200)
        how = ctl_fail_status(c, &call);
    char why[200];
    if (!how && call.status == 200 && json_parse(buf_slice(&call.answer), &doc, why, sizeof why))
        how = ctl_fail(c, CTL_ERROR, "the answer of %s is no JSON", call.endpoint);
    for (size_t i = 0; !how && doc && i < sizeof fields / sizeof *fields; i++)
        if (json_object_get(doc, fields[i]))
            json_object_set(document, fields[i], json_object_get(doc, fields[i]));
    *ret_revision = doc ? json_integer_value(json_object_get(doc, "mod_revision")) : 0;
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* An object of the document, made if it has none. */
static json_t *member_object(json_t *document, const char *field)
{
    json_t *object = json_object_get(document, field);
    if (!json_is_object(object)) {
        object = json_object();
        json_object_set_new(document, field, object);
    }
    return object;
}

/* K=V of a repeated flag; an empty V removes the key. */
static enum ctl_exit set_pairs(struct ctl *c, json_t *document, const char *flag, const char *field,
                               bool is_number)
{
    for (size_t i = 0; i < ctl_list(&c->line, flag)->count; i++) {
        const char *pair = ctl_list(&c->line, flag)->list[i], *equals = strchr(pair, '=');
        uint64_t number = 0;
        if (!equals)
            return ctl_fail(c, CTL_BAD_ARGS, "--%s is \"%s\"; it must be name=value", flag, pair);
        char *name = arena_printf(&c->arena, "%.*s", (int)(equals - pair), pair);
        json_t *object = member_object(document, field);
        if (!equals[1])
            json_object_del(object, name);
        else if (!is_number)
            json_object_set_new(object, name, json_string(equals + 1));
        else if (text_to_u64(slice_text(equals + 1), &number) || number > INT64_MAX)
            return ctl_fail(c, CTL_BAD_ARGS, "--%s is \"%s\"; the value must be a whole number", flag, pair);
        else
            json_object_set_new(object, name, json_integer((json_int_t)number));
    }
    return CTL_DONE;
}

static enum ctl_exit set_fields(struct ctl *c, json_t *document)
{
    static const char *const texts[] = {"title", "description", "owner"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (ctl_flag_value(&c->line, texts[i]))
            json_object_set_new(document, texts[i], json_string(ctl_flag_value(&c->line, texts[i])));
    enum ctl_exit how = set_pairs(c, document, "label", "labels", false);
    return how ? how : set_pairs(c, document, "quota", "quotas", true);
}

enum ctl_exit ctl_namespace_put(struct ctl *c)
{
    struct ctl_call call = {.method = "PUT", .has_body = true};
    json_t *document = json_object(), *doc = NULL;
    char *text = NULL;
    int64_t revision = 0;
    enum ctl_exit how = read_document(c, document, &revision);
    if (!how)
        how = set_fields(c, document);
    if (how)
        goto out;
    if (!ctl_list(&c->line, "quota")->count)
        json_object_del(document, "quotas"); /* they stay, and need no permission */
    text = json_dumps(document, JSON_COMPACT);
    call.body = slice_text(text);
    namespace_path(&call, c->line.args[0]);
    ctl_query_int(&call, "if_revision", revision);
    ctl_query_author(c, &call);
    how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_done(c, doc,
                       json_is_true(json_object_get(doc, "unchanged")) ? "%s: no change" : "%s: saved",
                       c->line.args[0]);
out:
    free(text);
    json_decref(document);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* --- delete --------------------------------------------------------------------------------------------- */

static void add_counts(struct buf *out, const json_t *counts)
{
    const char *name, *separator = "";
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)counts, name, value)
    {
        buf_addf(out, "%s%" PRId64 " %s", separator, (int64_t)json_integer_value(value), name);
        separator = ", ";
    }
    if (!*separator)
        buf_add_text(out, "nothing");
}

static int64_t sum_of(const json_t *counts)
{
    const char *name;
    json_t *value;
    int64_t sum = 0;
    json_object_foreach((json_t *)(uintptr_t)counts, name, value)
    {
        sum += json_integer_value(value);
    }
    return sum;
}

/* Follows the deletion until it is done; *doc is its last state. */
static enum ctl_exit wait_for_deletion(struct ctl *c, json_t **doc)
{
    enum { PAUSE_MS = 200 };
    enum ctl_exit how = CTL_DONE;
    while (!how && strcmp(json_string_value(json_object_get(*doc, "state")), "done") != 0) {
        struct ctl_call call = {.method = "GET"};
        if (c->has_terminal)
            ctl_note(c, "%" PRId64 " of %" PRId64 " keys removed", sum_of(json_object_get(*doc, "removed")),
                     sum_of(json_object_get(*doc, "found")));
        if (ctl_pause(c, PAUSE_MS))
            return ctl_fail(c, CTL_INTERRUPTED, "the deletion goes on without this command");
        json_decref(*doc);
        *doc = NULL;
        namespace_path(&call, c->line.args[0]);
        ctl_path(&call, "/deletion");
        how = ctl_call_json(c, &call, doc);
        ctl_call_done(&call);
        if (!how && !json_string_value(json_object_get(*doc, "state")))
            how = ctl_fail(c, CTL_ERROR, "the answer has no state");
    }
    return how;
}

enum ctl_exit ctl_namespace_delete(struct ctl *c)
{
    struct ctl_call call = {.method = "DELETE"};
    bool is_dry = ctl_bool(&c->line, "dry-run");
    struct buf counts = {0};
    json_t *doc = NULL;
    namespace_path(&call, c->line.args[0]);
    ctl_query(&call, "cascade", ctl_bool(&c->line, "cascade") ? "true" : NULL);
    ctl_query(&call, "dry_run", is_dry ? "true" : NULL);
    ctl_query_author(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    const char *state = how ? NULL : json_string_value(json_object_get(doc, "state"));
    if (!how && !state)
        how = ctl_fail(c, CTL_ERROR, "the answer has no state");
    else if (!how && !is_dry && !ctl_bool(&c->line, "no-wait"))
        how = wait_for_deletion(c, &doc);
    if (!how) {
        const json_t *removed = json_object_get(doc, "removed");
        state = json_string_value(json_object_get(doc, "state"));
        add_counts(&counts, removed ? removed : json_object_get(doc, "found"));
        ctl_print_done(c, doc,
                       is_dry                       ? "%s: a deletion with --cascade would remove %s"
                       : strcmp(state, "done") == 0 ? "%s: deleted, with %s"
                                                    : "%s: the deletion runs, %s so far",
                       c->line.args[0], buf_text(&counts));
    }
    buf_done(&counts);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* --- role templates ------------------------------------------------------------------------------------- */

struct area_range {
    ProtobufCBinaryData key, end;
    struct buf key_text, end_text;
};

static void area_range_init(struct area_range *r, enum namespace_area a, const char *ns)
{
    *r = (struct area_range){0};
    namespace_area_range(a, slice_text(ns), &r->key_text, &r->end_text);
    r->key = (ProtobufCBinaryData){r->key_text.size, r->key_text.data};
    r->end = (ProtobufCBinaryData){r->end_text.size, r->end_text.data};
}

static void area_range_done(struct area_range *r)
{
    buf_done(&r->key_text);
    buf_done(&r->end_text);
}

static bool is_granted(const Etcdserverpb__AuthRoleGetResponse *role, const struct area_range *r)
{
    for (size_t i = 0; i < role->n_perm; i++) {
        const Authpb__Permission *p = role->perm[i];
        if (slice_equal(slice_of(p->key.data, p->key.len), buf_slice(&r->key_text)) &&
            slice_equal(slice_of(p->range_end.data, p->range_end.len), buf_slice(&r->end_text)))
            return true;
    }
    return false;
}

static enum ctl_exit get_role(struct ctl *c, Etcdserverpb__AuthRoleGetResponse **ret)
{
    Etcdserverpb__AuthRoleGetRequest q = ETCDSERVERPB__AUTH_ROLE_GET_REQUEST__INIT;
    struct ctl_rpc rpc = {.path = "/v3/auth/role/get",
                          .request = &q.base,
                          .answer = &etcdserverpb__auth_role_get_response__descriptor,
                          .is_read = true};
    q.role = (char *)(uintptr_t)c->line.args[0];
    return ctl_rpc(c, &rpc, ret);
}

static enum ctl_exit revoke_area(struct ctl *c, const struct area_range *r)
{
    Etcdserverpb__AuthRoleRevokePermissionRequest q = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    Etcdserverpb__AuthRoleRevokePermissionResponse *response;
    struct ctl_rpc rpc = {.path = "/v3/auth/role/revoke",
                          .request = &q.base,
                          .answer = &etcdserverpb__auth_role_revoke_permission_response__descriptor};
    q.role = (char *)(uintptr_t)c->line.args[0];
    q.key = r->key;
    q.range_end = r->end;
    return ctl_rpc(c, &rpc, &response);
}

static enum ctl_exit grant_area(struct ctl *c, const struct area_range *r, enum namespace_permission wanted)
{
    static const Authpb__Permission__Type types[] = {
        [PERMISSION_READ] = AUTHPB__PERMISSION__TYPE__READ,
        [PERMISSION_WRITE] = AUTHPB__PERMISSION__TYPE__WRITE,
        [PERMISSION_BOTH] = AUTHPB__PERMISSION__TYPE__READWRITE,
    };
    Etcdserverpb__AuthRoleGrantPermissionRequest q = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Etcdserverpb__AuthRoleGrantPermissionResponse *response;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    struct ctl_rpc rpc = {.path = "/v3/auth/role/grant",
                          .request = &q.base,
                          .answer = &etcdserverpb__auth_role_grant_permission_response__descriptor};
    q.name = (char *)(uintptr_t)c->line.args[0];
    q.perm = &permission;
    permission.permtype = types[wanted];
    permission.key = r->key;
    permission.range_end = r->end;
    return ctl_rpc(c, &rpc, &response);
}

/* Gives the role exactly this template's permissions for the namespace; TEMPLATES: none. Permissions that the
 * template does not name are revoked first, so a failure on the way leaves less and not more. */
static enum ctl_exit set_template(struct ctl *c, enum role_template t, unsigned *ret_changed)
{
    const char *ns = ctl_flag_value(&c->line, "namespace");
    Etcdserverpb__AuthRoleGetResponse *role = NULL;
    enum ctl_exit how = get_role(c, &role);
    for (int pass = 0; pass < 2; pass++)
        for (int a = 0; !how && a < AREAS; a++) {
            enum namespace_permission wanted =
                t == TEMPLATES ? PERMISSION_NO : namespace_areas[a].permissions[t];
            struct area_range r;
            area_range_init(&r, (enum namespace_area)a, ns);
            bool revokes = pass == 0 && wanted == PERMISSION_NO && is_granted(role, &r);
            bool grants = pass == 1 && wanted != PERMISSION_NO;
            if (revokes)
                how = revoke_area(c, &r);
            else if (grants)
                how = grant_area(c, &r, wanted);
            *ret_changed += !how && (revokes || grants);
            area_range_done(&r);
        }
    return how;
}

/* "Role NAME WHAT namespace NS"; as JSON the three names. */
static void print_role(struct ctl *c, const char *what, const char *template_name)
{
    const char *role = c->line.args[0], *ns = ctl_flag_value(&c->line, "namespace");
    json_t *doc = json_object();
    json_object_set_new(doc, "role", json_string(role));
    json_object_set_new(doc, "namespace", json_string(ns));
    json_object_set_new(doc, "as", template_name ? json_string(template_name) : json_null());
    ctl_print_done(c, doc, "Role %s %s namespace %s", role, what, ns);
    json_decref(doc);
}

enum ctl_exit ctl_role_grant(struct ctl *c)
{
    const char *name = ctl_flag_value(&c->line, "as");
    enum role_template t = name ? role_template_find(slice_text(name)) : TEMPLATES;
    unsigned changed = 0;
    if (t == TEMPLATES)
        return ctl_fail(c, CTL_BAD_ARGS, "--as is \"%s\"; it must be reader, publisher, operator or admin",
                        name ? name : "");
    enum ctl_exit how = set_template(c, t, &changed);
    if (!how)
        print_role(c, arena_printf(&c->arena, "is %s of", name), name);
    return how;
}

enum ctl_exit ctl_role_revoke(struct ctl *c)
{
    unsigned changed = 0;
    enum ctl_exit how = set_template(c, TEMPLATES, &changed);
    if (!how && !changed)
        how = ctl_fail(c, CTL_ERROR, "role %s has no permission of a template for namespace %s",
                       c->line.args[0], ctl_flag_value(&c->line, "namespace"));
    else if (!how)
        print_role(c, "has no more permissions for", NULL);
    return how;
}
