/* SPDX-License-Identifier: Apache-2.0
 * A node that only records the ids of ReadIndex rounds, and a store and leases with fixed answers: stubs for
 * the tests of consensus/kv/read_index.c. Include it in one .c file, as kv_parts.h. */
#ifndef TESTS_UNIT_KV_READ_PARTS_H
#define TESTS_UNIT_KV_READ_PARTS_H

#define KV_PARTS_REAL_READ_INDEX
#include "kv_parts.h"

#include "base/turn_queue.h"

enum { INDEX = 50, RETRY_MS = 500, ROUNDS_MAX = 8, LEASE = 70 };

/* --- the node and the store ----------------------------------------------------------------------------- */

static struct {
    uint64_t ids[ROUNDS_MAX];
    size_t count;
    int err;
} rounds;

int node_read(struct node *n, uint64_t read_id)
{
    (void)n;
    if (rounds.err)
        return rounds.err;
    assert_true(rounds.count < ROUNDS_MAX);
    rounds.ids[rounds.count++] = read_id;
    return OK;
}

static struct {
    int check_err, range_err, renew_err, read_check_err;
    bool is_long, is_paused, is_checkpointed, is_lease_long, is_auth_enabled, is_share_spent;
    unsigned ranges, renewals, prefetched, checked;
    unsigned scans_started, scan_slices, left_queue, defrags;
    bool yields;    /* a slice ends with kv_yield_read */
    size_t pending; /* proposals */
    struct slice key;
} fake;

int store_check_range(const Etcdserverpb__RangeRequest *request)
{
    (void)request;
    return fake.check_err;
}

static inline int range(struct arena *a, Etcdserverpb__RangeResponse **ret_response)
{
    fake.ranges++;
    if (fake.range_err)
        return fake.range_err;
    *ret_response = arena_new(a, sizeof **ret_response);
    etcdserverpb__range_response__init(*ret_response);
    (*ret_response)->header = arena_new(a, sizeof(Etcdserverpb__ResponseHeader));
    etcdserverpb__response_header__init((*ret_response)->header);
    (*ret_response)->header->revision = parts.revision;
    return OK;
}

int store_range(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                Etcdserverpb__RangeResponse **ret_response)
{
    (void)s;
    (void)request;
    return range(a, ret_response);
}

int store_range_page(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                     Etcdserverpb__RangeResponse **ret_response)
{
    return store_range(s, request, a, ret_response);
}

int store_range_short(struct store *s, const Etcdserverpb__RangeRequest *request, size_t budget,
                      struct arena *a, Etcdserverpb__RangeResponse **ret_response)
{
    (void)s;
    (void)request;
    if (fake.is_long && budget)
        return OK;
    return range(a, ret_response);
}

void store_prefetch(struct store *s, struct slice key, unsigned step)
{
    (void)s;
    (void)key;
    (void)step;
    fake.prefetched++;
}

bool store_txn_is_long(struct store *s, const Etcdserverpb__TxnRequest *request, bool is_awaited)
{
    (void)s;
    (void)request;
    assert_true(is_awaited);
    return fake.is_long;
}

int store_txn_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
                   Etcdserverpb__TxnResponse **ret_response)
{
    (void)s;
    (void)request;
    *ret_response = arena_new(a, sizeof **ret_response);
    etcdserverpb__txn_response__init(*ret_response);
    (*ret_response)->header = arena_new(a, sizeof(Etcdserverpb__ResponseHeader));
    etcdserverpb__response_header__init((*ret_response)->header);
    return OK;
}

bool store_is_paused(const struct store *s)
{
    (void)s;
    return fake.is_paused;
}

bool turn_share_is_spent(uint64_t share)
{
    (void)share;
    return fake.is_share_spent;
}

uint64_t turn_share(void)
{
    return 0;
}

/* --- leases -------------------------------------------------------------------------------------------- */

bool lease_is_checkpointed(const struct lease_table *t, int64_t id)
{
    (void)t;
    assert_int_equal(id, LEASE);
    return fake.is_checkpointed;
}

int lease_renew(struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_ttl_s)
{
    (void)t;
    (void)id;
    assert_int_equal(now_ms, parts.now_ms + 1); /* rounded up */
    fake.renewals++;
    if (!fake.renew_err)
        *ret_ttl_s = 60;
    return fake.renew_err;
}

void lease_time_to_live(const struct lease_table *t, int64_t id, uint64_t now_ms, int64_t *ret_remaining_s,
                        int64_t *ret_granted_s)
{
    (void)t;
    (void)id;
    assert_int_equal(now_ms, parts.now_ms);
    *ret_remaining_s = 40;
    *ret_granted_s = 60;
}

int lease_keys(const struct lease_table *t, int64_t id, struct slice **ret_keys, size_t *ret_count)
{
    (void)t;
    (void)id;
    *ret_keys = mem_new(sizeof **ret_keys);
    (*ret_keys)[0] = slice_text("key");
    *ret_count = 1;
    return OK;
}

size_t lease_list(const struct lease_table *t, int64_t **ret_ids)
{
    (void)t;
    *ret_ids = mem_new(2 * sizeof **ret_ids);
    (*ret_ids)[0] = LEASE;
    (*ret_ids)[1] = LEASE + 1;
    return 2;
}

void members_fill(const struct members *m, struct arena *a, size_t *ret_count,
                  Etcdserverpb__Member ***ret_list)
{
    (void)m;
    (void)a;
    *ret_count = 0;
    *ret_list = NULL;
}

/* --- the other parts ----------------------------------------------------------------------------------- */

bool kv_auth_is_enabled(const struct kv *kv)
{
    (void)kv;
    return fake.is_auth_enabled;
}

int kv_check_read(struct kv *kv, const struct kv_request *r)
{
    (void)kv;
    (void)r;
    fake.checked++;
    return fake.read_check_err;
}

size_t kv_pending_proposals(const struct kv *kv)
{
    (void)kv;
    return fake.pending;
}

bool kv_lease_scan_is_needed(const struct kv *kv, const struct kv_request *r)
{
    (void)kv;
    (void)r;
    return fake.is_lease_long;
}

void kv_scan_leave_queue(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    (void)r;
    fake.left_queue++;
}

static char scan; /* whose address stands for a read in slices */

void kv_scan_start(struct kv *kv, struct kv_request *r)
{
    fake.scans_started++;
    r->slices = (void *)&scan;
    kv_yield_read(kv, r);
}

void kv_scan_run(struct kv *kv, struct kv_request *r)
{
    fake.scan_slices++;
    if (fake.yields) {
        kv_yield_read(kv, r);
        return;
    }
    r->slices = NULL;
    kv_finish(kv, r, OK, NULL);
}

void kv_defrag_add(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    fake.defrags++;
    r->state = KV_WAITING;
}

bool kv_is_installing(const struct kv *kv) /* a mutant alone calls it */
{
    (void)kv;
    return false;
}

/* --- a member ------------------------------------------------------------------------------------------- */

static Etcdserverpb__LeaseKeepAliveRequest keep_alive = {
    PROTOBUF_C_MESSAGE_INIT(&etcdserverpb__lease_keep_alive_request__descriptor), .id = LEASE};

static inline struct kv *start(void)
{
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    memset(&rounds, 0, sizeof rounds);
    parts_set_leader(1);
    parts.applied_index = INDEX;
    parts.revision = 9;
    kv_read_index_init(&kv->read_index);
    return kv;
}

static inline void ask(struct kv *kv, unsigned n)
{
    kv_barrier(kv, parts_request(n));
    assert_waits(n, KV_READING);
}

static inline Etcdserverpb__RangeRequest new_range(bool is_serializable)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.serializable = is_serializable;
    m.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "k"};
    return m;
}

static inline void answer_round(struct kv *kv, size_t n, uint64_t index)
{
    assert_true(n < rounds.count);
    kv_read_done(kv, rounds.ids[n], index);
}

#endif
