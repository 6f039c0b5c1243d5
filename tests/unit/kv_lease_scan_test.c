/* SPDX-License-Identifier: Apache-2.0
 * Long reads of leases in slices: all of the answer is of the moment when the first slice ran. The lease table
 * and its walks are linked as they are. */
#include <stdio.h>

#define KV_PARTS_REAL_LEASE_SCAN
#include "kv_parts.h"

#include "consensus/auth/check.h"

enum { LEASE = 70, KEYS = 1000, LEASES = 600, FEW = 512, TTL_S = 60, UNITS = 300 };

static struct {
    size_t keys, leases, part_count;
    char last_key[16];
    bool is_full, is_admin;
    int lease_err;
    int64_t denied; /* lease */
    unsigned checks;
    bool is_check_open, is_paused;
} fake;

int kv_auth_check_admin(const struct kv *kv, const struct auth_who *who)
{
    (void)kv;
    (void)who;
    return fake.is_admin ? OK : ERR_PERMISSION_DENIED;
}

const struct auth *kv_rights(const struct kv *kv)
{
    (void)kv;
    return NULL;
}

bool auth_prepare(const struct auth *a, const struct auth_who *who, bool is_write, int64_t *units)
{
    (void)a;
    (void)who;
    (void)units;
    assert_false(is_write);
    return true;
}

/* Each second call needs another slice. */
bool auth_check_lease_some(const struct auth_check *c, int64_t lease, bool is_write, struct slice except,
                           int64_t *units, int *ret_err)
{
    (void)c;
    (void)except;
    assert_false(is_write);
    fake.is_check_open = !fake.is_check_open;
    if (fake.is_check_open) {
        *units = 0;
        return false;
    }
    fake.checks++;
    *ret_err = lease == fake.denied ? fake.lease_err : OK;
    return true;
}

bool store_is_paused(const struct store *s)
{
    (void)s;
    return fake.is_paused;
}

/* Counts rows, and sees that keys come in byte order. */
static bool take_part(struct kv_request *r, const ProtobufCMessage *part)
{
    fake.part_count++;
    if (r->kind == KV_LEASE_LEASES) {
        fake.leases += ((const Etcdserverpb__LeaseLeasesResponse *)part)->n_leases;
        return !fake.is_full;
    }
    const Etcdserverpb__LeaseTimeToLiveResponse *m = (const Etcdserverpb__LeaseTimeToLiveResponse *)part;
    for (size_t i = 0; i < m->n_keys; i++) {
        char key[16] = "";
        memcpy(key, m->keys[i].data, m->keys[i].len);
        assert_true(strcmp(fake.last_key, key) < 0);
        strcpy(fake.last_key, key);
    }
    fake.keys += m->n_keys;
    return !fake.is_full;
}

/* --- a member with a lease of many keys --------------------------------------------------------------------- */

static Etcdserverpb__LeaseTimeToLiveRequest ttl;
static Etcdserverpb__LeaseLeasesRequest leases;
static struct kv_lease_scan *scan;

static void attach(struct kv *kv, const char *text)
{
    lease_attach(kv->leases, LEASE, slice_text(text));
}

static struct kv *start(void)
{
    kv_lease_scan_free(scan);
    scan = NULL;
    if (parts.kv.leases)
        lease_table_free(parts.kv.leases);
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    kv->leases = lease_table_new(1);
    int64_t granted;
    assert_int_equal(lease_grant(kv->leases, LEASE, TTL_S, 0, &granted), OK);
    lease_promote(kv->leases, parts.now_ms, 0);
    parts.revision = 9;
    etcdserverpb__lease_time_to_live_request__init(&ttl);
    etcdserverpb__lease_leases_request__init(&leases);
    ttl.id = LEASE;
    ttl.keys = true;
    return kv;
}

static struct kv *start_with_keys(void)
{
    struct kv *kv = start();
    for (unsigned i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "key%04u", i * 7 % KEYS);
        attach(kv, key);
    }
    return kv;
}

static struct kv *start_with_leases(void)
{
    struct kv *kv = start();
    for (int64_t i = 1; i < LEASES; i++) {
        int64_t granted;
        assert_int_equal(lease_grant(kv->leases, LEASE + i, TTL_S, 0, &granted), OK);
    }
    return kv;
}

static struct kv_request *new_request(enum kv_kind kind)
{
    struct kv_request *r = parts_request(0);
    r->kind = kind;
    r->message = kind == KV_LEASE_LEASES ? &leases.base : &ttl.base;
    r->on_part = take_part;
    return r;
}

/* Slices until it is finished, or the first error. */
static int run(struct kv *kv, struct kv_request *r)
{
    bool is_finished = false;
    int err = OK;
    while (!err && !is_finished)
        err = kv_lease_scan_step(kv, r, &scan, UNITS, &is_finished);
    return err;
}

/* --- tests ------------------------------------------------------------------------------------------------------ */

static void test_which_reads_are_long(void **state)
{
    (void)state;
    struct kv *kv = start_with_keys();
    struct kv_request *r = new_request(KV_TIME_TO_LIVE);
    assert_true(kv_lease_scan_is_needed(kv, r));
    ttl.keys = false;
    assert_false(kv_lease_scan_is_needed(kv, r));
    ttl.keys = true;
    r->on_part = NULL; /* its caller takes no parts */
    assert_false(kv_lease_scan_is_needed(kv, r));
    kv = start();
    attach(kv, "key");
    assert_false(kv_lease_scan_is_needed(kv, new_request(KV_TIME_TO_LIVE)));
    kv = start_with_leases();
    assert_true(kv_lease_scan_is_needed(kv, new_request(KV_LEASE_LEASES)));
    for (int64_t i = FEW; i < LEASES; i++)
        assert_int_equal(lease_revoke(kv->leases, LEASE + i), OK);
    assert_false(kv_lease_scan_is_needed(kv, new_request(KV_LEASE_LEASES)));
}

static void test_keys(void **state)
{
    (void)state;
    struct kv *kv = start_with_keys();
    struct kv_request *r = new_request(KV_TIME_TO_LIVE);
    bool is_finished;
    parts.now_ms += 10000;
    assert_int_equal(kv_lease_scan_step(kv, r, &scan, UNITS, &is_finished), OK);
    assert_false(is_finished);
    attach(kv, "zzz"); /* all of this comes too late */
    lease_detach(kv->leases, LEASE, slice_text("key0005"));
    parts.now_ms += 10000;
    parts.revision = 99;
    assert_int_equal(run(kv, r), OK);
    assert_answered(0, OK);
    assert_int_equal(fake.keys, KEYS);
    assert_true(fake.part_count > 1);
    const Etcdserverpb__LeaseTimeToLiveResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->id, LEASE);
    assert_int_equal(response->ttl, TTL_S - 10);
    assert_int_equal(response->grantedttl, TTL_S);
    assert_int_equal(response->header->revision, 9);
    assert_int_equal(response->n_keys, 0); /* they went before */
}

static void test_lease_has_gone(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(lease_revoke(kv->leases, LEASE), OK);
    assert_int_equal(run(kv, new_request(KV_TIME_TO_LIVE)), OK);
    assert_answered(0, OK); /* as etcd: no error */
    assert_int_equal(((Etcdserverpb__LeaseTimeToLiveResponse *)parts.callers[0].response)->ttl, -1);
    kv = start_with_keys();
    struct kv_request *r = new_request(KV_TIME_TO_LIVE);
    bool is_finished;
    assert_int_equal(kv_lease_scan_step(kv, r, &scan, UNITS, &is_finished), OK);
    assert_int_equal(lease_revoke(kv->leases, LEASE), OK);
    assert_int_equal(run(kv, r), ERR_LEASE_NOT_FOUND); /* scan.c begins anew */
    assert_int_equal(parts.callers[0].answers, 0);
}

static void test_client_takes_no_more(void **state)
{
    (void)state;
    struct kv *kv = start_with_keys();
    fake.is_full = true;
    assert_int_equal(run(kv, new_request(KV_TIME_TO_LIVE)), ERR_LIMIT);
    kv = start_with_leases();
    fake.is_full = true;
    assert_int_equal(run(kv, new_request(KV_LEASE_LEASES)), ERR_LIMIT);
    assert_int_equal(parts.callers[0].answers, 0);
}

/* A request of this process, and one of an admin, need no look at each lease. */
static void test_leases(void **state)
{
    (void)state;
    struct kv *kv = start_with_leases();
    assert_int_equal(run(kv, new_request(KV_LEASE_LEASES)), OK);
    assert_answered(0, OK);
    assert_int_equal(fake.leases, LEASES);
    struct auth_who who = {0};
    kv = start_with_leases();
    fake.is_admin = true;
    parts_request(0)->who = &who;
    assert_int_equal(run(kv, new_request(KV_LEASE_LEASES)), OK);
    assert_int_equal(fake.leases, LEASES);
    assert_int_equal(fake.checks, 0);
}

static void test_permissions_of_leases(void **state)
{
    (void)state;
    struct auth_who who = {0};
    struct kv *kv = start_with_leases();
    parts_request(0)->who = &who;
    fake.denied = LEASE + 300;
    fake.lease_err = ERR_PERMISSION_DENIED;
    assert_int_equal(run(kv, new_request(KV_LEASE_LEASES)), ERR_PERMISSION_DENIED);
    assert_int_equal(parts.callers[0].answers, 0);
    kv = start_with_leases();
    parts_request(0)->who = &who;
    assert_int_equal(run(kv, new_request(KV_LEASE_LEASES)), OK); /* each check takes two slices */
    assert_int_equal(fake.checks, LEASES);
    (void)start();
}

/* A follower has the lease's time from the leader, and waits until it has applied what the leader had. */
static void test_keys_at_a_revision(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct kv_lease_scan *l = kv_lease_scan_here(parts.revision + 1, 40, 60);
    assert_true(kv_lease_scan_must_wait(kv, l));
    parts.revision++;
    assert_false(kv_lease_scan_must_wait(kv, l));
    fake.is_paused = true; /* an entry is open */
    assert_true(kv_lease_scan_must_wait(kv, l));
    fake.is_paused = false;
    assert_false(kv_lease_scan_must_wait(kv, l));
    kv_lease_scan_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_reads_are_long),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_lease_has_gone),
        cmocka_unit_test(test_client_takes_no_more),
        cmocka_unit_test(test_leases),
        cmocka_unit_test(test_permissions_of_leases),
        cmocka_unit_test(test_keys_at_a_revision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
