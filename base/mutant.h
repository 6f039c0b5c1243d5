/* SPDX-License-Identifier: Apache-2.0
 * Mutants: known mistakes, each with a name, that exist only in a build with -DMUTANTS. They prove that the
 * simulator, the explorer and the checkers detect such mistakes (`make sim-mutants`). In every other build
 * MUTANT(...) is the constant false and leaves no code. At most one is active at a time. */
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

#include <stdbool.h>

enum mutant {
    MUTANT_NONE,
#define MUTANT_ROW(name, what) MUTANT_##name,
#include "base/mutant.def"
#undef MUTANT_ROW
    MUTANT_COUNT
};

#ifdef MUTANTS
extern enum mutant mutant_active; /* set by the test program before it starts anything */
const char *mutant_name(enum mutant mutant);
const char *mutant_text(enum mutant mutant);
enum mutant mutant_find(const char *name); /* MUTANT_COUNT = unknown name */
#define MUTANT(name) (mutant_active == MUTANT_##name)
#else
#define MUTANT(name) false
#endif

#endif
