/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the JSON writer and parser. Any bytes that are written as a string must parse again, and to
 * the same bytes if they were UTF-8. Any text may be parsed, and an accepted text is nested at most 200
 * levels deep. */
#include <assert.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/text.h"

static unsigned height(json_t *node)
{
    unsigned most = 0;
    const char *key;
    json_t *value;
    size_t i;
    if (json_is_object(node))
        json_object_foreach(node, key, value)
        {
            unsigned h = height(value);
            most = h > most ? h : most;
        }
    else if (json_is_array(node))
        json_array_foreach(node, i, value)
        {
            unsigned h = height(value);
            most = h > most ? h : most;
        }
    else
        return 0;
    return most + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice s = slice_of(data, size);
    char error[160] = "";
    json_t *root;
    if (json_parse(s, &root, error, sizeof error) == OK) {
        assert(height(root) <= 200);
        json_decref(root);
    } else {
        assert(strncmp(error, "line ", 5) == 0);
    }
    struct buf b = {0};
    struct json_writer w = {.out = &b};
    jw_string(&w, s);
    int err = json_parse(buf_slice(&b), &root, error, sizeof error);
    assert(err == OK);
    if (utf8_is_valid(s))
        assert(slice_equal(slice_of(json_string_value(root), json_string_length(root)), s));
    json_decref(root);
    buf_done(&b);
    return 0;
}
