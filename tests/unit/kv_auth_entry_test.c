/* SPDX-License-Identifier: Apache-2.0
 * Authors of entries, and what they may do when the entry is applied; tokens; when the epoch of rights moves.
 * Users, roles and rights (consensus/auth) and the lease table are linked as they are. kv_auth_test has it
 * with a whole member. */
#define KV_PARTS_REAL_AUTH
#include "kv_parts.h"

enum { LEASE = 70, TTL_MS = 300000 };

static unsigned rechecks; /* of the rights of open streams */

void watch_recheck_permissions(struct watch_hub *h)
{
    (void)h;
    rechecks++;
}

void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value)
{
    (void)s;
    (void)key;
    (void)value;
    assert_int_equal(table, BACKEND_AUTH);
}

int store_scan(struct store *s, enum backend_table table,
               bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    (void)s;
    (void)table;
    (void)fn;
    (void)arg;
    return OK; /* an empty table */
}

bool kv_lease_scan_is_needed(const struct kv *kv, const struct kv_request *r)
{
    (void)kv;
    (void)r;
    return false;
}

/* Keys of leases are prepared at once. */
bool kv_prepare_leases(struct kv *kv, const struct raft_entry *raw, const struct entry *e,
                       const struct auth_who *who, int64_t *units)
{
    (void)kv;
    (void)raw;
    (void)e;
    (void)who;
    (void)units;
    return true;
}

bool kv_pass_keep_alives(struct kv *kv, int64_t *units)
{
    (void)kv;
    (void)units;
    return true;
}

/* --- a member with users --------------------------------------------------------------------------------------- */

static int apply(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    struct entry e = {.op = op, .who = {.user = slice_text("root"), .auth_revision = kv_auth_revision(kv)}};
    struct kv_outcome outcome = kv_apply_auth(kv, &e, m);
    if (!outcome.err)
        assert_non_null(outcome.header);
    return outcome.err;
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)s;
}

static void add_user(struct kv *kv, const char *name, const char *role, bool has_password)
{
    Etcdserverpb__AuthUserAddRequest user = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Authpb__UserAddOptions options = AUTHPB__USER_ADD_OPTIONS__INIT;
    Etcdserverpb__AuthUserGrantRoleRequest grant = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    user.name = text(name);
    user.hashedpassword = text(has_password ? "aGFzaA==" : "");
    options.no_password = !has_password;
    user.options = &options;
    assert_int_equal(apply(kv, ENTRY_AUTH_USER_ADD, &user.base), OK);
    grant.user = text(name);
    grant.role = text(role);
    assert_int_equal(apply(kv, ENTRY_AUTH_USER_GRANT_ROLE, &grant.base), OK);
}

static void add_role(struct kv *kv, const char *name, const char *key, const char *range_end)
{
    Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    Etcdserverpb__AuthRoleGrantPermissionRequest grant =
        ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    role.name = text(name);
    assert_int_equal(apply(kv, ENTRY_AUTH_ROLE_ADD, &role.base), OK);
    permission.permtype = AUTHPB__PERMISSION__TYPE__READWRITE;
    permission.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)text(key)};
    permission.range_end = (ProtobufCBinaryData){strlen(range_end), (uint8_t *)text(range_end)};
    grant.name = text(name);
    grant.perm = &permission;
    assert_int_equal(apply(kv, ENTRY_AUTH_ROLE_GRANT_PERMISSION, &grant.base), OK);
}

/* anna may read and write the keys from a to b; auth is enabled. */
static struct kv *start(void)
{
    if (parts.kv.leases) {
        lease_table_free(parts.kv.leases);
        kv_auth_done(&parts.kv.auth);
    }
    struct kv *kv = parts_start();
    Etcdserverpb__AuthRoleAddRequest root = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    Etcdserverpb__AuthEnableRequest enable = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    kv->hub = (void *)&rechecks;
    kv->leases = lease_table_new(1);
    kv_auth_init(&kv->auth, TTL_MS);
    assert_int_equal(kv_auth_load(kv), OK);
    root.name = text("root");
    assert_int_equal(apply(kv, ENTRY_AUTH_ROLE_ADD, &root.base), OK);
    add_role(kv, "of-a", "a", "b");
    add_user(kv, "root", "root", true);
    add_user(kv, "anna", "of-a", true);
    add_user(kv, "cert", "of-a", false);
    assert_int_equal(apply(kv, ENTRY_AUTH_ENABLE, &enable.base), OK);
    assert_true(kv_auth_is_enabled(kv));
    rechecks = 0;
    return kv;
}

static struct auth_who anna(const struct kv *kv)
{
    return (struct auth_who){.user = slice_text("anna"), .revision = kv_auth_revision(kv)};
}

static int delete_user(struct kv *kv, const char *name)
{
    Etcdserverpb__AuthUserDeleteRequest m = ETCDSERVERPB__AUTH_USER_DELETE_REQUEST__INIT;
    m.name = text(name);
    return apply(kv, ENTRY_AUTH_USER_DELETE, &m.base);
}

/* --- whose word an entry is ----------------------------------------------------------------------------------------- */

static void test_authors(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct kv_request r = {0};
    assert_true(kv_author_of(kv, &r).is_own);
    struct auth_who who = anna(kv);
    r.who = &who;
    struct entry_who author = kv_author_of(kv, &r);
    assert_false(author.is_own);
    assert_true(slice_equal(author.user, who.user));
    assert_int_equal(author.auth_revision, who.revision);
    who.revision = kv_auth_revision(kv) - 1; /* an old token: the entry says so, and is refused */
    assert_int_equal(kv_author_of(kv, &r).auth_revision, who.revision);
    who.is_renewed = true; /* its rights are those of now */
    assert_int_equal(kv_author_of(kv, &r).auth_revision, kv_auth_revision(kv));
    who = (struct auth_who){.user = slice_text(AUTH_ANONYMOUS), .is_role = true};
    assert_int_equal(kv_author_of(kv, &r).user.size, 0); /* a role writes nothing */
    assert_int_equal(kv_author_of(kv, &r).auth_revision, 0);
}

/* With needs the entry has the revision of the credential. Nobody needs nothing, and is refused by that. */
static void test_authors_with_needs(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_need need = {.key = slice_text("a"), .is_write = true};
    struct auth_needs needs = {&need, 1};
    struct auth_who who = anna(kv);
    struct kv_request r = {.who = &who, .needs = &needs};
    who.revision = kv_auth_revision(kv) - 1;
    who.is_renewed = true;
    assert_int_equal(kv_author_of(kv, &r).auth_revision, who.revision);
    assert_ptr_equal(kv_author_of(kv, &r).needs, &needs);
    who = (struct auth_who){0};
    assert_int_equal(kv_author_of(kv, &r).needs->count, 0);
    who = (struct auth_who){.user = slice_text("of-a"), .is_role = true};
    assert_int_equal(kv_author_of(kv, &r).needs->count, 0);
}

/* --- entries --------------------------------------------------------------------------------------------------------- */

static int check(struct kv *kv, const struct auth_who *who, enum entry_op op, const ProtobufCMessage *m)
{
    struct entry e = {.op = op, .who = {.user = who->user, .auth_revision = who->revision}};
    return kv_check_entry(kv, &e, m);
}

static int check_put(struct kv *kv, const struct auth_who *who, const char *key)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)text(key)};
    return check(kv, who, ENTRY_PUT, &m.base);
}

static void test_writes(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_who who = anna(kv), nobody = {0};
    assert_int_equal(check_put(kv, &who, "a1"), OK);
    assert_int_equal(check_put(kv, &who, "c"), ERR_PERMISSION_DENIED);
    assert_int_equal(check_put(kv, &nobody, "a1"), ERR_USER_EMPTY);
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    delete.key = (ProtobufCBinaryData){1, (uint8_t *)text("a")};
    assert_int_equal(check(kv, &who, ENTRY_DELETE_RANGE, &delete.base), OK);
    delete.range_end = (ProtobufCBinaryData){1, (uint8_t *)text("c")};
    assert_int_equal(check(kv, &who, ENTRY_DELETE_RANGE, &delete.base), ERR_PERMISSION_DENIED);
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops[] = {&op};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op.request_delete_range = &delete;
    txn.failure = ops; /* whichever branch runs */
    txn.n_failure = 1;
    assert_int_equal(check(kv, &who, ENTRY_TXN, &txn.base), ERR_PERMISSION_DENIED);
    assert_int_equal(check(kv, &who, ENTRY_COMPACTION, NULL), OK); /* checked where it came in */
}

/* An entry is checked as of its place in the log, not as of its proposal. */
static void test_rights_change_on_the_way(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_who before = anna(kv);
    Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    role.name = text("unrelated");
    assert_int_equal(apply(kv, ENTRY_AUTH_ROLE_ADD, &role.base), OK);
    assert_int_equal(check_put(kv, &before, "a1"), ERR_AUTH_OLD_REVISION);
    struct auth_who now = anna(kv);
    assert_int_equal(check_put(kv, &now, "a1"), OK);
    assert_int_equal(delete_user(kv, "anna"), OK);
    now.revision = kv_auth_revision(kv);
    assert_int_not_equal(check_put(kv, &now, "a1"), OK);
}

/* All keys of a lease are deleted with it. */
static void test_lease_revoke(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_who who = anna(kv);
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    int64_t granted;
    assert_int_equal(lease_grant(kv->leases, LEASE, 60, 0, &granted), OK);
    lease_attach(kv->leases, LEASE, slice_text("a1"));
    m.id = LEASE;
    assert_int_equal(check(kv, &who, ENTRY_LEASE_REVOKE, &m.base), OK);
    lease_attach(kv->leases, LEASE, slice_text("c"));
    assert_int_equal(check(kv, &who, ENTRY_LEASE_REVOKE, &m.base), ERR_PERMISSION_DENIED);
    size_t count;
    assert_int_equal(kv_auth_check_lease(kv, &who, LEASE, true, slice_text("c"), &count), OK);
    assert_int_equal(count, 1); /* but that one */
    assert_int_equal(kv_auth_check_lease(kv, &who, 99, true, slice_text(""), &count), ERR_LEASE_NOT_FOUND);
}

/* The ranges that the entry names, in place of its keys; the rights are those of now. */
static void test_needs(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    struct auth_need need[] = {{.key = slice_text("a1"), .is_write = true}, {.key = slice_text("a2")}};
    struct auth_needs needs = {need, 2};
    put.key = (ProtobufCBinaryData){1, (uint8_t *)text("x")}; /* no key that anna may write */
    for (int i = 0; i < 3; i++) {
        struct entry_who who = {
            .user = slice_text("anna"), .auth_revision = kv_auth_revision(kv), .needs = &needs};
        if (i == 1)
            need[1].key = slice_text("c");
        if (i == 2)
            need[1].key = slice_text("a2");
        struct blob *data = entry_encode(PARTS_SELF, 1, ENTRY_PUT, &put.base, &who);
        struct entry e;
        assert_int_equal(entry_decode(blob_slice(data), &e), OK);
        if (i == 2)
            assert_int_equal(delete_user(kv, "anna"), OK);
        int err = kv_check_entry(kv, &e, &put.base);
        assert_int_equal(err == OK, i == 0);
        e.needs = slice_text("\xff\xff\xff");
        assert_int_not_equal(kv_check_entry(kv, &e, &put.base), OK); /* does not decode */
        blob_unref(data);
    }
}

/* --- reads --------------------------------------------------------------------------------------------------------- */

static void test_reads(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_who who = anna(kv);
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct kv_request r = {.kind = KV_RANGE, .message = &range.base, .who = &who};
    range.key = (ProtobufCBinaryData){1, (uint8_t *)text("c")};
    assert_int_equal(kv_check_read(kv, &r), ERR_PERMISSION_DENIED);
    struct auth_need need = {.key = slice_text("a1")};
    struct auth_needs needs = {&need, 1};
    r.needs = &needs; /* of the native API */
    assert_int_equal(kv_check_read(kv, &r), OK);
    need.key = slice_text("c");
    assert_int_equal(kv_check_read(kv, &r), ERR_PERMISSION_DENIED);
    int64_t granted;
    assert_int_equal(lease_grant(kv->leases, LEASE, 60, 0, &granted), OK);
    lease_attach(kv->leases, LEASE, slice_text("c"));
    struct kv_request list = {.kind = KV_LEASE_LEASES, .who = &who};
    assert_int_equal(kv_check_read(kv, &list), ERR_PERMISSION_DENIED);
    who = (struct auth_who){.user = slice_text("root"), .revision = kv_auth_revision(kv)};
    assert_int_equal(kv_check_read(kv, &list), OK);
    struct kv_request members = {.kind = KV_MEMBER_LIST, .who = &who};
    assert_int_equal(kv_check_read(kv, &members), OK);
}

/* --- tokens ---------------------------------------------------------------------------------------------------------- */

static int authenticate(struct kv *kv, const char *user, const char *prefix)
{
    Etcdserverpb__InternalAuthenticateRequest m = ETCDSERVERPB__INTERNAL_AUTHENTICATE_REQUEST__INIT;
    m.name = text(user);
    m.simple_token = text(prefix);
    return apply(kv, ENTRY_AUTHENTICATE, &m.base);
}

static int use(struct kv *kv, const char *token)
{
    struct auth_who who;
    int err = kv_auth_token(kv, slice_text(token), &who);
    if (!err) {
        assert_true(slice_equal(who.user, slice_text("anna")));
        assert_true(who.is_renewed);
    }
    return err;
}

static const char token[] = "abcdefghijklmnop.41";

static struct kv *start_with_token(void)
{
    struct kv *kv = start();
    parts.applied_index = 40; /* the entry has the index after it, which is in the token */
    assert_int_equal(authenticate(kv, "anna", "abcdefghijklmnop"), OK);
    assert_int_equal(use(kv, token), OK);
    return kv;
}

static void test_tokens(void **state)
{
    (void)state;
    struct kv *kv = start_with_token();
    parts.now_ms += TTL_MS - 1;
    kv_auth_tick(kv);
    assert_int_equal(use(kv, token), OK); /* its time begins anew */
    parts.now_ms += TTL_MS - 1;
    assert_int_equal(use(kv, token), OK);
    parts.now_ms += TTL_MS + 1;
    kv_auth_tick(kv);
    parts.applied_index = 41;
    assert_int_equal(use(kv, token), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(use(kv, "abcdefghijklmnop.42"), ERR_NOT_READY); /* this member is behind */
    assert_int_equal(authenticate(kv, "nobody", ""), ERR_AUTH_FAILED);
    assert_int_equal(authenticate(kv, "cert", ""), ERR_AUTH_FAILED); /* it has no password */
    assert_int_equal(authenticate(kv, "anna", ""), OK);              /* without a token */
}

/* A user that is gone, another password, no auth, another store: the token is void. */
static void test_void_tokens(void **state)
{
    (void)state;
    struct kv *kv = start_with_token();
    parts.applied_index = 41;
    assert_int_equal(delete_user(kv, "anna"), OK);
    assert_int_equal(use(kv, token), ERR_INVALID_AUTH_TOKEN);
    kv = start_with_token();
    parts.applied_index = 41;
    Etcdserverpb__AuthUserChangePasswordRequest change =
        ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    change.name = text("anna");
    change.hashedpassword = text("b3RoZXI=");
    assert_int_equal(apply(kv, ENTRY_AUTH_USER_CHANGE_PASSWORD, &change.base), OK);
    assert_int_equal(use(kv, token), ERR_INVALID_AUTH_TOKEN);
    kv = start_with_token();
    parts.applied_index = 41;
    Etcdserverpb__AuthDisableRequest disable = ETCDSERVERPB__AUTH_DISABLE_REQUEST__INIT;
    assert_int_equal(apply(kv, ENTRY_AUTH_DISABLE, &disable.base), OK);
    assert_int_equal(use(kv, token), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(authenticate(kv, "anna", ""), ERR_AUTH_NOT_ENABLED);
    kv = start_with_token();
    parts.applied_index = 41;
    assert_int_equal(kv_auth_load(kv), OK);
    assert_int_equal(use(kv, token), ERR_INVALID_AUTH_TOKEN);
}

/* --- the epoch --------------------------------------------------------------------------------------------------------- */

/* It moves with every change of rights, and streams are checked again; not with what changes none. */
static void test_epoch(void **state)
{
    (void)state;
    struct kv *kv = start();
    uint64_t epoch = kv_auth_epoch(kv);
    assert_int_not_equal(epoch, 0);
    assert_int_equal(authenticate(kv, "anna", "abcdefghijklmnop"), OK);
    assert_int_equal(delete_user(kv, "nobody"), ERR_USER_NOT_FOUND);
    assert_int_equal(kv_auth_epoch(kv), epoch);
    assert_int_equal(rechecks, 0);
    assert_int_equal(delete_user(kv, "anna"), OK);
    assert_int_equal(kv_auth_epoch(kv), epoch + 1);
    assert_int_equal(rechecks, 1);
    assert_int_equal(kv_auth_load(kv), OK);
    assert_int_equal(kv_auth_epoch(kv), epoch + 2);
}

/* --- requests ----------------------------------------------------------------------------------------------------------- */

static void test_requests(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__AuthRoleRevokePermissionRequest last =
        ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    kv_auth(kv, parts_request(0), &last.base);
    assert_int_equal(parts.write_op, ENTRY_AUTH_ROLE_REVOKE_PERMISSION);
    kv_authenticate(kv, parts_request(1), "anna", true);
    const Etcdserverpb__InternalAuthenticateRequest *m =
        parts_proposed(parts.proposal_count - 1, ENTRY_AUTHENTICATE);
    assert_string_equal(m->name, "anna");
    assert_int_equal(strlen(m->simple_token), AUTH_TOKEN_LETTERS);
    kv_authenticate(kv, parts_request(2), "anna", false);
    m = parts_proposed(parts.proposal_count - 1, ENTRY_AUTHENTICATE);
    assert_string_equal(m->simple_token, "");
    struct slice hash;
    assert_int_equal(kv_auth_password(kv, "anna", &hash), OK);
    assert_int_equal(kv_auth_password(kv, "nobody", &hash), ERR_AUTH_FAILED);
    assert_int_equal(kv_auth_password(kv, "cert", &hash), ERR_NO_PASSWORD_USER);
    kv_auth_wait(kv, parts_request(3), slice_text(token));
    assert_waits(3, KV_READY);
    assert_int_equal(parts_request(3)->index, 41); /* of the entry that makes the token */
    (void)start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_authors),      cmocka_unit_test(test_authors_with_needs),
        cmocka_unit_test(test_writes),       cmocka_unit_test(test_rights_change_on_the_way),
        cmocka_unit_test(test_lease_revoke), cmocka_unit_test(test_needs),
        cmocka_unit_test(test_reads),        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_void_tokens),  cmocka_unit_test(test_epoch),
        cmocka_unit_test(test_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
