/* SPDX-License-Identifier: Apache-2.0
 * Planted bugs: known mistakes, each behind a name, that exist only in a build with -DPLANTED_BUGS, to prove
 * that the simulator, the explorer and the checkers see them (`make sim-mutants`). In every other build
 * PLANTED(...) is the constant false and leaves no code. One is active at a time. */
#ifndef BASE_PLANT_H
#define BASE_PLANT_H

#include <stdbool.h>

enum plant {
    PLANT_NONE,
#define PLANT(name, what) PLANT_##name,
#include "base/plant.def"
#undef PLANT
    PLANT_COUNT
};

#ifdef PLANTED_BUGS
extern enum plant plant_active; /* set by the test program before anything starts */
const char *plant_name(enum plant plant);
const char *plant_what(enum plant plant);
enum plant plant_find(const char *name); /* PLANT_COUNT = no such */
#define PLANTED(name) (plant_active == PLANT_##name)
#else
#define PLANTED(name) false
#endif

#endif
