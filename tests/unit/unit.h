/* SPDX-License-Identifier: Apache-2.0
 * Includes for unit tests: cmocka and the headers that it needs before it. */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HELPER          __attribute__((unused)) /* a function of a header that not every test calls */
#define COUNT_OF(array) (sizeof(array) / sizeof(*(array)))

#endif
