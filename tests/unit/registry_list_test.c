/* SPDX-License-Identifier: Apache-2.0
 * Tests of registering a list of instances: one revision or nothing, one session for all, no write of what is
 * as wanted, errors that name the place in the list, and quotas that are judged together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/registry_node.h"

#define UP      "{\"host\":\"h\",\"port\":1}"
#define UP_2    "{\"host\":\"h\",\"port\":2}"
#define CHECKED "{\"host\":\"h\",\"port\":1,\"check\":{\"type\":\"tcp\"}}"
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

static int open_with(void **state, const struct registry_options *options)
{
    struct registry_node *n = mem_new(sizeof *n);
    registry_node_open(n, options);
    *state = n;
    return 0;
}

static int setup(void **state)
{
    return open_with(state, NULL);
}

static int setup_limited(void **state)
{
    struct registry_options options = {
        .services_max = 2, .instances_max = 3, .sessions_max = 4, .txn_ops_max = 4};
    return open_with(state, &options);
}

static int teardown(void **state)
{
    struct registry_node *n = *state;
    registry_node_close(n);
    mem_free(n);
    return 0;
}

struct entry {
    const char *service, *id, *text;
};

static void begin(struct registry_node *n, struct registry_reply *a, const struct entry *entries,
                  size_t count, uint32_t ttl_s, int64_t session)
{
    struct arena arena = {0};
    struct registry_item *items = arena_new(&arena, (count + 1) * sizeof *items);
    char error[200];
    *a = (struct registry_reply){.request.done = registry_reply_done};
    for (size_t k = 0; k < count; k++) {
        struct instance *doc = arena_new(&arena, sizeof *doc);
        assert_int_equal(
            instance_read(slice_text(entries[k].text), DOCUMENT_STRICT, &arena, doc, error, sizeof error),
            OK);
        items[k] = (struct registry_item){registry_key_of(entries[k].service, entries[k].id), doc};
    }
    registry_register_list(n->registry, &a->request, items, count, ttl_s, session);
    assert_false(a->is_done);
    arena_done(&arena); /* the arguments are copied */
}

static struct registry_reply put(struct registry_node *n, const struct entry *entries, size_t count,
                                 uint32_t ttl_s, int64_t session)
{
    struct registry_reply a;
    begin(n, &a, entries, count, ttl_s, session);
    registry_node_wait(n, &a);
    return a;
}

static struct registry_result put_fine(struct registry_node *n, const struct entry *entries, size_t count,
                                       uint32_t ttl_s, int64_t session)
{
    struct registry_reply a = put(n, entries, count, ttl_s, session);
    if (a.err)
        fprintf(stderr, "%s %s\n", err_text(a.err), a.error);
    assert_int_equal(a.err, OK);
    return a.result;
}

static void put_refused(struct registry_node *n, const struct entry *entries, size_t count, int64_t session,
                        int err, const char *text)
{
    int64_t before = registry_node_settle(n);
    struct registry_reply a = put(n, entries, count, 15, session);
    assert_int_equal(a.err, err);
    if (!strstr(a.error, text))
        fprintf(stderr, "%s, not %s\n", a.error, text);
    assert_non_null(strstr(a.error, text));
    assert_int_equal(registry_node_settle(n), before);
}

static int64_t revision_of(struct registry_node *n, const char *service, const char *id)
{
    const struct catalog_instance *i = registry_node_find(n, service, id);
    return i && i->doc ? i->mod_revision : 0;
}

static const struct entry three[] = {{"web", "a", UP}, {"web", "b", UP}, {"n2/g/db", "c", UP_2}};

/* --- what is written ------------------------------------------------------------------------------------ */

static void test_one_revision(void **state)
{
    struct registry_node *n = *state;
    struct registry_result r = put_fine(n, three, 3, 60, 0);
    assert_true(r.session && !r.is_unchanged);
    assert_int_equal(r.changed, 3);
    assert_int_equal(r.ttl_s, 60);
    for (size_t k = 0; k < 3; k++) {
        const struct catalog_instance *i = registry_node_find(n, three[k].service, three[k].id);
        assert_int_equal(i->mod_revision, r.revision);
        assert_int_equal(i->doc->session, r.session);
        assert_int_equal(i->doc->ttl_s, 60);
        assert_false(i->hangs_on->doc.is_implicit);
        assert_int_equal(i->hangs_on->mod_revision, r.revision);
    }
    assert_int_equal(registry_node_leases(n), 1);
}

/* The same list again finds its session, and is a heartbeat. Only what differs is written. */
static void test_again(void **state)
{
    struct registry_node *n = *state;
    struct registry_result first = put_fine(n, three, 3, 60, 0), again = put_fine(n, three, 3, 60, 0);
    assert_true(again.is_unchanged);
    assert_int_equal(again.changed, 0);
    assert_int_equal(again.session, first.session);
    assert_int_equal(registry_node_settle(n), first.revision);
    const struct entry other[] = {{"web", "a", UP}, {"web", "b", UP_2}, {"n2/g/db", "c", UP_2}};
    struct registry_result third = put_fine(n, other, 3, 60, 0);
    assert_int_equal(third.changed, 1);
    assert_int_equal(third.session, first.session);
    assert_int_equal(revision_of(n, "web", "a"), first.revision);
    assert_int_equal(revision_of(n, "web", "b"), third.revision);
    assert_int_equal(registry_node_leases(n), 1);
}

/* The TTL of a lease never changes, so another one needs another session. */
static void test_other_ttl(void **state)
{
    struct registry_node *n = *state;
    struct registry_result first = put_fine(n, three, 3, 60, 0), other = put_fine(n, three, 3, 30, 0);
    assert_int_not_equal(other.session, first.session);
    assert_int_equal(other.ttl_s, 30);
    assert_int_equal(other.changed, 3);
}

static void test_given_session(void **state)
{
    struct registry_node *n = *state;
    int64_t shared = registry_node_session(n, 40);
    struct registry_result own = registry_node_registered(n, "web", "a", UP, 0);
    struct registry_result r = put_fine(n, three, 3, 15, shared);
    assert_int_equal(r.session, shared);
    assert_int_equal(r.ttl_s, 40);
    assert_int_equal(registry_node_find(n, "web", "a")->doc->session, shared);
    assert_int_not_equal(own.session, shared);
    assert_int_equal(registry_node_leases(n), 1); /* its own session has ended */
    /* A session that was made for one instance alone becomes a shared one. */
    int64_t alone = registry_node_registered(n, "web", "d", UP, 0).session;
    const struct entry joined[] = {{"web", "d", UP}, {"web", "e", UP}};
    assert_int_equal(put_fine(n, joined, 2, 15, alone).changed, 1);
    assert_false(registry_node_find(n, "web", "e")->hangs_on->doc.is_implicit);
    registry_node_revoke(n, alone);
    assert_int_equal(put(n, joined, 2, 15, alone).err, ERR_SESSION_GONE);
}

/* A session that ended is replaced by another one. */
static void test_session_ended(void **state)
{
    struct registry_node *n = *state;
    struct registry_result first = put_fine(n, three, 3, 60, 0);
    registry_node_revoke(n, first.session);
    struct registry_result again = put_fine(n, three, 3, 60, 0);
    assert_int_not_equal(again.session, first.session);
    assert_int_equal(again.changed, 3);
    assert_int_equal(registry_node_leases(n), 1);
}

static void test_checked(void **state)
{
    struct registry_node *n = *state;
    const struct entry mixed[] = {{"web", "a", CHECKED}, {"web", "b", UP}};
    const struct entry checked[] = {{"web", "a", CHECKED}, {"web", "d", CHECKED}};
    struct registry_result r = put_fine(n, mixed, 2, 15, 0);
    assert_int_equal(registry_node_find(n, "web", "a")->doc->session, 0);
    assert_int_equal(registry_node_find(n, "web", "b")->doc->session, r.session);
    assert_true(put_fine(n, mixed, 2, 15, 0).is_unchanged);
    r = put_fine(n, checked, 2, 15, 0);
    assert_int_equal(r.session, 0);
    assert_int_equal(r.changed, 1);
    put_refused(n, mixed, 2, registry_node_session(n, 15), ERR_INVALID,
                "instances[0]: an instance with a check");
}

/* The largest list, whose instances all leave sessions of their own: more operations than --max-txn-ops. */
static void test_largest(void **state)
{
    struct registry_node *n = *state;
    struct entry entries[REGISTRY_LIST_MAX + 1];
    char ids[REGISTRY_LIST_MAX + 1][8];
    for (size_t k = 0; k <= REGISTRY_LIST_MAX; k++) {
        snprintf(ids[k], sizeof ids[k], "i%zu", k);
        entries[k] = (struct entry){"web", ids[k], UP};
    }
    for (size_t k = 0; k < REGISTRY_LIST_MAX; k++)
        registry_node_registered(n, "web", ids[k], UP, 0);
    struct registry_result r = put_fine(n, entries, REGISTRY_LIST_MAX, 15, 0);
    assert_int_equal(r.changed, REGISTRY_LIST_MAX);
    assert_int_equal(registry_node_leases(n), 1);
    put_refused(n, entries, REGISTRY_LIST_MAX + 1, 0, ERR_INVALID,
                "there are 101 instances in the list; it must have 1 to 100");
}

/* --- errors --------------------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
    struct registry_node *n = *state;
    const struct entry twins[] = {{"web", "a", UP}, {"web", "b", UP}, {"web", "a", UP_2}};
    const struct entry slash[] = {{"web", "a", UP}, {"web", "b/c", UP}};
    const struct entry reserved[] = {{"web", "a", UP}, {"web", "kratos:b", UP}};
    put_refused(n, twins, 3, 0, ERR_INVALID, "instances[2]: this is the same instance as instances[0]");
    put_refused(n, slash, 2, 0, ERR_INVALID, "instances[1]: the instance's id");
    put_refused(n, reserved, 2, 0, ERR_INVALID, "instances[1]: the instance's id");
    put_refused(n, three, 0, 0, ERR_INVALID, "there are 0 instances");
    assert_int_equal(registry_node_leases(n), 0);
}

/* The second instance alone would fit. */
static void test_quotas(void **state)
{
    struct registry_node *n = *state;
    const struct entry four[] = {{"web", "a", UP}, {"web", "b", UP}, {"web", "c", UP}, {"web", "d", UP}};
    const struct entry services[] = {{"web", "a", UP}, {"db", "b", UP}, {"mq", "c", UP}};
    const struct entry five[] = {
        {"web", "a", UP}, {"web", "b", UP}, {"web", "c", UP}, {"web", "d", UP}, {"x/y/z", "e", UP}};
    put_refused(n, four, 4, 0, ERR_QUOTA, "instances[3]: there are 3 instances");
    put_refused(n, services, 3, 0, ERR_QUOTA, "instances[2]: there are 2 services");
    put_refused(n, five, 5, 0, ERR_INVALID, "it must have 1 to 4"); /* txn_ops_max */
    assert_int_equal(put_fine(n, four, 3, 15, 0).changed, 3);
    put_refused(n, four, 4, 0, ERR_QUOTA, "instances[3]: there are 3 instances");
    assert_int_equal(registry_node_leases(n), 1);
}

/* --- races ---------------------------------------------------------------------------------------------- */

struct raw {
    struct kv_request request;
    struct buf key;
    Etcdserverpb__PutRequest put;
    bool is_done;
};

static void on_raw(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct raw, request)->is_done = true;
}

/* A write that the view does not show yet, to the instance that the list leaves as it is: the list decides
 * again, and writes it. */
static void test_same_one_changes(void **state)
{
    struct registry_node *n = *state;
    const struct entry one[] = {{"web", "a", UP}}, two[] = {{"web", "a", UP}, {"web", "b", UP}};
    struct raw raw = {.request.done = on_raw};
    struct registry_key key = registry_key_of("web", "a");
    struct name name = {NAME_INSTANCE, key.ns, key.group, key.service, key.id, 0};
    static const char other[] = "{\"host\":\"other\"}";
    struct registry_reply a;
    int64_t session = put_fine(n, one, 1, 60, 0).session;
    name_add_key(&raw.key, &name);
    etcdserverpb__put_request__init(&raw.put);
    raw.put.key = (ProtobufCBinaryData){raw.key.size, raw.key.data};
    raw.put.value = (ProtobufCBinaryData){sizeof other - 1, (uint8_t *)(uintptr_t)other};
    begin(n, &a, two, 2, 60, session);
    kv_put(n->node.kv, &raw.request, &raw.put);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_true(raw.is_done);
    registry_node_settle(n);
    assert_true(slice_equal(registry_node_find(n, "web", "a")->doc->host, slice_text("h")));
    assert_int_equal(a.result.changed, 2);
    assert_int_equal(revision_of(n, "web", "b"), a.result.revision);
    buf_done(&raw.key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_revision),
        TEST(test_again),
        TEST(test_other_ttl),
        TEST(test_given_session),
        TEST(test_session_ended),
        TEST(test_checked),
        TEST(test_largest),
        TEST(test_refused),
        cmocka_unit_test_setup_teardown(test_quotas, setup_limited, teardown),
        TEST(test_same_one_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
