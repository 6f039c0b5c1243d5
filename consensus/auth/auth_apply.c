/* SPDX-License-Identifier: Apache-2.0
 * Auth requests of the log: one function each, and one table with the permission that each needs. A function
 * of (state, entry) alone. A failed request changes nothing and moves no revision. Names are logged,
 * passwords and hashes never. */
#include "base/hash.h"
#include "base/log.h"
#include "base/text.h"
#include "consensus/auth/auth.h"
#include "consensus/entry.h"

struct call {
    struct auth *auth;
    struct store *store;
    const struct auth_who *who;
    struct arena *arena;
    ProtobufCMessage *response;
};

static struct slice bytes(ProtobufCBinaryData b)
{
    return slice_of(b.data, b.len);
}

/* The revision that commit_change() will make: a credential of the user from before it is invalid. */
static uint64_t next_revision(const struct call *c)
{
    return c->auth->revision + 1;
}

/* Every change of users, roles and permissions ends with this. */
static int commit_change(struct call *c)
{
    c->auth->revision++;
    auth_save_flags(c->auth, c->store);
    return OK;
}

/* --- enable and disable -------------------------------------------------------------------------------- */

static int enable(struct call *c, const ProtobufCMessage *m)
{
    (void)m;
    struct auth *a = c->auth;
    const struct auth_user *root = auth_user_find(a, slice_text(AUTH_ROOT));
    if (a->is_enabled)
        return OK;
    if (!root)
        return ERR_ROOT_USER_NOT_EXIST;
    if (!auth_has_role(root, AUTH_ROOT))
        return ERR_ROOT_ROLE_NOT_EXIST;
    a->is_enabled = true;
    auth_save_flags(a, c->store);
    log_info("enabled authentication", F_UINT("auth-revision", a->revision));
    return OK;
}

static int disable(struct call *c, const ProtobufCMessage *m)
{
    (void)m;
    if (!c->auth->is_enabled)
        return OK;
    c->auth->is_enabled = false;
    log_info("disabled authentication");
    return commit_change(c);
}

static int status(struct call *c, const ProtobufCMessage *m)
{
    (void)m;
    Etcdserverpb__AuthStatusResponse *r = (Etcdserverpb__AuthStatusResponse *)c->response;
    r->enabled = c->auth->is_enabled;
    r->authrevision = c->auth->revision;
    return OK;
}

/* --- users --------------------------------------------------------------------------------------------- */

/* A text that is not base64 becomes, as in etcd, the password of a user that has none. */
static int set_password(struct auth_user *u, const char *hashed)
{
    struct buf hash = {0};
    int err = base64_decode(slice_text(hashed), &hash);
    if (!err)
        auth_user_set_password(u, buf_slice(&hash));
    buf_done(&hash);
    return err ? ERR_NO_PASSWORD_USER : OK;
}

static int check_new_name(const char *name, size_t count)
{
    return strlen(name) > AUTH_NAME_MAX ? ERR_REQUEST_TOO_LARGE : count >= AUTH_NAMES_MAX ? ERR_LIMIT : OK;
}

static int user_add(struct call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthUserAddRequest *r = (const Etcdserverpb__AuthUserAddRequest *)m;
    bool has_no_password = r->options && r->options->no_password;
    struct slice name = slice_text(r->name);
    if (!name.size)
        return ERR_USER_EMPTY;
    if (auth_user_find(c->auth, name))
        return ERR_USER_EXISTS;
    int err = check_new_name(r->name, c->auth->user_count);
    if (err)
        return err;
    struct auth_user scratch = {0};
    if (!has_no_password)
        err = set_password(&scratch, r->hashedpassword);
    if (!err) {
        struct auth_user *u = auth_user_add(c->auth, name);
        auth_user_set_password(u, scratch.password);
        u->has_no_password = has_no_password;
        u->credential = next_revision(c);
        auth_save_user(u, c->store);
        log_info("added a user", F_STR("user-name", u->name));
    }
    mem_free(scratch.password.data);
    return err ? err : commit_change(c);
}

static int user_delete(struct call *c, const ProtobufCMessage *m)
{
    const char *name = ((const Etcdserverpb__AuthUserDeleteRequest *)m)->name;
    struct auth_user *u = auth_user_find(c->auth, slice_text(name));
    if (c->auth->is_enabled && strcmp(name, AUTH_ROOT) == 0)
        return ERR_INVALID_AUTH_MGMT;
    if (!u)
        return ERR_USER_NOT_FOUND;
    auth_user_delete(c->auth, u, c->store);
    log_info("deleted a user", F_STR("user-name", name));
    return commit_change(c);
}

static int user_change_password(struct call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthUserChangePasswordRequest *r =
        (const Etcdserverpb__AuthUserChangePasswordRequest *)m;
    struct auth_user *u = auth_user_find(c->auth, slice_text(r->name));
    if (!u)
        return ERR_USER_NOT_FOUND;
    int err = u->has_no_password ? OK : set_password(u, r->hashedpassword);
    if (err)
        return err;
    u->credential = next_revision(c);
    auth_save_user(u, c->store);
    log_info("changed a password of a user", F_STR("user-name", u->name));
    return commit_change(c);
}

static int user_grant(struct call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthUserGrantRoleRequest *r = (const Etcdserverpb__AuthUserGrantRoleRequest *)m;
    struct auth_user *u = auth_user_find(c->auth, slice_text(r->user));
    if (!u)
        return ERR_USER_NOT_FOUND;
    if (strcmp(r->role, AUTH_ROOT) != 0 && !auth_role_find(c->auth, slice_text(r->role)))
        return ERR_ROLE_NOT_FOUND;
    if (u->role_count >= AUTH_ROLES_MAX && !auth_has_role(u, r->role))
        return ERR_LIMIT;
    if (!auth_user_add_role(u, r->role))
        return OK;
    auth_save_user(u, c->store);
    log_info("granted a role to a user", F_STR("user-name", u->name), F_STR("added-role-name", r->role));
    return commit_change(c);
}

static int user_revoke(struct call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthUserRevokeRoleRequest *r = (const Etcdserverpb__AuthUserRevokeRoleRequest *)m;
    bool is_roots = strcmp(r->name, AUTH_ROOT) == 0 && strcmp(r->role, AUTH_ROOT) == 0;
    struct auth_user *u = auth_user_find(c->auth, slice_text(r->name));
    if (c->auth->is_enabled && is_roots)
        return ERR_INVALID_AUTH_MGMT;
    if (!u)
        return ERR_USER_NOT_FOUND;
    if (!auth_user_drop_role(u, r->role))
        return ERR_ROLE_NOT_GRANTED;
    auth_save_user(u, c->store);
    log_info("revoked a role from a user", F_STR("user-name", u->name), F_STR("revoked-role-name", r->role));
    return commit_change(c);
}

static int user_get(struct call *c, const ProtobufCMessage *m)
{
    struct slice name = slice_text(((const Etcdserverpb__AuthUserGetRequest *)m)->name);
    const struct auth_user *u = auth_user_find(c->auth, name);
    Etcdserverpb__AuthUserGetResponse *response = (Etcdserverpb__AuthUserGetResponse *)c->response;
    int err = auth_check_admin(c->auth, c->who);
    if (err && !slice_equal(name, c->who->user))
        return err;
    if (!u)
        return ERR_USER_NOT_FOUND;
    response->roles = u->roles;
    response->n_roles = u->role_count;
    return OK;
}

static int user_list(struct call *c, const ProtobufCMessage *m)
{
    (void)m;
    Etcdserverpb__AuthUserListResponse *r = (Etcdserverpb__AuthUserListResponse *)c->response;
    r->users = arena_alloc(c->arena, (c->auth->user_count + 1) * sizeof(char *));
    r->n_users = c->auth->user_count;
    for (size_t i = 0; i < r->n_users; i++)
        r->users[i] = c->auth->users[i]->name;
    return OK;
}

/* --- roles --------------------------------------------------------------------------------------------- */

static int role_add(struct call *c, const ProtobufCMessage *m)
{
    const char *name = ((const Etcdserverpb__AuthRoleAddRequest *)m)->name;
    if (!*name)
        return ERR_ROLE_EMPTY;
    if (auth_role_find(c->auth, slice_text(name)))
        return ERR_ROLE_EXISTS;
    int err = check_new_name(name, c->auth->role_count);
    if (err)
        return err;
    auth_save_role(auth_role_add(c->auth, slice_text(name)), c->store);
    log_info("created a role", F_STR("role-name", name));
    return commit_change(c);
}

static int role_delete(struct call *c, const ProtobufCMessage *m)
{
    const char *name = ((const Etcdserverpb__AuthRoleDeleteRequest *)m)->role;
    struct auth_role *role = auth_role_find(c->auth, slice_text(name));
    if (c->auth->is_enabled && strcmp(name, AUTH_ROOT) == 0)
        return ERR_INVALID_AUTH_MGMT;
    if (!role)
        return ERR_ROLE_NOT_FOUND;
    auth_role_delete(c->auth, role, c->store);
    for (size_t i = 0; i < c->auth->user_count; i++)
        if (auth_user_drop_role(c->auth->users[i], name))
            auth_save_user(c->auth->users[i], c->store);
    log_info("deleted a role", F_STR("role-name", name));
    return commit_change(c);
}

static int role_grant(struct call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthRoleGrantPermissionRequest *r =
        (const Etcdserverpb__AuthRoleGrantPermissionRequest *)m;
    if (!r->perm)
        return ERR_PERMISSION_NOT_GIVEN;
    struct slice key = bytes(r->perm->key), range_end = bytes(r->perm->range_end);
    if (!auth_range_is_valid(key, range_end))
        return ERR_INVALID_AUTH_MGMT;
    struct auth_role *role = auth_role_find(c->auth, slice_text(r->name));
    if (!role)
        return ERR_ROLE_NOT_FOUND;
    if ((unsigned)r->perm->permtype > AUTHPB__PERMISSION__TYPE__READWRITE)
        return ERR_INVALID_AUTH_MGMT;
    if (role->count >= AUTH_PERMISSIONS_MAX)
        return ERR_LIMIT;
    auth_role_set(role, key, range_end, r->perm->permtype);
    auth_save_role(role, c->store);
    log_info("granted/updated a permission to a role", F_STR("role-name", role->name));
    return commit_change(c);
}

static int role_revoke(struct call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthRoleRevokePermissionRequest *r =
        (const Etcdserverpb__AuthRoleRevokePermissionRequest *)m;
    struct auth_role *role = auth_role_find(c->auth, slice_text(r->role));
    if (!role)
        return ERR_ROLE_NOT_FOUND;
    if (!auth_role_drop(role, bytes(r->key), bytes(r->range_end)))
        return ERR_PERMISSION_NOT_GRANTED;
    auth_save_role(role, c->store);
    log_info("revoked a permission on range", F_STR("role-name", role->name));
    return commit_change(c);
}

static void show_permission(struct call *c, Etcdserverpb__AuthRoleGetResponse *response, struct slice key,
                            struct slice range_end, Authpb__Permission__Type type)
{
    Authpb__Permission *p = arena_alloc(c->arena, sizeof *p);
    authpb__permission__init(p);
    p->key = (ProtobufCBinaryData){key.size, (uint8_t *)(uintptr_t)key.data};
    p->range_end = (ProtobufCBinaryData){range_end.size, (uint8_t *)(uintptr_t)range_end.data};
    p->permtype = type;
    response->perm[response->n_perm++] = p;
}

static int role_get(struct call *c, const ProtobufCMessage *m)
{
    const char *name = ((const Etcdserverpb__AuthRoleGetRequest *)m)->role;
    const struct auth_role *role = auth_role_find(c->auth, slice_text(name));
    const struct auth_user *self = auth_user_find(c->auth, c->who->user);
    Etcdserverpb__AuthRoleGetResponse *response = (Etcdserverpb__AuthRoleGetResponse *)c->response;
    int err = auth_check_admin(c->auth, c->who);
    if (err && !(self && auth_has_role(self, name)))
        return err;
    if (!role)
        return ERR_ROLE_NOT_FOUND;
    response->perm = arena_alloc(c->arena, (role->count + 1) * sizeof *response->perm);
    if (strcmp(name, AUTH_ROOT) == 0) {
        show_permission(c, response, (struct slice){0}, slice_of("", 1), AUTHPB__PERMISSION__TYPE__READWRITE);
        return OK;
    }
    for (size_t i = 0; i < role->count; i++)
        show_permission(c, response, role->list[i].key, role->list[i].range_end, role->list[i].type);
    return OK;
}

static int role_list(struct call *c, const ProtobufCMessage *m)
{
    (void)m;
    Etcdserverpb__AuthRoleListResponse *r = (Etcdserverpb__AuthRoleListResponse *)c->response;
    r->roles = arena_alloc(c->arena, (c->auth->role_count + 1) * sizeof(char *));
    r->n_roles = c->auth->role_count;
    for (size_t i = 0; i < r->n_roles; i++)
        r->roles[i] = c->auth->roles[i]->name;
    return OK;
}

/* --- request table ------------------------------------------------------------------------------------- */

/* ANY_USER: the function itself checks the author. */
enum required_permission { ADMIN_ONLY, ANY_USER };

static const struct request {
    enum entry_op op;
    enum required_permission permission;
    const ProtobufCMessageDescriptor *response;
    int (*run)(struct call *c, const ProtobufCMessage *m);
} requests[] = {
    {ENTRY_AUTH_ENABLE, ADMIN_ONLY, &etcdserverpb__auth_enable_response__descriptor, enable},
    {ENTRY_AUTH_DISABLE, ADMIN_ONLY, &etcdserverpb__auth_disable_response__descriptor, disable},
    {ENTRY_AUTH_STATUS, ANY_USER, &etcdserverpb__auth_status_response__descriptor, status},
    {ENTRY_AUTH_USER_ADD, ADMIN_ONLY, &etcdserverpb__auth_user_add_response__descriptor, user_add},
    {ENTRY_AUTH_USER_DELETE, ADMIN_ONLY, &etcdserverpb__auth_user_delete_response__descriptor, user_delete},
    {ENTRY_AUTH_USER_GET, ANY_USER, &etcdserverpb__auth_user_get_response__descriptor, user_get},
    {ENTRY_AUTH_USER_CHANGE_PASSWORD, ADMIN_ONLY,
     &etcdserverpb__auth_user_change_password_response__descriptor, user_change_password},
    {ENTRY_AUTH_USER_GRANT_ROLE, ADMIN_ONLY, &etcdserverpb__auth_user_grant_role_response__descriptor,
     user_grant},
    {ENTRY_AUTH_USER_REVOKE_ROLE, ADMIN_ONLY, &etcdserverpb__auth_user_revoke_role_response__descriptor,
     user_revoke},
    {ENTRY_AUTH_USER_LIST, ADMIN_ONLY, &etcdserverpb__auth_user_list_response__descriptor, user_list},
    {ENTRY_AUTH_ROLE_LIST, ADMIN_ONLY, &etcdserverpb__auth_role_list_response__descriptor, role_list},
    {ENTRY_AUTH_ROLE_ADD, ADMIN_ONLY, &etcdserverpb__auth_role_add_response__descriptor, role_add},
    {ENTRY_AUTH_ROLE_DELETE, ADMIN_ONLY, &etcdserverpb__auth_role_delete_response__descriptor, role_delete},
    {ENTRY_AUTH_ROLE_GET, ANY_USER, &etcdserverpb__auth_role_get_response__descriptor, role_get},
    {ENTRY_AUTH_ROLE_GRANT_PERMISSION, ADMIN_ONLY,
     &etcdserverpb__auth_role_grant_permission_response__descriptor, role_grant},
    {ENTRY_AUTH_ROLE_REVOKE_PERMISSION, ADMIN_ONLY,
     &etcdserverpb__auth_role_revoke_permission_response__descriptor, role_revoke},
};

int auth_apply(struct auth *a, struct store *s, int op, const ProtobufCMessage *m, const struct auth_who *who,
               struct arena *arena, ProtobufCMessage **ret_response)
{
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const struct request *r = &requests[i];
        if ((int)r->op != op)
            continue;
        int err = r->permission == ADMIN_ONLY ? auth_check_admin(a, who) : OK;
        if (err)
            return err;
        struct call c = {a, s, who, arena, arena_new(arena, r->response->sizeof_message)};
        r->response->message_init(c.response);
        err = r->run(&c, m);
        *ret_response = err ? NULL : c.response;
        return err;
    }
    return ERR_INTERNAL;
}
