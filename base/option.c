/* SPDX-License-Identifier: Apache-2.0
 * Readers of the option table: flags, environment and YAML, with one setter, `assign`, for all three. A
 * `place` is the text that names the place of a value; every error begins with it. */
#include "base/option.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"
#include "base/yaml.h"

struct place {
    char text[224]; /* "flag --max-txn-ops", "environment variable ETCD_NAME", "etcd.yaml, line 3: name" */
};

static __attribute__((format(printf, 2, 3))) int fail(struct option_set *set, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(set->error, sizeof set->error, format, args);
    va_end(args);
    return ERR_INVALID;
}

static __attribute__((format(printf, 1, 2))) struct place place_of(const char *format, ...)
{
    struct place where;
    va_list args;
    va_start(args, format);
    vsnprintf(where.text, sizeof where.text, format, args);
    va_end(args);
    return where;
}

/* --- values ---------------------------------------------------------------------------------- */

static void option_add_number(struct buf *b, const struct option *o, int64_t value)
{
    if (o->kind == OPTION_DURATION)
        text_add_duration(b, value);
    else
        text_add_i64(b, value);
}

static int fail_range(struct option_set *set, const struct option *o, const struct place *where,
                      struct slice value)
{
    struct buf range = {0};
    if (o->max == INT64_MAX) {
        buf_add_text(&range, "at least ");
        option_add_number(&range, o, o->min);
    } else if (o->min == INT64_MIN) {
        buf_add_text(&range, "at most ");
        option_add_number(&range, o, o->max);
    } else {
        buf_add_text(&range, "between ");
        option_add_number(&range, o, o->min);
        buf_add_text(&range, " and ");
        option_add_number(&range, o, o->max);
    }
    int err = fail(set, "%s is %.*s, but must be %s", where->text, (int)value.size, (const char *)value.data,
                   buf_text(&range));
    buf_done(&range);
    return err;
}

static bool is_in_range(const struct option *o, int64_t value)
{
    return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

static bool is_in_range_unsigned(const struct option *o, uint64_t value)
{
    if (value > INT64_MAX)
        return (o->min == 0 && o->max == 0) || o->max == INT64_MAX;
    return is_in_range(o, (int64_t)value);
}

static const char *kind_wanted(enum option_kind kind)
{
    switch (kind) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_INT:
        return "a whole number";
    case OPTION_UINT:
        return "a whole number, 0 or more";
    case OPTION_DURATION:
        return "a duration such as 100ms, 5s or 1h30m";
    case OPTION_STRING:
        break;
    }
    return "text";
}

union value {
    bool b;
    int64_t i;
    uint64_t u;
};

static int parse_value(const struct option *o, struct slice text, union value *ret_value)
{
    switch (o->kind) {
    case OPTION_STRING:
        return OK;
    case OPTION_BOOL:
        return text_to_bool(text, &ret_value->b);
    case OPTION_INT:
        return text_to_i64(text, &ret_value->i);
    case OPTION_UINT:
        return text_to_u64(text, &ret_value->u);
    case OPTION_DURATION:
        return text_to_duration_ns(text, &ret_value->i);
    }
    return ERR_INVALID;
}

static void store(const struct option *o, void *target, struct slice text, union value v)
{
    void *field = (char *)target + o->offset;
    switch (o->kind) {
    case OPTION_STRING: {
        char *copy = mem_alloc(text.size + 1);
        if (text.size)
            memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        mem_free(*(char **)field);
        *(char **)field = copy;
        break;
    }
    case OPTION_BOOL:
        *(bool *)field = v.b;
        break;
    case OPTION_UINT:
        *(uint64_t *)field = v.u;
        break;
    case OPTION_INT:
    case OPTION_DURATION:
        *(int64_t *)field = v.i;
        break;
    }
}

static const struct option *option_find(const struct option_set *set, struct slice name)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->options[i].name && slice_equal(slice_text(set->options[i].name), name))
            return &set->options[i];
    return NULL;
}

/* Checks the text against the option's kind and range; stores it if the option works here. */
static int assign(struct option_set *set, void *target, const struct option *o, struct slice text,
                  const struct place *where)
{
    struct slice shown = slice_of(text.data, text.size < 80 ? text.size : 80);
    union value v = {0};
    if (o->kind == OPTION_STRING && text.size && memchr(text.data, 0, text.size))
        return fail(set, "%s has a NUL byte in its value", where->text);
    if (o->effect != OPTION_IGNORED && parse_value(o, text, &v) != OK)
        return fail(set, "%s is \"%.*s\", but must be %s", where->text, (int)shown.size,
                    (const char *)shown.data, kind_wanted(o->kind));
    bool is_number = o->kind == OPTION_INT || o->kind == OPTION_DURATION;
    if (o->effect != OPTION_IGNORED &&
        ((is_number && !is_in_range(o, v.i)) || (o->kind == OPTION_UINT && !is_in_range_unsigned(o, v.u))))
        return fail_range(set, o, where, shown);
    if (o->effect == OPTION_ACCEPTED)
        buf_addf(&set->warnings, "%s is accepted, but has no effect here\n", where->text);
    if (o->effect == OPTION_WORKS)
        store(o, target, text, v);
    set->given[o - set->options] = true;
    return OK;
}

void option_init(struct option_set *set, void *target)
{
    mem_free(set->given);
    set->given = mem_new(set->count * sizeof *set->given);
    buf_clear(&set->warnings);
    set->error[0] = 0;
    for (size_t i = 0; i < set->count; i++) {
        const struct option *o = &set->options[i];
        if (!o->name || o->effect != OPTION_WORKS)
            continue;
        union value v = {0};
        struct slice text = slice_text(o->default_text ? o->default_text : "");
        int err = o->kind != OPTION_STRING && text.size == 0 ? OK : parse_value(o, text, &v);
        assert(err == OK);
        store(o, target, text, v);
    }
}

bool option_is_given(const struct option_set *set, const char *name)
{
    const struct option *o = option_find(set, slice_text(name));
    return o && set->given[o - set->options];
}

void option_done(struct option_set *set, void *target)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct option *o = &set->options[i];
        if (!o->name || o->effect != OPTION_WORKS || o->kind != OPTION_STRING)
            continue;
        char **field = (char **)((char *)target + o->offset);
        mem_free(*field);
        *field = NULL;
    }
    mem_free(set->given);
    set->given = NULL;
    buf_done(&set->warnings);
}

/* --- flags ----------------------------------------------------------------------------------- */

int option_parse_args(struct option_set *set, void *target, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--") == 0 && i + 1 == argc)
            break;
        if (strcmp(word, "--") == 0)
            word = argv[++i];
        else if (word[0] == '-' && word[1] != 0)
            word += word[1] == '-' ? 2 : 1;
        if (word == argv[i])
            return fail(set, "\"%.100s\" is not a valid flag: flags begin with --, see --help", word);
        const char *equals = strchr(word, '=');
        struct slice name = slice_of(word, equals ? (size_t)(equals - word) : strlen(word));
        if (name.size == 0 || name.data[0] == '-')
            return fail(set, "bad flag syntax: %.100s", argv[i]);
        const struct option *o = option_find(set, name);
        if (!o)
            return fail(set, "flag provided but not defined: -%.*s (see --help)",
                        name.size < 100 ? (int)name.size : 100, (const char *)name.data);
        struct slice value = slice_text("true");
        if (equals)
            value = slice_text(equals + 1);
        else if (o->kind != OPTION_BOOL && i + 1 < argc)
            value = slice_text(argv[++i]);
        else if (o->kind != OPTION_BOOL)
            return fail(set, "flag needs an argument: -%s", o->name);
        struct place where = place_of("flag --%s", o->name);
        int err = assign(set, target, o, value, &where);
        if (err)
            return err;
    }
    return OK;
}

/* --- environment ----------------------------------------------------------------------------- */

static bool is_variable_of(const char *variable, const char *option_name)
{
    for (; *variable && *variable != '=' && *option_name; variable++, option_name++) {
        char c = *option_name;
        c = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        if (*variable != c)
            return false;
    }
    return *variable == '=' && !*option_name;
}

/* As in etcd, an empty variable is not a value, but it conflicts with a flag. */
int option_parse_env(struct option_set *set, void *target, char *const *environ_list)
{
    size_t prefix = strlen(set->env_prefix);
    bool *by_flag = mem_copy(set->given, set->count * sizeof *set->given);
    int err = OK;
    for (; !err && *environ_list; environ_list++) {
        const char *entry = *environ_list;
        const char *equals = strchr(entry, '=');
        if (!equals || strncmp(entry, set->env_prefix, prefix) != 0)
            continue;
        int name_size = equals - entry < 150 ? (int)(equals - entry) : 150;
        size_t at = 0;
        while (at < set->count &&
               !(set->options[at].name && is_variable_of(entry + prefix, set->options[at].name)))
            at++;
        if (at == set->count) {
            buf_addf(&set->warnings, "unrecognized environment variable %.*s\n", name_size, entry);
        } else if (by_flag[at]) {
            err = fail(set,
                       "conflicting environment variable is shadowed by corresponding command-line flag "
                       "(either unset environment variable or disable flag): %.*s",
                       name_size, entry);
        } else if (equals[1]) {
            struct place where = place_of("environment variable %.*s", name_size, entry);
            err = assign(set, target, &set->options[at], slice_text(equals + 1), &where);
        }
    }
    mem_free(by_flag);
    return err;
}

/* --- YAML ------------------------------------------------------------------------------------ */

static bool is_null(const struct yaml_node *n)
{
    if (n->kind != YAML_SCALAR || n->is_quoted)
        return false;
    return n->text.size == 0 || slice_equal(n->text, slice_text("~")) ||
           slice_equal(n->text, slice_text("null")) || slice_equal(n->text, slice_text("Null")) ||
           slice_equal(n->text, slice_text("NULL"));
}

/* Maps YAML 1.1's words for booleans to Go's: etcd's reader accepts them. */
static struct slice yaml_bool(struct slice text)
{
    static const char *const yes[] = {"yes", "Yes", "YES", "on", "On", "ON", "y", "Y"};
    static const char *const no[] = {"no", "No", "NO", "off", "Off", "OFF", "n", "N"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (slice_equal(text, slice_text(yes[i])))
            return slice_text("true");
        if (slice_equal(text, slice_text(no[i])))
            return slice_text("false");
    }
    return text;
}

static int assign_node(struct option_set *set, void *target, const struct option *o,
                       const struct yaml_node *n, const struct place *where)
{
    if (n->kind == YAML_MAPPING || (n->kind == YAML_SEQUENCE && o->kind != OPTION_STRING))
        return fail(set, "%s must be %s", where->text, kind_wanted(o->kind));
    struct buf text = {0};
    int64_t ns;
    if (n->kind == YAML_SEQUENCE) {
        for (const struct yaml_node *item = n->child; item; item = item->next) {
            if (item->kind != YAML_SCALAR) {
                buf_done(&text);
                return fail(set, "%s must be a list of plain values", where->text);
            }
            if (item != n->child)
                buf_add_byte(&text, ',');
            buf_add_slice(&text, item->text);
        }
    } else if (o->kind == OPTION_BOOL && !n->is_quoted) {
        buf_add_slice(&text, yaml_bool(n->text));
    } else if (o->kind == OPTION_DURATION && text_to_i64(n->text, &ns) == OK) {
        text_add_duration(&text, ns);
    } else {
        buf_add_slice(&text, n->text);
    }
    int err = assign(set, target, o, buf_slice(&text), where);
    buf_done(&text);
    return err;
}

static const struct option *find_yaml(const struct option_set *set, struct slice path)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct option *o = &set->options[i];
        if (o->name && slice_equal(slice_text(o->yaml ? o->yaml : o->name), path))
            return o;
    }
    return NULL;
}

/* True if the path of an option begins with this one: the mapping there is a section. */
static bool is_section(const struct option_set *set, struct slice path)
{
    for (size_t i = 0; i < set->count; i++) {
        const char *yaml = set->options[i].yaml;
        if (yaml && strlen(yaml) > path.size && yaml[path.size] == '.' &&
            memcmp(yaml, path.data, path.size) == 0)
            return true;
    }
    return false;
}

/* Reads one section. The recursion is bounded by the table: only a path that begins an option's path is
 * entered. */
static int parse_section(struct option_set *set, void *target, const struct yaml_node *mapping,
                         struct buf *path, const char *file)
{
    size_t before = path->size;
    int err = OK;
    for (const struct yaml_node *n = mapping->child; n && !err; n = n->next) {
        path->size = before;
        if (before)
            buf_add_byte(path, '.');
        buf_add_slice(path, n->key->text);
        struct slice here = buf_slice(path);
        int shown = here.size < 100 ? (int)here.size : 100;
        struct place where = place_of("%.80s, line %u, column %u: %.*s", file, n->key->line, n->key->column,
                                      shown, (const char *)here.data);
        const struct option *o = find_yaml(set, here);
        if (o && !is_null(n))
            err = assign_node(set, target, o, n, &where);
        else if (!o && n->kind == YAML_MAPPING && is_section(set, here))
            err = parse_section(set, target, n, path, file);
        else if (!o && !(is_null(n) && is_section(set, here)))
            buf_addf(&set->warnings, "%s is not a known option and is ignored\n", where.text);
    }
    path->size = before;
    return err;
}

int option_parse_yaml(struct option_set *set, void *target, struct slice text, const char *file)
{
    struct arena arena = {0};
    struct buf path = {0};
    struct yaml_node *root = NULL;
    char error[256];
    int err = yaml_parse(text, &arena, &root, error, sizeof error);
    if (err)
        err = fail(set, "%.150s, %s", file, error);
    else if (root && root->kind == YAML_MAPPING)
        err = parse_section(set, target, root, &path, file);
    else if (root && !is_null(root))
        err = fail(set, "%.150s, line %u, column %u: must be a mapping of options", file, root->line,
                   root->column);
    buf_done(&path);
    arena_done(&arena);
    return err;
}

/* --- help ------------------------------------------------------------------------------------ */

/* In etcd's form: a group's name, then each flag with its default, and its help below. */
void option_print_help(const struct option_set *set, struct buf *out)
{
    for (size_t i = 0; i < set->count; i++) {
        const struct option *o = &set->options[i];
        const char *help = o->help ? o->help : "";
        if (strncmp(help, "# ", 2) == 0) {
            size_t title = strcspn(help + 2, "\n");
            buf_addf(out, "\n%.*s:\n", (int)title, help + 2);
            help += 2 + title + (help[2 + title] == '\n');
        }
        if (!o->name || o->effect == OPTION_IGNORED)
            continue;
        buf_addf(out, "  --%s '%s'\n", o->name, o->default_text ? o->default_text : "");
        for (size_t n; *help; help += n + (help[n] == '\n')) {
            n = strcspn(help, "\n");
            buf_addf(out, "    %.*s\n", (int)n, help);
        }
        if (o->effect == OPTION_ACCEPTED)
            buf_add_text(out, "    Accepted for compatibility; has no effect here.\n");
    }
}
