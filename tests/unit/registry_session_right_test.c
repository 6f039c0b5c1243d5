/* SPDX-License-Identifier: Apache-2.0
 * Tests of the right to write all instances of a session: how many instances are checked in a turn, which
 * checks are repeated, and that the verdict is that of a check of all instances. */
#include "registry/registry_private.h"
#include "registry/session_mark.h"

#include <stdio.h>

#include "tests/unit/unit.h"

enum { SESSION = 7, OTHER = 8, MANY = 1000 };

/* --- the kv: one epoch, one key that nobody may write ------------------------------------------------- */

static struct {
    uint64_t epoch, now_ns, ns_per_check;
    unsigned checks, turns, lease_slices;
    char forbidden[64];
} kv;

static uint64_t mono_ns(struct io *io)
{
    (void)io;
    return kv.now_ns;
}

static const struct io_ops ops = {.mono_ns = mono_ns};
static struct io io = {.ops = &ops};

struct io *kv_io(const struct kv *k)
{
    (void)k;
    return &io;
}

uint64_t kv_auth_epoch(const struct kv *k)
{
    (void)k;
    return kv.epoch;
}

int kv_auth_check_range(const struct kv *k, const struct auth_who *who, struct slice key,
                        struct slice range_end, bool is_write)
{
    (void)k;
    kv.checks++;
    kv.now_ns += kv.ns_per_check;
    assert_true(is_write);
    assert_int_equal(range_end.size, 0);
    if (slice_equal(who->user, slice_text("old")))
        return ERR_AUTH_OLD_REVISION;
    return slice_equal(key, slice_text(kv.forbidden)) ? ERR_PERMISSION_DENIED : OK;
}

bool kv_auth_prepare_lease(const struct kv *k, const struct auth_who *who, int64_t lease, bool is_write,
                           struct slice except, int64_t *units)
{
    (void)k, (void)who;
    assert_int_equal(lease, SESSION);
    assert_true(is_write && *units > 0);
    assert_true(slice_equal(except, slice_text("/cairn/registry/sessions/0000000000000007")));
    return !kv.lease_slices || !--kv.lease_slices;
}

void pending_ops_schedule_turn(struct pending_ops *d)
{
    (void)d;
    kv.turns++;
}

/* --- the view ----------------------------------------------------------------------------------------- */

static struct registry registry;
static int64_t revision;

static void put(struct name name, const char *value)
{
    catalog_begin(registry.catalog, ++revision);
    if (value)
        catalog_put(registry.catalog, &name, slice_text(value), revision, revision);
    else
        catalog_delete(registry.catalog, &name);
    catalog_end(registry.catalog);
}

static struct name instance(unsigned n)
{
    static char id[8];
    snprintf(id, sizeof id, "%04u", n);
    return (struct name){NAME_INSTANCE, slice_text("n"), slice_text("g"), slice_text("s"), slice_text(id), 0};
}

static void join(unsigned n, int session)
{
    char text[80];
    snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":1,\"session\":\"%016x\"}", (unsigned)session);
    put(instance(n), session ? text : NULL);
}

static void nothing(void *arg, const struct catalog_change *change)
{
    (void)arg, (void)change;
}

static void no_session(void *arg, struct catalog_session *session)
{
    (void)arg, (void)session;
}

static int setup(void **state)
{
    (void)state;
    const struct catalog_events events = {nothing, no_session, no_session, NULL, NULL};
    memset(&kv, 0, sizeof kv);
    kv.epoch = 1;
    kv.ns_per_check = 1000;
    memset(&registry, 0, sizeof registry);
    list_init(&registry.checking);
    registry.catalog = catalog_new(&events);
    put((struct name){.kind = NAME_SESSION, .session = SESSION}, "{\"ttl\":60}");
    put((struct name){.kind = NAME_SESSION, .session = OTHER}, "{\"ttl\":60}");
    return 0;
}

static int setup_many(void **state)
{
    setup(state);
    for (unsigned i = 0; i < MANY; i++)
        join(i, SESSION);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    catalog_free(registry.catalog);
    return 0;
}

static void forbid(unsigned n)
{
    snprintf(kv.forbidden, sizeof kv.forbidden, "/cairn/registry/instances/n/g/s/%04u", n);
}

static const struct auth_who alice = {.user = {(const uint8_t *)"alice", 5}, .revision = 1};

static unsigned ready;

static void on_ready(struct session_wait *w)
{
    (void)w;
    ready++;
}

/* Runs turns until w is ready. No turn checks more than the clock allows. Returns the turns. */
static unsigned wait_for(struct session_wait *w)
{
    unsigned turns = 0, before = ready;
    while (ready == before) {
        unsigned checks = kv.checks, scheduled = kv.turns;
        assert_true(++turns < 100);
        registry_session_checks(&registry);
        kv.now_ns += 5000000;
        assert_in_range(kv.checks - checks, 0, 1000 * 1000 / (kv.ns_per_check + 1) + 64);
        if (ready == before)
            assert_int_equal(kv.turns, scheduled + 1);
    }
    assert_false(link_is_in_list(&w->link));
    return turns;
}

static unsigned prepare(const struct auth_who *who)
{
    struct session_wait w = {.session = SESSION, .who = who, .ready = on_ready};
    registry_session_wait(&registry, &w);
    return wait_for(&w);
}

/* The refused instance, or -1. */
static int check(const struct auth_who *who, int *ret_refused)
{
    struct registry_key refused = {0};
    size_t count;
    char id[8];
    unsigned before = kv.checks;
    int err = registry_session_check(&registry, SESSION, who, &count, &refused);
    assert_in_range(kv.checks - before, 0, 64);
    *ret_refused = -1;
    if (err && err != ERR_NOT_READY) {
        snprintf(id, sizeof id, "%.*s", (int)refused.id.size, (const char *)refused.id.data);
        *ret_refused = atoi(id);
    }
    return err;
}

static void assert_check(int err, int refused, unsigned checks)
{
    unsigned before = kv.checks;
    int at;
    assert_int_equal(check(&alice, &at), err);
    assert_int_equal(at, refused);
    assert_int_equal(kv.checks - before, checks);
}

/* --- tests -------------------------------------------------------------------------------------------- */

static void a_small_session_is_checked_at_once(void **state)
{
    struct registry_key refused;
    size_t count = 1;
    (void)state;
    assert_check(OK, -1, 0);
    for (unsigned i = 0; i < 64; i++)
        join(i, SESSION);
    assert_check(OK, -1, 64);
    forbid(10);
    assert_check(ERR_PERMISSION_DENIED, 10, 11);
    assert_int_equal(registry_session_check(&registry, 99, &alice, &count, &refused), OK);
    assert_int_equal(count, 0);
}

static void a_large_one_is_checked_in_slices_and_once(void **state)
{
    (void)state;
    kv.ns_per_check = 5000; /* about 200 in a turn */
    assert_check(ERR_NOT_READY, -1, 0);
    assert_in_range(prepare(&alice), 4, 6);
    assert_int_equal(kv.checks, MANY);
    assert_check(OK, -1, 1);
    assert_check(OK, -1, 1);
    assert_int_equal(prepare(&alice), 1);
    assert_int_equal(kv.checks, MANY + 2);
}

/* Credentials are checked each time, also where the same user was allowed before. */
static void an_old_credential_is_refused(void **state)
{
    const struct auth_who old = {.user = slice_text("old"), .revision = 1};
    int at;
    (void)state;
    prepare(&old);
    assert_int_equal(check(&old, &at), ERR_AUTH_OLD_REVISION);
    prepare(&alice);
    assert_check(OK, -1, 1);
    forbid(MANY - 1); /* stands for a credential that is void: every key is refused */
    assert_check(ERR_PERMISSION_DENIED, MANY - 1, 1);
}

static void changed_permissions_are_checked_again(void **state)
{
    (void)state;
    prepare(&alice);
    forbid(500);
    assert_check(OK, -1, 1);
    kv.epoch++;
    assert_check(ERR_NOT_READY, -1, 0);
    prepare(&alice);
    assert_check(ERR_PERMISSION_DENIED, 500, 1);
    join(500, 0); /* the one that was refused leaves */
    prepare(&alice);
    assert_check(OK, -1, 1);
    kv.epoch++;
    assert_check(ERR_NOT_READY, -1, 0);
}

/* Permissions that change between two slices: nothing of the first slice counts. */
static void a_change_begins_again(void **state)
{
    struct session_wait w = {.session = SESSION, .who = &alice, .ready = on_ready};
    (void)state;
    kv.ns_per_check = 5000;
    registry_session_wait(&registry, &w);
    registry_session_checks(&registry);
    assert_true(kv.checks > 64 && kv.checks < MANY);
    kv.epoch++;
    forbid(1);
    wait_for(&w);
    assert_check(ERR_PERMISSION_DENIED, 1, 1);
}

static void new_instances_are_checked(void **state)
{
    (void)state;
    prepare(&alice);
    join(MANY, SESSION);
    join(MANY + 1, SESSION);
    assert_check(OK, -1, 2);
    forbid(MANY + 2);
    join(MANY + 2, SESSION);
    assert_check(ERR_PERMISSION_DENIED, MANY + 2, 1);
    assert_check(ERR_PERMISSION_DENIED, MANY + 2, 1);
    join(MANY + 2, OTHER);
    assert_check(OK, -1, 1);
    for (unsigned i = 0; i < 70; i++)
        join(MANY + 3 + i, SESSION);
    assert_check(ERR_NOT_READY, -1, 64);
    assert_check(OK, -1, 6);
}

/* Instances leave, come and come back while the check is under way. At the end each has been checked. */
static void instances_move_between_slices(void **state)
{
    (void)state;
    kv.ns_per_check = 10000;
    for (unsigned round = 0; round < 40; round++) {
        struct session_wait w = {.session = SESSION, .who = &alice, .ready = on_ready};
        kv.epoch++;
        kv.forbidden[0] = 0;
        registry_session_wait(&registry, &w);
        registry_session_checks(&registry);
        unsigned moved = 90 + round; /* around the first one that was not checked */
        join(moved, round % 2 ? 0 : OTHER);
        join(moved + 1, 0);
        wait_for(&w);
        assert_check(OK, -1, 1);
        forbid(moved);
        join(moved + 1, SESSION);
        join(moved, SESSION);
        assert_check(ERR_PERMISSION_DENIED, (int)moved, 2);
    }
}

static void the_first_that_waits_is_served_first(void **state)
{
    const struct auth_who bob = {.user = slice_text("bob"), .revision = 1};
    struct session_wait first = {.session = SESSION, .who = &alice, .ready = on_ready};
    struct session_wait second = {.session = SESSION, .who = &bob, .ready = on_ready};
    (void)state;
    registry_session_wait(&registry, &first);
    registry_session_wait(&registry, &second);
    wait_for(&first);
    assert_true(link_is_in_list(&second.link));
    assert_check(OK, -1, 1);
    wait_for(&second);
    assert_int_equal(kv.turns > 2, true);
    /* One that is canceled leaves the list. */
    registry_session_wait(&registry, &first);
    list_remove(&first.link);
    unsigned turns = kv.turns;
    registry_session_checks(&registry);
    assert_int_equal(kv.turns, turns);
}

static void authors_of_a_session_are_bounded(void **state)
{
    char names[SESSION_MARKS_MAX + 1][8];
    struct registry_key refused;
    size_t count, marks = 0;
    (void)state;
    for (unsigned i = 0; i <= SESSION_MARKS_MAX; i++) {
        snprintf(names[i], sizeof names[i], "u%u", i);
        const struct auth_who who = {.user = slice_text(names[i]), .revision = 1};
        prepare(&who);
        assert_int_equal(registry_session_check(&registry, SESSION, &who, &count, &refused), OK);
        assert_int_equal(count, MANY);
    }
    for (struct session_mark *m = catalog_session(registry.catalog, SESSION)->marks; m; m = m->older)
        marks++;
    assert_int_equal(marks, SESSION_MARKS_MAX);
    for (unsigned i = 0; i <= SESSION_MARKS_MAX; i++) {
        const struct auth_who who = {.user = slice_text(names[i]), .revision = 1};
        assert_int_equal(registry_session_check(&registry, SESSION, &who, &count, &refused),
                         i ? OK : ERR_NOT_READY);
    }
    /* A new mark replaces the author's older one, not another author's. */
    const struct auth_who who = {.user = slice_text(names[5]), .revision = 1};
    const struct catalog_session *s = catalog_session(registry.catalog, SESSION);
    kv.epoch++;
    prepare(&who);
    for (unsigned i = 1; i <= SESSION_MARKS_MAX; i++) {
        const struct auth_who author = {.user = slice_text(names[i]), .revision = 1};
        assert_int_equal(session_mark_find(s, &author, kv.epoch - 1) != NULL, i != 5);
    }
}

static void a_role_does_not_share_the_mark_of_a_user_of_its_name(void **state)
{
    const struct auth_who role = {.user = alice.user, .is_role = true};
    const struct catalog_session *s = catalog_session(registry.catalog, SESSION);
    (void)state;
    prepare(&alice);
    assert_non_null(session_mark_find(s, &alice, kv.epoch));
    assert_null(session_mark_find(s, &role, kv.epoch));
    prepare(&role);
    assert_ptr_not_equal(session_mark_find(s, &role, kv.epoch), session_mark_find(s, &alice, kv.epoch));
}

static void the_keys_of_the_lease_are_prepared_too(void **state)
{
    (void)state;
    kv.lease_slices = 3;
    assert_int_equal(prepare(&alice), 1);
    assert_int_equal(kv.lease_slices, 0);
    assert_check(OK, -1, 1);
}

/* A session that ends while a check of it waits. */
static void a_session_that_ends_is_ready(void **state)
{
    struct session_wait w = {.session = SESSION, .who = &alice, .ready = on_ready};
    (void)state;
    kv.ns_per_check = 5000;
    registry_session_wait(&registry, &w);
    registry_session_checks(&registry);
    put((struct name){.kind = NAME_SESSION, .session = SESSION}, NULL);
    for (unsigned i = 0; i < MANY; i++)
        join(i, 0);
    assert_int_equal(wait_for(&w), 1);
    assert_check(OK, -1, 0);
}

#define T(test)      cmocka_unit_test_setup_teardown(test, setup, teardown)
#define T_MANY(test) cmocka_unit_test_setup_teardown(test, setup_many, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_small_session_is_checked_at_once),
        T_MANY(a_large_one_is_checked_in_slices_and_once),
        T_MANY(an_old_credential_is_refused),
        T_MANY(changed_permissions_are_checked_again),
        T_MANY(a_change_begins_again),
        T_MANY(new_instances_are_checked),
        T_MANY(instances_move_between_slices),
        T_MANY(the_first_that_waits_is_served_first),
        T_MANY(authors_of_a_session_are_bounded),
        T_MANY(a_role_does_not_share_the_mark_of_a_user_of_its_name),
        T_MANY(the_keys_of_the_lease_are_prepared_too),
        T_MANY(a_session_that_ends_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
