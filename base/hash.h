/* SPDX-License-Identifier: Apache-2.0
 * Checksums and hashes: CRC-32C (hardware where the CPU has it), a fast 64-bit hash for tables,
 * SipHash-2-4, and SHA-1, SHA-256 and MD5 through OpenSSL's libcrypto. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Castagnoli, as etcd and iSCSI use it. Start with 0; feed the result back to continue a chain. */
uint32_t crc32c(uint32_t crc, const void *data, size_t size);

/* For hash tables only: keyed by a process-wide random seed set once by hash_seed, so that clients cannot
 * choose collisions. The simulator sets a fixed seed. */
uint64_t hash64(const void *data, size_t size);
uint64_t hash64_u64(uint64_t value);
void hash_seed(uint64_t seed);

/* SipHash-2-4 (Aumasson, Bernstein): a short authenticator under a secret key. For results that others see
 * or must not be able to compute. */
enum { SIPHASH_KEY_SIZE = 16 };
uint64_t siphash24(const uint8_t key[SIPHASH_KEY_SIZE], const void *data, size_t size);

void sha1(const void *data, size_t size, uint8_t ret_digest[20]);
void md5(const void *data, size_t size, uint8_t ret_digest[16]);
struct md5;
struct md5 *md5_new(void);
void md5_add(struct md5 *m, const void *data, size_t size);
void md5_finish(struct md5 *m, uint8_t ret_digest[16]); /* frees m */
struct sha256;
struct sha256 *sha256_new(void);
void sha256_add(struct sha256 *s, const void *data, size_t size);
void sha256_finish(struct sha256 *s, uint8_t ret_digest[32]); /* frees s */
/* RFC 2104. */
void hmac_sha256(const void *key, size_t key_size, const void *data, size_t size, uint8_t ret_mac[32]);

/* For secrets: secret_equal takes a time that depends on size alone; the compiler cannot remove
 * secret_clear. */
bool secret_equal(const void *a, const void *b, size_t size);
void secret_clear(void *data, size_t size);

#endif
