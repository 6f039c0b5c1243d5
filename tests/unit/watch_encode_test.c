/* SPDX-License-Identifier: Apache-2.0
 * Tests of the hand-written encoder of watch responses, read back by protobuf-c. */
#include "consensus/store/watch_encode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t seed = 5;

static uint64_t draw(uint64_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (seed >> 20) % below;
}

/* All widths of varints, zero and negative too. */
static int64_t draw_int(void)
{
    switch (draw(5)) {
    case 0:
        return 0;
    case 1:
        return -(int64_t)draw(1000);
    case 2:
        return INT64_MAX;
    default: {
        int64_t power = (int64_t)(1ULL << draw(63));
        return power + (int64_t)draw(2) - 1;
    }
    }
}

static uint8_t bytes[70000];

static Mvccpb__KeyValue draw_kv(void)
{
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    kv.key.data = bytes;
    kv.key.len = draw(200);
    kv.value.data = bytes + 1;
    kv.value.len = draw(4) ? draw(300) : draw(sizeof bytes - 1);
    kv.create_revision = draw_int();
    kv.mod_revision = draw_int();
    kv.version = draw_int();
    kv.lease = draw_int();
    return kv;
}

static void assert_kv(const Mvccpb__KeyValue *got, const Mvccpb__KeyValue *want)
{
    assert_true(slice_equal(slice_of(got->key.data, got->key.len), slice_of(want->key.data, want->key.len)));
    assert_true(
        slice_equal(slice_of(got->value.data, got->value.len), slice_of(want->value.data, want->value.len)));
    assert_int_equal(got->create_revision, want->create_revision);
    assert_int_equal(got->mod_revision, want->mod_revision);
    assert_int_equal(got->version, want->version);
    assert_int_equal(got->lease, want->lease);
}

static void test_random(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)draw(256);
    for (int round = 0; round < 3000; round++) {
        struct store_event events[4];
        bool wants[4];
        size_t count = draw(5);
        struct watch_head head = {.watch_id = draw_int()};
        head.compact_revision = draw_int();
        head.is_created = draw(2);
        head.is_canceled = draw(2);
        head.is_fragment = draw(2);
        head.cancel_reason = draw(2) ? "etcdserver: some reason" : NULL;
        struct buf b = {0};
        watch_encode_head(&head, &b);
        for (size_t i = 0; i < count; i++) {
            events[i] = (struct store_event){.is_delete = draw(2)};
            events[i].kv = draw_kv();
            events[i].previous = draw_kv();
            events[i].has_previous = draw(2);
            wants[i] = draw(2);
            if (draw(3) == 0)
                events[i].kv.create_revision = events[i].kv.mod_revision;
            struct blob *e = watch_encode_event(&events[i], wants[i]);
            buf_add_slice(&b, blob_slice(e));
            blob_unref(e);
        }

        Etcdserverpb__WatchResponse *r = etcdserverpb__watch_response__unpack(NULL, b.size, b.data);
        assert_non_null(r);
        assert_int_equal(r->watch_id, head.watch_id);
        assert_int_equal(r->compact_revision, head.compact_revision);
        assert_int_equal(r->created, head.is_created);
        assert_int_equal(r->canceled, head.is_canceled);
        assert_int_equal(r->fragment, head.is_fragment);
        assert_string_equal(r->cancel_reason, head.cancel_reason ? head.cancel_reason : "");
        assert_null(r->header);
        assert_int_equal(r->n_events, count);
        for (size_t i = 0; i < count; i++) {
            const Mvccpb__Event *e = r->events[i];
            bool is_create =
                !events[i].is_delete && events[i].kv.create_revision == events[i].kv.mod_revision;
            assert_int_equal(e->type, events[i].is_delete);
            assert_kv(e->kv, &events[i].kv);
            assert_int_equal(e->prev_kv != NULL, wants[i] && events[i].has_previous && !is_create);
            if (e->prev_kv)
                assert_kv(e->prev_kv, &events[i].previous);
        }
        /* Every byte equals protobuf-c's: no zero fields, shortest varints. */
        assert_int_equal(etcdserverpb__watch_response__get_packed_size(r), b.size);
        etcdserverpb__watch_response__free_unpacked(r, NULL);
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
