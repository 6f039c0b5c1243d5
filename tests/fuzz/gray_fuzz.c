/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a client's gray rule. A rule that can be read is within the limits, has a canonical form, and
 * reads the same as a stored rule. It chooses without an error, whatever the labels of a client are. */
#include <assert.h>

#include "config/gray.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_rule(const struct gray_rule *rule, struct arena *a, struct slice text)
{
    struct buf once = {0}, twice = {0};
    struct json_writer w = {.out = &once}, again = {.out = &twice};
    struct gray_rule named = *rule;
    struct gray_rules rules, back, none = {0};
    struct document_pair pair = {slice_text("zone"), slice_text("b")};
    struct document_map labels = {.list = &pair, .count = 1};
    json_t *array;
    char error[200];
    named.name = slice_text("r");
    if (!named.seq)
        named.seq = 1;
    assert(rule->percent <= 100 && rule->label_count <= GRAY_LABELS_MAX &&
           rule->network_count <= GRAY_VALUES_MAX);
    int err = gray_rules_put(&none, &named, a, &rules);
    assert(err == OK);
    gray_rules_write(&rules, &w);
    err = json_parse(buf_slice(&once), &array, error, sizeof error);
    assert(err == OK);
    err = gray_rules_read(array, a, &back, error, sizeof error);
    assert(err == OK && back.count == 1);
    gray_rules_write(&back, &again);
    assert(slice_equal(buf_slice(&once), buf_slice(&twice)));
    const struct gray_rule *chosen = gray_choose(&rules, &labels, slice_text("10.0.0.1"), text, text);
    assert((chosen == NULL) == (gray_choose(&back, &labels, slice_text("10.0.0.1"), text, text) == NULL));
    json_decref(array);
    buf_done(&once);
    buf_done(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a = {0};
    struct gray_request q;
    char error[200];
    struct slice text = slice_of(data, size);
    int err = gray_request_read(text, &a, &q, error, sizeof error);
    assert(err == OK || err == ERR_MALFORMED || err == ERR_INVALID);
    if (!err)
        check_rule(&q.rule, &a, text);
    arena_done(&a);
    return 0;
}
