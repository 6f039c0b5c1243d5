/* SPDX-License-Identifier: Apache-2.0
 * Tests of transactions with more operations than are allowed. Their decoded part is refused as the whole
 * would be. */
#include "tests/unit/unit.h"

#include "consensus/store/store.h"
#include "server/rpc/service.h"

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static ProtobufCBinaryData drawn_key(void)
{
    static uint8_t key[] = "k";
    return (ProtobufCBinaryData){draw(100) ? 1 : 0, key};
}

static Etcdserverpb__TxnRequest *drawn_txn(struct arena *a, unsigned depth);

static Etcdserverpb__RequestOp *drawn_op(struct arena *a, unsigned depth)
{
    Etcdserverpb__RequestOp *op = arena_alloc(a, sizeof *op);
    etcdserverpb__request_op__init(op);
    if (draw(depth + 1)) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
        op->request_txn = drawn_txn(a, depth - 1);
    } else if (draw(50)) {
        op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
        op->request_range = arena_alloc(a, sizeof *op->request_range);
        etcdserverpb__range_request__init(op->request_range);
        op->request_range->key = drawn_key();
    }
    return op;
}

static size_t drawn_list(struct arena *a, unsigned depth, Etcdserverpb__RequestOp ***ret_list)
{
    size_t count = draw(4) ? draw(3) : draw(9);
    *ret_list = arena_alloc(a, (count + 1) * sizeof **ret_list);
    for (size_t i = 0; i < count; i++)
        (*ret_list)[i] = drawn_op(a, depth);
    return count;
}

static Etcdserverpb__TxnRequest *drawn_txn(struct arena *a, unsigned depth)
{
    Etcdserverpb__TxnRequest *m = arena_alloc(a, sizeof *m);
    etcdserverpb__txn_request__init(m);
    m->n_success = drawn_list(a, depth, &m->success);
    m->n_failure = drawn_list(a, depth, &m->failure);
    m->n_compare = draw(4) ? draw(3) : draw(9);
    m->compare = arena_alloc(a, (m->n_compare + 1) * sizeof(Etcdserverpb__Compare *));
    for (size_t i = 0; i < m->n_compare; i++) {
        m->compare[i] = arena_alloc(a, sizeof *m->compare[i]);
        etcdserverpb__compare__init(m->compare[i]);
        m->compare[i]->key = drawn_key();
    }
    return m;
}

static void a_partial_decode_is_refused_as_the_whole(void **state)
{
    (void)state;
    size_t trimmed_count = 0, errors[3] = {0};
    for (seed = 1; seed < 4000; seed++) {
        struct arena a = {0};
        uint64_t begin = seed, ops_max = 1 + draw(8);
        bool has_surplus, is_long = false;
        const Etcdserverpb__TxnRequest *whole = drawn_txn(&a, 3);
        size_t size = etcdserverpb__txn_request__get_packed_size(whole);
        uint8_t *bytes = arena_alloc(&a, size + 1);
        etcdserverpb__txn_request__pack(whole, bytes);
        assert_null(rpc_message_check(&etcdserverpb__txn_request__descriptor, slice_of(bytes, size), ops_max,
                                      &has_surplus));
        int err = store_check_txn(whole, ops_max);
        errors[err == OK ? 0 : err == ERR_TOO_MANY_OPS ? 1 : 2]++;
        if (has_surplus) {
            struct buf left = {0};
            rpc_message_trim(&etcdserverpb__txn_request__descriptor, slice_of(bytes, size), ops_max, &left);
            const Etcdserverpb__TxnRequest *m =
                etcdserverpb__txn_request__unpack(arena_allocator(&a), left.size, left.data);
            assert_non_null(m);
            assert_int_equal(store_check_txn(m, ops_max), err);
            assert_true(m->n_compare <= ops_max + 1 && m->n_success <= ops_max + 1);
            is_long = whole->n_compare > ops_max || whole->n_success > ops_max || whole->n_failure > ops_max;
            trimmed_count += !is_long; /* within another transaction */
            buf_done(&left);
        } else {
            assert_true(whole->n_compare <= ops_max && whole->n_failure <= ops_max);
        }
        arena_done(&a);
        seed = begin;
    }
    assert_true(trimmed_count > 50 && errors[0] > 50 && errors[1] > 50 && errors[2] > 50);
}

static void few_of_very_many_are_decoded(void **state)
{
    (void)state;
    struct buf b = {0}, left = {0};
    bool has_surplus;
    for (unsigned i = 0; i < 100000; i++)
        buf_add(&b, "\x0a\x00", 2); /* empty comparisons */
    assert_null(rpc_message_check(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 128, &has_surplus));
    assert_true(has_surplus);
    rpc_message_trim(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 128, &left);
    assert_int_equal(left.size, 129 * 2);
    b.size = 128 * 2;
    assert_null(rpc_message_check(&etcdserverpb__txn_request__descriptor, buf_slice(&b), 128, &has_surplus));
    assert_false(has_surplus);
    /* As an operation of another transaction: success, request_txn. */
    buf_clear(&left);
    static const uint8_t inner[] = {0x12, 0x0a, 0x22, 0x08, 0x0a, 0, 0x0a, 0, 0x0a, 0, 0x0a, 0};
    static const uint8_t trimmed[] = {0x12, 0x8c, 0x80, 0x80, 0x80, 0,    0x22, 0x86, 0x80,
                                      0x80, 0x80, 0,    0x0a, 0,    0x0a, 0,    0x0a, 0};
    struct slice nested = slice_of(inner, sizeof inner);
    assert_null(rpc_message_check(&etcdserverpb__txn_request__descriptor, nested, 2, &has_surplus));
    assert_true(has_surplus);
    rpc_message_trim(&etcdserverpb__txn_request__descriptor, nested, 2, &left);
    assert_int_equal(left.size, sizeof trimmed);
    assert_memory_equal(left.data, trimmed, sizeof trimmed);
    buf_done(&b);
    buf_done(&left);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_partial_decode_is_refused_as_the_whole),
        cmocka_unit_test(few_of_very_many_are_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
