/* SPDX-License-Identifier: Apache-2.0
 * Contexts: named sets of global flags in a file.
 *
 * current: prod contexts:
 *     prod:
 *       endpoints: https://10.0.0.1:2379,https://10.0.0.2:2379
 *       cacert: /etc/cairn/ca.crt
 *       namespace: shop
 *
 * The file is CAIRN_CONFIG, else $XDG_CONFIG_HOME/cairn/config.yaml, else ~/.config/cairn/config.yaml. The
 * program rewrites the whole file, readable by its owner only; comments in it are lost. */
#include "sdk/ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/yaml.h"

static const char *file_name(struct ctl *c)
{
    const char *file = getenv("CAIRN_CONFIG"), *folder = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (file && *file)
        return file;
    if (folder && *folder)
        return arena_printf(&c->arena, "%s/cairn/config.yaml", folder);
    return home && *home ? arena_printf(&c->arena, "%s/.config/cairn/config.yaml", home) : NULL;
}

static json_t *json_of(const struct yaml_node *node)
{
    if (node->kind == YAML_SCALAR)
        return json_stringn((const char *)node->text.data, node->text.size);
    json_t *object = json_object();
    for (const struct yaml_node *n = node->child; n; n = n->next) {
        if (n->key)
            json_object_setn_new(object, (const char *)n->key->text.data, n->key->text.size, json_of(n));
    }
    return object;
}

/* Reads the file; an absent file counts as empty. */
static enum ctl_exit ctl_context_load(struct ctl *c, json_t **ret_doc)
{
    const char *path = file_name(c);
    *ret_doc = NULL;
    if (!path || access(path, F_OK) != 0) {
        *ret_doc = json_object();
        return CTL_DONE;
    }
    struct buf text = {0};
    struct yaml_node *root = NULL;
    char error[200];
    enum ctl_exit how = ctl_read_file(c, path, 1 << 20, &text);
    if (!how && yaml_parse(buf_slice(&text), &c->arena, &root, error, sizeof error) != OK)
        how = ctl_fail(c, CTL_BAD_ARGS, "%s: %s", path, error);
    else if (!how && root && root->kind != YAML_MAPPING)
        how = ctl_fail(c, CTL_BAD_ARGS, "%s: there should be `current:` and `contexts:`", path);
    if (!how)
        *ret_doc = root ? json_of(root) : json_object();
    buf_done(&text);
    return how;
}

static enum ctl_exit ctl_context_save(struct ctl *c, const json_t *doc)
{
    const char *path = file_name(c);
    if (!path)
        return ctl_fail(c, CTL_IO, "contexts need a file: set CAIRN_CONFIG or HOME");
    char *folder = arena_string(&c->arena, path, strlen(path));
    for (char *p = folder + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(folder, 0700) != 0 && errno != EEXIST)
            return ctl_fail(c, CTL_IO, "cannot make the folder %s: %s", folder, strerror(errno));
        *p = '/';
    }
    struct buf text = {0};
    ctl_show_yaml(&text, doc);
    enum ctl_exit how = ctl_write_file(c, path, buf_slice(&text), 0600);
    buf_done(&text);
    return how;
}

static const json_t *context_named(const json_t *doc, const char *name)
{
    return json_object_get(json_object_get(doc, "contexts"), name);
}

static enum ctl_exit no_such(struct ctl *c, const char *name)
{
    return ctl_fail(c, CTL_BAD_ARGS, "there is no context \"%s\"; \"cairnctl context ls\" lists them", name);
}

enum ctl_exit ctl_apply_context(struct ctl *c)
{
    json_t *doc;
    enum ctl_exit how = ctl_context_load(c, &doc);
    if (how)
        return how;
    const char *name = ctl_flag_value(&c->line, "context");
    if (!name)
        name = ctl_json_text(doc, "current");
    const json_t *context = *name ? context_named(doc, name) : NULL;
    if (*name && !json_is_object(context))
        how = no_such(c, name);
    for (void *at = json_object_iter((json_t *)(uintptr_t)context); at && !how;
         at = json_object_iter_next((json_t *)(uintptr_t)context, at)) {
        const char *key = json_object_iter_key(at), *text = json_string_value(json_object_iter_value(at));
        const struct ctl_flag *f = ctl_find_flag(CTL_COMMAND_global, key, strlen(key), false);
        if (!f || !text || strcmp(key, "context") == 0) {
            how = ctl_fail(c, CTL_BAD_ARGS,
                           "the context \"%s\" in %s has \"%s\", which is no global flag with a value", name,
                           file_name(c), key);
            break;
        }
        /* An empty value is ignored. A flag or variable overrides the context. */
        char from[100];
        snprintf(from, sizeof from, " (of the context %.60s)", name);
        if (*text && c->line.values[f - ctl_flags].count == 0 &&
            ctl_supply(&c->line, f, arena_string(&c->arena, text, strlen(text)), from) != OK) {
            ctl_note(c, "%s", buf_text(&c->line.error));
            how = CTL_BAD_ARGS;
        }
    }
    json_decref(doc);
    return how;
}

enum ctl_exit ctl_context_ls(struct ctl *c)
{
    json_t *doc;
    enum ctl_exit how = ctl_context_load(c, &doc);
    if (how)
        return how;
    json_t *list = json_array(), *answer = json_pack("{s:o}", "contexts", list);
    const char *current = ctl_json_text(doc, "current"), *key;
    json_t *value;
    json_object_foreach(json_object_get(doc, "contexts"), key, value)
    {
        json_t *row = json_pack("{s:s, s:b, s:s}", "name", key, "current", strcmp(key, current) == 0,
                                "endpoints", ctl_json_text(value, "endpoints"));
        if (*ctl_json_text(value, "namespace"))
            json_object_set_new(row, "namespace", json_string(ctl_json_text(value, "namespace")));
        if (*ctl_json_text(value, "user"))
            json_object_set_new(row, "user", json_string(ctl_json_text(value, "user")));
        json_array_append_new(list, row);
    }
    static const struct ctl_column columns[] = {{"NAME", "name", CTL_CELL_PLAIN},
                                                {"CURRENT", "current", CTL_CELL_YES},
                                                {"ENDPOINTS", "endpoints", CTL_CELL_PLAIN},
                                                {"NAMESPACE", "namespace", CTL_CELL_PLAIN},
                                                {"USER", "user", CTL_CELL_PLAIN}};
    ctl_print_rows(c, answer, "contexts", columns, 5);
    json_decref(answer);
    json_decref(doc);
    return CTL_DONE;
}

/* Saves the flags of the command line, but nothing of the environment. */
enum ctl_exit ctl_context_set(struct ctl *c)
{
    json_t *doc;
    enum ctl_exit how = ctl_context_load(c, &doc);
    if (how)
        return how;
    if (!json_is_object(json_object_get(doc, "contexts")))
        json_object_set_new(doc, "contexts", json_object());
    json_t *contexts = json_object_get(doc, "contexts"),
           *context = json_object_get(contexts, c->line.args[0]);
    if (!json_is_object(context)) {
        json_object_set_new(contexts, c->line.args[0], json_object());
        context = json_object_get(contexts, c->line.args[0]);
    }
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_value *v = &c->line.values[i];
        if (ctl_flags[i].command != CTL_COMMAND_global || v->count == 0 ||
            strcmp(ctl_flags[i].name, "context") == 0)
            continue;
        struct buf text = {0};
        for (size_t k = 0; k < v->count; k++)
            buf_addf(&text, "%s%s", k ? "," : "", v->list[k]);
        json_object_set_new(context, ctl_flags[i].name, json_stringn((const char *)text.data, text.size));
        buf_done(&text);
    }
    if (json_object_size(contexts) == 1) /* the first context becomes the current one */
        json_object_set_new(doc, "current", json_string(c->line.args[0]));
    how = ctl_context_save(c, doc);
    if (!how)
        ctl_print_done(c, context, "context %s is saved%s", c->line.args[0],
                       strcmp(ctl_json_text(doc, "current"), c->line.args[0]) == 0 ? " and in use" : "");
    json_decref(doc);
    return how;
}

enum ctl_exit ctl_context_use(struct ctl *c)
{
    json_t *doc;
    enum ctl_exit how = ctl_context_load(c, &doc);
    if (!how && !context_named(doc, c->line.args[0]))
        how = no_such(c, c->line.args[0]);
    if (!how)
        json_object_set_new(doc, "current", json_string(c->line.args[0]));
    how = how ? how : ctl_context_save(c, doc);
    if (!how)
        ctl_print_done(c, context_named(doc, c->line.args[0]), "context %s is in use", c->line.args[0]);
    json_decref(doc);
    return how;
}

enum ctl_exit ctl_context_rm(struct ctl *c)
{
    json_t *doc;
    const char *name = c->line.args[0];
    enum ctl_exit how = ctl_context_load(c, &doc);
    if (!how && json_object_del(json_object_get(doc, "contexts"), name) != 0)
        how = no_such(c, name);
    if (!how && strcmp(ctl_json_text(doc, "current"), name) == 0)
        json_object_del(doc, "current");
    how = how ? how : ctl_context_save(c, doc);
    if (!how)
        ctl_print_done(c, doc, "context %s is deleted", name);
    json_decref(doc);
    return how;
}
