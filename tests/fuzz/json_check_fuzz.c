/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the JSON format checker. jansson accepts every text that the checker accepts, unless a number
 * is too large for jansson. */
#include <assert.h>

#include "base/json.h"
#include "tests/fuzz/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[200];
    json_t *root = NULL;
    if (fuzz_format(FORMAT_JSON, data, size)) {
        int err = json_parse(slice_of(data, size), &root, error, sizeof error);
        assert(!err || strstr(error, "too big integer") || strstr(error, "too big negative integer") ||
               strstr(error, "real number overflow") || strstr(error, "NUL byte in object key"));
        json_decref(root);
    }
    return 0;
}
