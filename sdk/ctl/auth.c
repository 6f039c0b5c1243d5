/* SPDX-License-Identifier: Apache-2.0
 * The commands auth, user and role, as of etcdctl. */
#include "sdk/ctl/rpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

static enum ctl_exit call(struct ctl *c, const char *path, const ProtobufCMessage *request,
                          const ProtobufCMessageDescriptor *answer, bool is_read, void *ret)
{
    struct ctl_rpc rpc = {.path = path, .request = request, .answer = answer, .is_read = is_read};
    enum ctl_exit how = ctl_no_table(c);
    return how ? how : ctl_rpc(c, &rpc, ret);
}

/* Shows the response as json, yaml, protobuf or fields; false: the caller prints a sentence. */
static bool show_other(struct ctl *c, const ProtobufCMessage *m, const Etcdserverpb__ResponseHeader *h)
{
    if (c->form == CTL_FORM_NONE || c->form == CTL_FORM_SIMPLE)
        return false;
    if (c->form == CTL_FORM_FIELDS)
        ctl_show_header_fields(c, h);
    else
        ctl_show_message(c, m);
    return true;
}

static enum ctl_exit expect_arguments(struct ctl *c, size_t count, const char *complaint)
{
    return c->line.arg_count == count ? CTL_DONE : ctl_fail(c, CTL_BAD_ARGS, "%s", complaint);
}

static char *ctl_auth_arg(const struct ctl *c, size_t i)
{
    return (char *)(uintptr_t)c->line.args[i];
}

/* --- auth ----------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_auth_status(struct ctl *c)
{
    Etcdserverpb__AuthStatusRequest q = ETCDSERVERPB__AUTH_STATUS_REQUEST__INIT;
    Etcdserverpb__AuthStatusResponse *r;
    ctl_refuse_form(c, CTL_FORM_FIELDS);
    enum ctl_exit how =
        call(c, "/v3/auth/status", &q.base, &etcdserverpb__auth_status_response__descriptor, true, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Authentication Status: %s\nAuthRevision: %" PRIu64 "\n",
                 r->enabled ? "true" : "false", r->authrevision);
    return how;
}

static enum ctl_exit add_role(struct ctl *c, char *name, Etcdserverpb__AuthRoleAddResponse **r)
{
    Etcdserverpb__AuthRoleAddRequest q = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    q.name = name;
    return call(c, "/v3/auth/role/add", &q.base, &etcdserverpb__auth_role_add_response__descriptor, false, r);
}

static enum ctl_exit grant_role(struct ctl *c, char *user, char *role,
                                Etcdserverpb__AuthUserGrantRoleResponse **r)
{
    Etcdserverpb__AuthUserGrantRoleRequest q = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    q.user = user;
    q.role = role;
    return call(c, "/v3/auth/user/grant", &q.base, &etcdserverpb__auth_user_grant_role_response__descriptor,
                false, r);
}

/* etcdctl prints the sentence in every form. */
static enum ctl_exit no_table_here(struct ctl *c)
{
    return c->line.is_etcdctl ? CTL_DONE : ctl_no_table(c);
}

static void show_switched(struct ctl *c, const ProtobufCMessage *m, const Etcdserverpb__ResponseHeader *h,
                          const char *sentence)
{
    if (c->line.is_etcdctl || !show_other(c, m, h))
        buf_add_text(&c->out, sentence);
}

/* As etcdctl does, it grants the role root to a user root that does not have it. */
enum ctl_exit ctl_auth_enable(struct ctl *c)
{
    static char root[] = "root";
    Etcdserverpb__AuthEnableRequest q = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    Etcdserverpb__AuthEnableResponse *r;
    struct ctl_rpc rpc = {.path = "/v3/auth/enable",
                          .request = &q.base,
                          .answer = &etcdserverpb__auth_enable_response__descriptor,
                          .is_quiet = true};
    enum ctl_exit how = expect_arguments(c, 0, "auth enable command does not accept any arguments");
    if (!how)
        how = no_table_here(c);
    if (how)
        return how;
    how = ctl_rpc(c, &rpc, &r);
    if (how && strstr(rpc.error, "root user does not have root role")) {
        Etcdserverpb__AuthRoleAddResponse *added;
        Etcdserverpb__AuthUserGrantRoleResponse *granted;
        struct ctl_rpc look = {.path = "/v3/auth/role/get", .is_quiet = true};
        Etcdserverpb__AuthRoleGetRequest role = ETCDSERVERPB__AUTH_ROLE_GET_REQUEST__INIT;
        Etcdserverpb__AuthRoleGetResponse *there;
        role.role = root;
        look.request = &role.base;
        look.answer = &etcdserverpb__auth_role_get_response__descriptor;
        how = ctl_rpc(c, &look, &there) == CTL_DONE ? CTL_DONE : add_role(c, root, &added);
        if (!how)
            how = grant_role(c, root, root, &granted);
        if (how)
            return how;
        how = ctl_rpc(c, &rpc, &r);
    }
    if (how)
        return how == CTL_INTERRUPTED ? how : ctl_fail(c, how, "%s", rpc.error);
    show_switched(c, &r->base, r->header, "Authentication Enabled\n");
    return CTL_DONE;
}

enum ctl_exit ctl_auth_disable(struct ctl *c)
{
    Etcdserverpb__AuthDisableRequest q = ETCDSERVERPB__AUTH_DISABLE_REQUEST__INIT;
    Etcdserverpb__AuthDisableResponse *r;
    enum ctl_exit how = expect_arguments(c, 0, "auth disable command does not accept any arguments");
    struct ctl_rpc rpc = {.path = "/v3/auth/disable",
                          .request = &q.base,
                          .answer = &etcdserverpb__auth_disable_response__descriptor};
    if (!how)
        how = no_table_here(c);
    if (!how)
        how = ctl_rpc(c, &rpc, &r);
    if (!how)
        show_switched(c, &r->base, r->header, "Authentication Disabled\n");
    return how;
}

/* --- users ---------------------------------------------------------------------------------------------- */

static enum ctl_exit read_new_password(struct ctl *c, const char *user, char **ret_password)
{
    if (ctl_bool(&c->line, "interactive")) {
        char *first = ctl_prompt_secret(c, arena_printf(&c->arena, "Password of %s: ", user));
        char *again =
            first ? ctl_prompt_secret(
                        c, arena_printf(&c->arena, "Type password of %s again for confirmation: ", user))
                  : NULL;
        if (!first)
            return ctl_fail(c, CTL_BAD_ARGS,
                            "there is no terminal to prompt for a password; with --interactive=false it is a "
                            "line of standard input");
        if (strcmp(first, again ? again : "") != 0)
            return ctl_fail(c, CTL_BAD_ARGS, "given passwords are different");
        *ret_password = first;
        return CTL_DONE;
    }
    char *line = NULL;
    size_t room = 0;
    ssize_t size = getline(&line, &room, stdin);
    while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
        size--;
    *ret_password = arena_string(&c->arena, line, size > 0 ? (size_t)size : 0);
    free(line);
    return CTL_DONE;
}

enum ctl_exit ctl_user_add(struct ctl *c)
{
    Etcdserverpb__AuthUserAddRequest q = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Authpb__UserAddOptions options = AUTHPB__USER_ADD_OPTIONS__INIT;
    Etcdserverpb__AuthUserAddResponse *r;
    enum ctl_exit how = expect_arguments(c, 1, "user add command requires user name as its argument");
    if (how)
        return how;
    const char *given = ctl_flag_value(&c->line, "new-user-password"),
               *colon = strchr(ctl_auth_arg(c, 0), ':');
    q.name = ctl_auth_arg(c, 0);
    q.options = &options;
    options.no_password = ctl_bool(&c->line, "no-password");
    if (given) {
        q.password = (char *)(uintptr_t)given;
    } else if (!options.no_password && colon) {
        q.name = arena_string(&c->arena, ctl_auth_arg(c, 0), (size_t)(colon - ctl_auth_arg(c, 0)));
        q.password = (char *)(uintptr_t)(colon + 1);
        if (!*q.name)
            return ctl_fail(c, CTL_BAD_ARGS, "empty user name is not allowed");
    } else if (!options.no_password) {
        how = read_new_password(c, q.name, &q.password);
    }
    if (!how)
        how = call(c, "/v3/auth/user/add", &q.base, &etcdserverpb__auth_user_add_response__descriptor, false,
                   &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "User %s created\n", q.name);
    return how;
}

enum ctl_exit ctl_user_delete(struct ctl *c)
{
    Etcdserverpb__AuthUserDeleteRequest q = ETCDSERVERPB__AUTH_USER_DELETE_REQUEST__INIT;
    Etcdserverpb__AuthUserDeleteResponse *r;
    enum ctl_exit how = expect_arguments(c, 1, "user delete command requires user name as its argument");
    if (how)
        return how;
    q.name = ctl_auth_arg(c, 0);
    how = call(c, "/v3/auth/user/delete", &q.base, &etcdserverpb__auth_user_delete_response__descriptor,
               false, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "User %s deleted\n", q.name);
    return how;
}

static enum ctl_exit get_role(struct ctl *c, char *name, Etcdserverpb__AuthRoleGetResponse **r)
{
    Etcdserverpb__AuthRoleGetRequest q = ETCDSERVERPB__AUTH_ROLE_GET_REQUEST__INIT;
    q.role = name;
    return call(c, "/v3/auth/role/get", &q.base, &etcdserverpb__auth_role_get_response__descriptor, true, r);
}

static void show_permission(struct ctl *c, const Authpb__Permission *p)
{
    const ProtobufCBinaryData *key = &p->key, *end = &p->range_end;
    if (end->len == 0) {
        buf_addf(&c->out, "\t%.*s\n", (int)key->len, (const char *)key->data);
        return;
    }
    ProtobufCBinaryData copy = *key, behind = {0};
    ctl_prefix_range(c, &copy, &behind);
    if (end->len == 1 && end->data[0] == 0)
        buf_addf(&c->out, "\t[%.*s, <open ended>", (int)key->len, (const char *)key->data);
    else
        buf_addf(&c->out, "\t[%.*s, %.*s)", (int)key->len, (const char *)key->data, (int)end->len,
                 (const char *)end->data);
    if (key->len && slice_equal(slice_of(behind.data, behind.len), slice_of(end->data, end->len)))
        buf_addf(&c->out, " (prefix %.*s)", (int)key->len, (const char *)key->data);
    buf_add_byte(&c->out, '\n');
}

static void show_role_fields(struct ctl *c, const Etcdserverpb__AuthRoleGetResponse *r)
{
    static const char *const types[] = {"READ", "WRITE", "READWRITE"};
    ctl_show_header_fields(c, r->header);
    for (size_t i = 0; i < r->n_perm; i++) {
        const Authpb__Permission *p = r->perm[i];
        buf_addf(&c->out, "\"PermType\" :  %s\n\"Key\" : ", types[(size_t)p->permtype % 3]);
        ctl_add_quoted(&c->out, slice_of(p->key.data, p->key.len));
        buf_add_text(&c->out, "\n\"RangeEnd\" : ");
        ctl_add_quoted(&c->out, slice_of(p->range_end.data, p->range_end.len));
        buf_add_byte(&c->out, '\n');
    }
}

static void show_role_text(struct ctl *c, const char *name, const Etcdserverpb__AuthRoleGetResponse *r)
{
    buf_addf(&c->out, "Role %s\nKV Read:\n", name);
    for (size_t i = 0; i < r->n_perm; i++) {
        if (r->perm[i]->permtype != AUTHPB__PERMISSION__TYPE__WRITE)
            show_permission(c, r->perm[i]);
    }
    buf_add_text(&c->out, "KV Write:\n");
    for (size_t i = 0; i < r->n_perm; i++) {
        if (r->perm[i]->permtype != AUTHPB__PERMISSION__TYPE__READ)
            show_permission(c, r->perm[i]);
    }
}

static void show_role(struct ctl *c, const char *name, const Etcdserverpb__AuthRoleGetResponse *r)
{
    if (c->form == CTL_FORM_FIELDS)
        show_role_fields(c, r);
    else if (!show_other(c, &r->base, r->header))
        show_role_text(c, name, r);
}

/* The roles of a user, each with its permissions. etcdctl prints the name first, whatever the form is. */
static enum ctl_exit show_detail(struct ctl *c, const char *user, const Etcdserverpb__AuthUserGetResponse *r)
{
    enum ctl_exit how = CTL_DONE;
    buf_addf(&c->out, "User: %s\n", user);
    for (size_t i = 0; !how && i < r->n_roles; i++) {
        Etcdserverpb__AuthRoleGetResponse *role;
        buf_add_byte(&c->out, '\n');
        how = get_role(c, r->roles[i], &role);
        if (!how && c->refused_form)
            how = ctl_fail_form(c, c->refused_form);
        if (!how)
            show_role(c, r->roles[i], role);
    }
    c->refused_form = NULL; /* without a role there was nothing to show in it */
    return how;
}

enum ctl_exit ctl_user_get(struct ctl *c)
{
    Etcdserverpb__AuthUserGetRequest q = ETCDSERVERPB__AUTH_USER_GET_REQUEST__INIT;
    Etcdserverpb__AuthUserGetResponse *r;
    bool is_detailed = ctl_bool(&c->line, "detail");
    enum ctl_exit how = expect_arguments(c, 1, "user get command requires user name as its argument");
    if (how)
        return how;
    q.name = ctl_auth_arg(c, 0);
    if (!is_detailed)
        ctl_refuse_form(c, CTL_FORM_FIELDS);
    how = call(c, "/v3/auth/user/get", &q.base, &etcdserverpb__auth_user_get_response__descriptor, true, &r);
    if (how)
        return how;
    if (is_detailed)
        return show_detail(c, q.name, r);
    if (show_other(c, &r->base, r->header))
        return CTL_DONE;
    buf_addf(&c->out, "User: %s\nRoles:", q.name);
    for (size_t i = 0; i < r->n_roles; i++)
        buf_addf(&c->out, " %s", r->roles[i]);
    buf_add_byte(&c->out, '\n');
    return CTL_DONE;
}

static void show_names(struct ctl *c, char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_addf(&c->out, "%s\n", names[i]);
}

enum ctl_exit ctl_user_list(struct ctl *c)
{
    Etcdserverpb__AuthUserListRequest q = ETCDSERVERPB__AUTH_USER_LIST_REQUEST__INIT;
    Etcdserverpb__AuthUserListResponse *r;
    enum ctl_exit how = expect_arguments(c, 0, "user list command requires no arguments");
    ctl_refuse_form(c, CTL_FORM_FIELDS);
    if (!how)
        how = call(c, "/v3/auth/user/list", &q.base, &etcdserverpb__auth_user_list_response__descriptor, true,
                   &r);
    if (!how && !show_other(c, &r->base, r->header))
        show_names(c, r->users, r->n_users);
    return how;
}

enum ctl_exit ctl_user_passwd(struct ctl *c)
{
    Etcdserverpb__AuthUserChangePasswordRequest q = ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    Etcdserverpb__AuthUserChangePasswordResponse *r;
    enum ctl_exit how = expect_arguments(c, 1, "user passwd command requires user name as its argument");
    if (!how)
        how = read_new_password(c, ctl_auth_arg(c, 0), &q.password);
    if (how)
        return how;
    q.name = ctl_auth_arg(c, 0);
    how = call(c, "/v3/auth/user/changepw", &q.base,
               &etcdserverpb__auth_user_change_password_response__descriptor, false, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_add_text(&c->out, "Password updated\n");
    return how;
}

enum ctl_exit ctl_user_grant_role(struct ctl *c)
{
    Etcdserverpb__AuthUserGrantRoleResponse *r;
    enum ctl_exit how =
        expect_arguments(c, 2, "user grant command requires user name and role name as its argument");
    if (!how)
        how = grant_role(c, ctl_auth_arg(c, 0), ctl_auth_arg(c, 1), &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Role %s is granted to user %s\n", ctl_auth_arg(c, 1), ctl_auth_arg(c, 0));
    return how;
}

enum ctl_exit ctl_user_revoke_role(struct ctl *c)
{
    Etcdserverpb__AuthUserRevokeRoleRequest q = ETCDSERVERPB__AUTH_USER_REVOKE_ROLE_REQUEST__INIT;
    Etcdserverpb__AuthUserRevokeRoleResponse *r;
    enum ctl_exit how =
        expect_arguments(c, 2, "user revoke-role requires user name and role name as its argument");
    if (how)
        return how;
    q.name = ctl_auth_arg(c, 0);
    q.role = ctl_auth_arg(c, 1);
    how = call(c, "/v3/auth/user/revoke", &q.base, &etcdserverpb__auth_user_revoke_role_response__descriptor,
               false, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Role %s is revoked from user %s\n", q.role, q.name);
    return how;
}

/* --- roles ---------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_role_add(struct ctl *c)
{
    Etcdserverpb__AuthRoleAddResponse *r;
    enum ctl_exit how = expect_arguments(c, 1, "role add command requires role name as its argument");
    if (!how)
        how = add_role(c, ctl_auth_arg(c, 0), &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Role %s created\n", ctl_auth_arg(c, 0));
    return how;
}

enum ctl_exit ctl_role_delete(struct ctl *c)
{
    Etcdserverpb__AuthRoleDeleteRequest q = ETCDSERVERPB__AUTH_ROLE_DELETE_REQUEST__INIT;
    Etcdserverpb__AuthRoleDeleteResponse *r;
    enum ctl_exit how = expect_arguments(c, 1, "role delete command requires role name as its argument");
    if (how)
        return how;
    q.role = ctl_auth_arg(c, 0);
    how = call(c, "/v3/auth/role/delete", &q.base, &etcdserverpb__auth_role_delete_response__descriptor,
               false, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Role %s deleted\n", q.role);
    return how;
}

enum ctl_exit ctl_role_get(struct ctl *c)
{
    Etcdserverpb__AuthRoleGetResponse *r;
    enum ctl_exit how = expect_arguments(c, 1, "role get command requires role name as its argument");
    if (!how)
        how = get_role(c, ctl_auth_arg(c, 0), &r);
    if (!how)
        show_role(c, ctl_auth_arg(c, 0), r);
    return how;
}

static void show_role_names(struct ctl *c, const Etcdserverpb__AuthRoleListResponse *r)
{
    ctl_show_header_fields(c, r->header);
    buf_add_text(&c->out, "\"Roles\" :");
    for (size_t i = 0; i < r->n_roles; i++) {
        buf_add_byte(&c->out, ' ');
        ctl_add_quoted(&c->out, slice_text(r->roles[i]));
    }
    buf_add_byte(&c->out, '\n');
}

enum ctl_exit ctl_role_list(struct ctl *c)
{
    Etcdserverpb__AuthRoleListRequest q = ETCDSERVERPB__AUTH_ROLE_LIST_REQUEST__INIT;
    Etcdserverpb__AuthRoleListResponse *r;
    enum ctl_exit how = expect_arguments(c, 0, "role list command requires no arguments");
    if (!how)
        how = call(c, "/v3/auth/role/list", &q.base, &etcdserverpb__auth_role_list_response__descriptor, true,
                   &r);
    if (how)
        return how;
    if (c->form == CTL_FORM_FIELDS)
        show_role_names(c, r);
    else if (!show_other(c, &r->base, r->header))
        show_names(c, r->roles, r->n_roles);
    return how;
}

/* Reads KEY [RANGE_END] from the argument `at` on, with --prefix or --from-key. */
static enum ctl_exit read_range(struct ctl *c, size_t at, ProtobufCBinaryData *key, ProtobufCBinaryData *end)
{
    bool is_prefix = ctl_bool(&c->line, "prefix"), is_from = ctl_bool(&c->line, "from-key");
    *key = ctl_bytes(ctl_auth_arg(c, at));
    if (c->line.arg_count > at + 1) {
        if (is_prefix)
            return ctl_fail(c, CTL_BAD_ARGS, "unexpected endkey argument with --prefix flag");
        if (is_from)
            return ctl_fail(c, CTL_BAD_ARGS, "unexpected endkey argument with --from-key flag");
        *end = ctl_bytes(ctl_auth_arg(c, at + 1));
    }
    if (is_prefix)
        ctl_prefix_range(c, key, end);
    else if (is_from)
        ctl_from_key_range(c, key, end);
    return CTL_DONE;
}

enum ctl_exit ctl_role_grant_permission(struct ctl *c)
{
    static const char *const types[] = {"read", "write", "readwrite"};
    Etcdserverpb__AuthRoleGrantPermissionRequest q = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    Etcdserverpb__AuthRoleGrantPermissionResponse *r;
    if (c->line.arg_count < 3)
        return ctl_fail(
            c, CTL_BAD_ARGS,
            "role grant command requires role name, permission type, and key [endkey] as its argument");
    size_t type = 0;
    while (type < 3 && strcasecmp(types[type], ctl_auth_arg(c, 1)) != 0)
        type++;
    if (type == 3)
        return ctl_fail(c, CTL_BAD_ARGS, "invalid permission type: %s", ctl_auth_arg(c, 1));
    q.name = ctl_auth_arg(c, 0);
    q.perm = &permission;
    permission.permtype = (Authpb__Permission__Type)type;
    enum ctl_exit how = read_range(c, 2, &permission.key, &permission.range_end);
    if (!how)
        how = call(c, "/v3/auth/role/grant", &q.base,
                   &etcdserverpb__auth_role_grant_permission_response__descriptor, false, &r);
    if (!how && !show_other(c, &r->base, r->header))
        buf_addf(&c->out, "Role %s updated\n", q.name);
    return how;
}

enum ctl_exit ctl_role_revoke_permission(struct ctl *c)
{
    Etcdserverpb__AuthRoleRevokePermissionRequest q = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    Etcdserverpb__AuthRoleRevokePermissionResponse *r;
    if (c->line.arg_count < 2)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "role revoke-permission command requires role name and key [endkey] as its argument");
    q.role = ctl_auth_arg(c, 0);
    enum ctl_exit how = read_range(c, 1, &q.key, &q.range_end);
    if (!how)
        how = call(c, "/v3/auth/role/revoke", &q.base,
                   &etcdserverpb__auth_role_revoke_permission_response__descriptor, false, &r);
    if (how || show_other(c, &r->base, r->header))
        return how;
    bool is_open = q.range_end.len == 1 && q.range_end.data[0] == 0;
    if (q.range_end.len == 0)
        buf_addf(&c->out, "Permission of key %s is revoked from role %s\n", ctl_auth_arg(c, 1), q.role);
    else if (is_open)
        buf_addf(&c->out, "Permission of range [%s, <open ended> is revoked from role %s\n",
                 ctl_auth_arg(c, 1), q.role);
    else
        buf_addf(&c->out, "Permission of range [%s, %.*s) is revoked from role %s\n", ctl_auth_arg(c, 1),
                 (int)q.range_end.len, (const char *)q.range_end.data, q.role);
    return CTL_DONE;
}
