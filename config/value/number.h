/* SPDX-License-Identifier: Apache-2.0
 * Decimal numbers of any size, as JSON writes them: compared and divided exactly, without floating point.
 * Pure. */
#ifndef CONFIG_VALUE_NUMBER_H
#define CONFIG_VALUE_NUMBER_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define NUMBER_DIVISOR_DIGITS 18 /* of number_is_multiple's divisor */

/* digits * 10^exponent. The digits have no zero at either end; of 0 there are none. */
struct number {
    bool is_negative;
    int64_t exponent; /* within ±10^15: beyond that it is cut off */
    struct slice digits;
};

/* Reads a JSON number (json_lex_number accepts it). The digits lie in the text or the arena. */
struct number number_read(struct slice text, struct arena *a);
int number_compare(const struct number *a, const struct number *b); /* as memcmp */
bool number_is_integer(const struct number *n);
/* True: n is a multiple of divisor, which is above 0 and has at most NUMBER_DIVISOR_DIGITS digits. */
bool number_is_multiple(const struct number *n, const struct number *divisor);
/* A count from a schema or a path; above UINT32_MAX it is UINT32_MAX. False: negative, or no integer. */
bool number_to_count(const struct number *n, uint32_t *ret);

#endif
