/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the small parsers of base. The first byte picks a parser. An accepted text must survive
 * printing and parsing again. */
#include <assert.h>
#include <stdlib.h>

#include "base/text.h"

static void check_duration(struct slice s)
{
    int64_t ns, again = 0;
    if (text_to_duration_ns(s, &ns) != OK)
        return;
    struct buf b = {0};
    text_add_duration(&b, ns);
    int err = text_to_duration_ns(buf_slice(&b), &again);
    assert(err == OK && again == ns);
    buf_done(&b);
}

static void check_base64(struct slice s)
{
    struct buf bytes = {0}, text = {0}, again = {0};
    base64_encode(&text, s);
    int err = base64_decode(buf_slice(&text), &again);
    assert(err == OK && slice_equal(buf_slice(&again), s));
    buf_clear(&text);
    buf_clear(&again);
    if (base64_decode(s, &bytes) == OK) {
        base64_encode(&text, buf_slice(&bytes));
        err = base64_decode(buf_slice(&text), &again);
        assert(err == OK && slice_equal(buf_slice(&again), buf_slice(&bytes)));
    }
    buf_done(&bytes);
    buf_done(&text);
    buf_done(&again);
}

static void check_url(struct slice s)
{
    struct url url, again;
    if (url_parse(s, &url) != OK)
        return;
    assert(url.host[0] && strlen(url.host) < sizeof url.host && strlen(url.path) < sizeof url.path);
    struct buf b = {0};
    bool is_ipv6 = url.scheme[0] == 'h' && strpbrk(url.host, ":%");
    buf_addf(&b, "%s://%s%s%s", url.scheme, is_ipv6 ? "[" : "", url.host, is_ipv6 ? "]" : "");
    if (url.scheme[0] == 'h')
        buf_addf(&b, ":%u%s", url.port, url.path);
    int err = url_parse(buf_slice(&b), &again);
    assert(err == OK && memcmp(&url, &again, sizeof url) == 0);
    buf_done(&b);
}

static void check_numbers(struct slice s)
{
    int64_t i;
    uint64_t u;
    bool v;
    struct buf b = {0};
    if (text_to_u64(s, &u) == OK) {
        text_add_u64(&b, u);
        uint64_t again = u + 1;
        int err = text_to_u64(buf_slice(&b), &again);
        assert(err == OK && again == u);
    }
    buf_clear(&b);
    if (text_to_i64(s, &i) == OK) {
        text_add_i64(&b, i);
        int64_t again = ~i;
        int err = text_to_i64(buf_slice(&b), &again);
        assert(err == OK && again == i);
    }
    (void)text_to_bool(s, &v);
    double d;
    if (s.size >= sizeof d) {
        memcpy(&d, s.data, sizeof d);
        buf_clear(&b);
        text_add_double(&b, d);
        assert(d != d || strtod(buf_text(&b), NULL) == d);
    }
    buf_done(&b);
}

static void check_percent(struct slice s)
{
    struct buf b = {0};
    int err = percent_decode(s, true, &b);
    assert(err == OK ? b.size <= s.size : b.size == 0);
    buf_done(&b);
    (void)utf8_is_valid(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const checks[])(struct slice) = {check_duration, check_base64, check_url, check_numbers,
                                                   check_percent};
    if (size == 0)
        return 0;
    /* A copy of its own, so that the sanitizer detects a read of one byte too far. */
    uint8_t *copy = malloc(size);
    memcpy(copy, data + 1, size - 1);
    checks[data[0] % 5](slice_of(copy, size - 1));
    free(copy);
    return 0;
}
