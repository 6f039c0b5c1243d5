/* SPDX-License-Identifier: Apache-2.0
 * Reads of a store in slices, one step now and then while other requests run, against the model's answer at
 * the moment when the read began. */
#ifndef TESTS_UNIT_STORE_LONG_H
#define TESTS_UNIT_STORE_LONG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "store_model.h"

#define LONG_READS 4

struct long_read {
    struct store_walk *range;
    struct store_hash_walk *hash;
    int64_t at; /* a range's revision; a hash's compact revision */
    unsigned steps;
    struct buf want, got;
    Etcdserverpb__HashKVResponse wanted;
};

struct long_reads {
    struct long_read list[LONG_READS];
    unsigned ranges_done, hashes_done, most_steps, cut_short;
};

struct long_context {
    struct long_reads *all;
    struct store *store;
    const struct model *model;
    struct rng *rng;
    struct arena *arena, *lasting;
};

static void long_forget(struct long_read *l)
{
    store_walk_free(l->range);
    store_hash_walk_free(l->hash);
    buf_done(&l->want);
    buf_done(&l->got);
    *l = (struct long_read){.wanted = ETCDSERVERPB__HASH_KVRESPONSE__INIT};
}

/* Call it before the store is closed. */
static void long_reads_forget(struct long_reads *l)
{
    for (size_t i = 0; i < LONG_READS; i++)
        long_forget(&l->list[i]);
}

static void add_packed(struct buf *out, const Etcdserverpb__RangeResponse *r)
{
    size_t size = etcdserverpb__range_response__get_packed_size(r);
    etcdserverpb__range_response__pack(r, buf_reserve(out, size));
    out->size += size;
}

static void start_range(const struct long_context *x, struct long_read *l)
{
    Etcdserverpb__RangeResponse *want, *at_once;
    Etcdserverpb__RangeRequest *request = model_random_range(x->model, x->rng, x->lasting, false);
    if (model_range(x->model, request, x->arena, &want) != 0)
        return;
    add_packed(&l->want, want);
    l->at = request->revision > 0 ? request->revision : x->model->revision;
    l->range = store_walk_new(x->store, request, 1 + (int64_t)rng_below(x->rng, 30));
    size_t budget = 1 + rng_below(x->rng, 100);
    assert_int_equal(store_range_short(x->store, request, budget, x->arena, &at_once), 0);
    if (at_once)
        assert_message_equal(want, at_once);
    x->all->cut_short += at_once == NULL;
}

static void start_hash(const struct long_context *x, struct long_read *l)
{
    int64_t revision = rng_below(x->rng, 2) ? x->model->revision : 0;
    l->at = x->model->compact;
    assert_int_equal(store_hash_kv(x->store, revision, &l->wanted), 0);
    assert_int_equal(store_hash_walk_new(x->store, false, revision, &l->hash), 0);
}

/* True: it is over, with the expected end. */
static bool step_range(const struct long_context *x, struct long_read *l)
{
    Etcdserverpb__RangeResponse *part;
    bool is_last;
    int err = store_walk_step(l->range, x->arena, &part, &is_last);
    if (l->at < x->model->compact) {
        assert_int_equal(err, ERR_COMPACTED);
        return true;
    }
    assert_int_equal(err, 0);
    l->steps++;
    add_packed(&l->got, part);
    if (!is_last)
        return false;
    assert_int_equal(l->got.size, l->want.size);
    assert_memory_equal(l->got.data, l->want.data, l->want.size);
    x->all->ranges_done++;
    x->all->most_steps = l->steps > x->all->most_steps ? l->steps : x->all->most_steps;
    return true;
}

static bool step_hash(const struct long_context *x, struct long_read *l)
{
    bool is_last;
    int err = store_hash_walk_step(l->hash, 1 + (int64_t)rng_below(x->rng, 30), &is_last);
    if (l->at != x->model->compact) {
        assert_int_equal(err, ERR_COMPACTED);
        return true;
    }
    assert_int_equal(err, 0);
    if (!is_last)
        return false;
    Etcdserverpb__HashKVResponse got = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    store_hash_walk_result(l->hash, &got);
    assert_message_equal(&l->wanted, &got);
    x->all->hashes_done++;
    return true;
}

/* A step of each read; reads that ended, as they had to, make room for new ones. `lasting` is not reset while
 * they run. */
static void long_reads_step(struct long_reads *all, struct store *s, const struct model *m, struct rng *rng,
                            struct arena *a, struct arena *lasting)
{
    struct long_context x = {all, s, m, rng, a, lasting};
    for (size_t i = 0; i < LONG_READS; i++) {
        struct long_read *l = &all->list[i];
        if ((l->range && step_range(&x, l)) || (l->hash && step_hash(&x, l)))
            long_forget(l);
        if (l->range || l->hash)
            continue;
        long_forget(l);
        if (rng_below(rng, 3))
            start_range(&x, l);
        else
            start_hash(&x, l);
    }
}

#endif
