/* SPDX-License-Identifier: Apache-2.0
 * Regular expressions of JSON Schema, in linear time: a simulation of Thompson's automaton, which never goes
 * back. A match takes time of at most the text's length times the size of the expression. Pure.
 *
 * The syntax is ECMA-262's with the flag u, without what needs backtracking or Unicode's tables:
 *
 *   a . [a-z] [^a-z] \d \D \w \W \s \S \t \n \r \f \v \0 \xHH \uHHHH \u{H…} \cX and \ before punctuation
 *   (…) (?:…) (?<name>…) | ^ $ \b \B
 *   * + ? {n} {n,} {n,m}, each with ? after it, which changes nothing: only whether it matches is asked
 *
 * Refused: look-ahead, look-behind, references to groups, \p{…}. A match may begin anywhere in the text. */
#ifndef CONFIG_SCHEMA_REGEX_H
#define CONFIG_SCHEMA_REGEX_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

#define REGEX_SIZE_MAX   1024 /* bytes of an expression */
#define REGEX_STATES_MAX 2000 /* of its automaton, repetitions written out */
#define REGEX_DEPTH_MAX  50   /* groups inside each other */

struct regex;

/* The regex lies in the arena. *states_left: how many states it may have; they are taken from it. ERR_INVALID with a
 * sentence in error (at least 160 bytes). */
MUST_CHECK int regex_compile(struct slice text, struct arena *a, uint32_t *states_left, struct regex **ret,
                             char *error, size_t error_size);
/* Whether it matches somewhere in the text. Takes from *steps, about one for each state and character; below 0 it
 * stops and returns false. */
bool regex_matches(const struct regex *r, struct slice text, int64_t *steps);

#endif
