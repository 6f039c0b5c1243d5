/* SPDX-License-Identifier: Apache-2.0
 * See digest.h. */
#include "config/digest.h"

#include "base/hash.h"

static void write_hex(const uint8_t *bytes, size_t size, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
}

struct digest digest_of(struct slice content)
{
    struct digest d = {{0}, {0}};
    uint8_t bytes[32];
    const void *data = content.size ? content.data : (const uint8_t *)"";
    md5(data, content.size, bytes);
    write_hex(bytes, 16, d.md5);
    struct sha256 *s = sha256_new();
    sha256_add(s, data, content.size);
    sha256_finish(s, bytes);
    write_hex(bytes, 32, d.sha256);
    return d;
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
