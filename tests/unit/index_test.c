/* SPDX-License-Identifier: Apache-2.0
 * Tests of the key index: tree and hash table with all their invariants under random operations, sorting,
 * the revisions of one key, compaction, loading. */
#include "consensus/store/index.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store_model.h"
#include "unit.h"

/* Keys that share prefixes of all lengths, contain zeros and differ late. */
static struct slice make_key(uint8_t *at, struct rng *r, unsigned kind)
{
    size_t size = 0;
    if (kind == 0) {
        unsigned service = (unsigned)rng_below(r, 3000), namespace = (unsigned)rng_below(r, 100);
        size = (size_t)snprintf((char *)at, 100, "/registry/services/specs/ns-%03u/svc-%05u", namespace,
                                service);
    } else if (kind == 1) {
        for (size = 1 + rng_below(r, 5); size > 0; size--)
            at[size - 1] = (uint8_t)rng_below(r, 4);
        size = 1 + rng_below(r, 5);
    } else {
        size = 8 + rng_below(r, 60);
        memset(at, 0, size);
        size_t place = rng_below(r, size);
        at[place] = (uint8_t)rng_below(r, 3);
    }
    return slice_of(at, size);
}

static int by_key(const void *a, const void *b)
{
    const struct index_entry *const *x = a, *const *y = b;
    return slice_compare(index_entry_key(*x), index_entry_key(*y));
}

struct entries {
    struct index_entry **items;
    size_t count;
};

static struct entries walk_tree(const struct index *x)
{
    struct entries e = {mem_alloc((x->count + 1) * sizeof(void *)), 0};
    struct tree_cursor c = tree_seek(&x->tree, (struct slice){0});
    for (struct index_entry *i; (i = tree_next(&c));)
        e.items[e.count++] = i;
    return e;
}

/* The tree, the table and the counters agree. */
static void check_index(const struct index *x)
{
    size_t live = 0, bytes = 0;
    assert_int_equal(tree_check(&x->tree), x->count);
    struct entries e = walk_tree(x);
    assert_int_equal(e.count, x->count);
    for (size_t i = 0; i < e.count; i++) {
        assert_ptr_equal(index_find(x, index_entry_key(e.items[i])), e.items[i]);
        live += !e.items[i]->is_deleted;
        bytes += index_entry_key(e.items[i]).size;
    }
    assert_int_equal(live, x->live);
    assert_int_equal(bytes, x->key_bytes);
    mem_free(e.items);
}

static void check_seek(const struct index *x, struct rng *r)
{
    uint8_t bytes[100];
    struct entries e = walk_tree(x);
    for (int i = 0; i < 200; i++) {
        struct slice key = make_key(bytes, r, (unsigned)rng_below(r, 3));
        size_t want = 0;
        while (want < e.count && slice_compare(index_entry_key(e.items[want]), key) < 0)
            want++;
        struct tree_cursor c = tree_seek(&x->tree, key);
        assert_ptr_equal(tree_next(&c), want < e.count ? e.items[want] : NULL);
    }
    mem_free(e.items);
}

static void ignore_drop(void *arg, struct revision revision)
{
    (void)revision;
    ++*(size_t *)arg;
}

/* Grows to thousands of keys, shrinks to nothing, several times. */
static void test_tree_and_table(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct rng r = {kind + 1};
        struct index x;
        uint8_t bytes[100];
        int64_t main = 1;
        index_init(&x, 0);
        for (int wave = 0; wave < 3; wave++) {
            for (int i = 0; i < 4000; i++) {
                struct slice key = make_key(bytes, &r, kind);
                struct index_entry *e = index_find(&x, key);
                main++;
                if (!e)
                    index_insert(&x, key, (struct revision){main, 0}, false);
                else
                    index_update(&x, e, (struct revision){main, 0}, false);
            }
            check_index(&x);
            check_seek(&x, &r);
            /* Deletes most keys, then compaction removes them, a few at a time. */
            struct entries e = walk_tree(&x);
            for (size_t i = 0; i < e.count; i++) {
                if (!e.items[i]->is_deleted && (wave == 2 || rng_below(&r, 10)))
                    index_tombstone(&x, e.items[i], (struct revision){++main, 0});
            }
            mem_free(e.items);
            struct buf position = {0};
            size_t dropped = 0, rounds = 0;
            while (!index_sweep(&x, &position, main + 1, 100, 3, ignore_drop, &dropped)) {
                if (rounds++ % 8 == 0)
                    check_index(&x);
            }
            buf_done(&position);
            check_index(&x);
            assert_int_equal(x.count, x.live);
            assert_true(dropped > 0 && rounds + 1 > x.count / 100);
            if (wave == 2)
                assert_int_equal(x.count, 0);
        }
        index_done(&x);
    }
}

static void test_ascending_and_descending(void **state)
{
    (void)state;
    for (int down = 0; down < 2; down++) {
        struct index x;
        char key[20];
        index_init(&x, 10);
        for (int i = 0; i < 5000; i++) {
            int n = snprintf(key, sizeof key, "k%06d", down ? 5000 - i : i);
            index_insert(&x, slice_of(key, (size_t)n), (struct revision){i + 2, 0}, false);
        }
        check_index(&x);
        index_done(&x);
    }
}

static void test_sort(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        struct rng r = {kind + 77};
        struct index x;
        uint8_t bytes[100];
        index_init(&x, 0);
        for (int i = 0; i < 20000; i++) {
            struct slice key = make_key(bytes, &r, kind < 3 ? kind : (unsigned)rng_below(&r, 3));
            if (!index_find(&x, key))
                index_insert(&x, key, (struct revision){i + 2, 0}, false);
        }
        struct entries e = walk_tree(&x);
        for (size_t i = e.count; i > 1; i--) {
            size_t k = rng_below(&r, i);
            struct index_entry *swap = e.items[k];
            e.items[k] = e.items[i - 1];
            e.items[i - 1] = swap;
        }
        tree_sort(e.items, e.count);
        for (size_t i = 1; i < e.count; i++)
            assert_true(by_key(&e.items[i - 1], &e.items[i]) < 0);
        mem_free(e.items);
        index_done(&x);
    }
}

/* --- one key ----------------------------------------------------------------------------------- */

struct dropped {
    struct revision items[16];
    size_t count;
};

static void note_drop(void *arg, struct revision revision)
{
    struct dropped *d = arg;
    d->items[d->count++] = revision;
}

/* put 2, put 4, delete 6, put 8, delete 10 */
static struct index_entry *five_revisions(struct index *x)
{
    index_init(x, 0);
    struct index_entry *e = index_insert(x, slice_text("foo"), (struct revision){2, 0}, false);
    index_update(x, e, (struct revision){4, 0}, false);
    index_tombstone(x, e, (struct revision){6, 0});
    index_update(x, e, (struct revision){8, 0}, true);
    assert_int_equal(index_entry_create(e), 8);
    assert_int_equal(index_entry_version(e), 1);
    assert_int_equal(e->has_lease, 1);
    index_tombstone(x, e, (struct revision){10, 0});
    return e;
}

static int64_t main_at(const struct index_entry *e, int64_t at)
{
    struct revision r = {0};
    return index_get(e, at, &r) ? r.main : 0;
}

static void test_generations(void **state)
{
    (void)state;
    struct index x;
    struct index_entry *e = five_revisions(&x);
    static const int64_t want[] = {0, 0, 2, 2, 4, 4, 0, 0, 8, 8, 0, 0};
    for (int64_t at = 0; at < 12; at++)
        assert_int_equal(main_at(e, at), want[at]);
    index_done(&x);
}

static void test_compaction_of_one_key(void **state)
{
    (void)state;
    /* The revisions that are left after a compaction at 1 .. 11; the tombstone of the revision itself stays.
     */
    static const char *const left[] = {"",         "2 4 6 8 10", "2 4 6 8 10", "2 4 6 8 10",
                                       "4 6 8 10", "4 6 8 10",   "6 8 10",     "8 10",
                                       "8 10",     "8 10",       "10",         ""};
    for (int64_t at = 1; at <= 11; at++) {
        struct index x;
        struct buf position = {0}, text = {0};
        struct dropped dropped = {0};
        struct index_entry *e = five_revisions(&x);
        bool kept[12] = {0};
        for (int64_t main = 2; main <= 10; main += 2)
            kept[main] = index_keeps(e, (struct revision){main, 0}, at);
        while (!index_sweep(&x, &position, at, 10, (uint32_t)at % 3 + 1, note_drop, &dropped))
            check_index(&x); /* a long history is removed in pieces */
        for (size_t i = 0; i < dropped.count; i++) {
            assert_false(kept[dropped.items[i].main]);
            kept[dropped.items[i].main] = true;
            assert_true(i == 0 || dropped.items[i - 1].main < dropped.items[i].main);
        }
        for (int64_t main = 2; main <= 10; main += 2)
            assert_true(kept[main]);
        e = index_find(&x, slice_text("foo"));
        const struct index_history *h = e ? index_entry_history(e) : NULL;
        for (uint32_t i = 0; h && i < h->count; i++)
            buf_addf(&text, "%d ", (int)h->items[i].main);
        if (e)
            buf_addf(&text, "%d", (int)index_entry_revision(e).main);
        assert_string_equal(buf_text(&text), left[at]);
        assert_int_equal(x.count, e ? 1 : 0);
        buf_done(&position);
        buf_done(&text);
        index_done(&x);
    }
}

/* Put and delete, delete and put of one key in the same transaction. */
static void test_same_main(void **state)
{
    (void)state;
    struct index x;
    index_init(&x, 0);
    struct index_entry *e = index_insert(&x, slice_text("a"), (struct revision){5, 0}, false);
    index_tombstone(&x, e, (struct revision){5, 1});
    assert_int_equal(main_at(e, 5), 0);
    index_update(&x, e, (struct revision){5, 2}, false);
    struct revision r;
    assert_true(index_get(e, 5, &r) && r.sub == 2);
    assert_true(index_keeps(e, r, 5) && !index_keeps(e, (struct revision){5, 1}, 5));
    index_done(&x);
}

/* Revisions and sizes that do not fit the bits of an entry: a key with put, delete, puts is swept at each
 * place. */
static void test_wide(void **state)
{
    (void)state;
    static const int64_t far = INT64_C(1) << 47;
    static const struct revision drawn[] = {
        {5, 0},       {5, 65535}, {5, 65536}, {6, 100000},           {7, 0},
        {far - 1, 1}, {far, 0},   {far, 7},   {far + 1, 0x7fffffff}, {INT64_MAX, 1}};
    enum { COUNT = sizeof drawn / sizeof drawn[0] };
    for (unsigned at = 0; at <= COUNT; at++) {
        for (size_t size = 16380; size < 16390; size++) {
            struct index x;
            struct dropped dropped = {0};
            struct buf position = {0};
            char *key = mem_alloc(size);
            memset(key, 'k', size);
            index_init(&x, 0);
            struct index_entry *e = index_insert(&x, slice_of(key, size), drawn[0], false);
            for (unsigned i = 1; i < COUNT; i++) {
                if (i == 3)
                    index_tombstone(&x, e, drawn[i]);
                else
                    index_update(&x, e, drawn[i], i == 5);
                assert_int_equal(revision_compare(index_entry_revision(e), drawn[i]), 0);
                assert_int_equal(index_entry_version(e), i < 3 ? i + 1 : i - 3);
                assert_int_equal(index_entry_create(e), i < 3 ? 5 : i == 3 ? 0 : 7);
                assert_int_equal(e->has_lease, i == 5);
            }
            int64_t compact = at < COUNT ? drawn[at].main : 0;
            while (!index_sweep(&x, &position, compact, 1, 2, note_drop, &dropped))
                check_index(&x);
            unsigned last = at;
            while (last + 1 < COUNT && drawn[last + 1].main == compact)
                last++;
            assert_int_equal(dropped.count, at == COUNT ? 0 : last);
            for (unsigned i = 0; i < dropped.count; i++)
                assert_int_equal(revision_compare(dropped.items[i], drawn[i]), 0);
            assert_int_equal(revision_compare(index_entry_revision(e), drawn[COUNT - 1]), 0);
            assert_int_equal(index_entry_version(e), COUNT - 4);
            assert_int_equal(index_entry_create(e), 7);
            check_index(&x);
            buf_done(&position);
            mem_free(key);
            index_done(&x);
        }
    }
}

/* The bytes of an entry, its place in the tree and in the table, after inserts in any order. */
static void test_bytes(void **state)
{
    (void)state;
    enum { COUNT = 200000, KEY = 64 };
    for (int is_random = 0; is_random < 2; is_random++) {
        struct index x;
        struct rng r = {9};
        char key[KEY + 1];
        index_init(&x, 0);
        for (unsigned i = 0; i < COUNT; i++) {
            snprintf(key, sizeof key, "%048x%016llx", 1u, is_random ? (unsigned long long)rng_next(&r) : i);
            index_insert(&x, slice_of(key, KEY), (struct revision){i + 2, 0}, false);
        }
        check_index(&x);
#ifndef __SANITIZE_ADDRESS__
        if (slab_bytes(&x.slab)) /* 0 where each object has its own block */
            assert_true(slab_bytes(&x.slab) / COUNT <= KEY + 17);
#endif
        size_t leaves = tree_leaves(&x.tree), slots = keymap_slots(&x.map);
        assert_true(leaves * 64 <= (is_random ? COUNT * 4 / 3 : COUNT * 65 / 64));
        assert_true(slots <= COUNT * 3 / 2);
        index_done(&x);
    }
}

/* Keys that are always written together do not need larger histories together: a transaction would copy all of
 * them. */
static void test_histories_grow_apart(void **state)
{
    (void)state;
    enum { KEYS = 128, ROUNDS = 20000, TOGETHER = 1000, MOST = KEYS / 8 };
    struct index x;
    struct index_entry *entries[KEYS];
    uint32_t capacities[KEYS] = {0};
    unsigned most = 0;
    index_init(&x, 0);
    for (unsigned k = 0; k < KEYS; k++) {
        char key[16];
        snprintf(key, sizeof key, "k%03u", k);
        entries[k] = index_insert(&x, slice_text(key), (struct revision){2, k}, false);
    }
    for (int64_t i = 0; i < ROUNDS; i++) {
        unsigned grown = 0;
        for (unsigned k = 0; k < KEYS; k++) {
            index_update(&x, entries[k], (struct revision){i + 3, k}, false);
            uint32_t capacity = index_entry_history(entries[k])->capacity;
            assert_true(capacity <= 2 * i + 2);
            grown += i > TOGETHER && capacity != capacities[k];
            capacities[k] = capacity;
        }
        most = grown > most ? grown : most;
    }
    assert_in_range(most, 1, MOST);
    check_index(&x);
    index_done(&x);
}

/* Loading the content of an index gives the same index. */
static void test_load(void **state)
{
    (void)state;
    struct index x;
    struct rng r = {5};
    uint8_t bytes[100];
    index_init(&x, 3000);
    for (int i = 0; i < 9000; i++) {
        struct slice key = make_key(bytes, &r, (unsigned)rng_below(&r, 2));
        struct index_entry *e = index_find(&x, key);
        bool deletes = e && !e->is_deleted && rng_below(&r, 3) == 0;
        int64_t create = e && !e->is_deleted ? index_entry_create(e) : i + 2,
                version = e ? index_entry_version(e) : 0;
        version++;
        index_load(&x, key, (struct revision){i + 2, 0}, deletes ? 0 : create, deletes ? 0 : version, false);
    }
    index_load_end(&x);
    check_index(&x);
    check_seek(&x, &r);
    index_insert(&x, slice_text("one more"), (struct revision){10000, 0}, false);
    check_index(&x);
    index_done(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree_and_table),
        cmocka_unit_test(test_ascending_and_descending),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_compaction_of_one_key),
        cmocka_unit_test(test_same_main),
        cmocka_unit_test(test_wide),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_histories_grow_apart),
        cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
