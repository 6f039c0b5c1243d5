/* SPDX-License-Identifier: Apache-2.0
 * IP addresses as text, as labels and as reverse names; see dns_address.h. */
#include "server/dns/dns_address.h"

#include <arpa/inet.h>
#include <stdio.h>

enum { V4 = 4, V6 = 16, TEXT_MAX = 46 };

/* Four numbers without leading zeros. inet_pton would be slower, and this runs for every record. */
static int read_v4(struct slice s, uint8_t separator, struct dns_address *ret)
{
    size_t at = 0;
    for (size_t i = 0; i < V4; i++) {
        unsigned value = 0;
        size_t begin = at;
        while (at < s.size && at - begin < 3 && s.data[at] >= '0' && s.data[at] <= '9')
            value = value * 10 + (s.data[at++] - (unsigned)'0');
        if (at == begin || value > UINT8_MAX || (s.data[begin] == '0' && at - begin > 1))
            return ERR_MALFORMED;
        ret->bytes[i] = (uint8_t)value;
        if (i < V4 - 1 && (at >= s.size || s.data[at++] != separator))
            return ERR_MALFORMED;
    }
    ret->size = V4;
    return at == s.size ? OK : ERR_MALFORMED;
}

bool dns_address_is_loopback(const struct dns_address *a)
{
    static const struct dns_address one = {.bytes = {[15] = 1}, .size = 16};
    return a->size == 4 ? a->bytes[0] == 127 : dns_address_equal(a, &one);
}

int dns_address_read(struct slice host, struct dns_address *ret)
{
    char text[TEXT_MAX + 1];
    if (host.size > 0 && host.size < TEXT_MAX && memchr(host.data, ':', host.size)) {
        if (host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']')
            host = slice_of(host.data + 1, host.size - 2);
        memcpy(text, host.data, host.size);
        text[host.size] = 0;
        if (inet_pton(AF_INET6, text, ret->bytes) != 1)
            return ERR_MALFORMED;
        ret->size = V6;
        return OK;
    }
    return read_v4(host, '.', ret);
}

static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int dns_address_read_label(struct slice label, struct dns_address *ret)
{
    if (label.size != DNS_ADDRESS_LABEL_MAX)
        return read_v4(label, '-', ret);
    for (size_t i = 0; i < V6; i++) {
        int high = hex_value(label.data[2 * i]), low = hex_value(label.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return ERR_MALFORMED;
        ret->bytes[i] = (uint8_t)(high << 4 | low);
    }
    ret->size = V6;
    return OK;
}

size_t dns_address_write_label(const struct dns_address *a, uint8_t ret_label[DNS_ADDRESS_LABEL_MAX])
{
    static const char digits[] = "0123456789abcdef";
    if (a->size == V6) {
        for (size_t i = 0; i < V6; i++) {
            ret_label[2 * i] = (uint8_t)digits[a->bytes[i] >> 4];
            ret_label[2 * i + 1] = (uint8_t)digits[a->bytes[i] & 0xf];
        }
        return DNS_ADDRESS_LABEL_MAX;
    }
    size_t n = 0;
    for (size_t i = 0; i < V4; i++) {
        uint8_t b = a->bytes[i];
        if (i > 0)
            ret_label[n++] = '-';
        if (b >= 100)
            ret_label[n++] = (uint8_t)('0' + b / 100);
        if (b >= 10)
            ret_label[n++] = (uint8_t)('0' + b / 10 % 10);
        ret_label[n++] = (uint8_t)('0' + b % 10);
    }
    return n;
}

static struct slice label_of(const struct dns_name *name, size_t i)
{
    const uint8_t *at = name->wire + name->labels[i];
    return slice_of(at + 1, *at);
}

static bool label_is(const struct dns_name *name, size_t i, const char *text)
{
    struct slice label = label_of(name, i);
    size_t n = strlen(text);
    for (size_t k = 0; k < n && label.size == n; k++) {
        uint8_t c = label.data[k];
        if ((c >= 'A' && c <= 'Z' ? c | 0x20 : c) != (uint8_t)text[k])
            return false;
    }
    return label.size == n;
}

static int read_reverse_v4(const struct dns_name *name, struct dns_address *ret)
{
    uint8_t text[4 * V4];
    size_t size = 0;
    for (size_t i = V4; i-- > 0;) {
        struct slice label = label_of(name, i);
        if (label.size > 3)
            return ERR_NOT_FOUND;
        memcpy(text + size, label.data, label.size);
        size += label.size;
        text[size++] = '.';
    }
    return read_v4(slice_of(text, size - 1), '.', ret) ? ERR_NOT_FOUND : OK;
}

int dns_address_read_reverse(const struct dns_name *name, struct dns_address *ret)
{
    enum { NIBBLES = 2 * V6 };
    size_t n = name->label_count;
    if (n < 2 || !label_is(name, n - 1, "arpa"))
        return ERR_NOT_FOUND;
    if (n == V4 + 2 && label_is(name, n - 2, "in-addr"))
        return read_reverse_v4(name, ret);
    if (n != NIBBLES + 2 || !label_is(name, n - 2, "ip6"))
        return ERR_NOT_FOUND;
    for (size_t i = 0; i < NIBBLES; i++) {
        struct slice label = label_of(name, NIBBLES - 1 - i);
        int value = label.size == 1 ? hex_value(label.data[0]) : -1;
        if (value < 0)
            return ERR_NOT_FOUND;
        ret->bytes[i / 2] = (uint8_t)(i % 2 ? ret->bytes[i / 2] | value : value << 4);
    }
    ret->size = V6;
    return OK;
}
