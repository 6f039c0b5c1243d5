/* SPDX-License-Identifier: Apache-2.0
 * Tests of small pure parts beside the log: ids, sizes of entries, the time of a compaction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "consensus/entry.h"
#include "consensus/node/compactor.h"
#include "consensus/node/identity.h"
#include "proto/internal.pb-c.h"

static void ids_are_those_of_etcd(void **state)
{
    (void)state;
    const char *urls[] = {"http://localhost:2380"};
    uint64_t id = identity_member_id(urls, 1, "etcd-cluster");
    assert_int_equal(id, 0x8e9e05c52164694dULL);
    assert_int_equal(identity_cluster_id(&id, 1), 0xcdf818194e3a8c32ULL);
    /* The order of URLs and of members does not matter; the token does. */
    const char *two[] = {"http://b:2380", "http://a:2380"}, *swapped[] = {"http://a:2380", "http://b:2380"};
    assert_int_equal(identity_member_id(two, 2, "t"), identity_member_id(swapped, 2, "t"));
    assert_true(identity_member_id(two, 2, "t") != identity_member_id(two, 2, "u"));
    uint64_t members[] = {3, 1, 2}, sorted[] = {1, 2, 3};
    assert_int_equal(identity_cluster_id(members, 3), identity_cluster_id(sorted, 3));
}

static void entries_survive_a_round_trip(void **state)
{
    (void)state;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    put.lease = 5;
    struct blob *b =
        entry_encode(0xfedcba9876543210, 1ULL << 63 | 77, ENTRY_PUT, &put.base, &(struct entry_who){0});
    struct entry e;
    assert_int_equal(entry_decode(blob_slice(b), &e), OK);
    assert_true(e.member == 0xfedcba9876543210);
    assert_int_equal(e.id, 1ULL << 63 | 77);
    assert_int_equal(e.op, ENTRY_PUT);

    /* A protobuf reader of etcd's message reads the same. */
    Etcdserverpb__InternalRaftRequest *r =
        etcdserverpb__internal_raft_request__unpack(NULL, b->size, b->data);
    assert_non_null(r);
    assert_int_equal(r->header->id, e.id);
    assert_int_equal(r->put->lease, 5);
    etcdserverpb__internal_raft_request__free_unpacked(r, NULL);

    for (size_t cut = 0; cut < b->size; cut++) {
        int err = entry_decode(slice_of(b->data, cut), &e);
        assert_true(err == ERR_MALFORMED);
    }
    blob_unref(b);
    assert_int_equal(entry_decode(slice_text("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), &e),
                     ERR_MALFORMED);
}

static void periodic_compaction_keeps_the_retention(void **state)
{
    (void)state;
    struct compactor c;
    const uint64_t minute = 60000, start = 12345;
    compactor_init(&c, true, 10 * minute, start);
    /* One revision a minute; checked every 10 s. */
    uint64_t first_at = 0;
    int64_t last = 0;
    for (uint64_t t = 0; t <= 60 * minute; t += 10000) {
        int64_t revision = 100 + (int64_t)(t / minute), target = compactor_tick(&c, start + t, revision);
        if (!target)
            continue;
        if (!first_at)
            first_at = t;
        assert_true(target > last);
        assert_true(target >= revision - 11 && target <= revision - 9);
        last = target;
    }
    assert_true(first_at >= 10 * minute && first_at <= 11 * minute);
    assert_true(last > 140);
    compactor_done(&c);
}

static void long_retention_compacts_every_hour(void **state)
{
    (void)state;
    struct compactor c;
    const uint64_t hour = 3600000;
    compactor_init(&c, true, 24 * hour, 0);
    int count = 0;
    for (uint64_t t = 0; t <= 30 * hour; t += 60000) {
        int64_t target = compactor_tick(&c, t, 2 + (int64_t)(t / 60000));
        if (target) {
            count++;
            assert_true(t >= 24 * hour);
        }
    }
    assert_true(count >= 5 && count <= 7);
    compactor_done(&c);
}

static void revision_compaction_keeps_so_many(void **state)
{
    (void)state;
    struct compactor c;
    compactor_init(&c, false, 1000, 0);
    assert_int_equal(compactor_tick(&c, 1000, 5000), 0); /* not before five minutes */
    assert_int_equal(compactor_tick(&c, 300000, 5000), 4000);
    assert_int_equal(compactor_tick(&c, 300001, 9000), 0);
    assert_int_equal(compactor_tick(&c, 600000, 5000), 0); /* nothing new */
    assert_int_equal(compactor_tick(&c, 900000, 6000), 5000);
    compactor_done(&c);
    compactor_init(&c, false, 0, 0);
    assert_int_equal(compactor_tick(&c, 900000, 6000), 0);
    compactor_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_are_those_of_etcd),
        cmocka_unit_test(entries_survive_a_round_trip),
        cmocka_unit_test(periodic_compaction_keeps_the_retention),
        cmocka_unit_test(long_retention_compacts_every_hour),
        cmocka_unit_test(revision_compaction_keeps_so_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
