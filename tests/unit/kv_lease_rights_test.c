/* SPDX-License-Identifier: Apache-2.0
 * Permission checks over all keys of a lease, in slices: of entries and of keep-alives. The lease table, which
 * remembers the progress, and the checks of requests are linked as they are. */
#include <stdio.h>

#define KV_PARTS_REAL_LEASE_RIGHTS
#include "consensus/auth/check.h"
#include "consensus/store/lease.h"
#include "kv_parts.h"

enum { LEASE = 70, SMALL = 71, KEYS = 1000, FEW = 10, ASKERS = 64, UNITS = 300, UNITS_AT_ONCE = 256 };

static struct {
    bool is_enabled, is_admin, is_preparing;
    char denied[16]; /* a key that nobody may write; "" = none */
    unsigned checks, prepared;
    struct auth rights;
    struct kv_request *alive[8]; /* passed to kv_lease_keep_alive, in order */
    size_t alive_count;
} fake;

/* The users' addresses alone are used. */
static char users[ASKERS + 1];

struct auth_user *auth_user_find(const struct auth *a, struct slice name)
{
    assert_ptr_equal(a, &fake.rights);
    return name.size == 1 ? (void *)&users[name.data[0]] : NULL;
}

struct auth_role *auth_role_find(const struct auth *a, struct slice name)
{
    (void)a;
    (void)name;
    fail_msg("no request is from a role");
    return NULL;
}

const struct auth *kv_rights(const struct kv *kv)
{
    (void)kv;
    return &fake.rights;
}

bool kv_auth_is_enabled(const struct kv *kv)
{
    (void)kv;
    return fake.is_enabled;
}

int auth_check_admin(const struct auth *a, const struct auth_who *who)
{
    (void)a;
    (void)who;
    return fake.is_admin ? OK : ERR_PERMISSION_DENIED;
}

int auth_check_range(const struct auth *a, const struct auth_who *who, struct slice key,
                     struct slice range_end, bool is_write)
{
    (void)a;
    (void)who;
    assert_true(is_write);
    assert_int_equal(range_end.size, 0);
    fake.checks++;
    return slice_equal(key, slice_text(fake.denied)) ? ERR_PERMISSION_DENIED : OK;
}

bool auth_prepare(const struct auth *a, const struct auth_who *who, bool is_write, int64_t *units)
{
    (void)a;
    (void)who;
    assert_true(is_write);
    fake.prepared++;
    if (fake.is_preparing)
        *units = 0;
    return !fake.is_preparing;
}

void kv_lease_keep_alive(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseKeepAliveRequest *m)
{
    (void)kv;
    assert_ptr_equal(r->message, m);
    assert_false(link_is_in_list(&r->link));
    assert_true(fake.alive_count < COUNT_OF(fake.alive));
    fake.alive[fake.alive_count++] = r;
    r->state = KV_READING;
}

/* --- a member with a lease of many keys --------------------------------------------------------------------- */

static Etcdserverpb__LeaseKeepAliveRequest keep_alive, sent[PARTS_CALLERS];
static struct auth_who who[ASKERS + 1];
static uint8_t names[ASKERS + 1];
static uint8_t body[512];

static void attach(struct kv *kv, int64_t lease, unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%06u", i);
        lease_attach(kv->leases, lease, slice_text(key));
    }
}

static struct kv *start(void)
{
    if (parts.kv.leases) {
        kv_lease_rights_done(&parts.kv.lease_rights);
        lease_table_free(parts.kv.leases);
    }
    struct kv *kv = parts_start();
    int64_t granted;
    memset(&fake, 0, sizeof fake);
    fake.is_enabled = true;
    fake.rights.revision = 5;
    kv->leases = lease_table_new(1);
    kv_lease_rights_init(&kv->lease_rights);
    assert_int_equal(lease_grant(kv->leases, LEASE, 60, 0, &granted), OK);
    assert_int_equal(lease_grant(kv->leases, SMALL, 60, 0, &granted), OK);
    attach(kv, LEASE, 0, KEYS);
    attach(kv, SMALL, KEYS * 10, FEW);
    etcdserverpb__lease_keep_alive_request__init(&keep_alive);
    keep_alive.id = LEASE;
    for (unsigned i = 0; i <= ASKERS; i++) {
        names[i] = (uint8_t)i;
        who[i] = (struct auth_who){.user = slice_of(&names[i], 1), .revision = 5};
    }
    for (unsigned i = 0; i < PARTS_CALLERS; i++)
        parts.callers[i].request.who = &who[0];
    return kv;
}

static int finish(void **state)
{
    (void)state;
    kv_lease_rights_done(&parts.kv.lease_rights);
    lease_table_free(parts.kv.leases);
    parts_clear();
    return 0;
}

static void ask(struct kv *kv, unsigned caller)
{
    sent[caller] = keep_alive;
    kv_lease_keep_alive_checked(kv, parts_request(caller), &sent[caller]);
}

/* One slice of keep-alives. Returns whether none waits, and asserts that the slice kept to its units. */
static bool pass(struct kv *kv)
{
    int64_t units = UNITS;
    unsigned before = fake.checks;
    bool is_done = kv_pass_keep_alives(kv, &units);
    assert_in_range(fake.checks - before, 0, UNITS + 1);
    if (!fake.is_preparing)
        assert_true(units >= UNITS - (int64_t)(fake.checks - before) - 8 && units <= UNITS);
    return is_done;
}

static void assert_alive(size_t count, unsigned last)
{
    assert_int_equal(fake.alive_count, count);
    assert_ptr_equal(fake.alive[count - 1], parts_request(last));
}

/* --- keep-alives ---------------------------------------------------------------------------------------------- */

static void a_small_lease_is_checked_at_once(void **state)
{
    struct kv *kv = start();
    (void)state;
    keep_alive.id = SMALL;
    ask(kv, 0);
    assert_alive(1, 0);
    assert_int_equal(fake.checks, FEW);
    strcpy(fake.denied, "k010003");
    ask(kv, 1);
    assert_fails(1, ERR_PERMISSION_DENIED);
    assert_true(list_is_empty(&kv->lease_rights.waiting));
    assert_int_equal(parts.turns, 0);
}

/* Nobody is checked without users; the process itself and admins need no check. A lease that is not there has no
 * keys. */
static void some_need_no_check(void **state)
{
    struct kv *kv = start();
    (void)state;
    fake.is_enabled = false;
    ask(kv, 0);
    fake.is_enabled = true;
    parts_request(1)->who = NULL;
    ask(kv, 1);
    fake.is_admin = true;
    ask(kv, 2);
    fake.is_admin = false;
    keep_alive.id = 99;
    ask(kv, 3);
    assert_alive(4, 3);
    assert_int_equal(fake.checks, 0);
}

static void a_large_lease_is_checked_in_slices(void **state)
{
    struct kv *kv = start();
    (void)state;
    ask(kv, 0);
    assert_waits(0, KV_CHECKING);
    assert_int_equal(parts_request(0)->kind, KV_KEEP_ALIVE);
    assert_int_equal(parts_request(0)->started_ms, parts.now_ms);
    assert_int_equal(parts.turns, 1);
    assert_in_range(fake.checks, 1, UNITS_AT_ONCE);
    unsigned slices = 1;
    while (!pass(kv)) {
        assert_int_equal(fake.alive_count, 0);
        assert_waits(0, KV_CHECKING);
        assert_true(++slices < 10);
    }
    assert_int_equal(slices, 3);
    assert_alive(1, 0);
    assert_int_equal(parts.turns, 2); /* what it waits for now needs another turn */
    assert_in_range(fake.checks, KEYS, KEYS + 1);
    /* The second time nothing is left to check: one key, for the credential. */
    unsigned before = fake.checks;
    ask(kv, 1);
    assert_alive(2, 1);
    assert_int_equal(fake.checks, before + 1);
}

/* With settings.slice_units also the first check takes no more. */
static void the_first_check_keeps_to_the_units_of_a_slice(void **state)
{
    struct kv *kv = start();
    (void)state;
    kv->settings.slice_units = 20;
    ask(kv, 0);
    assert_waits(0, KV_CHECKING);
    assert_in_range(fake.checks, 1, 20);
}

static void a_refusal_ends_it(void **state)
{
    struct kv *kv = start();
    (void)state;
    strcpy(fake.denied, "k000700");
    ask(kv, 0);
    ask(kv, 1);
    assert_waits(0, KV_CHECKING);
    while (!pass(kv))
        assert_waits(0, KV_CHECKING);
    assert_answered(0, ERR_PERMISSION_DENIED);
    assert_answered(1, ERR_PERMISSION_DENIED);
    assert_int_equal(fake.alive_count, 0);
    assert_true(fake.checks < KEYS);
}

/* They are decided in the order in which they came, also where a later one needs no slices. */
static void they_keep_their_order(void **state)
{
    struct kv *kv = start();
    (void)state;
    ask(kv, 0);
    parts_request(1)->who = &who[1];
    ask(kv, 1);
    assert_waits(1, KV_CHECKING);
    keep_alive.id = SMALL;
    ask(kv, 2);
    assert_waits(2, KV_CHECKING);
    for (unsigned slices = 0; !fake.alive_count; slices++) {
        assert_int_equal(fake.checks, UNITS_AT_ONCE + slices * UNITS);
        assert_false(pass(kv));
    }
    assert_alive(1, 0);
    while (!pass(kv))
        assert_true(fake.alive_count < 3);
    assert_alive(3, 2);
    assert_ptr_equal(fake.alive[1], parts_request(1));
    assert_in_range(fake.checks, 2 * KEYS + FEW, 2 * KEYS + FEW + 2);
}

/* Each that goes on costs a unit, also where no key is left to check. */
static void a_slice_lets_a_bounded_number_go_on(void **state)
{
    struct kv *kv = start();
    (void)state;
    for (unsigned i = 0; i < 6; i++)
        ask(kv, i);
    assert_false(pass(kv));
    assert_false(pass(kv));
    int64_t units = KEYS - UNITS_AT_ONCE - 2 * UNITS + 3;
    assert_false(kv_pass_keep_alives(kv, &units));
    assert_int_equal(units, 0);
    assert_alive(3, 2);
    units = 3;
    assert_true(kv_pass_keep_alives(kv, &units));
    assert_alive(6, 5);
}

static void changed_permissions_begin_again(void **state)
{
    struct kv *kv = start();
    (void)state;
    ask(kv, 0);
    assert_false(pass(kv));
    fake.rights.revision++;
    strcpy(fake.denied, "k000001");
    assert_true(pass(kv));
    assert_answered(0, ERR_PERMISSION_DENIED);
}

/* Rights of very many ranges are merged first. */
static void rights_are_merged_first(void **state)
{
    struct kv *kv = start();
    (void)state;
    fake.is_preparing = true;
    ask(kv, 0);
    assert_false(pass(kv));
    assert_waits(0, KV_CHECKING);
    assert_int_equal(fake.checks, 0);
    assert_int_equal(fake.prepared, 2);
    fake.is_preparing = false;
    while (!pass(kv))
        assert_waits(0, KV_CHECKING);
    assert_alive(1, 0);
}

static void they_expire_stop_and_are_canceled(void **state)
{
    struct kv *kv = start();
    (void)state;
    ask(kv, 0);
    parts.now_ms += 1;
    ask(kv, 1);
    ask(kv, 2);
    ask(kv, 3);
    kv_cancel(kv, parts_request(1));
    parts.now_ms += kv->settings.limit_ms - 1;
    kv_lease_rights_expire(kv);
    assert_fails(0, ERR_TIMEOUT);
    assert_waits(2, KV_CHECKING);
    parts.now_ms += 1;
    kv_lease_rights_expire(kv);
    assert_fails(2, ERR_TIMEOUT);
    ask(kv, 4);
    kv_lease_rights_stop(kv);
    assert_answered(4, ERR_STOPPED);
    assert_int_equal(parts.callers[1].answers, 0);
    assert_true(list_is_empty(&kv->lease_rights.waiting));
    assert_true(pass(kv));
    assert_int_equal(fake.alive_count, 0);
}

/* Each of 64 users is checked in full once. One more takes the place of the user that asked longest ago. */
static void progress_is_kept_for_64_users(void **state)
{
    struct kv *kv = start();
    struct kv_request *r = parts_request(0);
    (void)state;
    for (unsigned i = 0; i <= ASKERS; i++) {
        r->who = &who[i];
        ask(kv, 0);
        assert_int_equal(r->state, KV_CHECKING);
        while (!pass(kv))
            ;
        assert_alive(1, 0);
        fake.alive_count = 0;
    }
    for (unsigned i = ASKERS; i > 0; i--) {
        unsigned before = fake.checks;
        r->who = &who[i];
        ask(kv, 0);
        assert_alive(1, 0);
        fake.alive_count = 0;
        assert_int_equal(fake.checks, before + 1);
    }
    r->who = &who[0];
    ask(kv, 0);
    assert_int_equal(r->state, KV_CHECKING);
}

/* --- entries -------------------------------------------------------------------------------------------------- */

static struct entry entry_of(enum entry_op op, const ProtobufCMessage *m)
{
    size_t size = protobuf_c_message_get_packed_size(m);
    assert_true(size <= sizeof body);
    protobuf_c_message_pack(m, body);
    return (struct entry){.op = op, .body = slice_of(body, size)};
}

static struct entry put_entry(int64_t lease)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    m.lease = lease;
    return entry_of(ENTRY_PUT, &m.base);
}

static struct entry txn_entry(int64_t lease, bool is_failure)
{
    Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops = &op;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.lease = lease;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &put;
    if (is_failure) {
        m.n_failure = 1;
        m.failure = &ops;
    } else {
        m.n_success = 1;
        m.success = &ops;
    }
    return entry_of(ENTRY_TXN, &m.base);
}

static struct entry revoke_entry(int64_t lease)
{
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    m.id = lease;
    return entry_of(ENTRY_LEASE_REVOKE, &m.base);
}

/* Slices until the entry is ready. */
static unsigned prepare(struct kv *kv, uint64_t index, const struct entry *e)
{
    const struct raft_entry raw = {.index = index};
    unsigned slices = 1;
    for (int64_t units = UNITS; !kv_prepare_leases(kv, &raw, e, &who[0], &units); units = UNITS) {
        assert_int_equal(kv->lease_rights.index, index);
        assert_non_null(kv->lease_rights.message);
        assert_true(units <= 0);
        assert_true(++slices < 10);
    }
    assert_int_equal(kv->lease_rights.index, 0);
    assert_null(kv->lease_rights.message);
    return slices;
}

static void entries_with_a_large_lease_are_prepared(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        struct kv *kv = start();
        struct entry e = kind == 0   ? put_entry(LEASE)
                         : kind == 1 ? txn_entry(LEASE, false)
                         : kind == 2 ? txn_entry(LEASE, true)
                                     : revoke_entry(LEASE);
        assert_int_equal(prepare(kv, 7, &e), 4);
        assert_in_range(fake.checks, KEYS, KEYS + 4);
        /* A second entry finds the progress; its message is decoded anew. */
        e = kind ? put_entry(LEASE) : revoke_entry(LEASE);
        unsigned before = fake.checks;
        assert_int_equal(prepare(kv, 8, &e), 1);
        assert_in_range(fake.checks - before, 0, 2);
        /* Only keys that came since then are checked. */
        attach(kv, LEASE, KEYS, 5);
        before = fake.checks;
        assert_int_equal(prepare(kv, 9, &e), 1);
        assert_in_range(fake.checks - before, 5, 7);
    }
}

/* An entry that comes while another one is prepared: its own message counts. */
static void another_entry_is_decoded(void **state)
{
    struct kv *kv = start();
    const struct raft_entry first = {.index = 7};
    struct entry e = put_entry(LEASE);
    int64_t units = UNITS;
    (void)state;
    assert_false(kv_prepare_leases(kv, &first, &e, &who[0], &units));
    e = put_entry(SMALL);
    unsigned before = fake.checks;
    assert_int_equal(prepare(kv, 8, &e), 1);
    assert_in_range(fake.checks - before, 0, FEW + 1);
}

static void some_entries_need_no_preparation(void **state)
{
    struct kv *kv = start();
    Etcdserverpb__LeaseGrantRequest m = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    struct entry e = put_entry(LEASE);
    (void)state;
    e.has_needs = true;
    assert_int_equal(prepare(kv, 7, &e), 1);
    e = put_entry(0);
    assert_int_equal(prepare(kv, 8, &e), 1);
    m.id = m.ttl = LEASE;
    e = entry_of(ENTRY_LEASE_GRANT, &m.base);
    assert_int_equal(prepare(kv, 9, &e), 1);
    e = put_entry(LEASE);
    e.body = slice_text("\xff\xff\xff"); /* it does not decode: it is refused when it is applied */
    assert_int_equal(prepare(kv, 10, &e), 1);
    assert_int_equal(fake.checks, 0);
    assert_int_equal(lease_revoke(kv->leases, LEASE), OK); /* no lease has many keys now */
    e = put_entry(SMALL);
    assert_int_equal(prepare(kv, 11, &e), 1);
    assert_int_equal(fake.checks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_lease_is_checked_at_once),
        cmocka_unit_test(some_need_no_check),
        cmocka_unit_test(a_large_lease_is_checked_in_slices),
        cmocka_unit_test(the_first_check_keeps_to_the_units_of_a_slice),
        cmocka_unit_test(a_refusal_ends_it),
        cmocka_unit_test(they_keep_their_order),
        cmocka_unit_test(a_slice_lets_a_bounded_number_go_on),
        cmocka_unit_test(changed_permissions_begin_again),
        cmocka_unit_test(rights_are_merged_first),
        cmocka_unit_test(they_expire_stop_and_are_canceled),
        cmocka_unit_test(progress_is_kept_for_64_users),
        cmocka_unit_test(entries_with_a_large_lease_are_prepared),
        cmocka_unit_test(another_entry_is_decoded),
        cmocka_unit_test(some_entries_need_no_preparation),
    };
    return cmocka_run_group_tests(tests, NULL, finish);
}
