/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the YAML checker. It accepts every text that the options' reader accepts, whose rules are
 * narrower, unless a key is there twice in two spellings. */
#include "base/mem.h"
#include "base/yaml.h"
#include "tests/fuzz/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct yaml_node *root = NULL;
    struct format_error error;
    char why[300];
    bool is_fine = fuzz_format(FORMAT_YAML, data, size);
    int err = yaml_parse(slice_of(data, size), &arena, &root, why, sizeof why);
    if (!err && !is_fine) {
        assert(format_check(FORMAT_YAML, slice_of(data, size), &error) == ERR_MALFORMED);
        assert(strstr(error.text, "duplicate key"));
    }
    arena_done(&arena);
    return 0;
}
