/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a pattern of names and a name, parted by the first 0x0A. A pattern that can be read has its limits,
 * matches as a plain matcher does, and matches itself with its escapes read if it is one name. */
#include <assert.h>

#include "base/glob.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The parts of the pattern from `at` on fit the rest of the name, tried at every place. */
static bool fits_from(const struct glob *g, size_t at, struct slice rest)
{
    struct slice part = g->parts[at];
    bool is_last = at + 1 == g->count;
    for (size_t i = 0; i + part.size <= rest.size; i++) {
        bool is_here = !part.size || memcmp(rest.data + i, part.data, part.size) == 0;
        if (at == 0 && i > 0)
            return false;
        struct slice after = slice_of(rest.data + i + part.size, rest.size - i - part.size);
        if (is_here && (is_last ? after.size == 0 : fits_from(g, at + 1, after)))
            return true;
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line = size ? memchr(data, '\n', size) : NULL;
    size_t n = line ? (size_t)(line - data) : size;
    struct slice text = slice_of(data, n), name = slice_of("", 0);
    struct glob g = {0};
    char error[200];
    if (line)
        name = slice_of(line + 1, size - n - 1);
    int err = glob_read(&g, text, 256, "name", error, sizeof error);
    if (!err) {
        assert(g.count >= 1 && g.count <= GLOB_STARS_MAX + 1 && g.memory.size <= n);
        if (name.size <= 24 && g.count <= 6)
            assert(glob_matches(&g, name) == fits_from(&g, 0, name));
        else
            (void)glob_matches(&g, name);
        assert(!glob_is_name(&g) || glob_matches(&g, glob_prefix(&g)));
    } else {
        assert(err == ERR_INVALID && error[0]);
    }
    glob_done(&g);
    return 0;
}
