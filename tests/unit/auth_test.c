/* SPDX-License-Identifier: Apache-2.0
 * Tests of the pure parts of users and roles: ranges against a plain enumeration of keys, tokens on the
 * test's own clock. */
#include "consensus/auth/ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/auth/auth.h"
#include "consensus/auth/token.h"

/* Every key of up to three bytes of 0, 1 and 2; a range is described by the keys that it holds. */
enum { ALPHABET = 3, KEYS = 3 + 9 + 27, ROUNDS = 4000, PERMISSIONS = 6 };

static uint8_t key_bytes[KEYS][3];
static struct slice keys[KEYS];
static uint64_t seed = 7;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static void make_keys(void)
{
    size_t n = 0;
    for (unsigned size = 1, count = ALPHABET; size <= 3; size++, count *= ALPHABET) {
        for (unsigned i = 0; i < count; i++, n++) {
            for (unsigned j = 0, rest = i; j < size; j++, rest /= ALPHABET)
                key_bytes[n][j] = (uint8_t)(rest % ALPHABET);
            keys[n] = slice_of(key_bytes[n], size);
        }
    }
    assert_int_equal(n, KEYS);
}

static bool is_in(struct slice key, struct slice begin, struct slice end)
{
    if (!end.size)
        return slice_equal(key, begin);
    return slice_compare(begin, key) <= 0 && (auth_is_open(end) || slice_compare(key, end) < 0);
}

/* Two half-open ranges share a key when each begins before the other ends. */
static void check_overlap(const struct auth_ranges *r, const struct slice *begin, const struct slice *end,
                          unsigned count, struct slice from)
{
    static const uint8_t zero[1] = {0};
    struct slice to = draw(8) ? keys[draw(KEYS)] : slice_of(zero, 1);
    if (!auth_is_open(to) && slice_compare(from, to) >= 0)
        return;
    bool want = false;
    for (unsigned i = 0; i < count; i++) {
        bool is_single = !end[i].size;
        bool begins_before = auth_is_open(to) || slice_compare(begin[i], to) < 0;
        bool ends_behind = auth_is_open(end[i]) || slice_compare(is_single ? begin[i] : end[i], from) > 0 ||
                           (is_single && slice_equal(begin[i], from));
        want = want || (begins_before && ends_behind);
    }
    assert_int_equal(auth_ranges_overlap(r, from, to), want);
}

/* Some absent keys lie after the longest key: queries for them use only ends among our keys. */
static void ranges_agree_with_their_keys(void **state)
{
    (void)state;
    make_keys();
    unsigned allowed = 0, refused = 0;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct auth_ranges r = {0};
        struct slice begin[PERMISSIONS], end[PERMISSIONS];
        unsigned count = draw(PERMISSIONS);
        for (unsigned i = 0; i < count; i++) {
            begin[i] = keys[draw(KEYS)];
            end[i] = draw(3) ? keys[draw(KEYS)] : (struct slice){0};
            if (!auth_range_is_valid(begin[i], end[i]))
                end[i] = (struct slice){0};
            auth_ranges_add(&r, begin[i], end[i]);
        }
        auth_ranges_merge(&r);
        for (unsigned k = 0; k < KEYS; k++) {
            bool want = false;
            for (unsigned i = 0; i < count; i++)
                want = want || is_in(keys[k], begin[i], end[i]);
            assert_int_equal(auth_ranges_allow(&r, keys[k], (struct slice){0}), want);
            check_overlap(&r, begin, end, count, keys[k]);
            *(want ? &allowed : &refused) += 1;
        }
        auth_ranges_done(&r);
    }
    assert_true(allowed > 1000 && refused > 1000);
}

struct sample {
    const char *key, *end;
    bool is_allowed;
};

static struct slice text(const char *s)
{
    return strcmp(s, "0") == 0 ? slice_of("", 1) : slice_text(s);
}

static void ranges_that_touch_are_one(void **state)
{
    (void)state;
    static const struct sample samples[] = {
        {"a", "", true},   {"a", "c", true}, {"a", "d", true}, {"a", "e", false}, {"b", "d", true},
        {"A", "b", false}, {"d", "", false}, {"k", "", true},  {"k", "l", false}, {"k1", "", false},
        {"x", "0", true},  {"y", "", true},  {"y", "0", true}, {"w", "0", false}, {"0", "0", false},
        {"a", "0", false}, {"x", "", true},  {"c", "b", true},
    };
    struct auth_ranges r = {0};
    auth_ranges_add(&r, text("x"), text("0"));
    auth_ranges_add(&r, text("c"), text("d"));
    auth_ranges_add(&r, text("a"), text("b"));
    auth_ranges_add(&r, text("b"), text("c"));
    auth_ranges_add(&r, text("k"), text(""));
    auth_ranges_merge(&r);
    assert_int_equal(r.count, 3);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        if (auth_ranges_allow(&r, text(samples[i].key), text(samples[i].end)) != samples[i].is_allowed)
            fail_msg("[%s, %s) has a wrong result", samples[i].key, samples[i].end);
    auth_ranges_done(&r);
    assert_false(auth_ranges_allow(&r, text("a"), text("")));
}

static int may_write(const struct auth *a, const char *user, const char *key)
{
    struct auth_who who = {.user = slice_text(user), .revision = 1, .is_renewed = true};
    return auth_check_range(a, &who, slice_text(key), (struct slice){0}, true);
}

/* A change of a role, or of a user's roles, is visible at once; other users' rights stay merged. */
static void rights_are_merged_when_they_change(void **state)
{
    (void)state;
    struct auth a = {.is_enabled = true, .revision = 1};
    auth_user_add(&a, slice_text("alice"));
    auth_user_add(&a, slice_text("bob"));
    struct auth_user *alice = auth_user_find(&a, slice_text("alice"));
    struct auth_user *bob = auth_user_find(&a, slice_text("bob"));
    for (int i = 0; i < 40; i++) {
        char name[8];
        snprintf(name, sizeof name, "r%d", i * 7 % 40);
        struct auth_role *r = auth_role_add(&a, slice_text(name));
        auth_role_set(r, slice_text(name), (struct slice){0}, AUTHPB__PERMISSION__TYPE__READWRITE);
        assert_true(auth_user_add_role(alice, name) && !auth_user_add_role(alice, name));
    }
    auth_role_set(auth_role_add(&a, slice_text("b")), slice_text("b"), (struct slice){0},
                  AUTHPB__PERMISSION__TYPE__WRITE);
    assert_true(auth_user_add_role(bob, "b"));
    assert_int_equal(may_write(&a, "alice", "r17"), OK);
    assert_int_equal(may_write(&a, "bob", "r17"), ERR_PERMISSION_DENIED);
    assert_int_equal(may_write(&a, "bob", "b"), OK);
    uint64_t merged = bob->write.merged;
    struct auth_role *r = auth_role_find(&a, slice_text("r17"));
    assert_true(auth_role_drop(r, slice_text("r17"), (struct slice){0}));
    assert_int_equal(may_write(&a, "alice", "r17"), ERR_PERMISSION_DENIED);
    auth_role_set(r, slice_text("r17"), (struct slice){0}, AUTHPB__PERMISSION__TYPE__READ);
    assert_int_equal(may_write(&a, "alice", "r17"), ERR_PERMISSION_DENIED);
    auth_role_set(r, slice_text("r17"), (struct slice){0}, AUTHPB__PERMISSION__TYPE__WRITE);
    assert_int_equal(may_write(&a, "alice", "r17"), OK);
    assert_true(auth_user_drop_role(alice, "r3") && !auth_user_drop_role(alice, "r3"));
    assert_int_equal(may_write(&a, "alice", "r3"), ERR_PERMISSION_DENIED);
    assert_int_equal(may_write(&a, "alice", "r39"), OK);
    assert_int_equal(may_write(&a, "bob", "b"), OK);
    assert_int_equal(bob->write.merged, merged);
    assert_int_equal(bob->read.merged, 0);
    auth_done(&a);
}

/* --- rights of very many permissions ------------------------------------------------------------------ */

enum { ROLES = 12, OF_ROLE = 160, SAMPLES = 150, STEPS = 90 };

static uint8_t many_bytes[65536][2];

static struct slice two_bytes(uint32_t n)
{
    many_bytes[n][0] = (uint8_t)(n >> 8);
    many_bytes[n][1] = (uint8_t)n;
    return slice_of(many_bytes[n], 2);
}

static char *role_name(uint32_t i)
{
    static char name[8];
    snprintf(name, sizeof name, "r%u", i);
    return name;
}

/* Ranges that touch the ranges of other roles, and some that do not. */
static void draw_permission(struct auth *a)
{
    struct auth_role *r = auth_role_find(a, slice_text(role_name(draw(ROLES))));
    uint32_t begin = draw(4000) * 4, size = draw(3) ? 4 : 6;
    struct slice end = draw(8) ? two_bytes(begin + size) : (struct slice){0};
    auth_role_set(r, two_bytes(begin), end, (Authpb__Permission__Type)draw(3));
}

/* Expected result: all permissions merged at once. */
static bool may(const struct auth *a, const struct auth_user *u, struct slice key, struct slice end,
                bool is_write)
{
    struct auth_ranges all = {0};
    for (size_t i = 0; i < u->role_count; i++) {
        const struct auth_role *r = auth_role_find(a, slice_text(u->roles[i]));
        for (size_t k = 0; r && k < r->count; k++)
            if (r->list[k].type == AUTHPB__PERMISSION__TYPE__READWRITE ||
                (r->list[k].type == AUTHPB__PERMISSION__TYPE__WRITE) == is_write)
                auth_ranges_add(&all, r->list[k].key, r->list[k].range_end);
    }
    auth_ranges_merge(&all);
    bool is_allowed = auth_ranges_allow(&all, key, end);
    auth_ranges_done(&all);
    return is_allowed;
}

static void compare_with_plain(const struct auth *a, const struct auth_user *u, unsigned *allowed)
{
    struct auth_who who = {.user = slice_text(u->name), .revision = 1, .is_renewed = true};
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint32_t begin = draw(16000), size = draw(60);
        bool is_write = draw(2);
        struct slice end = draw(20) == 0 ? slice_of("", 1)
                           : size        ? two_bytes(begin + size)
                                         : (struct slice){0};
        bool want = may(a, u, two_bytes(begin), end, is_write);
        assert_int_equal(auth_check_range(a, &who, two_bytes(begin), end, is_write),
                         want ? OK : ERR_PERMISSION_DENIED);
        *allowed += want;
    }
}

/* All steps of merges of drawn lengths, with changes of roles and of the user's role list in between. */
static void rights_of_many_permissions(void **state)
{
    (void)state;
    struct auth a = {.is_enabled = true, .revision = 1, .merge_queue = mem_new(sizeof *a.merge_queue)};
    list_init(a.merge_queue);
    auth_user_add(&a, slice_text("alice"));
    struct auth_user *alice = auth_user_find(&a, slice_text("alice"));
    struct auth_who who = {.user = slice_text("alice"), .revision = 1, .is_renewed = true};
    for (uint32_t i = 0; i < ROLES; i++) {
        auth_role_add(&a, slice_text(role_name(i)));
        assert_true(auth_user_add_role(alice, role_name(i)));
    }
    for (unsigned i = 0; i < ROLES * OF_ROLE; i++)
        draw_permission(&a);
    unsigned unmerged = 0, merged = 0, waits = 0;
    for (unsigned step = 0; step < STEPS; step++) {
        compare_with_plain(&a, alice, alice->write.merge ? &unmerged : &merged);
        int64_t units = 1 + draw(16000);
        bool is_whole = draw(2) ? auth_merge_some(&a, &units) : auth_prepare(&a, &who, true, &units);
        waits += !is_whole;
        if (draw(5) == 0)
            draw_permission(&a);
        if (draw(6) == 0 && !auth_user_drop_role(alice, role_name(3)))
            assert_true(auth_user_add_role(alice, role_name(3)));
    }
    assert_true(unmerged > 100 && merged > 100 && waits > 10);
    auth_user_add(&a, slice_text("gone"));
    auth_done(&a);
}

/* A chain through more ranges than a check follows from role to role. */
static void a_long_chain_of_ranges(void **state)
{
    (void)state;
    struct auth a = {.is_enabled = true, .revision = 1, .merge_queue = mem_new(sizeof *a.merge_queue)};
    list_init(a.merge_queue);
    auth_user_add(&a, slice_text("alice"));
    struct auth_user *alice = auth_user_find(&a, slice_text("alice"));
    struct auth_who who = {.user = slice_text("alice"), .revision = 1, .is_renewed = true};
    for (uint32_t i = 0; i < 2; i++) {
        struct auth_role *r = auth_role_add(&a, slice_text(role_name(i)));
        assert_true(auth_user_add_role(alice, role_name(i)));
        for (uint32_t k = i; k < 1200; k += 2)
            auth_role_set(r, two_bytes(k), two_bytes(k + 1), AUTHPB__PERMISSION__TYPE__READWRITE);
    }
    assert_int_equal(auth_check_range(&a, &who, two_bytes(5), two_bytes(30), true), OK);
    assert_int_equal(alice->write.merged, 0); /* answered from the roles */
    assert_false(list_is_empty(a.merge_queue));
    assert_int_equal(auth_check_range(&a, &who, two_bytes(0), two_bytes(1200), true), OK);
    assert_int_equal(auth_check_range(&a, &who, two_bytes(0), two_bytes(1201), true), ERR_PERMISSION_DENIED);
    assert_true(alice->write.merged > 0);
    int64_t units = 1;
    assert_true(auth_merge_some(&a, &units));
    assert_true(list_is_empty(a.merge_queue));
    auth_done(&a);
}

static void tokens_live_by_being_used(void **state)
{
    (void)state;
    struct auth_tokens t;
    auth_tokens_init(&t, 100);
    auth_tokens_add(&t, slice_text("one.1"), "alice", 1000);
    auth_tokens_add(&t, slice_text("two.2"), "bob", 1010);
    assert_null(auth_tokens_use(&t, slice_text("none.1"), 1020));
    assert_string_equal(auth_tokens_use(&t, slice_text("one.1"), 1090), "alice");
    auth_tokens_expire(&t, 1115);
    assert_null(auth_tokens_use(&t, slice_text("two.2"), 1115));
    assert_string_equal(auth_tokens_use(&t, slice_text("one.1"), 1189), "alice");
    assert_null(auth_tokens_use(&t, slice_text("one.1"), 1289)); /* expired, though no check has noticed it */
    assert_int_equal(t.count, 1);
    auth_tokens_expire(&t, 1289);
    assert_int_equal(t.count, 0);
    auth_tokens_clear(&t);
}

static void tokens_go_with_their_user(void **state)
{
    (void)state;
    struct auth_tokens t;
    char name[16];
    auth_tokens_init(&t, 100);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "t.%u", i);
        auth_tokens_add(&t, slice_text(name), i % 2 ? "alice" : "bob", 1);
    }
    auth_tokens_drop_user(&t, "alice");
    for (unsigned i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "t.%u", i);
        const char *user = auth_tokens_use(&t, slice_text(name), 2);
        assert_true(i % 2 ? !user : user && strcmp(user, "bob") == 0);
    }
    auth_tokens_add(&t, slice_text("t.0"), "eve", 2);
    assert_string_equal(auth_tokens_use(&t, slice_text("t.0"), 2), "eve");
    auth_tokens_clear(&t);
    assert_int_equal(t.count, 0);
}

static void the_index_of_a_token(void **state)
{
    (void)state;
    assert_int_equal(auth_token_index(slice_text("abcdefghijklmnop.42")), 42);
    assert_int_equal(auth_token_index(slice_text("abcdefghijklmnop")), 0);
    assert_int_equal(auth_token_index(slice_text("abcdefghijklmnop.")), 0);
    assert_int_equal(auth_token_index(slice_text("abcdefghijklmnop.4x")), 0);
    assert_int_equal(auth_token_index(slice_text("a.b.4")), 0);
    assert_int_equal(auth_token_index(slice_text("a.99999999999999999999999")), 0);
    assert_int_equal(auth_token_index((struct slice){0}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_agree_with_their_keys),
        cmocka_unit_test(ranges_that_touch_are_one),
        cmocka_unit_test(rights_are_merged_when_they_change),
        cmocka_unit_test(rights_of_many_permissions),
        cmocka_unit_test(a_long_chain_of_ranges),
        cmocka_unit_test(tokens_live_by_being_used),
        cmocka_unit_test(tokens_go_with_their_user),
        cmocka_unit_test(the_index_of_a_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
