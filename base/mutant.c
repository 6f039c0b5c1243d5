/* SPDX-License-Identifier: Apache-2.0
 * Names and selection of the mutants. See mutant.h. Empty in every build that is shipped. */
#include "base/mutant.h"

#ifdef MUTANTS
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum mutant mutant_active = MUTANT_NONE;

static const struct {
    const char *name, *what;
} mutants[MUTANT_COUNT] = {
    {"none", "nothing"},
#define MUTANT_ROW(name, what) {#name, what},
#include "base/mutant.def"
#undef MUTANT_ROW
};

const char *mutant_name(enum mutant mutant)
{
    return mutants[mutant].name;
}

const char *mutant_text(enum mutant mutant)
{
    return mutants[mutant].what;
}

enum mutant mutant_find(const char *name)
{
    enum mutant at = MUTANT_NONE;
    while (at < MUTANT_COUNT && strcmp(mutants[at].name, name) != 0)
        at++;
    return at;
}

/* Selects the mutant that the environment names, so that unit tests and daemons need no option. */
__attribute__((constructor)) static void mutant_load_environment(void)
{
    const char *name = getenv("MUTANT");
    if (!name || !*name)
        return;
    mutant_active = mutant_find(name);
    if (mutant_active == MUTANT_COUNT) {
        fprintf(stderr, "no mutant %s\n", name);
        exit(2);
    }
}
#else
/* A translation unit must not be empty. */
extern const int mutants_are_absent;
const int mutants_are_absent = 1;
#endif
