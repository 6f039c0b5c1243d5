/* SPDX-License-Identifier: Apache-2.0
 * The names of the planted bugs; see plant.h. Empty in every build that is shipped. */
#include "base/plant.h"

#ifdef PLANTED_BUGS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum plant plant_active = PLANT_NONE;

static const struct {
    const char *name, *what;
} plants[PLANT_COUNT] = {
    {"none", "nothing"},
#define PLANT(name, what) {#name, what},
#include "base/plant.def"
#undef PLANT
};

const char *plant_name(enum plant plant)
{
    return plants[plant].name;
}

const char *plant_what(enum plant plant)
{
    return plants[plant].what;
}

enum plant plant_find(const char *name)
{
    enum plant at = PLANT_NONE;
    while (at < PLANT_COUNT && strcmp(plants[at].name, name) != 0)
        at++;
    return at;
}

/* Any program of such a build takes the name from its environment, so that unit tests and daemons need no
 * option. */
__attribute__((constructor)) static void plant_from_environment(void)
{
    const char *name = getenv("PLANT");
    if (!name || !*name)
        return;
    plant_active = plant_find(name);
    if (plant_active == PLANT_COUNT) {
        fprintf(stderr, "no planted bug %s\n", name);
        exit(2);
    }
}
#else
/* A translation unit must not be empty. */
extern const int plant_is_absent;
const int plant_is_absent = 1;
#endif
