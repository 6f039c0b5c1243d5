/* SPDX-License-Identifier: Apache-2.0
 * Tests of the permission table. `make matrix` tests what the servers enforce; this file tests the rules
 * that every row of the table must keep. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "server/api/table.h"
#include "server/rpc/rpc.h"
#include "tests/access/table.h"

enum { ROWS_MAX = 600 };

struct rows {
    struct access_row list[ROWS_MAX];
    char operations[ROWS_MAX][160];
    size_t count;
};

static void keep(void *arg, const struct access_row *row)
{
    struct rows *rows = arg;
    assert_true(rows->count < ROWS_MAX);
    rows->list[rows->count] = *row;
    snprintf(rows->operations[rows->count], sizeof rows->operations[0], "%s", row->operation);
    rows->count++;
}

static struct rows *collect(void)
{
    static struct rows rows;
    rows.count = 0;
    access_rows_each(keep, &rows);
    return &rows;
}

static void test_each_operation_has_one_row(void **state)
{
    (void)state;
    struct rows *rows = collect();
    size_t of_surface[SURFACE_COUNT] = {0};
    for (size_t i = 0; i < rows->count; i++) {
        of_surface[rows->list[i].surface]++;
        for (size_t j = 0; j < i; j++)
            if (rows->list[i].surface == rows->list[j].surface &&
                !strcmp(rows->operations[i], rows->operations[j]))
                fail_msg("%s has two rows", rows->operations[i]);
    }
    for (size_t i = 0; i < SURFACE_COUNT; i++)
        if (!of_surface[i])
            fail_msg("%s has no rows", access_surfaces[i].name);
}

/* Rows that a client port serves without credentials: a new row here is a decision, not an accident. */
static void test_open_rows(void **state)
{
    (void)state;
    static const char *const open[] = {
        "etcdserverpb.Auth/AuthStatus",
        "etcdserverpb.Auth/Authenticate",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "GET /openapi.json",
        "GET /asyncapi.json",
        "GET /docs/errors.md",
        "GET /health",
        "GET /livez",
        "GET /livez/serializable_read",
        "GET /readyz",
        "GET /readyz/data_corruption",
        "GET /readyz/serializable_read",
        "GET /readyz/linearizable_read",
        "GET /readyz/non_learner",
        "GET /version",
        "GET /metrics",
        "GET /debug/vars",
        "GET /debug/pprof",
        "GET /debug/pprof/",
        "GET /debug/requests",
        "NS",
        "SOA",
        "ANY",
    };
    struct rows *rows = collect();
    for (size_t i = 0; i < rows->count; i++) {
        bool is_expected = rows->list[i].surface == SURFACE_CONSOLE;
        for (size_t j = 0; j < sizeof open / sizeof *open; j++)
            is_expected = is_expected || !strcmp(rows->operations[i], open[j]);
        if (rows->list[i].need == ACCESS_OPEN && !is_expected)
            fail_msg("%s is open to every caller", rows->operations[i]);
    }
}

/* etcd 3.7's rule: server/etcdserver/apply/auth.go and api/v3rpc/maintenance.go. */
static void test_rows_that_need_root(void **state)
{
    (void)state;
    static const char *const root[] = {
        "KV/Compact",
        "Cluster/MemberAdd",
        "Cluster/MemberRemove",
        "Cluster/MemberUpdate",
        "Cluster/MemberPromote",
        "Maintenance/Defragment",
        "Maintenance/Hash",
        "Maintenance/HashKV",
        "Maintenance/Snapshot",
        "Maintenance/MoveLeader",
        "Maintenance/Downgrade",
        "Auth/AuthEnable",
        "Auth/AuthDisable",
        "Auth/UserAdd",
        "Auth/UserList",
        "Auth/UserDelete",
        "Auth/UserChangePassword",
        "Auth/UserGrantRole",
        "Auth/UserRevokeRole",
        "Auth/RoleAdd",
        "Auth/RoleList",
        "Auth/RoleDelete",
        "Auth/RoleGrantPermission",
        "Auth/RoleRevokePermission",
    };
    for (size_t i = 0; i < sizeof root / sizeof *root; i++) {
        char path[80];
        snprintf(path, sizeof path, "/etcdserverpb.%s", root[i]);
        const struct rpc_method *m = rpc_method_find(slice_text(path));
        assert_non_null(m);
        assert_int_equal(m->need, ACCESS_ROOT);
    }
}

/* The check before the handler agrees with the row's need. */
static void test_checks_fit_needs(void **state)
{
    (void)state;
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        bool fits = true;
        switch (m->access) {
        case RPC_NOBODY:
            fits = m->need == ACCESS_OPEN;
            break;
        case RPC_ROOT:
            fits = m->need == ACCESS_ROOT;
            break;
        case RPC_USER:
        case RPC_EACH:
            fits = m->need != ACCESS_OPEN && m->need != ACCESS_ROOT;
            break;
        case RPC_KEYS:
            break; /* the store decides */
        }
        if (!fits)
            fail_msg("%s: the columns check and need contradict each other", m->path);
    }
    for (size_t i = 0; i < api_route_count; i++)
        if ((api_routes[i].flags & IS_PUBLIC) && api_route_need(&api_routes[i]) != ACCESS_OPEN)
            fail_msg("%s is public and needs a permission", api_routes[i].name);
}

/* Raft's own messages to itself are never accepted from the network. */
static void test_local_messages_are_refused(void **state)
{
    (void)state;
    struct rows *rows = collect();
    size_t never = 0;
    for (size_t i = 0; i < rows->count; i++) {
        const struct access_row *r = &rows->list[i];
        if (r->surface != SURFACE_MESSAGE)
            continue;
        assert_true(r->need == ACCESS_PEER_MEMBER || r->need == ACCESS_PEER_NEVER);
        never += r->need == ACCESS_PEER_NEVER;
    }
    assert_true(never > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_operation_has_one_row), cmocka_unit_test(test_open_rows),
        cmocka_unit_test(test_rows_that_need_root),        cmocka_unit_test(test_checks_fit_needs),
        cmocka_unit_test(test_local_messages_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
