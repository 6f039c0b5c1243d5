/* SPDX-License-Identifier: Apache-2.0
 * Users and roles of `migrate`. No API gives a password's hash: it comes from a snapshot of the source, and the
 * target takes it by AuthUserChangePassword without a password. AuthUserAdd hashes what it gets, here and in
 * etcd. Without a snapshot a user gets a random password that nobody knows. */
#include "sdk/ctl/migrate.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"
#include "sdk/ctl/db_file.h"

struct accounts {
    struct migrate *m;
    struct arena arena;
    Authpb__User **hashed; /* of the snapshot */
    size_t hashed_count, hashed_room;
    Etcdserverpb__AuthUserListResponse *users;
    Etcdserverpb__AuthRoleListResponse *roles;
    size_t added, unset;
    bool is_first;
};

#define CALL(a, side, path, q, type, ret)                                                                    \
    migrate_call((a)->m, side, path, &(q).base, &etcdserverpb__##type##__descriptor, &(a)->arena, ret)

/* An error that only says that it is done already. */
static enum ctl_exit is_done_already(struct accounts *a, enum ctl_exit how, const char *what)
{
    const char *error = a->m->error;
    if (how == CTL_ERROR &&
        (strstr(error, "already exists") || strstr(error, "already has") ||
         strstr(error, "is not granted to the user") || strstr(error, "is not granted to the role")))
        return CTL_DONE;
    return how == CTL_ERROR ? migrate_fail(a->m, &a->m->to, what) : how;
}

/* --- the snapshot ---------------------------------------------------------------------------------------- */

static int on_user(void *arg, struct slice key, struct slice value)
{
    struct accounts *a = arg;
    (void)key;
    Authpb__User *u = authpb__user__unpack(arena_allocator(&a->arena), value.size, value.data);
    if (!u)
        return ERR_CORRUPT;
    if (a->hashed_count == a->hashed_room) {
        a->hashed_room = a->hashed_room ? 2 * a->hashed_room : 64;
        Authpb__User **more = arena_alloc(&a->arena, a->hashed_room * sizeof *more);
        if (a->hashed_count)
            memcpy(more, a->hashed, a->hashed_count * sizeof *more);
        a->hashed = more;
    }
    a->hashed[a->hashed_count++] = u;
    return OK;
}

static enum ctl_exit read_snapshot(struct accounts *a, const char *path)
{
    struct ctl_db_file file = {.fd = -1};
    struct etcd_db *db = NULL;
    char error[512] = "";
    enum ctl_exit how = ctl_db_file_open(a->m->c, "open", path, &file);
    if (how)
        return how;
    int err = etcd_db_open(&file.source, path, ETCD_DB_CHECK_IF_ANY, error, sizeof error, &db);
    if (!err)
        err = etcd_db_walk(db, "authUsers", on_user, a, error, sizeof error);
    if (err)
        how = ctl_db_file_fail(a->m->c, err, *error ? error : "the snapshot has a user that cannot be read");
    etcd_db_close(db);
    ctl_db_file_close(&file);
    return how;
}

static const Authpb__User *find_hashed(const struct accounts *a, const char *name)
{
    for (size_t i = 0; i < a->hashed_count; i++)
        if (slice_equal(migrate_slice(a->hashed[i]->name), slice_text(name)))
            return a->hashed[i];
    return NULL;
}

/* --- roles ----------------------------------------------------------------------------------------------- */

static bool same_range(const Authpb__Permission *x, const Authpb__Permission *y)
{
    return slice_equal(migrate_slice(x->key), migrate_slice(y->key)) &&
           slice_equal(migrate_slice(x->range_end), migrate_slice(y->range_end));
}

static enum ctl_exit get_role(struct accounts *a, struct ctl *side, char *role,
                              Etcdserverpb__AuthRoleGetResponse **ret)
{
    Etcdserverpb__AuthRoleGetRequest q = ETCDSERVERPB__AUTH_ROLE_GET_REQUEST__INIT;
    q.role = role;
    enum ctl_exit how = CALL(a, side, "/v3/auth/role/get", q, auth_role_get_response, ret);
    return how == CTL_ERROR ? migrate_fail(a->m, side, "cannot read a role") : how;
}

static enum ctl_exit copy_role(struct accounts *a, char *role)
{
    Etcdserverpb__AuthRoleAddRequest add = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    Etcdserverpb__AuthRoleAddResponse *added;
    Etcdserverpb__AuthRoleGetResponse *source, *target;
    if (strcmp(role, "root") == 0) { /* has every permission; a Cairn may not list it */
        add.name = role;
        return is_done_already(a,
                               CALL(a, &a->m->to, "/v3/auth/role/add", add, auth_role_add_response, &added),
                               "cannot add a role");
    }
    add.name = role;
    enum ctl_exit how = is_done_already(
        a, CALL(a, &a->m->to, "/v3/auth/role/add", add, auth_role_add_response, &added), "cannot add a role");
    if (!how)
        how = get_role(a, &a->m->from, role, &source);
    if (!how)
        how = get_role(a, &a->m->to, role, &target);
    for (size_t i = 0; !how && i < target->n_perm; i++) {
        Etcdserverpb__AuthRoleRevokePermissionRequest q =
            ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
        Etcdserverpb__AuthRoleRevokePermissionResponse *r;
        bool is_there = false;
        for (size_t j = 0; j < source->n_perm && !is_there; j++)
            is_there = same_range(source->perm[j], target->perm[i]) &&
                       source->perm[j]->permtype == target->perm[i]->permtype;
        q.role = role;
        q.key = target->perm[i]->key;
        q.range_end = target->perm[i]->range_end;
        if (!is_there)
            how = is_done_already(
                a, CALL(a, &a->m->to, "/v3/auth/role/revoke", q, auth_role_revoke_permission_response, &r),
                "cannot change a role");
    }
    for (size_t i = 0; !how && i < source->n_perm; i++) {
        Etcdserverpb__AuthRoleGrantPermissionRequest q =
            ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
        Etcdserverpb__AuthRoleGrantPermissionResponse *r;
        bool is_there = false;
        for (size_t j = 0; j < target->n_perm && !is_there; j++)
            is_there = same_range(source->perm[i], target->perm[j]) &&
                       source->perm[i]->permtype == target->perm[j]->permtype;
        q.name = role;
        q.perm = source->perm[i];
        if (!is_there)
            how = is_done_already(
                a, CALL(a, &a->m->to, "/v3/auth/role/grant", q, auth_role_grant_permission_response, &r),
                "cannot change a role");
    }
    return how;
}

/* --- users ----------------------------------------------------------------------------------------------- */

static enum ctl_exit get_user(struct accounts *a, struct ctl *side, char *name,
                              Etcdserverpb__AuthUserGetResponse **ret)
{
    Etcdserverpb__AuthUserGetRequest q = ETCDSERVERPB__AUTH_USER_GET_REQUEST__INIT;
    q.name = name;
    enum ctl_exit how = CALL(a, side, "/v3/auth/user/get", q, auth_user_get_response, ret);
    return how == CTL_ERROR ? migrate_fail(a->m, side, "cannot read a user") : how;
}

static bool has_text(char **list, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(list[i], text) == 0)
            return true;
    return false;
}

static enum ctl_exit copy_grants(struct accounts *a, char *name)
{
    Etcdserverpb__AuthUserGetResponse *source, *target;
    enum ctl_exit how = get_user(a, &a->m->from, name, &source);
    if (!how)
        how = get_user(a, &a->m->to, name, &target);
    for (size_t i = 0; !how && i < source->n_roles; i++) {
        Etcdserverpb__AuthUserGrantRoleRequest q = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
        Etcdserverpb__AuthUserGrantRoleResponse *r;
        q.user = name;
        q.role = source->roles[i];
        if (!has_text(target->roles, target->n_roles, q.role))
            how = is_done_already(
                a, CALL(a, &a->m->to, "/v3/auth/user/grant", q, auth_user_grant_role_response, &r),
                "cannot grant a role");
    }
    for (size_t i = 0; !how && i < target->n_roles; i++) {
        Etcdserverpb__AuthUserRevokeRoleRequest q = ETCDSERVERPB__AUTH_USER_REVOKE_ROLE_REQUEST__INIT;
        Etcdserverpb__AuthUserRevokeRoleResponse *r;
        q.name = name;
        q.role = target->roles[i];
        if (strcmp(name, "root") != 0 && !has_text(source->roles, source->n_roles, q.role))
            how = is_done_already(
                a, CALL(a, &a->m->to, "/v3/auth/user/revoke", q, auth_user_revoke_role_response, &r),
                "cannot revoke a role");
    }
    return how;
}

static enum ctl_exit set_hash(struct accounts *a, char *name, const Authpb__User *hashed)
{
    Etcdserverpb__AuthUserChangePasswordRequest q = ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    Etcdserverpb__AuthUserChangePasswordResponse *r;
    struct buf text = {0};
    base64_encode(&text, migrate_slice(hashed->password));
    q.name = name;
    q.hashedpassword = arena_string(&a->arena, text.data, text.size);
    buf_done(&text);
    return is_done_already(
        a, CALL(a, &a->m->to, "/v3/auth/user/changepw", q, auth_user_change_password_response, &r),
        "cannot set a password");
}

/* True for the user that this run itself is at the target: its password stays. */
static bool is_own_user(const struct migrate *m, const char *name)
{
    const char *user = ctl_flag_value(&m->c->line, m->to.side ? "to-user" : "user");
    size_t size = strlen(name);
    return user && strncmp(user, name, size) == 0 && (user[size] == 0 || user[size] == ':');
}

static enum ctl_exit copy_user(struct accounts *a, char *name)
{
    Etcdserverpb__AuthUserAddRequest q = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Authpb__UserAddOptions options = AUTHPB__USER_ADD_OPTIONS__INIT;
    Etcdserverpb__AuthUserAddResponse *r;
    const Authpb__User *hashed = find_hashed(a, name);
    options.no_password = hashed && hashed->options && hashed->options->no_password;
    q.name = name;
    q.options = &options;
    if (!options.no_password)
        q.password = arena_printf(&a->arena, "%016" PRIx64 "%016" PRIx64, random_u64(), random_u64());
    enum ctl_exit how = CALL(a, &a->m->to, "/v3/auth/user/add", q, auth_user_add_response, &r);
    bool is_new = !how;
    a->added += is_new;
    a->unset += is_new && !hashed;
    how = is_done_already(a, how, "cannot add a user");
    /* A run that was killed may have left a user without it. */
    bool sets_hash = hashed && !options.no_password && (is_new || (a->is_first && !is_own_user(a->m, name)));
    if (!how && sets_hash)
        how = set_hash(a, name, hashed);
    return how ? how : copy_grants(a, name);
}

enum ctl_exit migrate_auth(struct migrate *m, bool is_first)
{
    struct accounts a = {.m = m, .is_first = is_first};
    Etcdserverpb__AuthUserListRequest users = ETCDSERVERPB__AUTH_USER_LIST_REQUEST__INIT;
    Etcdserverpb__AuthRoleListRequest roles = ETCDSERVERPB__AUTH_ROLE_LIST_REQUEST__INIT;
    const char *path = ctl_flag_value(&m->c->line, "snapshot");
    if (m->rule.prefix.size)
        return CTL_DONE;
    enum ctl_exit how = path ? read_snapshot(&a, path) : CTL_DONE;
    if (how)
        goto out;
    how = CALL(&a, &m->from, "/v3/auth/user/list", users, auth_user_list_response, &a.users);
    if (!how)
        how = CALL(&a, &m->from, "/v3/auth/role/list", roles, auth_role_list_response, &a.roles);
    if (how == CTL_ERROR) {
        if (is_first)
            ctl_note(m->c, "Users and roles are not copied: the source does not show them (%s).", m->error);
        how = CTL_DONE;
        goto out;
    }
    for (size_t i = 0; !how && i < a.roles->n_roles; i++)
        how = copy_role(&a, a.roles->roles[i]);
    for (size_t i = 0; !how && i < a.users->n_users; i++)
        how = copy_user(&a, a.users->users[i]);
    if (!how && (a.added || (is_first && a.users->n_users)))
        ctl_note(m->c, "Users: %zu, %zu of them new at the target; roles: %zu.", a.users->n_users, a.added,
                 a.roles->n_roles);
    if (!how && a.unset)
        ctl_note(
            m->c,
            "%zu users have no known password at the target: give them one by \"user passwd\", or run again "
            "with --snapshot.",
            a.unset);
out:
    arena_done(&a.arena);
    return how;
}
