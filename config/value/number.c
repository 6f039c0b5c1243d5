/* SPDX-License-Identifier: Apache-2.0
 * Exact decimal numbers; see number.h. */
#include "config/value/number.h"

#define EXPONENT_MAX 1000000000000000

static int64_t read_exponent(const uint8_t *p, const uint8_t *end)
{
    int64_t value = 0;
    bool is_negative = p < end && *p == '-';
    p += p < end && (*p == '-' || *p == '+');
    for (; p < end; p++)
        value = value >= EXPONENT_MAX ? EXPONENT_MAX : value * 10 + (*p - '0');
    return is_negative ? -value : value;
}

/* The digits before the exponent, without the point. */
static struct slice read_digits(struct slice text, struct arena *a, int64_t *ret_fraction)
{
    const uint8_t *point = text.size ? memchr(text.data, '.', text.size) : NULL;
    *ret_fraction = 0;
    if (!point)
        return text;
    size_t whole = (size_t)(point - text.data), fraction = text.size - whole - 1;
    uint8_t *copy = arena_alloc(a, whole + fraction + 1);
    memcpy(copy, text.data, whole);
    memcpy(copy + whole, point + 1, fraction);
    *ret_fraction = (int64_t)fraction;
    return slice_of(copy, whole + fraction);
}

struct number number_read(struct slice text, struct arena *a)
{
    struct number n = {0};
    int64_t fraction;
    size_t mantissa = 0;
    if (text.size && (text.data[0] == '-' || text.data[0] == '+')) {
        n.is_negative = text.data[0] == '-';
        text = slice_of(text.data + 1, text.size - 1);
    }
    while (mantissa < text.size && text.data[mantissa] != 'e' && text.data[mantissa] != 'E')
        mantissa++;
    if (mantissa < text.size)
        n.exponent = read_exponent(text.data + mantissa + 1, text.data + text.size);
    n.digits = read_digits(slice_of(text.data, mantissa), a, &fraction);
    n.exponent -= fraction;
    while (n.digits.size && n.digits.data[0] == '0')
        n.digits = slice_of(n.digits.data + 1, n.digits.size - 1);
    while (n.digits.size && n.digits.data[n.digits.size - 1] == '0') {
        n.digits.size--;
        n.exponent++;
    }
    if (!n.digits.size)
        n = (struct number){0}; /* -0 is 0 */
    return n;
}

static int compare_size(const struct number *a, const struct number *b)
{
    int64_t length = (int64_t)a->digits.size + a->exponent, other = (int64_t)b->digits.size + b->exponent;
    if (!a->digits.size || !b->digits.size)
        return (a->digits.size > 0) - (b->digits.size > 0);
    if (length != other)
        return length < other ? -1 : 1;
    return slice_compare(a->digits, b->digits); /* a prefix is the smaller number: no zeros end the digits */
}

int number_compare(const struct number *a, const struct number *b)
{
    if (a->is_negative != b->is_negative)
        return a->is_negative ? -1 : 1;
    return a->is_negative ? compare_size(b, a) : compare_size(a, b);
}

bool number_is_integer(const struct number *n)
{
    return n->digits.size == 0 || n->exponent >= 0;
}

/* a * b % modulus; all are below 10^18 (NUMBER_DIVISOR_DIGITS). */
static uint64_t multiply(uint64_t a, uint64_t b, uint64_t modulus)
{
    __extension__ unsigned __int128 product = a;
    product *= b;
    return (uint64_t)(product % modulus);
}

static uint64_t remainder_of(struct slice digits, uint64_t divisor)
{
    uint64_t rest = 0;
    for (size_t i = 0; i < digits.size; i++)
        rest = (multiply(rest, 10, divisor) + (digits.data[i] - '0')) % divisor;
    return rest;
}

static uint64_t power_of_ten(uint64_t exponent, uint64_t modulus)
{
    uint64_t result = 1 % modulus, base = 10 % modulus;
    for (; exponent; exponent >>= 1) {
        if (exponent & 1)
            result = multiply(result, base, modulus);
        base = multiply(base, base, modulus);
    }
    return result;
}

/* n = x * 10^i, divisor = y * 10^j, and x ends with no zero. If i < j, x would have to be a multiple of 10^(j-i).
 * Else y must divide x * 10^(i-j), whose remainder is that of the product of two remainders. */
bool number_is_multiple(const struct number *n, const struct number *divisor)
{
    if (!n->digits.size)
        return true;
    if (n->exponent < divisor->exponent)
        return false;
    uint64_t y = 0;
    for (size_t i = 0; i < divisor->digits.size; i++)
        y = y * 10 + (divisor->digits.data[i] - '0');
    uint64_t power = power_of_ten((uint64_t)(n->exponent - divisor->exponent), y);
    return multiply(remainder_of(n->digits, y), power, y) == 0;
}

bool number_to_count(const struct number *n, uint32_t *ret)
{
    uint64_t value = 0;
    if (n->is_negative || !number_is_integer(n))
        return false;
    if ((int64_t)n->digits.size + n->exponent > 10) {
        *ret = UINT32_MAX;
        return true;
    }
    for (size_t i = 0; i < n->digits.size; i++)
        value = value * 10 + (n->digits.data[i] - '0');
    for (int64_t i = 0; i < n->exponent && n->digits.size; i++)
        value *= 10;
    *ret = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return true;
}
