/* SPDX-License-Identifier: Apache-2.0
 * Tests of log entries: a put, which is encoded by hand, has the bytes that protobuf-c gives it. */
#include "consensus/entry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proto/internal.pb-c.h"
#include "proto/rpc.pb-c.h"

static void expect_protobuf(const Etcdserverpb__PutRequest *m, uint64_t id)
{
    struct entry e;
    struct blob *b = entry_encode(0xbeef, id, ENTRY_PUT, &m->base, &(struct entry_who){0});
    assert_int_equal(entry_decode(blob_slice(b), &e), OK);
    assert_int_equal(e.member, 0xbeef);
    assert_int_equal(e.id, id);
    assert_int_equal(e.op, ENTRY_PUT);
    size_t size = protobuf_c_message_get_packed_size(&m->base);
    uint8_t *want = malloc(size + 1);
    protobuf_c_message_pack(&m->base, want);
    assert_int_equal(e.body.size, size);
    assert_memory_equal(e.body.data, want, size);
    free(want);
    blob_unref(b);
}

/* The header is protobuf, too: etcd's names and numbers. */
static void authors_are_kept(void **state)
{
    (void)state;
    static const struct entry_who authors[] = {
        {0},
        {.is_own = true},
        {.user = {(const uint8_t *)"alice", 5}, .auth_revision = UINT64_MAX},
        {.user = {(const uint8_t *)"b", 1}, .auth_revision = 1},
    };
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    m.id = 9;
    for (size_t i = 0; i < sizeof authors / sizeof *authors; i++) {
        struct entry e;
        struct blob *b = entry_encode(0xbeef, 1, ENTRY_LEASE_REVOKE, &m.base, &authors[i]);
        assert_int_equal(entry_decode(blob_slice(b), &e), OK);
        assert_int_equal(e.who.is_own, authors[i].is_own);
        assert_true(slice_equal(e.who.user, authors[i].user));
        assert_true(e.who.auth_revision == authors[i].auth_revision);
        Etcdserverpb__InternalRaftRequest *r =
            etcdserverpb__internal_raft_request__unpack(NULL, b->size, b->data);
        assert_non_null(r);
        assert_int_equal(r->lease_revoke->id, 9);
        assert_int_equal(r->header->own, authors[i].is_own);
        assert_true(slice_equal(slice_text(r->header->username), authors[i].user));
        assert_true(r->header->auth_revision == authors[i].auth_revision);
        etcdserverpb__internal_raft_request__free_unpacked(r, NULL);
        blob_unref(b);
    }
}

static struct slice slice_from(ProtobufCBinaryData b)
{
    return slice_of(b.data, b.len);
}

/* The needs of a native write in place of its keys: none, one, many; protobuf, too. */
static void needs_are_kept(void **state)
{
    (void)state;
    static const struct auth_need list[] = {
        {{(const uint8_t *)"a", 1}, {0}, true},
        {{(const uint8_t *)"", 0}, {(const uint8_t *)"\0", 1}, false},
        {{(const uint8_t *)"key", 3}, {(const uint8_t *)"kez", 3}, true},
    };
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    for (size_t count = 0; count <= 3; count++) {
        struct entry e;
        struct auth_need need;
        const struct auth_needs needs = {list, count};
        const struct entry_who who = {.user = slice_text("alice"), .auth_revision = 3, .needs = &needs};
        struct blob *b = entry_encode(0xbeef, 1, ENTRY_LEASE_REVOKE, &m.base, &who);
        assert_int_equal(entry_decode(blob_slice(b), &e), OK);
        assert_true(e.has_needs);
        assert_true(slice_equal(e.who.user, who.user));
        struct slice rest = e.needs;
        Etcdserverpb__InternalRaftRequest *r =
            etcdserverpb__internal_raft_request__unpack(NULL, b->size, b->data);
        assert_non_null(r);
        assert_int_equal(r->header->needs->n_need, count);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(entry_next_need(&rest, &need), OK);
            assert_true(slice_equal(need.key, list[i].key));
            assert_true(slice_equal(need.range_end, list[i].range_end));
            assert_int_equal(need.is_write, list[i].is_write);
            assert_true(slice_equal(slice_from(r->header->needs->need[i]->key), list[i].key));
        }
        assert_int_equal(entry_next_need(&rest, &need), ERR_NOT_FOUND);
        etcdserverpb__internal_raft_request__free_unpacked(r, NULL);
        blob_unref(b);
    }
    struct slice torn = slice_of("\x0a\x7f", 2);
    struct auth_need need;
    assert_int_equal(entry_next_need(&torn, &need), ERR_MALFORMED);
}

static void puts_are_protobuf(void **state)
{
    (void)state;
    static uint8_t bytes[70000];
    static const size_t sizes[] = {0, 1, 127, 128, 255, 16383, 16384, sizeof bytes};
    static const int64_t leases[] = {0, 1, 127, 128, 1LL << 34, (1LL << 35) - 1, INT64_MAX, -1, INT64_MIN};
    for (size_t k = 0; k < 8; k++)
        for (size_t v = 0; v < 8; v++)
            for (size_t l = 0; l < 9; l++)
                for (unsigned flags = 0; flags < 8; flags++) {
                    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
                    m.key = (ProtobufCBinaryData){sizes[k], bytes};
                    m.value = (ProtobufCBinaryData){sizes[v], bytes};
                    m.lease = leases[l];
                    m.prev_kv = flags & 1;
                    m.ignore_value = flags >> 1 & 1;
                    m.ignore_lease = flags >> 2 & 1;
                    expect_protobuf(&m, 1ULL << 63 | (k * 8 + v));
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(authors_are_kept), cmocka_unit_test(needs_are_kept),
                                       cmocka_unit_test(puts_are_protobuf)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
