/* SPDX-License-Identifier: Apache-2.0
 * Checksums, hashes and digests.
 *
 * - CRC-32C: by CPU instruction, otherwise by eight tables. On x86 the compiler's target decides; on ARM
 *   the CPU decides when the program starts.
 * - Tables: a keyed 64-bit hash that folds 128-bit products.
 * - Digests: libcrypto's low-level functions. EVP would load its providers, two megabytes in a process that
 *   needs one SHA-1 at its first start. */
#include "base/hash.h"

#include <assert.h>
#define OPENSSL_SUPPRESS_DEPRECATED /* see above */
#include <openssl/crypto.h>
#include <openssl/md5.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <string.h>

#include "base/mem.h"

#if defined(CRC32C_PORTABLE)
#elif defined(__SSE4_2__)
#include <nmmintrin.h>
#define CRC32C_BY_SSE
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#define CRC32C_BY_ARM
#endif

/* --- CRC-32C --------------------------------------------------------------------------------- */

#ifdef CRC32C_BY_SSE

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t c = ~crc;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        c = _mm_crc32_u64(c, v);
    }
    uint32_t c32 = (uint32_t)c;
    for (; size; p++, size--)
        c32 = _mm_crc32_u8(c32, *p);
    return ~c32;
}

#else

static uint32_t crc_table[8][256];

#ifdef CRC32C_BY_ARM
static bool has_crc_instruction; /* optional in ARMv8.0; every server CPU has it */

/* Inline assembler, because the compilers' intrinsics exist only if the whole file targets such CPUs. */
static uint32_t crc32c_by_instruction(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;
    for (; size >= 8; p += 8, size -= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %1" : "+r"(c) : "r"(v));
    }
    for (; size; p++, size--)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(c) : "r"((uint32_t)*p));
    return ~c;
}
#endif

/* Runs before main, so that worker threads see complete tables. */
static __attribute__((constructor)) void crc_init(void)
{
#ifdef CRC32C_BY_ARM
    has_crc_instruction = getauxval(AT_HWCAP) & HWCAP_CRC32;
#endif
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = (c >> 1) ^ ((c & 1) ? 0x82f63b78u : 0);
        crc_table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_table[t][i] = (crc_table[t - 1][i] >> 8) ^ crc_table[0][crc_table[t - 1][i] & 0xff];
}

static uint32_t crc32c_by_table(uint32_t crc, const void *data, size_t size)
{
    const uint8_t *p = data;
    uint32_t c = ~crc;
    for (; size >= 8; p += 8, size -= 8) {
        uint32_t low = c ^ (p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
        c = crc_table[7][low & 0xff] ^ crc_table[6][(low >> 8) & 0xff] ^ crc_table[5][(low >> 16) & 0xff] ^
            crc_table[4][low >> 24] ^ crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^
            crc_table[0][p[7]];
    }
    for (; size; p++, size--)
        c = (c >> 8) ^ crc_table[0][(c ^ *p) & 0xff];
    return ~c;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size)
{
#ifdef CRC32C_BY_ARM
    if (has_crc_instruction)
        return crc32c_by_instruction(crc, data, size);
#endif
    return crc32c_by_table(crc, data, size);
}

#endif

/* --- hash for tables ------------------------------------------------------------------------- */

/* Four secret words, all derived from the seed. They are mixed into the data before each multiplication. An
 * attacker who does not know them can force neither a product of zero nor equal folds. */
static uint64_t secret[4] = {0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu, 0xff51afd7ed558ccdu,
                             0xd6e8feb86659fd93u};

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint64_t read32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

void hash_seed(uint64_t seed)
{
    /* splitmix64 */
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        secret[i] = (z ^ (z >> 31)) | 1;
    }
}

uint64_t hash64(const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t h = secret[0] ^ size, a, b;
    size_t left = size;
    for (; left > 16; p += 16, left -= 16)
        h = fold(read64(p) ^ secret[1], read64(p + 8) ^ h);
    if (left >= 8) {
        a = read64(p);
        b = read64(p + left - 8);
    } else if (left >= 4) {
        a = read32(p);
        b = read32(p + left - 4);
    } else if (left > 0) {
        a = (uint64_t)p[0] << 16 | (uint64_t)p[left / 2] << 8 | p[left - 1];
        b = 0;
    } else {
        a = b = 0;
    }
    h = fold(a ^ secret[2], b ^ h);
    return fold(h ^ secret[3], secret[1] ^ size);
}

uint64_t hash64_u64(uint64_t value)
{
    uint64_t h = fold(value ^ secret[0], secret[1]);
    return fold(h ^ secret[2], value ^ secret[3]);
}

/* --- SipHash-2-4 ------------------------------------------------------------------------------ */

static inline uint64_t read64_little_endian(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static inline uint64_t rotate_left(uint64_t v, int bits)
{
    return v << bits | v >> (64 - bits);
}

static inline void siphash_rounds(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[1] = rotate_left(v[1], 13) ^ v[0];
        v[0] = rotate_left(v[0], 32);
        v[2] += v[3];
        v[3] = rotate_left(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate_left(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate_left(v[1], 17) ^ v[2];
        v[2] = rotate_left(v[2], 32);
    }
}

static inline void siphash_add_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    siphash_rounds(v, 2);
    v[0] ^= word;
}

uint64_t siphash24(const uint8_t key[SIPHASH_KEY_SIZE], const void *data, size_t size)
{
    const uint8_t *p = data;
    uint64_t k0 = read64_little_endian(key), k1 = read64_little_endian(key + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du, k0 ^ 0x6c7967656e657261u,
                     k1 ^ 0x7465646279746573u};
    uint64_t last = (uint64_t)size << 56;
    size_t whole = size / 8 * 8;
    for (size_t at = 0; at < whole; at += 8)
        siphash_add_word(v, read64_little_endian(p + at));
    for (size_t i = whole; i < size; i++)
        last |= (uint64_t)p[i] << 8 * (i - whole);
    siphash_add_word(v, last);
    v[2] ^= 0xff;
    siphash_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* --- digests --------------------------------------------------------------------------------- */

void sha1(const void *data, size_t size, uint8_t ret_digest[20])
{
    SHA_CTX context;
    int rc = SHA1_Init(&context) && SHA1_Update(&context, data, size) && SHA1_Final(ret_digest, &context);
    assert(rc == 1);
}

void md5(const void *data, size_t size, uint8_t ret_digest[16])
{
    MD5_CTX context;
    int rc = MD5_Init(&context) && MD5_Update(&context, data, size) && MD5_Final(ret_digest, &context);
    assert(rc == 1);
}

struct md5 {
    MD5_CTX context;
};

struct md5 *md5_new(void)
{
    struct md5 *m = mem_new(sizeof *m);
    int rc = MD5_Init(&m->context);
    assert(rc == 1);
    return m;
}

void md5_add(struct md5 *m, const void *data, size_t size)
{
    int rc = size ? MD5_Update(&m->context, data, size) : 1;
    assert(rc == 1);
}

void md5_finish(struct md5 *m, uint8_t ret_digest[16])
{
    int rc = MD5_Final(ret_digest, &m->context);
    assert(rc == 1);
    mem_free(m);
}

struct sha256 {
    SHA256_CTX context;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *s = mem_new(sizeof *s);
    int rc = SHA256_Init(&s->context);
    assert(rc == 1);
    return s;
}

void sha256_add(struct sha256 *s, const void *data, size_t size)
{
    int rc = size ? SHA256_Update(&s->context, data, size) : 1;
    assert(rc == 1);
}

void sha256_finish(struct sha256 *s, uint8_t ret_digest[32])
{
    int rc = SHA256_Final(ret_digest, &s->context);
    assert(rc == 1);
    mem_free(s);
}

/* --- HMAC, secrets --------------------------------------------------------------------------- */

enum { HMAC_BLOCK = 64, HMAC_INNER = 0x36, HMAC_OUTER = 0x5c };

static void hash_keyed(const uint8_t key[HMAC_BLOCK], uint8_t pad, const void *data, size_t size,
                       uint8_t ret_digest[32])
{
    uint8_t block[HMAC_BLOCK];
    SHA256_CTX c;
    for (size_t i = 0; i < HMAC_BLOCK; i++)
        block[i] = key[i] ^ pad;
    int rc = SHA256_Init(&c) && SHA256_Update(&c, block, sizeof block) && SHA256_Update(&c, data, size) &&
             SHA256_Final(ret_digest, &c);
    assert(rc == 1);
    (void)rc;
    secret_clear(block, sizeof block);
    secret_clear(&c, sizeof c);
}

void hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t ret_mac[32])
{
    uint8_t block[HMAC_BLOCK] = {0}, inner[32];
    if (key_size > HMAC_BLOCK)
        SHA256(key, key_size, block);
    else if (key_size)
        memcpy(block, key, key_size);
    hash_keyed(block, HMAC_INNER, data, size, inner);
    hash_keyed(block, HMAC_OUTER, inner, sizeof inner, ret_mac);
    secret_clear(block, sizeof block);
}

bool secret_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

void secret_clear(void *data, size_t size)
{
    OPENSSL_cleanse(data, size);
}
