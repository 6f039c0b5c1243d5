/* SPDX-License-Identifier: Apache-2.0
 * Lies to tell about a correct history: each mutation changes what a fake store recorded into something that
 * no correct store could have done. */
#ifndef TESTS_UNIT_CHECK_MUTATE_H
#define TESTS_UNIT_CHECK_MUTATE_H

#include "check_fake.h"

struct mutation {
    const char *name;
    bool (*apply)(struct fake *f); /* false: this history has nothing to change so */
};

extern const struct mutation mutations[];
extern const size_t mutation_count;

#endif
