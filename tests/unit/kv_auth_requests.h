/* SPDX-License-Identifier: Apache-2.0
 * Auth requests of kv_auth_test as one line each, and a cluster with users. */
#ifndef TESTS_UNIT_KV_AUTH_REQUESTS_H
#define TESTS_UNIT_KV_AUTH_REQUESTS_H

#include "tests/unit/cluster_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consensus/auth/auth.h"
#include "consensus/auth/token.h"

#define HASH "aGFzaA==" /* what stands for a bcrypt hash: nobody looks into it here */

/* --- Auth requests as one line each -------------------------------------------------------------------- */

static const struct auth_who nobody;

static int ask(struct machine *m, const struct auth_who *who, const ProtobufCMessage *message,
               struct question *ret_q)
{
    struct question q = {0};
    q.request.who = who;
    ASK(m, &q, kv_auth, message);
    int err = q.err;
    if (ret_q)
        *ret_q = q;
    else
        question_done(&q);
    return err;
}

#define TEXT(s) ((char *)(uintptr_t)(s))

static int user_add(struct machine *m, const struct auth_who *who, const char *name)
{
    Etcdserverpb__AuthUserAddRequest r = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    r.name = TEXT(name);
    r.hashedpassword = TEXT(HASH);
    return ask(m, who, &r.base, NULL);
}

static int user_delete(struct machine *m, const struct auth_who *who, const char *name)
{
    Etcdserverpb__AuthUserDeleteRequest r = ETCDSERVERPB__AUTH_USER_DELETE_REQUEST__INIT;
    r.name = TEXT(name);
    return ask(m, who, &r.base, NULL);
}

static int change_password(struct machine *m, const struct auth_who *who, const char *name)
{
    Etcdserverpb__AuthUserChangePasswordRequest r = ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    r.name = TEXT(name);
    r.hashedpassword = TEXT(HASH);
    return ask(m, who, &r.base, NULL);
}

static int role_add(struct machine *m, const struct auth_who *who, const char *name)
{
    Etcdserverpb__AuthRoleAddRequest r = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    r.name = TEXT(name);
    return ask(m, who, &r.base, NULL);
}

static int role_delete(struct machine *m, const struct auth_who *who, const char *name)
{
    Etcdserverpb__AuthRoleDeleteRequest r = ETCDSERVERPB__AUTH_ROLE_DELETE_REQUEST__INIT;
    r.role = TEXT(name);
    return ask(m, who, &r.base, NULL);
}

static int user_grant(struct machine *m, const struct auth_who *who, const char *user, const char *role)
{
    Etcdserverpb__AuthUserGrantRoleRequest r = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    r.user = TEXT(user);
    r.role = TEXT(role);
    return ask(m, who, &r.base, NULL);
}

static int user_revoke(struct machine *m, const struct auth_who *who, const char *user, const char *role)
{
    Etcdserverpb__AuthUserRevokeRoleRequest r = ETCDSERVERPB__AUTH_USER_REVOKE_ROLE_REQUEST__INIT;
    r.name = TEXT(user);
    r.role = TEXT(role);
    return ask(m, who, &r.base, NULL);
}

static int role_grant(struct machine *m, const struct auth_who *who, const char *role, int type,
                      const char *key, const char *end)
{
    Etcdserverpb__AuthRoleGrantPermissionRequest r = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission p = AUTHPB__PERMISSION__INIT;
    p.permtype = (Authpb__Permission__Type)type;
    p.key = world_bytes(key);
    p.range_end = world_bytes(end);
    r.name = TEXT(role);
    r.perm = &p;
    return ask(m, who, &r.base, NULL);
}

static int role_revoke(struct machine *m, const struct auth_who *who, const char *role, const char *key,
                       const char *end)
{
    Etcdserverpb__AuthRoleRevokePermissionRequest r = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    r.role = TEXT(role);
    r.key = world_bytes(key);
    r.range_end = world_bytes(end);
    return ask(m, who, &r.base, NULL);
}

static int enable(struct machine *m, const struct auth_who *who)
{
    Etcdserverpb__AuthEnableRequest r = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    return ask(m, who, &r.base, NULL);
}

static int disable(struct machine *m, const struct auth_who *who)
{
    Etcdserverpb__AuthDisableRequest r = ETCDSERVERPB__AUTH_DISABLE_REQUEST__INIT;
    return ask(m, who, &r.base, NULL);
}

static uint64_t revision_of(struct machine *m)
{
    struct question q;
    Etcdserverpb__AuthStatusRequest r = ETCDSERVERPB__AUTH_STATUS_REQUEST__INIT;
    assert_int_equal(ask(m, &nobody, &r.base, &q), OK);
    const Etcdserverpb__AuthStatusResponse *a = (Etcdserverpb__AuthStatusResponse *)q.response;
    uint64_t revision = a->authrevision;
    assert_int_equal(a->enabled, kv_auth_is_enabled(m->kv));
    assert_true(a->header->member_id == kv_member_id(m->kv));
    question_done(&q);
    return revision;
}

static struct auth_who as_of_now(struct machine *m, const char *user)
{
    return (struct auth_who){.user = slice_text(user), .revision = kv_auth_revision(m->kv)};
}

/* root with its role; alice may write and read [a, c), bob may read b. Enabled. */
static struct auth_who settle(struct machine *m)
{
    assert_int_equal(user_add(m, &nobody, "root"), OK);
    assert_int_equal(user_grant(m, &nobody, "root", "root"), OK);
    assert_int_equal(user_add(m, &nobody, "alice"), OK);
    assert_int_equal(user_add(m, &nobody, "bob"), OK);
    assert_int_equal(role_add(m, &nobody, "ab"), OK);
    assert_int_equal(role_add(m, &nobody, "b"), OK);
    assert_int_equal(role_grant(m, &nobody, "ab", AUTHPB__PERMISSION__TYPE__READWRITE, "a", "b"), OK);
    assert_int_equal(role_grant(m, &nobody, "ab", AUTHPB__PERMISSION__TYPE__READWRITE, "b", "c"), OK);
    assert_int_equal(role_grant(m, &nobody, "b", AUTHPB__PERMISSION__TYPE__READ, "b", ""), OK);
    assert_int_equal(user_grant(m, &nobody, "alice", "ab"), OK);
    assert_int_equal(user_grant(m, &nobody, "bob", "b"), OK);
    assert_int_equal(enable(m, &nobody), OK);
    return as_of_now(m, "root");
}

#endif
