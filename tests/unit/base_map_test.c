/* SPDX-License-Identifier: Apache-2.0
 * Tests of map, strmap, heap and hash: each container against a plain model under random operations. */
#include "tests/unit/unit.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/heap.h"
#include "base/map.h"
#include "base/mem.h"

static uint64_t seed = 42;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

enum { KEYS = 512 };
static char values[KEYS];

static void test_map_model(void **state)
{
    (void)state;
    struct map m = {0};
    void *model[KEYS] = {0};
    size_t live = 0;
    for (int step = 0; step < 200000; step++) {
        uint64_t key = next_random() % KEYS;
        void *value = &values[next_random() % KEYS];
        bool grows = step / 5000 % 2 == 0;
        if (next_random() % 3 < (grows ? 2 : 1)) {
            assert_ptr_equal(map_put(&m, key, value), model[key]);
            live += model[key] == NULL;
            model[key] = value;
        } else {
            assert_ptr_equal(map_remove(&m, key), model[key]);
            live -= model[key] != NULL;
            model[key] = NULL;
        }
        assert_int_equal(m.count, live);
        assert_true(m.used >= m.count && m.used <= m.capacity / 4 * 3);
        assert_ptr_equal(map_get(&m, key), model[key]);
    }
    for (uint64_t key = 0; key < KEYS; key++)
        assert_ptr_equal(map_get(&m, key), model[key]);
    map_done(&m);
    assert_null(map_get(&m, 1));
    assert_null(map_remove(&m, 1));
}

static void test_map_iterate(void **state)
{
    (void)state;
    struct map m = {0};
    uint64_t sum = 0, expected = 0;
    for (uint64_t i = 0; i < 1000; i++, expected += i)
        map_put(&m, i << 32, &values[0]);
    uint64_t key;
    void *value;
    for (size_t at = 0; map_next(&m, &at, &key, &value);) {
        sum += (key >> 32) + 1;
        assert_ptr_equal(map_remove(&m, key), value);
    }
    assert_int_equal(sum, expected);
    assert_int_equal(m.count, 0);
    size_t at = 0;
    assert_false(map_next(&m, &at, &key, &value));
    map_done(&m);
}

static void test_strmap_model(void **state)
{
    (void)state;
    struct strmap m = {0};
    void *model[KEYS] = {0};
    for (int step = 0; step < 100000; step++) {
        uint64_t key = next_random() % KEYS;
        char text[32];
        snprintf(text, sizeof text, "%*d", (int)(key % 20) + 1, (int)key);
        void *value = &values[next_random() % KEYS];
        if (next_random() % 2) {
            assert_ptr_equal(strmap_put(&m, slice_text(text), value), model[key]);
            model[key] = value;
        } else {
            assert_ptr_equal(strmap_remove(&m, slice_text(text)), model[key]);
            model[key] = NULL;
        }
        assert_ptr_equal(strmap_get(&m, slice_text(text)), model[key]);
    }
    size_t live = 0;
    for (int key = 0; key < KEYS; key++)
        live += model[key] != NULL;
    assert_int_equal(m.count, live);
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&m, &at, &key, &value); live--) {
        char text[32] = {0};
        memcpy(text, key.data, key.size);
        int number = atoi(text);
        assert_ptr_equal(model[number], value);
        if (number % 2)
            strmap_remove(&m, key);
    }
    assert_int_equal(live, 0);
    assert_null(strmap_put(&m, (struct slice){0}, values));
    assert_ptr_equal(strmap_get(&m, slice_text("")), values);
    strmap_done(&m);
    assert_null(strmap_get(&m, slice_text("")));
}

/* A map that is large enough to be rebuilt in steps: growth, shrinking, and iteration meanwhile. */
static void test_strmap_large(void **state)
{
    (void)state;
    enum { MANY = 50000, STEPS = 1000000 };
    static char *model[MANY];
    struct strmap m = {0};
    size_t rebuilding = 0, live = 0, iterations = 0;
    for (size_t step = 0; step < STEPS; step++) {
        size_t k = next_random() % MANY;
        char text[32];
        snprintf(text, sizeof text, "key %zu", k);
        bool grows = step / (STEPS / 4) % 2 == 0, was_rebuilding = m.old;
        if (next_random() % 8 < (grows ? 7 : 1)) {
            char *value = &values[next_random() % KEYS];
            assert_ptr_equal(strmap_put(&m, slice_text(text), value), model[k]);
            live += model[k] == NULL;
            model[k] = value;
        } else {
            assert_ptr_equal(strmap_remove(&m, slice_text(text)), model[k]);
            live -= model[k] != NULL;
            model[k] = NULL;
        }
        assert_int_equal(m.count, live);
        assert_ptr_equal(strmap_get(&m, slice_text(text)), model[k]);
        assert_true(m.used <= m.capacity / 4 * 3);
        rebuilding += m.old != NULL;
        if (!m.old || was_rebuilding)
            continue;
        /* All are there, each once, and one in seven is removed. */
        struct slice key;
        void *value;
        size_t met = 0;
        iterations++;
        for (size_t at = 0; strmap_next(&m, &at, &key, &value); met++) {
            memcpy(text, key.data, key.size);
            text[key.size] = 0;
            k = (size_t)atoi(text + 4);
            assert_ptr_equal(model[k], value);
            if (k % 7)
                continue;
            assert_ptr_equal(strmap_remove(&m, key), value);
            model[k] = NULL;
            live--;
        }
        assert_int_equal(m.count, live);
        assert_in_range(met, live, live + MANY / 7 + 1);
    }
    assert_true(iterations >= 2 && rebuilding > 500);
    for (size_t k = 0; k < MANY; k++) {
        char text[32];
        snprintf(text, sizeof text, "key %zu", k);
        assert_ptr_equal(strmap_get(&m, slice_text(text)), model[k]);
    }
    strmap_done(&m);
    /* The map may be freed, or iterated, in the middle of a rebuild. */
    for (size_t k = 0; !m.old; k++) {
        char text[32];
        snprintf(text, sizeof text, "key %zu", k);
        strmap_put(&m, slice_text(text), values);
    }
    strmap_done(&m);
}

struct timer {
    struct heap_node node;
    uint64_t key;
    int order;
};

static void test_heap_model(void **state)
{
    (void)state;
    static struct timer timers[300];
    struct heap h = {0};
    for (int step = 0; step < 30000; step++) {
        struct timer *t = &timers[next_random() % 300];
        uint64_t key = next_random() % 50;
        if (!heap_contains(&t->node)) {
            heap_add(&h, &t->node, key);
            t->key = key;
        } else if (next_random() % 2) {
            heap_move(&h, &t->node, key);
            t->key = key;
        } else {
            heap_remove(&h, &t->node);
            heap_remove(&h, &t->node);
        }
        const struct heap_node *least = NULL;
        for (int i = 0; i < 300; i++) {
            const struct heap_node *n = &timers[i].node;
            if (n->place &&
                (!least || n->key < least->key || (n->key == least->key && n->order < least->order)))
                least = n;
        }
        assert_ptr_equal(heap_first(&h), least);
    }
    heap_done(&h);
    for (int i = 0; i < 300; i++)
        assert_false(heap_contains(&timers[i].node));
}

static void test_heap_ties(void **state)
{
    (void)state;
    struct timer timers[100] = {0};
    struct heap h = {0};
    for (int i = 0; i < 100; i++)
        heap_add(&h, &timers[i].node, 7);
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(heap_first(&h), &timers[i].node);
        heap_remove(&h, heap_first(&h));
    }
    assert_null(heap_first(&h));
    heap_done(&h);
}

static void test_crc32c(void **state)
{
    (void)state;
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    uint8_t zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, 32);
    for (int i = 0; i < 32; i++)
        up[i] = (uint8_t)i;
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aau); /* RFC 3720 B.4 */
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43u);
    assert_int_equal(crc32c(0, up, 32), 0x46dd794eu);
    assert_int_equal(crc32c(0, NULL, 0), 0);
    static uint8_t data[5000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)next_random();
    uint32_t whole = crc32c(0, data, sizeof data);
    for (size_t cut = 0; cut < sizeof data; cut += 37)
        assert_int_equal(crc32c(crc32c(0, data, cut), data + cut, sizeof data - cut), whole);
}

static void test_hash64(void **state)
{
    (void)state;
    uint8_t data[100] = {0};
    hash_seed(1);
    uint64_t first = hash64(data, 100), number = hash64_u64(5);
    uint64_t seen[101];
    for (size_t n = 0; n <= 100; n++) {
        seen[n] = hash64(data, n);
        for (size_t k = 0; k < n; k++)
            assert_true(seen[k] != seen[n]);
    }
    for (size_t n = 1; n <= 100; n++)
        for (size_t i = 0; i < n; i++) {
            data[i] ^= 1;
            assert_true(hash64(data, n) != seen[n]);
            data[i] ^= 1;
        }
    hash_seed(2);
    assert_true(hash64(data, 100) != first);
    assert_true(hash64_u64(5) != number);
    hash_seed(1);
    assert_true(hash64(data, 100) == first);
    /* Every output bit moves with about half of the input changes; consecutive ids spread over buckets. */
    unsigned flips[64] = {0};
    for (uint64_t i = 0; i < 4096; i++)
        for (int bit = 0; bit < 64; bit++)
            flips[bit] += (unsigned)((hash64_u64(i) ^ hash64_u64(i + 1)) >> bit & 1);
    for (int bit = 0; bit < 64; bit++)
        assert_in_range(flips[bit], 1800, 2300);
}

static void assert_hex(const uint8_t *digest, size_t size, const char *hex)
{
    char text[65];
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(text, hex);
}

static void test_digests(void **state)
{
    (void)state;
    uint8_t d[32];
    sha1("abc", 3, d);
    assert_hex(d, 20, "a9993e364706816aba3e25717850c26c9cd0d89d");
    md5("abc", 3, d);
    assert_hex(d, 16, "900150983cd24fb0d6963f7d28e17f72");
    md5(NULL, 0, d);
    assert_hex(d, 16, "d41d8cd98f00b204e9800998ecf8427e");
    struct sha256 *s = sha256_new();
    sha256_add(s, "a", 1);
    sha256_add(s, "bc", 2);
    sha256_finish(s, d);
    assert_hex(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* The key and the inputs of the paper's appendix: bytes 0, 1, 2 and so on. OpenSSL's results are the
 * reference for all sizes. */
static void test_siphash(void **state)
{
    (void)state;
    uint8_t key[SIPHASH_KEY_SIZE], data[64], wanted[8];
    for (uint8_t i = 0; i < sizeof key; i++)
        key[i] = i;
    for (uint8_t i = 0; i < sizeof data; i++)
        data[i] = i;
    assert_true(siphash24(key, data, 15) == 0xa129ca6149be45e5u);
    assert_true(siphash24(key, NULL, 0) == 0x726fdb47dd0e0e31u);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "SIPHASH", NULL);
    assert_non_null(mac);
    for (size_t n = 0; n <= sizeof data; n++) {
        unsigned eight = sizeof wanted;
        OSSL_PARAM parameters[] = {OSSL_PARAM_uint("size", &eight), OSSL_PARAM_END};
        EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
        size_t size;
        assert_int_equal(EVP_MAC_init(context, key, sizeof key, parameters), 1);
        assert_int_equal(EVP_MAC_update(context, data, n), 1);
        assert_int_equal(EVP_MAC_final(context, wanted, &size, sizeof wanted), 1);
        uint64_t got = siphash24(key, data, n);
        for (size_t i = 0; i < sizeof wanted; i++)
            assert_int_equal(wanted[i], (uint8_t)(got >> 8 * i));
        EVP_MAC_CTX_free(context);
    }
    EVP_MAC_free(mac);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map_model),    cmocka_unit_test(test_map_iterate),
        cmocka_unit_test(test_strmap_model), cmocka_unit_test(test_strmap_large),
        cmocka_unit_test(test_heap_model),   cmocka_unit_test(test_heap_ties),
        cmocka_unit_test(test_crc32c),       cmocka_unit_test(test_hash64),
        cmocka_unit_test(test_digests),      cmocka_unit_test(test_siphash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
