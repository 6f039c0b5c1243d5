/* SPDX-License-Identifier: Apache-2.0
 * Tests of users and roles through the public API (kv.h):
 * - the answer and effect of every Auth request,
 * - the permissions when an entry is applied and when a read runs,
 * - tokens on every member, and the state after restarts and snapshots. */
#include "tests/unit/kv_auth_requests.h"

/* --- requests of clients ------------------------------------------------------------------------------- */

static int put_with(struct machine *m, const struct auth_who *who, const char *key, int64_t lease,
                    bool prev_kv)
{
    struct question q = {0};
    Etcdserverpb__PutRequest r = ETCDSERVERPB__PUT_REQUEST__INIT;
    r.key = world_bytes(key);
    r.value = world_bytes("v");
    r.lease = lease;
    r.prev_kv = prev_kv;
    q.request.who = who;
    ASK(m, &q, kv_put, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

static int put(struct machine *m, const struct auth_who *who, const char *key)
{
    return put_with(m, who, key, 0, false);
}

static int range(struct machine *m, const struct auth_who *who, const char *key, const char *end,
                 bool serializable)
{
    struct question q = {0};
    Etcdserverpb__RangeRequest r = ETCDSERVERPB__RANGE_REQUEST__INIT;
    r.key = world_bytes(key);
    r.range_end = world_bytes(end);
    r.serializable = serializable;
    q.request.who = who;
    ASK(m, &q, kv_range, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

static int delete_range(struct machine *m, const struct auth_who *who, const char *key, const char *end,
                        bool prev_kv)
{
    struct question q = {0};
    Etcdserverpb__DeleteRangeRequest r = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    r.key = world_bytes(key);
    r.range_end = world_bytes(end);
    r.prev_kv = prev_kv;
    q.request.who = who;
    ASK(m, &q, kv_delete_range, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

/* if `compared` exists then get then_get else put else_put, each NULL or a key; nested: all of that inside.
 */
static int txn(struct machine *m, const struct auth_who *who, const char *compared, const char *then_get,
               const char *else_put, bool is_nested)
{
    struct question q = {0};
    Etcdserverpb__TxnRequest r = ETCDSERVERPB__TXN_REQUEST__INIT, outer = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare c = ETCDSERVERPB__COMPARE__INIT, *compares[] = {&c};
    Etcdserverpb__RequestOp get = ETCDSERVERPB__REQUEST_OP__INIT, *gets[] = {&get};
    Etcdserverpb__RequestOp set = ETCDSERVERPB__REQUEST_OP__INIT, *sets[] = {&set};
    Etcdserverpb__RequestOp in = ETCDSERVERPB__REQUEST_OP__INIT, *ins[] = {&in};
    Etcdserverpb__RangeRequest range_request = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__PutRequest put_request = ETCDSERVERPB__PUT_REQUEST__INIT;
    c.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
    c.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
    c.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
    if (compared) {
        c.key = world_bytes(compared);
        r.compare = compares;
        r.n_compare = 1;
    }
    if (then_get) {
        range_request.key = world_bytes(then_get);
        get.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        get.request_range = &range_request;
        r.success = gets;
        r.n_success = 1;
    }
    if (else_put) {
        put_request.key = world_bytes(else_put);
        set.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        set.request_put = &put_request;
        r.failure = sets;
        r.n_failure = 1;
    }
    in.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    in.request_txn = &r;
    outer.success = ins;
    outer.n_success = 1;
    q.request.who = who;
    ASK(m, &q, kv_txn, is_nested ? &outer : &r);
    int err = q.err;
    question_done(&q);
    return err;
}

/* A write as the native API makes it: needs in place of the key that it puts. */
static const struct auth_need *need_of(const char *key, const char *end, bool is_write)
{
    static struct auth_need need;
    need = (struct auth_need){slice_text(key), slice_text(end), is_write};
    return &need;
}

static int put_for(struct machine *m, const struct auth_who *who, const char *key,
                   const struct auth_need *need)
{
    struct question q = {0};
    const struct auth_needs needs = {need, need != NULL};
    Etcdserverpb__PutRequest r = ETCDSERVERPB__PUT_REQUEST__INIT;
    r.key = world_bytes(key);
    q.request.who = who;
    q.request.needs = &needs;
    ASK(m, &q, kv_put, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

/* `then` is proposed right after the change: allowed when it arrives, refused where it is applied. */
static int put_behind(struct machine *m, const struct auth_who *root, const ProtobufCMessage *change,
                      const struct auth_who *who, const struct auth_need *need)
{
    struct question first = {.request = {.done = question_on_done, .who = root}};
    struct question second = {.request = {.done = question_on_done, .who = who}};
    const struct auth_needs needs = {need, 1};
    Etcdserverpb__PutRequest r = ETCDSERVERPB__PUT_REQUEST__INIT;
    r.key = world_bytes("/cairn/x");
    second.request.needs = &needs;
    assert_int_equal(kv_auth_check_range(m->kv, who, need->key, need->range_end, need->is_write), OK);
    kv_auth(m->kv, &first.request, change);
    kv_put(m->kv, &second.request, &r);
    world_wait_for(m->world, &second);
    assert_true(first.is_done);
    assert_int_equal(first.err, OK);
    int err = second.err;
    question_done(&first);
    question_done(&second);
    return err;
}

static int64_t grant(struct machine *m)
{
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest r = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    r.ttl = 60;
    ASK(m, &q, kv_lease_grant, &r);
    int64_t id = ((Etcdserverpb__LeaseGrantResponse *)q.response)->id;
    question_done(&q);
    return id;
}

static int revoke(struct machine *m, const struct auth_who *who, int64_t id)
{
    struct question q = {0};
    Etcdserverpb__LeaseRevokeRequest r = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    r.id = id;
    q.request.who = who;
    ASK(m, &q, kv_lease_revoke, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

static int leases(struct machine *m, const struct auth_who *who)
{
    struct question q = {0};
    Etcdserverpb__LeaseLeasesRequest r = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    q.request.who = who;
    ASK(m, &q, kv_lease_leases, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

/* The token's text is in the caller's buffer. */
static int authenticate(struct machine *m, const char *user, char *token, size_t size)
{
    struct question q = {.request.done = question_on_done};
    kv_authenticate(m->kv, &q.request, user, true);
    world_wait_for(m->world, &q);
    int err = q.err;
    if (!err)
        snprintf(token, size, "%s", ((Etcdserverpb__AuthenticateResponse *)q.response)->token);
    question_done(&q);
    return err;
}

/* --- tests --------------------------------------------------------------------------------------------- */

static struct world *new_world(unsigned machines, struct machine **ret_m)
{
    struct world *w = world_new(machines);
    *ret_m = world_wait_for_leader(w);
    return w;
}

static void requests_are_refused_as_etcd_does(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    assert_int_equal(revision_of(m), 1);
    assert_int_equal(enable(m, &nobody), ERR_ROOT_USER_NOT_EXIST);
    assert_int_equal(disable(m, &nobody), OK);
    assert_int_equal(user_add(m, &nobody, ""), ERR_USER_EMPTY);
    assert_int_equal(user_add(m, &nobody, "root"), OK);
    assert_int_equal(user_add(m, &nobody, "root"), ERR_USER_EXISTS);
    assert_int_equal(revision_of(m), 2);
    assert_int_equal(enable(m, &nobody), ERR_ROOT_ROLE_NOT_EXIST);
    assert_int_equal(user_grant(m, &nobody, "root", "root"), OK); /* the role need not be there */
    assert_int_equal(user_grant(m, &nobody, "root", "root"), OK);
    assert_int_equal(revision_of(m), 3);
    assert_int_equal(user_grant(m, &nobody, "nobody", "root"), ERR_USER_NOT_FOUND);
    assert_int_equal(user_grant(m, &nobody, "root", "none"), ERR_ROLE_NOT_FOUND);
    assert_int_equal(user_revoke(m, &nobody, "root", "none"), ERR_ROLE_NOT_GRANTED);
    assert_int_equal(user_revoke(m, &nobody, "nobody", "none"), ERR_USER_NOT_FOUND);
    assert_int_equal(user_delete(m, &nobody, "nobody"), ERR_USER_NOT_FOUND);
    assert_int_equal(change_password(m, &nobody, "nobody"), ERR_USER_NOT_FOUND);
    assert_int_equal(role_add(m, &nobody, ""), ERR_ROLE_EMPTY);
    assert_int_equal(role_add(m, &nobody, "r"), OK);
    assert_int_equal(role_add(m, &nobody, "r"), ERR_ROLE_EXISTS);
    assert_int_equal(role_delete(m, &nobody, "none"), ERR_ROLE_NOT_FOUND);
    assert_int_equal(role_grant(m, &nobody, "none", 0, "a", ""), ERR_ROLE_NOT_FOUND);
    assert_int_equal(role_grant(m, &nobody, "r", 0, "b", "a"), ERR_INVALID_AUTH_MGMT);
    assert_int_equal(role_grant(m, &nobody, "r", 0, "", ""), ERR_INVALID_AUTH_MGMT);
    assert_int_equal(role_revoke(m, &nobody, "r", "a", ""), ERR_PERMISSION_NOT_GRANTED);
    assert_int_equal(role_revoke(m, &nobody, "none", "a", ""), ERR_ROLE_NOT_FOUND);
    assert_int_equal(revision_of(m), 4);
    char name[AUTH_NAME_MAX + 2];
    memset(name, 'x', sizeof name);
    name[AUTH_NAME_MAX + 1] = 0;
    assert_int_equal(user_add(m, &nobody, name), ERR_REQUEST_TOO_LARGE);
    assert_int_equal(role_add(m, &nobody, name), ERR_REQUEST_TOO_LARGE);
    name[AUTH_NAME_MAX] = 0;
    assert_int_equal(user_add(m, &nobody, name), OK);
    world_free(w);
}

static void only_root_administers(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), gone = as_of_now(m, "gone");
    struct question q;
    Etcdserverpb__AuthUserGetRequest user = ETCDSERVERPB__AUTH_USER_GET_REQUEST__INIT;
    Etcdserverpb__AuthRoleGetRequest role = ETCDSERVERPB__AUTH_ROLE_GET_REQUEST__INIT;
    Etcdserverpb__AuthUserListRequest users = ETCDSERVERPB__AUTH_USER_LIST_REQUEST__INIT;
    assert_int_equal(user_add(m, &nobody, "eve"), ERR_USER_EMPTY);
    assert_int_equal(user_add(m, &alice, "eve"), ERR_PERMISSION_DENIED);
    assert_int_equal(user_add(m, &gone, "eve"), ERR_USER_NOT_FOUND);
    assert_int_equal(disable(m, &alice), ERR_PERMISSION_DENIED);
    assert_int_equal(user_delete(m, &root, "root"), ERR_INVALID_AUTH_MGMT);
    assert_int_equal(user_revoke(m, &root, "root", "root"), ERR_INVALID_AUTH_MGMT);
    assert_int_equal(role_delete(m, &root, "root"), ERR_INVALID_AUTH_MGMT);
    assert_int_equal(ask(m, &alice, &users.base, NULL), ERR_PERMISSION_DENIED);
    assert_int_equal(ask(m, &root, &users.base, &q), OK);
    const Etcdserverpb__AuthUserListResponse *list = (Etcdserverpb__AuthUserListResponse *)q.response;
    assert_int_equal(list->n_users, 3);
    assert_string_equal(list->users[0], "alice");
    assert_string_equal(list->users[2], "root");
    question_done(&q);
    /* A user may see its own roles. */
    user.name = TEXT("bob");
    assert_int_equal(ask(m, &alice, &user.base, NULL), ERR_PERMISSION_DENIED);
    user.name = TEXT("alice");
    assert_int_equal(ask(m, &alice, &user.base, &q), OK);
    assert_string_equal(((Etcdserverpb__AuthUserGetResponse *)q.response)->roles[0], "ab");
    question_done(&q);
    role.role = TEXT("b");
    assert_int_equal(ask(m, &alice, &role.base, NULL), ERR_PERMISSION_DENIED);
    role.role = TEXT("ab");
    assert_int_equal(ask(m, &alice, &role.base, &q), OK);
    assert_int_equal(((Etcdserverpb__AuthRoleGetResponse *)q.response)->n_perm, 2);
    question_done(&q);
    assert_int_equal(role_delete(m, &root, "ab"), OK);
    root = as_of_now(m, "root");
    assert_int_equal(ask(m, &root, &user.base, &q), OK);
    assert_int_equal(((Etcdserverpb__AuthUserGetResponse *)q.response)->n_roles, 0);
    question_done(&q);
    assert_int_equal(disable(m, &root), OK);
    assert_int_equal(put(m, &nobody, "z"), OK);
    world_free(w);
}

static void keys_are_checked_where_they_are_touched(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    for (unsigned s = 0; s < 2; s++) {
        assert_int_equal(range(m, &nobody, "a", "", s), ERR_USER_EMPTY);
        assert_int_equal(range(m, &alice, "a", "c", s), OK);
        assert_int_equal(range(m, &alice, "a", "d", s), ERR_PERMISSION_DENIED);
        assert_int_equal(range(m, &bob, "b", "", s), OK);
        assert_int_equal(range(m, &bob, "b", "c", s), ERR_PERMISSION_DENIED);
        assert_int_equal(range(m, &root, "z", "", s), OK);
    }
    assert_int_equal(put(m, &nobody, "a"), ERR_USER_EMPTY);
    assert_int_equal(put(m, &alice, "a"), OK);
    assert_int_equal(put(m, &alice, "c"), ERR_PERMISSION_DENIED);
    assert_int_equal(put(m, &bob, "b"), ERR_PERMISSION_DENIED);
    assert_int_equal(put(m, &root, "z"), OK);
    assert_int_equal(put(m, NULL, "z"), OK); /* this process's own */
    assert_int_equal(delete_range(m, &alice, "a", "c", true), OK);
    assert_int_equal(delete_range(m, &alice, "a", "d", false), ERR_PERMISSION_DENIED);
    assert_int_equal(delete_range(m, &bob, "b", "", false), ERR_PERMISSION_DENIED);
    assert_int_equal(role_grant(m, &root, "b", AUTHPB__PERMISSION__TYPE__WRITE, "w", ""), OK);
    /* An older revision is refused, a newer one not; permission to write is not permission to read. */
    assert_int_equal(put(m, &alice, "a"), ERR_AUTH_OLD_REVISION);
    assert_int_equal(range(m, &alice, "a", "", false), ERR_AUTH_OLD_REVISION);
    bob = as_of_now(m, "bob");
    assert_int_equal(put(m, &bob, "w"), OK);
    assert_int_equal(put_with(m, &bob, "w", 0, true), ERR_PERMISSION_DENIED);
    assert_int_equal(delete_range(m, &bob, "w", "", true), ERR_PERMISSION_DENIED);
    assert_int_equal(range(m, &bob, "w", "", true), ERR_PERMISSION_DENIED);
    assert_int_equal(delete_range(m, &bob, "w", "", false), OK);
    world_free(w);
}

static void all_of_a_transaction_is_checked(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    settle(m);
    struct auth_who alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    for (unsigned nested = 0; nested < 2; nested++) {
        assert_int_equal(txn(m, &alice, "a", "a", "b", nested), OK);
        assert_int_equal(txn(m, &alice, "z", "a", "b", nested), ERR_PERMISSION_DENIED);
        assert_int_equal(txn(m, &alice, "a", "z", "b", nested), ERR_PERMISSION_DENIED);
        assert_int_equal(txn(m, &alice, "a", "a", "z", nested), ERR_PERMISSION_DENIED);
        assert_int_equal(txn(m, &bob, NULL, "b", NULL, nested), OK);
        assert_int_equal(txn(m, &bob, NULL, "b", "b", nested), ERR_PERMISSION_DENIED);
        assert_int_equal(txn(m, &bob, NULL, "a", NULL, nested), ERR_PERMISSION_DENIED);
        assert_int_equal(txn(m, &nobody, NULL, "b", NULL, nested), ERR_USER_EMPTY);
    }
    world_free(w);
}

static void leases_are_their_keys(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    int64_t id = grant(m), other = grant(m);
    assert_int_equal(put_with(m, &alice, "a", id, false), OK);
    assert_int_equal(leases(m, &alice), OK);
    assert_int_equal(leases(m, &bob), ERR_PERMISSION_DENIED);
    assert_int_equal(put_with(m, &root, "z", id, false), OK);
    assert_int_equal(leases(m, &alice), ERR_PERMISSION_DENIED);
    assert_int_equal(leases(m, &root), OK);
    assert_int_equal(kv_auth_check_lease(m->kv, &alice, id, true, (struct slice){0}, NULL),
                     ERR_PERMISSION_DENIED);
    /* alice can neither revoke z's lease nor attach a key of hers to it. */
    assert_int_equal(put_with(m, &alice, "b", id, false), ERR_PERMISSION_DENIED);
    assert_int_equal(revoke(m, &alice, id), ERR_PERMISSION_DENIED);
    assert_int_equal(revoke(m, &nobody, id), ERR_USER_EMPTY);
    assert_int_equal(revoke(m, &root, id), OK);
    assert_int_equal(revoke(m, &bob, other), OK); /* it has no keys: any user may revoke it, as in etcd */
    world_expect(m, "z", "");
    /* The leader ends expired leases by itself. */
    id = grant(m);
    assert_int_equal(put_with(m, &root, "z", id, false), OK);
    world_run_ms(w, 70000);
    world_expect(m, "z", "");
    world_free(w);
}

/* --- leases of very many keys ------------------------------------------------------------------------- */

enum { MANY_KEYS = 300 };

static int64_t many_keys(struct machine *m)
{
    int64_t id = grant(m);
    char key[16];
    for (int i = 0; i < MANY_KEYS; i++) {
        snprintf(key, sizeof key, "a%03d", i);
        assert_int_equal(put_with(m, NULL, key, id, false), OK);
    }
    return id;
}

static int keep_alive(struct machine *m, const struct auth_who *who, int64_t id)
{
    struct question q = {0};
    Etcdserverpb__LeaseKeepAliveRequest r = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    r.id = id;
    q.request.who = who;
    ASK(m, &q, kv_lease_keep_alive_checked, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

/* The verdict about an entry depends neither on the number of turns of its check nor on the member. */
static void a_lease_of_many_keys_is_checked_in_slices(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(3, &m);
    int64_t id = many_keys(m), other = grant(m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    assert_int_equal(put_with(m, &alice, "a", id, false), OK);
    assert_int_equal(put_with(m, &bob, "b", id, false), ERR_PERMISSION_DENIED);
    assert_int_equal(keep_alive(m, &alice, id), OK);
    assert_int_equal(keep_alive(world_follower(w), &alice, id), OK);
    assert_int_equal(keep_alive(m, &bob, id), ERR_PERMISSION_DENIED);
    assert_int_equal(keep_alive(m, &bob, other), OK); /* no keys: everybody's, as in etcd */
    assert_int_equal(keep_alive(m, &nobody, id), ERR_USER_EMPTY);
    assert_int_equal(keep_alive(m, &root, id), OK);
    assert_int_equal(revoke(m, &bob, id), ERR_PERMISSION_DENIED);
    /* One more key, which alice may not write. */
    assert_int_equal(put_with(m, &root, "z", id, false), OK);
    assert_int_equal(put_with(m, &alice, "a", id, false), ERR_PERMISSION_DENIED);
    assert_int_equal(keep_alive(m, &alice, id), ERR_PERMISSION_DENIED);
    assert_int_equal(leases(m, &alice), ERR_PERMISSION_DENIED);
    assert_int_equal(revoke(m, &alice, id), ERR_PERMISSION_DENIED);
    assert_int_equal(put_with(m, &root, "z", 0, false), OK);
    assert_int_equal(leases(m, &alice), OK);
    /* A change of the rights begins all checks anew. */
    assert_int_equal(role_revoke(m, &root, "ab", "b", "c"), OK);
    alice = as_of_now(m, "alice");
    assert_int_equal(keep_alive(m, &alice, id), OK);
    assert_int_equal(role_revoke(m, &root, "ab", "a", "b"), OK);
    alice = as_of_now(m, "alice");
    assert_int_equal(keep_alive(m, &alice, id), ERR_PERMISSION_DENIED);
    assert_int_equal(put_with(m, &alice, "a", id, false), ERR_PERMISSION_DENIED);
    root = as_of_now(m, "root");
    assert_int_equal(role_grant(m, &root, "ab", AUTHPB__PERMISSION__TYPE__READWRITE, "a", "b"), OK);
    alice = as_of_now(m, "alice");
    assert_int_equal(revoke(m, &alice, id), OK);
    world_expect(m, "a000", "");
    world_run_ms(w, 500);
    world_expect_equal_stores(w);
    world_free(w);
}

static unsigned turns_until_done(struct machine *m, const struct question *q)
{
    unsigned turns = 0;
    for (; !q->is_done && turns < 10 * MANY_KEYS; turns++)
        world_step(m->world);
    assert_true(q->is_done);
    return turns;
}

/* With slices of one key: heartbeats and reads go on meanwhile. */
static void a_check_in_slices_holds_up_no_other(void **state)
{
    (void)state;
    struct machine *m;
    int64_t slice_units = world_slice_units;
    world_slice_units = 1;
    struct world *w = new_world(1, &m);
    int64_t id = many_keys(m);
    settle(m);
    struct auth_who alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__LeaseKeepAliveRequest k = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    p.key = world_bytes("a");
    p.lease = k.id = id;
    struct question put_q = {.request = {.done = question_on_done, .who = &alice}};
    kv_put(m->kv, &put_q.request, &p);
    assert_int_equal(range(m, &bob, "b", "", true), OK);
    assert_false(put_q.is_done);
    assert_true(turns_until_done(m, &put_q) > MANY_KEYS / 2);
    assert_int_equal(put_q.err, OK);
    question_done(&put_q);
    assert_int_equal(put_with(m, &alice, "a", id, false), OK);
    /* Keep-alives: alice's are ready by now. One that is canceled leaves the others alone. */
    Etcdserverpb__AuthUserAddRequest carol = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    carol.name = TEXT("carol");
    carol.hashedpassword = TEXT(HASH);
    struct auth_who root = as_of_now(m, "root");
    assert_int_equal(ask(m, &root, &carol.base, NULL), OK);
    alice = as_of_now(m, "alice");
    struct question first = {.request = {.done = question_on_done, .who = &alice}}, second = first;
    kv_lease_keep_alive_checked(m->kv, &first.request, &k);
    kv_lease_keep_alive_checked(m->kv, &second.request, &k);
    assert_int_equal(range(m, &bob, "b", "", true), ERR_AUTH_OLD_REVISION);
    assert_false(first.is_done);
    kv_cancel(m->kv, &first.request);
    assert_true(turns_until_done(m, &second) > MANY_KEYS / 2);
    assert_int_equal(second.err, OK);
    assert_false(first.is_done);
    question_done(&second);
    /* A member that closes answers what waits. */
    root = as_of_now(m, "root");
    carol.name = TEXT("dave");
    assert_int_equal(ask(m, &root, &carol.base, NULL), OK);
    alice = as_of_now(m, "alice");
    struct question last = {.request = {.done = question_on_done, .who = &alice}};
    kv_lease_keep_alive_checked(m->kv, &last.request, &k);
    world_free(w);
    assert_true(last.is_done);
    assert_int_equal(last.err, ERR_STOPPED);
    question_done(&last);
    world_slice_units = slice_units;
}

static void a_token_is_known_everywhere(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(3, &m);
    struct auth_who who, root = settle(m);
    char token[64], second[64];
    assert_int_equal(authenticate(m, "none", token, sizeof token), ERR_AUTH_FAILED);
    assert_int_equal(authenticate(world_follower(w), "alice", token, sizeof token), OK);
    assert_int_equal(strcspn(token, "."), AUTH_TOKEN_LETTERS);
    assert_int_equal(authenticate(m, "alice", second, sizeof second), OK);
    assert_string_not_equal(token, second);
    world_run_ms(w, 500);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kv_auth_token(w->machines[i].kv, slice_text(token), &who), OK);
        assert_true(slice_equal(who.user, slice_text("alice")));
        assert_int_equal(range(&w->machines[i], &who, "a", "", true), OK);
        assert_int_equal(put(&w->machines[i], &who, "z"), ERR_PERMISSION_DENIED);
    }
    /* A member waits for a token that it does not know yet. */
    assert_int_equal(kv_auth_token(m->kv, slice_text("abcdefghijklmnop.1"), &who), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(kv_auth_token(m->kv, slice_text("abcdefghijklmnop.9999999"), &who), ERR_NOT_READY);
    struct question q = {.request.done = question_on_done};
    struct machine *slow = world_follower(w);
    slow->is_cut = true;
    assert_int_equal(authenticate(m, "bob", second, sizeof second), OK);
    assert_int_equal(kv_auth_token(slow->kv, slice_text(second), &who), ERR_NOT_READY);
    kv_auth_wait(slow->kv, &q.request, slice_text(second));
    world_run_ms(w, 300);
    assert_false(q.is_done);
    slow->is_cut = false;
    assert_int_equal(put(m, NULL, "k"), OK); /* the mailboxes report no loss */
    world_wait_for(w, &q);
    assert_int_equal(q.err, OK);
    assert_int_equal(kv_auth_token(slow->kv, slice_text(second), &who), OK);
    /* Invalid after a change of the password. */
    world_wait_for_leader(w);
    m = world_leader(w);
    assert_int_equal(change_password(m, &root, "alice"), OK);
    assert_int_equal(kv_auth_token(m->kv, slice_text(token), &who), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(kv_auth_token(m->kv, slice_text(second), &who), OK);
    root = as_of_now(m, "root");
    assert_int_equal(disable(m, &root), OK);
    assert_int_equal(kv_auth_token(m->kv, slice_text(second), &who), ERR_INVALID_AUTH_TOKEN);
    world_free(w);
}

static void a_native_write_is_checked_by_its_needs(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(3, &m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    struct auth_who late = {.user = slice_text("carol"), .revision = alice.revision, .is_renewed = true};
    assert_int_equal(put_for(m, &alice, "/cairn/x", need_of("a", "", true)), OK);
    assert_int_equal(put_for(m, &alice, "/cairn/x", need_of("a", "c", true)), OK);
    assert_int_equal(put_for(m, &alice, "a", need_of("z", "", true)), ERR_PERMISSION_DENIED);
    assert_int_equal(put_for(m, &alice, "a", need_of("a", "d", true)), ERR_PERMISSION_DENIED);
    assert_int_equal(put_for(m, &bob, "/cairn/x", need_of("b", "", false)), OK);
    assert_int_equal(put_for(m, &bob, "/cairn/x", need_of("b", "", true)), ERR_PERMISSION_DENIED);
    assert_int_equal(put_for(m, &bob, "/cairn/x", NULL), OK); /* a known user is enough */
    assert_int_equal(put_for(m, &nobody, "/cairn/x", need_of("a", "", true)), ERR_USER_EMPTY);
    assert_int_equal(put_for(m, &nobody, "/cairn/x", NULL), ERR_USER_EMPTY);
    assert_int_equal(put_for(m, &late, "/cairn/x", NULL), ERR_USER_NOT_FOUND);
    assert_int_equal(put_for(m, &root, "/cairn/x", need_of("z", "", true)), OK);
    /* Changes that do not concern alice do not make her token old, also not a token with a revision in it. */
    assert_int_equal(user_add(m, &root, "dave"), OK);
    assert_int_equal(put(m, &alice, "a"), ERR_AUTH_OLD_REVISION);
    assert_int_equal(put_for(m, &alice, "/cairn/x", need_of("a", "", true)), OK);
    world_run_ms(w, 500);
    world_expect_equal_stores(w);
    world_free(w);
}

static void a_right_may_be_revoked_between_arrival_and_apply(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(3, &m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    alice.is_renewed = bob.is_renewed = root.is_renewed = true;
    const struct auth_need a = {slice_text("a"), {0}, true}, b = {slice_text("b"), {0}, false};
    Etcdserverpb__AuthRoleRevokePermissionRequest take =
        ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    take.role = TEXT("ab");
    take.key = world_bytes("a");
    take.range_end = world_bytes("b");
    assert_int_equal(put_behind(m, &root, &take.base, &alice, &a), ERR_PERMISSION_DENIED);
    Etcdserverpb__AuthUserChangePasswordRequest change =
        ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    change.name = TEXT("bob");
    change.hashedpassword = TEXT(HASH);
    assert_int_equal(put_behind(m, &root, &change.base, &bob, &b), ERR_AUTH_OLD_REVISION);
    bob = as_of_now(m, "bob");
    bob.is_renewed = true;
    Etcdserverpb__AuthUserDeleteRequest gone = ETCDSERVERPB__AUTH_USER_DELETE_REQUEST__INIT;
    gone.name = TEXT("bob");
    assert_int_equal(put_behind(m, &root, &gone.base, &bob, &b), ERR_USER_NOT_FOUND);
    world_expect(m, "/cairn/x", "");
    world_run_ms(w, 500);
    world_expect_equal_stores(w);
    world_free(w);
}

/* Auth is enabled between the two: an anonymous client may not write any more. */
static void an_anonymous_write_after_enable(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    struct auth_who root = settle(m);
    const struct auth_need a = {slice_text("a"), {0}, true};
    Etcdserverpb__AuthEnableRequest enable_it = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    assert_int_equal(disable(m, &root), OK);
    assert_int_equal(put_behind(m, &nobody, &enable_it.base, &nobody, &a), ERR_USER_EMPTY);
    world_free(w);
}

static void tokens_before_a_password_change_are_void(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(3, &m);
    struct auth_who root = settle(m), alice = as_of_now(m, "alice"), bob = as_of_now(m, "bob");
    struct auth_who by_certificate = {.user = slice_text("root"),
                                      .revision = AUTH_REVISION_ANY,
                                      .is_renewed = true},
                    old_root = root;
    alice.is_renewed = bob.is_renewed = true;
    assert_int_equal(kv_auth_check_user(m->kv, &alice), OK);
    assert_int_equal(change_password(m, &root, "alice"), OK);
    assert_int_equal(kv_auth_check_user(m->kv, &alice), ERR_AUTH_OLD_REVISION);
    assert_int_equal(kv_auth_check_user(m->kv, &bob), OK);
    assert_int_equal(put(m, &alice, "a"), ERR_AUTH_OLD_REVISION);
    assert_int_equal(range(m, &alice, "a", "", true), ERR_AUTH_OLD_REVISION);
    assert_int_equal(range(m, &bob, "b", "", true), OK);
    /* An administrator's permission is checked too: etcd forgets it there. */
    assert_int_equal(change_password(m, &old_root, "root"), OK);
    assert_int_equal(kv_auth_check_admin(m->kv, &old_root), ERR_AUTH_OLD_REVISION);
    assert_int_equal(user_add(m, &old_root, "mallory"), ERR_AUTH_OLD_REVISION);
    assert_int_equal(user_add(m, &by_certificate, "carol"), OK); /* no password was shown */
    /* A new user of the same name is another user. */
    root = as_of_now(m, "root");
    assert_int_equal(user_delete(m, &root, "bob"), OK);
    assert_int_equal(kv_auth_check_user(m->kv, &bob), ERR_USER_NOT_FOUND);
    assert_int_equal(user_add(m, &root, "bob"), OK);
    assert_int_equal(kv_auth_check_user(m->kv, &bob), ERR_AUTH_OLD_REVISION);
    /* It is in the table: after a restart, too. */
    world_run_ms(w, 500);
    struct machine *other = world_follower(w);
    machine_crash(other);
    machine_start(other, false);
    for (unsigned i = 0; i < 200 && kv_revision(other->kv) < kv_revision(m->kv); i++)
        world_run_ms(w, 50);
    world_run_ms(w, 500);
    assert_int_equal(kv_auth_check_user(other->kv, &alice), ERR_AUTH_OLD_REVISION);
    assert_int_equal(kv_auth_check_user(other->kv, &bob), ERR_AUTH_OLD_REVISION);
    assert_int_equal(kv_auth_check_admin(other->kv, &old_root), ERR_AUTH_OLD_REVISION);
    assert_int_equal(kv_auth_check_admin(other->kv, &by_certificate), OK);
    world_free(w);
}

static void the_epoch_moves_with_every_change(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(3, &m);
    struct machine *other = world_follower(w);
    uint64_t epoch = kv_auth_epoch(m->kv), others = kv_auth_epoch(other->kv);
    char token[64];
    assert_true(epoch > 0 && others > 0);
    struct auth_who root = settle(m);
    world_run_ms(w, 500);
    assert_true(kv_auth_epoch(m->kv) == epoch + 12); /* enable changes rights, but not the revision */
    assert_true(kv_auth_epoch(other->kv) == others + 12);
    epoch = kv_auth_epoch(m->kv);
    assert_int_equal(user_add(m, &root, "root"), ERR_USER_EXISTS);
    assert_int_equal(put(m, &root, "a"), OK);
    assert_int_equal(authenticate(m, "alice", token, sizeof token), OK);
    assert_true(kv_auth_epoch(m->kv) == epoch);
    assert_int_equal(disable(m, &root), OK);
    assert_true(kv_auth_epoch(m->kv) == epoch + 1);
    world_free(w);
}

static void expect_rules(struct machine *m)
{
    struct auth_who alice = as_of_now(m, "alice");
    assert_true(kv_auth_is_enabled(m->kv));
    assert_int_equal(put(m, &nobody, "a"), ERR_USER_EMPTY);
    assert_int_equal(put(m, &alice, "a"), OK);
    assert_int_equal(put(m, &alice, "z"), ERR_PERMISSION_DENIED);
    assert_int_equal(range(m, &alice, "z", "", true), ERR_PERMISSION_DENIED);
}

static void rules_outlive_restarts(void **state)
{
    (void)state;
    struct machine *m;
    struct world *w = new_world(1, &m);
    settle(m);
    uint64_t revision = kv_auth_revision(m->kv);
    world_run_ms(w, 500);
    machine_stop(m);
    machine_start(m, false);
    world_wait_for_leader(w);
    assert_true(kv_auth_revision(m->kv) == revision);
    expect_rules(m);
    machine_crash(m);
    machine_start(m, false);
    world_wait_for_leader(w);
    assert_true(kv_auth_revision(m->kv) == revision);
    expect_rules(m);
    world_free(w);
}

static void rules_come_with_a_snapshot(void **state)
{
    (void)state;
    world_catchup_entries = 10;
    struct machine *m;
    struct world *w = new_world(3, &m);
    struct machine *slow = world_follower(w);
    slow->is_cut = true;
    world_wait_for_leader(w);
    m = world_leader(w);
    settle(m);
    for (unsigned i = 0; i < 60; i++)
        assert_int_equal(put(m, NULL, "k"), OK);
    world_run_ms(w, 500);
    assert_false(kv_auth_is_enabled(slow->kv));
    uint64_t epoch = kv_auth_epoch(slow->kv);
    slow->is_cut = false;
    world_wait_for_leader(w);
    for (unsigned i = 0; i < 200 && kv_revision(slow->kv) < kv_revision(m->kv); i++)
        world_run_ms(w, 50);
    assert_true(kv_auth_epoch(slow->kv) > epoch);
    expect_rules(slow);
    world_expect_equal_stores(w);
    world_catchup_entries = 5000;
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_refused_as_etcd_does),
        cmocka_unit_test(only_root_administers),
        cmocka_unit_test(keys_are_checked_where_they_are_touched),
        cmocka_unit_test(all_of_a_transaction_is_checked),
        cmocka_unit_test(leases_are_their_keys),
        cmocka_unit_test(a_lease_of_many_keys_is_checked_in_slices),
        cmocka_unit_test(a_check_in_slices_holds_up_no_other),
        cmocka_unit_test(a_token_is_known_everywhere),
        cmocka_unit_test(a_native_write_is_checked_by_its_needs),
        cmocka_unit_test(a_right_may_be_revoked_between_arrival_and_apply),
        cmocka_unit_test(an_anonymous_write_after_enable),
        cmocka_unit_test(tokens_before_a_password_change_are_void),
        cmocka_unit_test(the_epoch_moves_with_every_change),
        cmocka_unit_test(rules_outlive_restarts),
        cmocka_unit_test(rules_come_with_a_snapshot),
    };
    log_set_level(LOG_ERROR);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    world_slice_units = 1; /* each write waits while the rights of its author are merged */
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
