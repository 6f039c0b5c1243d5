/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the YAML reader's tree, walked as a reader walks it. Its size and depth must stay within the
 * limits, also with aliases. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/yaml.h"

static size_t walk(const struct yaml_node *n, unsigned depth, bool is_entry)
{
    assert(depth <= 65);
    assert(n->line > 0 && n->column > 0);
    assert((n->key != NULL) == is_entry);
    if (n->kind == YAML_SCALAR) {
        volatile uint8_t last = n->text.size ? n->text.data[n->text.size - 1] : 0;
        (void)last;
        assert(!n->child);
    }
    size_t nodes = 1 + (n->key != NULL);
    for (const struct yaml_node *c = n->child; c; c = c->next)
        nodes += walk(c, depth + 1, n->kind == YAML_MAPPING);
    return nodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct yaml_node *root = NULL;
    char error[64] = "";
    int err = yaml_parse(slice_of(data, size), &arena, &root, error, sizeof error);
    if (err)
        assert(err == ERR_MALFORMED && strncmp(error, "line ", 5) == 0);
    else if (root)
        assert(walk(root, 1, false) <= 100000);
    arena_done(&arena);
    return 0;
}
