/* SPDX-License-Identifier: Apache-2.0
 * `config compare` and `config promote`: the configurations of two namespaces side by side, and copies of those that
 * differ. A promotion names the releases that the comparison found, so the server copies nothing else. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sdk/ctl/config.h"

static const char *place_of(const struct ctl *c, bool is_to)
{
    return c->line.args[is_to];
}

static bool is_state(const json_t *item, const char *state)
{
    return strcmp(ctl_json_text(item, "state"), state) == 0;
}

/* Compares the namespaces of the command line; the caller frees *ret_doc. */
static enum ctl_exit fetch_comparison(struct ctl *c, const char *prefix, json_t **ret_doc)
{
    struct ctl_call call = {.method = "GET"};
    ctl_path(&call, "/api/v1/compare");
    ctl_query(&call, "namespace", place_of(c, false));
    ctl_query(&call, "to_namespace", place_of(c, true));
    ctl_query(&call, "group", ctl_flag_value(&c->line, "group"));
    ctl_query(&call, "prefix", prefix);
    enum ctl_exit how = ctl_call_pages(c, &call, "configs", ret_doc);
    ctl_call_done(&call);
    return how;
}

/* --- compare -------------------------------------------------------------------------------------------- */

/* Writes one side of a configuration to a new file, empty if it is not live there. */
static enum ctl_exit save_side(struct ctl *c, const json_t *item, bool is_to, char *file)
{
    long long seq = (long long)ctl_json_int(item, is_to ? "to_seq" : "seq");
    struct ctl_call call = {.method = "GET"};
    enum ctl_exit how = CTL_DONE;
    int fd = mkstemp(file);
    if (fd < 0)
        return ctl_fail(c, CTL_IO, "cannot make a file in /tmp: %s", strerror(errno));
    close(fd);
    if (seq) {
        ctl_path(&call, "/api/v1/configs");
        ctl_segment(&call, ctl_json_text(item, "name"));
        ctl_query(&call, "namespace", place_of(c, is_to));
        ctl_query(&call, "group", ctl_json_text(item, "group"));
        ctl_query_int(&call, "seq", seq);
        how = ctl_call(c, &call);
    }
    if (!how)
        how = ctl_write_file(c, file, buf_slice(&call.answer), 0600);
    ctl_call_done(&call);
    return how;
}

static const char *label_of(struct ctl *c, const json_t *item, bool is_to)
{
    return arena_printf(&c->arena, "%s/%s (release %lld)", place_of(c, is_to), ctl_json_text(item, "name"),
                        (long long)ctl_json_int(item, is_to ? "to_seq" : "seq"));
}

/* The difference that a promotion would make: from the target to the source. */
static enum ctl_exit show_difference(struct ctl *c, const json_t *item)
{
    char from[] = "/tmp/cairn-XXXXXX", to[] = "/tmp/cairn-XXXXXX";
    int status;
    enum ctl_exit how = save_side(c, item, false, from);
    if (how)
        goto out;
    how = save_side(c, item, true, to);
    if (!how && ctl_flush(c))
        how = ctl_run_diff(c, true, label_of(c, item, true), to, label_of(c, item, false), from, &status);
    (void)unlink(to);
out:
    (void)unlink(from);
    return how;
}

/* Removes what is the same in both, and counts the rest. */
static size_t keep_differences(const struct ctl *c, json_t *list)
{
    size_t same = 0;
    for (size_t i = json_array_size(list); i-- > 0;)
        if (is_state(json_array_get(list, i), "same")) {
            same++;
            if (!ctl_bool(&c->line, "all"))
                json_array_remove(list, i);
        }
    return json_array_size(list) - (ctl_bool(&c->line, "all") ? same : 0);
}

enum ctl_exit ctl_config_compare(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},       {"GROUP", "group", CTL_CELL_PLAIN},
        {"STATE", "state", CTL_CELL_PLAIN},     {"SEQ", "seq", CTL_CELL_PLAIN},
        {"TO SEQ", "to_seq", CTL_CELL_PLAIN},   {"SIZE", "size", CTL_CELL_PLAIN},
        {"TO SIZE", "to_size", CTL_CELL_PLAIN}, {"ERROR", "error", CTL_CELL_PLAIN},
    };
    json_t *doc = NULL;
    enum ctl_exit how = fetch_comparison(c, c->line.arg_count > 2 ? c->line.args[2] : NULL, &doc);
    if (how)
        return how;
    json_t *list = json_object_get(doc, "configs");
    size_t differences = keep_differences(c, list);
    bool is_diff = ctl_bool(&c->line, "diff") && c->form != CTL_FORM_JSON && c->form != CTL_FORM_YAML;
    if (!is_diff)
        ctl_print_rows(c, doc, "configs", columns, sizeof columns / sizeof *columns);
    for (size_t i = 0; is_diff && !how && i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (is_state(item, "unknown"))
            ctl_note(c, "%s: %s", ctl_json_text(item, "name"), ctl_json_text(item, "error"));
        else if (!is_state(item, "same"))
            how = show_difference(c, item);
    }
    json_decref(doc);
    return how ? how : differences ? CTL_ERROR : CTL_DONE;
}

/* --- promote -------------------------------------------------------------------------------------------- */

/* True: the configuration is one of those to promote. */
static bool is_chosen(const struct ctl *c, const char *name)
{
    for (size_t i = 2; i < c->line.arg_count; i++)
        if (strcmp(c->line.args[i], name) == 0)
            return true;
    return c->line.arg_count == 2;
}

/* Fills the items of the body. */
static enum ctl_exit choose_items(struct ctl *c, const json_t *doc, json_t *items)
{
    const json_t *list = json_object_get(doc, "configs");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        const char *name = ctl_json_text(item, "name");
        if (is_state(item, "only_to") || !is_chosen(c, name) || is_state(item, "same"))
            continue;
        if (is_state(item, "unknown"))
            return ctl_fail(c, CTL_ERROR, "%s cannot be compared: %s", name, ctl_json_text(item, "error"));
        json_array_append_new(items, json_pack("{s:s,s:s,s:I,s:I}", "group", ctl_json_text(item, "group"),
                                               "name", name, "seq", (json_int_t)ctl_json_int(item, "seq"),
                                               "to_seq", (json_int_t)ctl_json_int(item, "to_seq")));
    }
    for (size_t i = 2; i < c->line.arg_count; i++) {
        bool is_there = false;
        for (size_t k = 0; k < json_array_size(list) && !is_there; k++) {
            const json_t *item = json_array_get(list, k);
            is_there =
                !is_state(item, "only_to") && strcmp(ctl_json_text(item, "name"), c->line.args[i]) == 0;
        }
        if (!is_there)
            return ctl_fail(c, CTL_ERROR, "there is no configuration %s in namespace %s", c->line.args[i],
                            place_of(c, false));
    }
    return CTL_DONE;
}

static const char *names_of(struct ctl *c, const json_t *items)
{
    struct buf text = {0};
    for (size_t i = 0; i < json_array_size(items); i++)
        buf_addf(&text, "%s%s", i ? ", " : "", ctl_json_text(json_array_get(items, i), "name"));
    const char *copy = arena_string(&c->arena, text.data, text.size);
    buf_done(&text);
    return copy;
}

static enum ctl_exit send_promotion(struct ctl *c, const json_t *body)
{
    bool is_dry = ctl_bool(&c->line, "dry-run");
    const json_t *items = json_object_get(body, "items");
    struct buf text = {0};
    json_t *doc = NULL;
    ctl_show_json(&text, body);
    struct ctl_call call = {.method = "POST", .body = buf_slice(&text), .has_body = true};
    ctl_path(&call, "/api/v1/promote");
    ctl_query(&call, "dry_run", is_dry ? "true" : NULL);
    ctl_query(&call, "emergency", ctl_flag_value(&c->line, "emergency"));
    ctl_query_author(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how && is_dry)
        ctl_print_done(c, doc, "would be promoted from %s to %s: %s", place_of(c, false), place_of(c, true),
                       names_of(c, items));
    else if (!how)
        ctl_print_done(c, doc, "promoted from %s to %s: %s; revision %lld", place_of(c, false),
                       place_of(c, true), names_of(c, items), (long long)ctl_json_int(doc, "revision"));
    json_decref(doc);
    ctl_call_done(&call);
    buf_done(&text);
    return how;
}

enum ctl_exit ctl_config_promote(struct ctl *c)
{
    json_t *doc = NULL, *items = json_array();
    json_t *body =
        json_pack("{s:s,s:s,s:o}", "from", place_of(c, false), "to", place_of(c, true), "items", items);
    const char *note = ctl_flag_value(&c->line, "note");
    if (note)
        json_object_set_new(body, "note", json_string(note));
    enum ctl_exit how = fetch_comparison(c, ctl_flag_value(&c->line, "prefix"), &doc);
    if (!how)
        how = choose_items(c, doc, items);
    if (!how && !json_array_size(items))
        ctl_print_done(c, doc, "%s has nothing that differs in %s: nothing is promoted", place_of(c, false),
                       place_of(c, true));
    else if (!how)
        how = send_promotion(c, body);
    json_decref(body);
    json_decref(doc);
    return how;
}
