/* SPDX-License-Identifier: Apache-2.0
 * Users and roles in memory and in the AUTH table, and authorization checks; see auth.h. rights.c computes
 * what a user may read and write.
 *
 * Table AUTH, key = value:
 *   "enabled"      one byte
 *   "revision"     8 bytes big-endian
 *   "user/<name>"  authpb.User, etcd's own record
 *   "role/<name>"  authpb.Role, etcd's own record */
#include "consensus/auth/rights.h"

#include <string.h>

#include "base/mutant.h"
#include "consensus/store/store.h"

static struct slice auth_copy(struct slice s)
{
    return slice_of(s.size ? mem_copy(s.data, s.size) : NULL, s.size);
}

static char *copy_name(struct slice s)
{
    char *name = mem_new(s.size + 1);
    memcpy(name, s.data, s.size);
    return name;
}

/* --- lists by name: users and roles begin with their name ---------------------------------------------- */

static const char *name_at(void *const *list, size_t i)
{
    return *(char *const *)list[i];
}

/* The position of the name, or the one where it belongs. */
static size_t auth_find(void *const *list, size_t count, struct slice name, bool *ret_is_there)
{
    size_t low = 0, high = count;
    *ret_is_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int c = slice_compare(slice_text(name_at(list, middle)), name);
        if (c == 0) {
            *ret_is_there = true;
            return middle;
        }
        if (c < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void *insert(void ***list, size_t *count, size_t at, void *item)
{
    *list = mem_resize(*list, (*count + 1) * sizeof **list);
    memmove(*list + at + 1, *list + at, (*count - at) * sizeof **list);
    (*list)[at] = item;
    ++*count;
    return item;
}

static void remove_at(void **list, size_t *count, size_t at)
{
    memmove(list + at, list + at + 1, (*count - at - 1) * sizeof *list);
    --*count;
}

struct auth_user *auth_user_find(const struct auth *a, struct slice name)
{
    bool is_there;
    size_t at = auth_find((void *const *)a->users, a->user_count, name, &is_there);
    return is_there ? a->users[at] : NULL;
}

struct auth_role *auth_role_find(const struct auth *a, struct slice name)
{
    bool is_there;
    size_t at = auth_find((void *const *)a->roles, a->role_count, name, &is_there);
    return is_there ? a->roles[at] : NULL;
}

struct auth_user *auth_user_add(struct auth *a, struct slice name)
{
    bool is_there;
    size_t at = auth_find((void *const *)a->users, a->user_count, name, &is_there);
    struct auth_user *u = mem_new(sizeof *u);
    u->name = copy_name(name);
    return insert((void ***)&a->users, &a->user_count, at, u);
}

struct auth_role *auth_role_add(struct auth *a, struct slice name)
{
    bool is_there;
    size_t at = auth_find((void *const *)a->roles, a->role_count, name, &is_there);
    struct auth_role *r = mem_new(sizeof *r);
    r->name = copy_name(name);
    r->changed = auth_rights_changed();
    return insert((void ***)&a->roles, &a->role_count, at, r);
}

/* --- users and roles ----------------------------------------------------------------------------------- */

static void user_free(struct auth_user *u)
{
    for (size_t i = 0; i < u->role_count; i++)
        mem_free(u->roles[i]);
    mem_free(u->roles);
    mem_free(u->password.data);
    list_remove(&u->merge_link);
    auth_rights_done(&u->read);
    auth_rights_done(&u->write);
    mem_free(u->name);
    mem_free(u);
}

static void role_free(struct auth_role *r)
{
    for (size_t i = 0; i < r->count; i++) {
        mem_free(r->list[i].key.data);
        mem_free(r->list[i].range_end.data);
    }
    auth_role_forget_ranges(r);
    mem_free(r->list);
    mem_free(r->name);
    mem_free(r);
}

static size_t find_role(const struct auth_user *u, const char *role, bool *ret_has)
{
    size_t low = 0, high = u->role_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(u->roles[middle], role) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *ret_has = low < u->role_count && strcmp(u->roles[low], role) == 0;
    return low;
}

bool auth_has_role(const struct auth_user *u, const char *role)
{
    bool has;
    find_role(u, role, &has);
    return has;
}

bool auth_user_add_role(struct auth_user *u, const char *role)
{
    bool has;
    size_t at = find_role(u, role, &has);
    u->changed = auth_rights_changed();
    if (!has)
        insert((void ***)&u->roles, &u->role_count, at, mem_string(role));
    return !has;
}

bool auth_user_drop_role(struct auth_user *u, const char *role)
{
    bool has;
    size_t at = find_role(u, role, &has);
    if (!has)
        return false;
    u->changed = auth_rights_changed();
    mem_free(u->roles[at]);
    remove_at((void **)u->roles, &u->role_count, at);
    return true;
}

void auth_user_set_password(struct auth_user *u, struct slice hash)
{
    mem_free(u->password.data);
    u->password = auth_copy(hash);
}

static bool is_permission_for(const struct auth_permission *p, struct slice key, struct slice range_end)
{
    return slice_equal(p->key, key) && slice_equal(p->range_end, range_end);
}

void auth_role_set(struct auth_role *r, struct slice key, struct slice range_end,
                   Authpb__Permission__Type type)
{
    size_t at = r->count;
    r->changed = auth_rights_changed();
    for (size_t i = 0; i < r->count; i++) {
        if (is_permission_for(&r->list[i], key, range_end)) {
            r->list[i].type = type;
            return;
        }
    }
    r->list = mem_resize(r->list, (r->count + 1) * sizeof *r->list);
    for (; at > 0 && slice_compare(r->list[at - 1].key, key) > 0; at--)
        r->list[at] = r->list[at - 1];
    r->list[at] = (struct auth_permission){auth_copy(key), auth_copy(range_end), type};
    r->count++;
}

bool auth_role_drop(struct auth_role *r, struct slice key, struct slice range_end)
{
    for (size_t i = 0; i < r->count; i++) {
        if (!is_permission_for(&r->list[i], key, range_end))
            continue;
        r->changed = auth_rights_changed();
        mem_free(r->list[i].key.data);
        mem_free(r->list[i].range_end.data);
        memmove(&r->list[i], &r->list[i + 1], (r->count - i - 1) * sizeof *r->list);
        r->count--;
        return true;
    }
    return false;
}

/* --- table AUTH ---------------------------------------------------------------------------------------- */

static void auth_save(struct store *s, const char *kind, const char *name, const ProtobufCMessage *m)
{
    struct buf key = {0}, value = {0};
    buf_addf(&key, "%s%s", kind, name);
    if (m) {
        size_t size = protobuf_c_message_get_packed_size(m);
        protobuf_c_message_pack(m, buf_reserve(&value, size));
        value.size = size;
    }
    store_set(s, BACKEND_AUTH, buf_slice(&key), buf_slice(&value));
    buf_done(&key);
    buf_done(&value);
}

static ProtobufCBinaryData binary(struct slice s)
{
    return (ProtobufCBinaryData){s.size, (uint8_t *)(uintptr_t)s.data};
}

static struct slice slice_from(ProtobufCBinaryData b)
{
    return slice_of(b.data, b.len);
}

void auth_save_user(const struct auth_user *u, struct store *s)
{
    Authpb__User m = AUTHPB__USER__INIT;
    Authpb__UserAddOptions options = AUTHPB__USER_ADD_OPTIONS__INIT;
    options.no_password = u->has_no_password;
    m.name = binary(slice_text(u->name));
    m.password = binary(u->password);
    m.roles = u->roles;
    m.n_roles = u->role_count;
    m.options = &options;
    m.credential_revision = u->credential;
    auth_save(s, AUTH_ROW_USER, u->name, &m.base);
}

void auth_save_role(const struct auth_role *r, struct store *s)
{
    Authpb__Role m = AUTHPB__ROLE__INIT;
    Authpb__Permission *rows = mem_new(r->count * sizeof *rows);
    m.name = binary(slice_text(r->name));
    m.keypermission = mem_new(r->count * sizeof *m.keypermission);
    m.n_keypermission = r->count;
    for (size_t i = 0; i < r->count; i++) {
        authpb__permission__init(&rows[i]);
        rows[i].key = binary(r->list[i].key);
        rows[i].range_end = binary(r->list[i].range_end);
        rows[i].permtype = r->list[i].type;
        m.keypermission[i] = &rows[i];
    }
    auth_save(s, AUTH_ROW_ROLE, r->name, &m.base);
    mem_free(m.keypermission);
    mem_free(rows);
}

void auth_save_flags(const struct auth *a, struct store *s)
{
    uint8_t revision[8], enabled = a->is_enabled;
    put_be64(revision, a->revision);
    store_set(s, BACKEND_AUTH, slice_text(AUTH_ROW_REVISION), slice_of(revision, sizeof revision));
    store_set(s, BACKEND_AUTH, slice_text(AUTH_ROW_ENABLED), slice_of(&enabled, 1));
}

void auth_user_delete(struct auth *a, struct auth_user *u, struct store *s)
{
    bool is_there;
    size_t at = auth_find((void *const *)a->users, a->user_count, slice_text(u->name), &is_there);
    auth_save(s, AUTH_ROW_USER, u->name, NULL);
    remove_at((void **)a->users, &a->user_count, at);
    user_free(u);
}

void auth_role_delete(struct auth *a, struct auth_role *r, struct store *s)
{
    bool is_there;
    size_t at = auth_find((void *const *)a->roles, a->role_count, slice_text(r->name), &is_there);
    auth_save(s, AUTH_ROW_ROLE, r->name, NULL);
    remove_at((void **)a->roles, &a->role_count, at);
    role_free(r);
}

struct loading {
    struct auth *auth;
    int err;
};

static void load_user(struct loading *l, struct slice value)
{
    Authpb__User *m = authpb__user__unpack(NULL, value.size, value.data);
    if (!m) {
        l->err = ERR_CORRUPT;
        return;
    }
    struct auth_user *u = auth_user_add(l->auth, slice_from(m->name));
    auth_user_set_password(u, slice_from(m->password));
    u->has_no_password = m->options && m->options->no_password;
    u->credential = m->credential_revision;
    for (size_t i = 0; i < m->n_roles; i++)
        auth_user_add_role(u, m->roles[i]);
    authpb__user__free_unpacked(m, NULL);
}

static void load_role(struct loading *l, struct slice value)
{
    Authpb__Role *m = authpb__role__unpack(NULL, value.size, value.data);
    if (!m) {
        l->err = ERR_CORRUPT;
        return;
    }
    struct auth_role *r = auth_role_add(l->auth, slice_from(m->name));
    for (size_t i = 0; i < m->n_keypermission; i++) {
        const Authpb__Permission *p = m->keypermission[i];
        auth_role_set(r, slice_from(p->key), slice_from(p->range_end), p->permtype);
    }
    authpb__role__free_unpacked(m, NULL);
}

static bool load_record(void *arg, struct slice key, struct slice value)
{
    struct loading *l = arg;
    if (key.size > 5 && memcmp(key.data, AUTH_ROW_USER, 5) == 0)
        load_user(l, value);
    else if (key.size > 5 && memcmp(key.data, AUTH_ROW_ROLE, 5) == 0)
        load_role(l, value);
    else if (slice_equal(key, slice_text(AUTH_ROW_REVISION)) && value.size == 8)
        l->auth->revision = get_be64(value.data);
    else if (slice_equal(key, slice_text(AUTH_ROW_ENABLED)) && value.size == 1)
        l->auth->is_enabled = value.data[0] != 0;
    else
        l->err = ERR_CORRUPT; /* do not start with access open by mistake */
    return !l->err;
}

int auth_load(struct auth *a, struct store *s)
{
    struct loading l = {.auth = a};
    a->revision = 1;
    a->merge_queue = mem_new(sizeof *a->merge_queue);
    list_init(a->merge_queue);
    int err = store_scan(s, BACKEND_AUTH, load_record, &l);
    if (MUTANT(AUTH_REVISION_FORGOTTEN))
        a->revision = 1;
    return err ? err : l.err;
}

void auth_done(struct auth *a)
{
    for (size_t i = 0; i < a->user_count; i++)
        user_free(a->users[i]);
    for (size_t i = 0; i < a->role_count; i++)
        role_free(a->roles[i]);
    mem_free(a->users);
    mem_free(a->roles);
    mem_free(a->merge_queue);
    *a = (struct auth){0};
}

/* --- authorization -------------------------------------------------------------------------------------- */

static bool is_credential_old(const struct auth_user *u, const struct auth_who *who)
{
    return u->credential > who->revision && !MUTANT(AUTH_OLD_PASSWORD_COUNTS);
}

int auth_check_user(const struct auth *a, const struct auth_who *who)
{
    if (!a->is_enabled)
        return OK;
    if (!who->user.size || who->is_role)
        return ERR_USER_EMPTY;
    const struct auth_user *u = auth_user_find(a, who->user);
    if (!u)
        return ERR_USER_NOT_FOUND;
    return is_credential_old(u, who) ? ERR_AUTH_OLD_REVISION : OK;
}

int auth_check_admin(const struct auth *a, const struct auth_who *who)
{
    int err = auth_check_user(a, who);
    if (err || !a->is_enabled)
        return err;
    return auth_has_role(auth_user_find(a, who->user), AUTH_ROOT) ? OK : ERR_PERMISSION_DENIED;
}

/* The READ permissions of callers without credentials. */
static const struct auth_ranges *role_ranges(const struct auth *a, struct slice name)
{
    static const struct auth_ranges none;
    struct auth_role *r = auth_role_find(a, name);
    return r ? auth_role_ranges(r, false) : &none;
}

/* Finds the author. *ret_user NULL: it is the superuser, or no user has to be checked. */
static int find_author(const struct auth *a, const struct auth_who *who, struct auth_user **ret_user)
{
    *ret_user = NULL;
    if (!a->is_enabled)
        return OK;
    if (who->revision == 0)
        return ERR_USER_EMPTY;
    if (!who->is_renewed && who->revision < a->revision)
        return ERR_AUTH_OLD_REVISION;
    struct auth_user *u = auth_user_find(a, who->user);
    if (!u)
        return ERR_PERMISSION_DENIED;
    if (is_credential_old(u, who))
        return ERR_AUTH_OLD_REVISION;
    if (auth_has_role(u, AUTH_ROOT))
        return OK;
    *ret_user = u;
    return OK;
}

int auth_check_range(const struct auth *a, const struct auth_who *who, struct slice key,
                     struct slice range_end, bool is_write)
{
    struct auth_user *u;
    if (a->is_enabled && who->is_role)
        return !is_write && auth_ranges_allow(role_ranges(a, who->user), key, range_end) ? OK
                                                                                         : ERR_USER_EMPTY;
    int err = find_author(a, who, &u);
    if (err || !u)
        return err;
    return auth_user_is_allowed(a, u, key, range_end, is_write) ? OK : ERR_PERMISSION_DENIED;
}

int auth_readable(const struct auth *a, const struct auth_who *who, const struct auth_ranges **ret_ranges)
{
    struct auth_user *u;
    *ret_ranges = NULL;
    if (a->is_enabled && who->is_role) {
        *ret_ranges = role_ranges(a, who->user);
        return OK;
    }
    int err = find_author(a, who, &u);
    if (!err && u)
        *ret_ranges = auth_user_ranges(a, u, false);
    return err;
}

bool auth_prepare(const struct auth *a, const struct auth_who *who, bool is_write, int64_t *units)
{
    struct auth_user *u = NULL;
    bool needs_rights = a->is_enabled && !who->is_role && find_author(a, who, &u) == OK && u;
    return !needs_rights || auth_user_prepare(a, u, is_write, units);
}
