/* SPDX-License-Identifier: Apache-2.0
 * Random changes of users and roles; see rights.h. There are four names of each, so that most requests name
 * an existing one. */
#include "tests/sim/cluster/rights.h"

#include "base/hash.h"

enum { NAMES = 4 };

static char names[2][NAMES][3] = {{"u0", "u1", "u2", "u3"}, {"r0", "r1", "r2", "r3"}};

static uint64_t draw(struct world *w, uint64_t from, uint64_t to)
{
    return world_draw(&w->load_random, from, to);
}

#define ASK(type, name, ...)                                                                                 \
    do {                                                                                                     \
        type *m = arena_alloc(a, sizeof *m);                                                                 \
        name##__init(m);                                                                                     \
        __VA_ARGS__;                                                                                         \
        kv_auth(kv, r, &m->base);                                                                            \
    } while (0)

static void ask_permission(struct arena *a, struct kv *kv, struct kv_request *r, char *role, uint64_t key)
{
    Etcdserverpb__AuthRoleGrantPermissionRequest *m = arena_alloc(a, sizeof *m);
    Authpb__Permission *permission = arena_alloc(a, sizeof *permission);
    etcdserverpb__auth_role_grant_permission_request__init(m);
    authpb__permission__init(permission);
    permission->permtype = AUTHPB__PERMISSION__TYPE__READWRITE;
    permission->key.data = arena_copy(a, &(uint8_t){(uint8_t)('a' + key)}, 1);
    permission->key.len = 1;
    m->name = role;
    m->perm = permission;
    kv_auth(kv, r, &m->base);
}

void rights_ask(struct world *w, struct arena *a, struct kv *kv, struct kv_request *r)
{
    char *user = names[0][draw(w, 0, NAMES - 1)], *role = names[1][draw(w, 0, NAMES - 1)];
    uint64_t key = draw(w, 0, 9);
    switch (draw(w, 0, 7)) {
    case 0:
    case 1:
        ASK(Etcdserverpb__AuthUserAddRequest, etcdserverpb__auth_user_add_request, m->name = user;
            m->options = arena_alloc(a, sizeof *m->options); authpb__user_add_options__init(m->options);
            m->options->no_password = true);
        break;
    case 2:
        ASK(Etcdserverpb__AuthUserDeleteRequest, etcdserverpb__auth_user_delete_request, m->name = user);
        break;
    case 3:
    case 4:
        ASK(Etcdserverpb__AuthRoleAddRequest, etcdserverpb__auth_role_add_request, m->name = role);
        break;
    case 5:
        ASK(Etcdserverpb__AuthRoleDeleteRequest, etcdserverpb__auth_role_delete_request, m->role = role);
        break;
    case 6:
        ASK(Etcdserverpb__AuthUserGrantRoleRequest, etcdserverpb__auth_user_grant_role_request,
            m->user = user;
            m->role = role);
        break;
    default:
        ask_permission(a, kv, r, role, key);
    }
}

static uint64_t mix(uint64_t h, const void *data, size_t size)
{
    return hash64_u64(h ^ (uint64_t)crc32c((uint32_t)size, data, size));
}

static uint64_t mix_text(uint64_t h, const char *text)
{
    return mix(h, text, strlen(text));
}

uint64_t rights_hash(const struct auth *auth)
{
    uint64_t h = auth->revision << 1 | auth->is_enabled;
    for (size_t i = 0; i < auth->user_count; i++) {
        const struct auth_user *u = auth->users[i];
        h = mix_text(h, u->name);
        h = hash64_u64(h ^ u->credential);
        for (size_t k = 0; k < u->role_count; k++)
            h = mix_text(h, u->roles[k]);
    }
    for (size_t i = 0; i < auth->role_count; i++) {
        const struct auth_role *role = auth->roles[i];
        h = mix_text(h, role->name);
        for (size_t k = 0; k < role->count; k++)
            h = mix(h, role->list[k].key.data, role->list[k].key.size);
    }
    return h;
}
