/* SPDX-License-Identifier: Apache-2.0
 * Tests of leases: the rules one by one, then a random walk against a plain model. */
#include "consensus/store/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"
#include "consensus/store/keyset.h"

static int64_t grant(struct lease_table *t, int64_t id, int64_t ttl_s, uint64_t now_ms)
{
    int64_t granted = 0;
    assert_int_equal(lease_grant(t, id, ttl_s, now_ms, &granted), OK);
    return granted;
}

static int64_t remaining(const struct lease_table *t, int64_t id, uint64_t now_ms)
{
    int64_t rest, granted;
    lease_time_to_live(t, id, now_ms, &rest, &granted);
    return rest;
}

static void test_grant_and_revoke(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(2);
    int64_t ttl = 77;
    assert_int_equal(grant(t, 5, 10, 0), 10);
    assert_int_equal(grant(t, -6, 1, 0), 2);
    assert_int_equal(grant(t, 7, -100, 0), 2);
    assert_int_equal(lease_grant(t, 5, 10, 0, &ttl), ERR_LEASE_EXISTS);
    assert_int_equal(lease_grant(t, 0, 10, 0, &ttl), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lease_grant(t, 8, LEASE_TTL_MAX + 1, 0, &ttl), ERR_LEASE_TTL_TOO_LARGE);
    assert_int_equal(ttl, 77);
    assert_int_equal(grant(t, 8, LEASE_TTL_MAX, 0), LEASE_TTL_MAX);
    assert_int_equal(lease_count(t), 4);
    assert_true(lease_exists(t, -6));
    assert_int_equal(lease_revoke(t, -6), OK);
    assert_int_equal(lease_revoke(t, -6), ERR_LEASE_NOT_FOUND);
    assert_false(lease_exists(t, -6));
    int64_t rest, granted;
    lease_time_to_live(t, -6, 0, &rest, &granted);
    assert_int_equal(rest, -1);
    assert_int_equal(granted, 0);
    lease_table_free(t);
}

static void test_attached_keys(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(1);
    grant(t, 1, 10, 0);
    grant(t, 2, 10, 0);
    lease_attach(t, 1, slice_text("b"));
    lease_attach(t, 1, slice_text("ab"));
    lease_attach(t, 1, slice_text("a"));
    lease_attach(t, 1, slice_text("a"));
    lease_attach(t, 2, slice_text("b")); /* moves */
    lease_detach(t, 1, slice_text("b")); /* attached elsewhere: no effect */
    lease_detach(t, 1, slice_text("nothing"));
    struct slice *keys;
    size_t count;
    assert_int_equal(lease_keys(t, 1, &keys, &count), OK);
    assert_int_equal(count, 2);
    assert_true(slice_equal(keys[0], slice_text("a")) && slice_equal(keys[1], slice_text("ab")));
    mem_free(keys);
    assert_int_equal(lease_keys(t, 2, &keys, &count), OK);
    assert_int_equal(count, 1);
    mem_free(keys);
    lease_detach(t, 2, slice_text("b"));
    assert_int_equal(lease_keys(t, 2, &keys, &count), OK);
    assert_int_equal(count, 0);
    mem_free(keys);
    assert_int_equal(lease_keys(t, 3, &keys, &count), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lease_revoke(t, 1), OK); /* with keys still on it */
    lease_attach(t, 2, slice_text("a"));
    lease_table_reset(t);
    assert_int_equal(lease_count(t), 0);
    grant(t, 1, 10, 0);
    lease_table_free(t);
}

/* --- a request for all keys ---------------------------------------------------------------------------- */
struct subscriber {
    unsigned looks;
    const char *refused;
};

static int look(void *arg, struct slice key)
{
    struct subscriber *l = arg;
    l->looks++;
    return l->refused && slice_equal(key, slice_text(l->refused)) ? ERR_PERMISSION_DENIED : OK;
}

static unsigned ask(struct lease_table *t, const struct lease_key_check *q, const char *refused, int want)
{
    struct subscriber l = {.refused = refused};
    assert_int_equal(lease_check_keys(t, 1, q, look, &l), want);
    return l.looks;
}

static void attach_many(struct lease_table *t, int64_t id, int first, int count)
{
    char text[16];
    for (int i = first; i < first + count; i++) {
        snprintf(text, sizeof text, "k%04d", i);
        lease_attach(t, id, slice_text(text));
    }
}

static void test_all_keys_are_looked_at_once(void **state)
{
    (void)state;
    int asker, other;
    struct lease_key_check q = {&asker, 1, true, false}, later = {&asker, 2, true, false},
                           reads = {&asker, 1, false, false}, others = {&other, 1, true, false}, nobody = {0};
    struct lease_table *t = lease_table_new(1);
    assert_int_equal(ask(t, &q, NULL, OK), 0);
    grant(t, 1, 10, 0);
    grant(t, 2, 10, 0);
    assert_int_equal(ask(t, &q, NULL, OK), 0);
    attach_many(t, 1, 0, 1000);
    assert_int_equal(ask(t, &q, NULL, OK), 1000);
    assert_int_equal(ask(t, &q, NULL, OK), 1); /* the right itself may be revoked */
    attach_many(t, 1, 1000, 10);
    assert_int_equal(ask(t, &q, NULL, OK), 10);
    assert_int_equal(ask(t, &q, NULL, OK), 1);
    assert_int_equal(ask(t, &later, NULL, OK), 1010);
    assert_int_equal(ask(t, &reads, NULL, OK), 1010);
    assert_int_equal(ask(t, &others, NULL, OK), 1010);
    assert_int_equal(ask(t, &q, NULL, OK), 1);
    assert_int_equal(ask(t, &nobody, NULL, OK), 1010);
    assert_int_equal(ask(t, &nobody, NULL, OK), 1010);
    /* A key that came from another lease is new as well; a key that was removed while it was new leaves no
     * other out. */
    attach_many(t, 2, 2000, 2);
    attach_many(t, 1, 2000, 2);
    lease_detach(t, 1, slice_text("k2001"));
    assert_int_equal(ask(t, &q, "k2000", ERR_PERMISSION_DENIED), 1);
    assert_true(lease_has_key(t, 1, slice_text("k2000")) && !lease_has_key(t, 2, slice_text("k2000")));
    assert_false(lease_has_key(t, 1, slice_text("k2001")));
    lease_table_free(t);
}

static void test_the_refused_key_is_remembered(void **state)
{
    (void)state;
    int asker;
    struct lease_key_check q = {&asker, 1, true, false};
    struct lease_table *t = lease_table_new(1);
    grant(t, 1, 10, 0);
    grant(t, 2, 10, 0);
    attach_many(t, 1, 0, 1000);
    assert_int_equal(ask(t, &q, "k0998", ERR_PERMISSION_DENIED), 999);
    assert_int_equal(ask(t, &q, "k0998", ERR_PERMISSION_DENIED), 1);
    attach_many(t, 1, 1000, 1);
    assert_int_equal(ask(t, &q, "k0998", ERR_PERMISSION_DENIED), 1);
    lease_attach(t, 2, slice_text("k0998")); /* it moves away */
    assert_int_equal(ask(t, &q, "k0999", ERR_PERMISSION_DENIED), 1);
    lease_detach(t, 1, slice_text("k0999")); /* it is freed */
    lease_detach(t, 1, slice_text("k0997")); /* the last one that was OK */
    assert_int_equal(ask(t, &q, "k1000", ERR_PERMISSION_DENIED), 1);
    assert_int_equal(ask(t, &q, NULL, OK), 1);
    assert_int_equal(ask(t, &q, NULL, OK), 1);
    /* A key that is not refused any more: the keys after it are checked, and from then on it is one of them. */
    attach_many(t, 1, 1001, 2);
    assert_int_equal(ask(t, &q, "k1001", ERR_PERMISSION_DENIED), 1);
    assert_int_equal(ask(t, &q, NULL, OK), 2);
    assert_int_equal(ask(t, &q, NULL, OK), 1);
    assert_int_equal(lease_revoke(t, 1), OK);
    lease_table_free(t);
}

static bool ask_some(struct lease_table *t, const struct lease_key_check *q, const char *refused,
                     int64_t units, unsigned want_looks)
{
    struct subscriber l = {.refused = refused};
    bool is_ready = lease_check_some(t, 1, q, look, &l, &units);
    assert_int_equal(l.looks, want_looks);
    return is_ready;
}

static void test_keys_are_looked_at_in_parts(void **state)
{
    (void)state;
    int asker;
    struct lease_key_check q = {&asker, 1, true, false}, nobody = {0};
    struct lease_table *t = lease_table_new(1);
    assert_true(ask_some(t, &q, NULL, 10, 0)); /* no such lease */
    grant(t, 1, 10, 0);
    grant(t, 2, 10, 0);
    attach_many(t, 1, 0, 63);
    assert_false(lease_is_any_long(t));
    assert_true(ask_some(t, &q, NULL, 10, 0)); /* few keys: not in parts */
    attach_many(t, 1, 63, 237);
    assert_true(lease_is_any_long(t));
    assert_true(ask_some(t, &nobody, NULL, 10, 0)); /* not remembered */
    assert_false(ask_some(t, &q, NULL, 100, 100));
    assert_false(ask_some(t, &q, NULL, 100, 100));
    /* Keys come and go meanwhile, among them the last one that was looked at. */
    lease_detach(t, 1, slice_text("k0199"));
    lease_detach(t, 1, slice_text("k0200"));
    lease_attach(t, 2, slice_text("k0000"));
    attach_many(t, 1, 300, 1);
    assert_false(ask_some(t, &q, NULL, 99, 99));
    assert_true(ask_some(t, &q, NULL, 100, 1));
    assert_true(ask_some(t, &q, NULL, 100, 0));
    assert_int_equal(ask(t, &q, NULL, OK), 1);
    /* The first refused key ends it: the check returns the error at once. */
    attach_many(t, 1, 301, 100);
    assert_true(ask_some(t, &q, "k0350", 100, 50));
    assert_int_equal(ask(t, &q, "k0350", ERR_PERMISSION_DENIED), 1);
    assert_true(ask_some(t, &q, NULL, 100, 51));
    for (int i = 1; i < 401; i++) {
        char text[16];
        snprintf(text, sizeof text, "k%04d", i);
        lease_detach(t, 1, slice_text(text));
    }
    assert_int_equal(lease_key_count(t, 1), 0);
    assert_false(lease_is_any_long(t));
    assert_int_equal(ask(t, &q, NULL, OK), 0);
    lease_table_free(t);
}

/* Very many authors of one lease: each one's progress is remembered. */
static void test_authors_do_not_displace_each_other(void **state)
{
    (void)state;
    enum { AUTHORS = 64 };
    char authors[AUTHORS + 1];
    struct lease_table *t = lease_table_new(1);
    grant(t, 1, 10, 0);
    attach_many(t, 1, 0, 1000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < AUTHORS; i++) {
            struct lease_key_check q = {&authors[i], 1, true, false};
            assert_int_equal(ask(t, &q, NULL, OK), round ? 1 : 1000);
        }
    }
    /* One more takes the place of the one that asked longest ago. */
    struct lease_key_check more = {&authors[AUTHORS], 1, true, false}, first = {&authors[0], 1, true, false},
                           last = {&authors[AUTHORS - 1], 1, true, false};
    assert_int_equal(ask(t, &more, NULL, OK), 1000);
    assert_int_equal(ask(t, &last, NULL, OK), 1);
    assert_int_equal(ask(t, &first, NULL, OK), 1000);
    lease_table_free(t);
}

static void test_expiry(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(1);
    int64_t ids[4], ttl = 0;
    grant(t, 1, 10, 1000);
    assert_int_equal(lease_next_expiry_ms(t, 1000), UINT64_MAX); /* time does not pass on a follower */
    assert_int_equal(lease_expired(t, 1000000, 500, ids, 4), 0);
    assert_int_equal(lease_renew(t, 1, 1000, &ttl), ERR_NOT_PRIMARY_LESSOR);
    assert_int_equal(remaining(t, 1, 1000000), 10);

    lease_promote(t, 5000, 1000);
    assert_true(lease_is_primary(t));
    assert_int_equal(lease_next_expiry_ms(t, 5000), 11000);
    assert_int_equal(remaining(t, 1, 5000), 11);
    grant(t, 2, 5, 6000);
    assert_int_equal(lease_next_expiry_ms(t, 6000), 5000);
    assert_int_equal(remaining(t, 2, 6001), 4);
    assert_int_equal(lease_renew(t, 2, 10999, &ttl), OK);
    assert_int_equal(ttl, 5);
    assert_int_equal(lease_expired(t, 15998, 500, ids, 4), 0);
    assert_int_equal(lease_expired(t, 15999, 500, ids, 4), 1);
    assert_int_equal(ids[0], 2);
    assert_int_equal(lease_renew(t, 2, 15999, &ttl), ERR_LEASE_NOT_FOUND);
    assert_int_equal(remaining(t, 2, 15999), 0);
    assert_int_equal(lease_expired(t, 15999, 500, ids, 4), 0);
    /* Not handed out, but expired: no renewal either. */
    assert_int_equal(lease_renew(t, 1, 16000, &ttl), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lease_expired(t, 16498, 500, ids, 1), 1);
    assert_int_equal(ids[0], 1);
    assert_int_equal(lease_expired(t, 16499, 500, ids, 4), 1); /* the retry of 2 */
    assert_int_equal(ids[0], 2);
    assert_int_equal(lease_revoke(t, 2), OK);
    assert_int_equal(lease_next_expiry_ms(t, 16499), 499);

    lease_demote(t);
    assert_int_equal(lease_next_expiry_ms(t, 16499), UINT64_MAX);
    assert_int_equal(lease_expired(t, UINT64_MAX, 500, ids, 4), 0);
    lease_promote(t, 20000, 0); /* its revocation never came through the log: it stays alive */
    assert_int_equal(lease_renew(t, 1, 20001, &ttl), OK);
    assert_int_equal(lease_next_expiry_ms(t, 20001), 10000);
    lease_table_free(t);
}

static void test_list_is_sorted_by_expiry(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(1);
    grant(t, 3, 10, 0);
    grant(t, 1, 30, 0);
    grant(t, 2, 20, 0);
    grant(t, -4, 20, 0);
    int64_t *ids;
    assert_int_equal(lease_list(t, &ids), 4);
    assert_true(ids[0] == -4 && ids[1] == 1 && ids[2] == 2 && ids[3] == 3);
    mem_free(ids);
    lease_promote(t, 0, 0);
    assert_int_equal(lease_list(t, &ids), 4);
    assert_true(ids[0] == 3 && ids[1] == -4 && ids[2] == 2 && ids[3] == 1);
    mem_free(ids);
    lease_table_free(t);
}

static void test_restore_and_checkpoints(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(2);
    int64_t ids[4], rests[4], ttl;
    lease_restore(t, 1, 1, 0); /* raised to the minimum */
    lease_restore(t, 2, 3000, 400);
    lease_promote(t, 0, 1000);
    assert_int_equal(remaining(t, 1, 0), 3);
    assert_int_equal(remaining(t, 2, 0), 401);
    assert_true(lease_is_checkpointed(t, 2));
    assert_int_equal(lease_checkpoints(t, 299999, ids, rests, 4), 0);
    assert_int_equal(lease_checkpoints(t, 300000, ids, rests, 4), 1);
    assert_int_equal(ids[0], 2);
    assert_int_equal(rests[0], 101);
    lease_set_remaining(t, 2, 101);
    assert_int_equal(remaining(t, 2, 300000), 101); /* the running clock is not touched */
    assert_int_equal(lease_checkpoints(t, 400000, ids, rests, 4), 0);

    /* A renewal gives the full TTL, and the log gets it until it is applied. */
    assert_int_equal(lease_renew(t, 2, 400000, &ttl), OK);
    assert_int_equal(ttl, 3000);
    assert_int_equal(lease_checkpoints(t, 400000, ids, rests, 4), 1);
    assert_int_equal(rests[0], 0);
    assert_int_equal(lease_checkpoints(t, 400500, ids, rests, 4), 0);
    assert_int_equal(lease_checkpoints(t, 401000, ids, rests, 4), 1);
    lease_set_remaining(t, 2, 0);
    assert_false(lease_is_checkpointed(t, 2));
    assert_int_equal(lease_checkpoints(t, 699999, ids, rests, 4), 0);
    assert_int_equal(lease_checkpoints(t, 700001, ids, rests, 4), 1);
    assert_int_equal(rests[0], 2700);         /* rounded up */
    assert_true(lease_is_checkpointed(t, 2)); /* on its way through the log */
    lease_set_remaining(t, 2, 2700);
    lease_set_remaining(t, 99, 1);
    lease_demote(t);
    assert_int_equal(lease_checkpoints(t, UINT64_MAX, ids, rests, 4), 0);
    lease_promote(t, 1000000, 0);
    assert_int_equal(remaining(t, 2, 1000000), 2700);
    lease_table_free(t);
}

static void test_promotion_spreads_expiries(void **state)
{
    (void)state;
    enum { LEASES = 5000 };
    struct lease_table *t = lease_table_new(1);
    for (int64_t id = 1; id <= LEASES; id++)
        grant(t, id, 10 + id % 2, 0);
    lease_promote(t, 0, 1000);
    static int64_t ids[LEASES];
    size_t total = 0;
    while (lease_start_clocks(t, 100))
        ;
    assert_int_equal(lease_expired(t, 10999, 1000000, ids, LEASES), 0);
    for (uint64_t now = 11000; total < LEASES; now += 1000) {
        size_t n = lease_expired(t, now, 1000000, ids, LEASES);
        assert_in_range(n, 1, LEASE_EXPIRE_PER_SECOND);
        total += n;
        assert_true(now < 20000);
    }
    lease_table_free(t);
}

/* A lease that a promotion has not processed yet behaves as if it had been, and a demotion voids all of it.
 */
static void test_clocks_start_some_at_a_time(void **state)
{
    (void)state;
    enum { LEASES = 5000, LAST = LEASES };
    static int64_t ids[LEASES];
    int64_t rest_s, granted_s, ttl_s, *list;
    struct lease_table *t = lease_table_new(1);
    for (int64_t id = 1; id <= LEASES; id++)
        grant(t, id, id == LAST ? 3 : 100, 0);
    lease_promote(t, 50000, 1000);
    assert_true(lease_start_clocks(t, 10));
    lease_time_to_live(t, LAST, 50000, &rest_s, &granted_s);
    assert_int_equal(rest_s, 4);
    assert_int_equal(lease_list(t, &list), LEASES);
    assert_int_equal(list[0], LAST);
    mem_free(list);
    /* Late, and not before its time. */
    assert_int_equal(lease_expired(t, 53999, 1000, ids, LEASES), 0);
    assert_int_equal(lease_renew(t, LAST, 53000, &ttl_s), OK); /* starts its clock */
    assert_int_equal(lease_expired(t, 55999, 1000, ids, LEASES), 0);
    assert_int_equal(lease_expired(t, 56000, 1000, ids, LEASES), 1);
    assert_int_equal(ids[0], LAST);
    assert_int_equal(lease_revoke(t, LAST), OK);
    assert_int_equal(lease_revoke(t, LAST - 1), OK); /* its clock stands still */
    lease_set_remaining(t, LAST - 2, 7);             /* after the promotion: for the next one */
    lease_time_to_live(t, LAST - 2, 50000, &rest_s, &granted_s);
    assert_in_range(rest_s, 101, 102); /* its second is full */
    lease_demote(t);
    assert_false(lease_start_clocks(t, LEASES));
    assert_int_equal(lease_next_expiry_ms(t, 0), UINT64_MAX);
    lease_time_to_live(t, LAST - 2, 50000, &rest_s, &granted_s);
    assert_int_equal(rest_s, 7);
    grant(t, LAST, 2, 0);
    lease_promote(t, 100000, 0);
    lease_promote(t, 200000, 0); /* again, while most clocks of the previous one still stand */
    while (lease_start_clocks(t, 1000))
        ;
    assert_int_equal(lease_next_expiry_ms(t, 200000), 2000);
    assert_int_equal(lease_expired(t, 207000, 1000000, ids, LEASES), 2);
    assert_int_equal(ids[0], LAST);
    assert_int_equal(ids[1], LAST - 2);
    lease_table_free(t);
}

/* --- model -------------------------------------------------------------------------------------- */
enum { MODEL_LEASES = 20, MODEL_KEYS = 60 };

struct model {
    bool exists[MODEL_LEASES];
    int64_t ttl_s[MODEL_LEASES];
    uint64_t ends_ms[MODEL_LEASES]; /* at a primary */
    bool is_proposed[MODEL_LEASES];
    int lease_of[MODEL_KEYS]; /* -1 = none */
    bool is_primary;
};

static uint64_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static struct slice model_key(int k, char *text)
{
    snprintf(text, 16, "key/%03d", k);
    return slice_text(text);
}

static void model_check(const struct lease_table *t, const struct model *m, uint64_t now)
{
    size_t live = 0;
    uint64_t next = UINT64_MAX;
    for (int l = 0; l < MODEL_LEASES; l++) {
        assert_int_equal(lease_exists(t, l + 1), m->exists[l]);
        if (!m->exists[l])
            continue;
        live++;
        if (m->is_primary && !m->is_proposed[l] && m->ends_ms[l] < next)
            next = m->ends_ms[l];
        if (m->is_primary) {
            bool is_over = m->is_proposed[l] || now >= m->ends_ms[l];
            int64_t rest_s = is_over ? 0 : (int64_t)(m->ends_ms[l] - now) / 1000;
            assert_int_equal(remaining(t, l + 1, now), rest_s);
        }
        struct slice *keys;
        size_t count, at = 0;
        char text[16];
        assert_int_equal(lease_keys(t, l + 1, &keys, &count), OK);
        for (int k = 0; k < MODEL_KEYS; k++)
            if (m->lease_of[k] == l) {
                assert_true(at < count);
                assert_true(slice_equal(keys[at++], model_key(k, text)));
            }
        assert_int_equal(at, count);
        mem_free(keys);
    }
    assert_int_equal(lease_count(t), live);
    if (next != UINT64_MAX)
        assert_true(lease_next_expiry_ms(t, now) <= (next > now ? next - now : 0));
    if (!m->is_primary)
        assert_int_equal(lease_next_expiry_ms(t, now), UINT64_MAX);
}

static void model_change(struct lease_table *t, struct model *m, uint64_t now)
{
    int l = (int)draw(MODEL_LEASES), k = (int)draw(MODEL_KEYS);
    char text[16];
    int64_t ttl_s = 1 + draw(20), granted = 0;
    switch (draw(10)) {
    case 0:
        assert_int_equal(lease_grant(t, l + 1, ttl_s, now, &granted), m->exists[l] ? ERR_LEASE_EXISTS : OK);
        if (m->exists[l])
            break;
        m->exists[l] = true;
        m->ttl_s[l] = ttl_s < 3 ? 3 : ttl_s;
        assert_int_equal(granted, m->ttl_s[l]);
        m->ends_ms[l] = now + (uint64_t)m->ttl_s[l] * 1000;
        m->is_proposed[l] = false;
        break;
    case 1:
        if (draw(3))
            break;
        assert_int_equal(lease_revoke(t, l + 1), m->exists[l] ? OK : ERR_LEASE_NOT_FOUND);
        m->exists[l] = false;
        for (int i = 0; i < MODEL_KEYS; i++)
            if (m->lease_of[i] == l)
                m->lease_of[i] = -1;
        break;
    case 2:
    case 3:
    case 4:
        if (!m->exists[l])
            break;
        lease_attach(t, l + 1, model_key(k, text));
        m->lease_of[k] = l;
        break;
    case 5:
        lease_detach(t, l + 1, model_key(k, text));
        if (m->lease_of[k] == l)
            m->lease_of[k] = -1;
        break;
    case 6:
    case 7: {
        bool is_dead = !m->exists[l] || m->is_proposed[l] || now >= m->ends_ms[l];
        int want = !m->is_primary ? ERR_NOT_PRIMARY_LESSOR : is_dead ? ERR_LEASE_NOT_FOUND : OK;
        assert_int_equal(lease_renew(t, l + 1, now, &granted), want);
        if (want == OK)
            m->ends_ms[l] = now + (uint64_t)m->ttl_s[l] * 1000;
        break;
    }
    case 8: {
        int64_t ids[3];
        size_t n = lease_expired(t, now, 700, ids, 3);
        for (size_t i = 0; i < n; i++) {
            int e = (int)ids[i] - 1;
            assert_true(m->is_primary && m->exists[e]);
            assert_true(now >= m->ends_ms[e]);
            m->ends_ms[e] = now + 700; /* next time it is offered */
            m->is_proposed[e] = true;
        }
        break;
    }
    default:
        if (draw(10))
            break;
        m->is_primary = !m->is_primary;
        if (!m->is_primary) {
            lease_demote(t);
            break;
        }
        lease_promote(t, now, 500);
        for (int i = 0; i < MODEL_LEASES; i++) {
            m->is_proposed[i] = false;
            m->ends_ms[i] = now + 500 + (uint64_t)m->ttl_s[i] * 1000;
        }
    }
}

static void test_random_walk(void **state)
{
    (void)state;
    for (seed = 1; seed < 40;) {
        uint64_t start = seed;
        struct lease_table *t = lease_table_new(3);
        struct model m = {0};
        for (int k = 0; k < MODEL_KEYS; k++)
            m.lease_of[k] = -1;
        uint64_t now = 1000;
        for (int step = 0; step < 2000; step++) {
            now += draw(300);
            model_change(t, &m, now);
            if (step % 7 == 0)
                model_check(t, &m, now);
        }
        lease_table_free(t);
        seed = start + 1;
    }
}

/* --- keyset: grows and shrinks by one bucket without losing a key --------------------------------------- */
struct item {
    int number;
    struct keyset_node node;
};

static void test_keyset(void **state)
{
    (void)state;
    enum { ITEMS = 3000 };
    static struct item *items[ITEMS];
    struct keyset s = {0};
    char text[16];
    seed = 7;
    assert_null(keyset_find(&s, slice_text("nobody")));
    for (int step = 0; step < 40000; step++) {
        int i = (int)draw(ITEMS);
        struct slice key = model_key(i, text);
        struct keyset_node *n = keyset_find(&s, key);
        assert_ptr_equal(n, items[i] ? &items[i]->node : NULL);
        bool is_growing = (step / 10000) % 2 == 0;
        if (!n && (is_growing || draw(8) == 0)) {
            items[i] = keyset_alloc(sizeof *items[i], key);
            items[i]->number = i;
            keyset_add(&s, &items[i]->node);
        } else if (n && (!is_growing || draw(8) == 0)) {
            keyset_remove(&s, n);
            mem_free(items[i]);
            items[i] = NULL;
        }
        assert_true(s.count <= s.size || s.size == 0);
    }
    for (int i = 0; i < ITEMS; i++)
        if (items[i]) {
            keyset_remove(&s, &items[i]->node);
            mem_free(items[i]);
            items[i] = NULL;
        }
    assert_int_equal(s.count, 0);
    assert_true(s.size <= 16);
    keyset_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grant_and_revoke),
        cmocka_unit_test(test_attached_keys),
        cmocka_unit_test(test_all_keys_are_looked_at_once),
        cmocka_unit_test(test_the_refused_key_is_remembered),
        cmocka_unit_test(test_keys_are_looked_at_in_parts),
        cmocka_unit_test(test_authors_do_not_displace_each_other),
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_list_is_sorted_by_expiry),
        cmocka_unit_test(test_restore_and_checkpoints),
        cmocka_unit_test(test_promotion_spreads_expiries),
        cmocka_unit_test(test_clocks_start_some_at_a_time),
        cmocka_unit_test(test_random_walk),
        cmocka_unit_test(test_keyset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
