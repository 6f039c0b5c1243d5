/* SPDX-License-Identifier: Apache-2.0
 * md5 and sha256 of a content as text; see digest.h. */
#include "config/digest.h"

#include "base/hash.h"
#include "base/mem.h"

static void write_hex(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

struct digester {
    struct md5 *md5;
    struct sha256 *sha256;
};

struct digester *digester_new(void)
{
    struct digester *d = mem_new(sizeof *d);
    d->md5 = md5_new();
    d->sha256 = sha256_new();
    return d;
}

void digester_add(struct digester *d, struct slice piece)
{
    md5_add(d->md5, piece.data, piece.size);
    sha256_add(d->sha256, piece.data, piece.size);
}

struct digest digester_finish(struct digester *d)
{
    struct digest digest = {{0}, {0}};
    uint8_t bytes[32];
    md5_finish(d->md5, bytes);
    write_hex(bytes, 16, digest.md5);
    sha256_finish(d->sha256, bytes);
    write_hex(bytes, 32, digest.sha256);
    mem_free(d);
    return digest;
}

void digester_free(struct digester *d)
{
    if (d)
        (void)digester_finish(d);
}

struct digest digest_of(struct slice content)
{
    struct digester *d = digester_new();
    digester_add(d, content);
    return digester_finish(d);
}

struct digest digest_keyed(const uint8_t bytes[32])
{
    struct digest digest = {{0}, {0}};
    write_hex(bytes, 16, digest.md5);
    write_hex(bytes, 32, digest.sha256);
    return digest;
}

bool digest_is_md5(struct slice text)
{
    bool is = text.size == DIGEST_MD5_SIZE;
    for (size_t i = 0; is && i < text.size; i++)
        is = (text.data[i] >= '0' && text.data[i] <= '9') || (text.data[i] >= 'a' && text.data[i] <= 'f');
    return is;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return memcmp(a->md5, b->md5, sizeof a->md5) == 0 && memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}
