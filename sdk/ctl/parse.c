/* SPDX-License-Identifier: Apache-2.0
 * Parser of command lines, by the command table. It has two passes, because the command decides which flags
 * exist:
 *
 * 1. Find the words of the command between the flags. For each flag only matters whether a value follows.
 * 2. Parse the flags. */
#include "sdk/ctl/parse.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/text.h"

enum { COMMAND_WORDS_MAX = 2 };

void ctl_command_line_done(struct ctl_command_line *t)
{
    for (size_t i = 0; t->values && i < ctl_flag_count; i++)
        mem_free(t->values[i].list);
    mem_free(t->values);
    mem_free(t->args);
    buf_done(&t->error);
    *t = (struct ctl_command_line){0};
}

static void ctl_parse_add_value(struct ctl_command_line *t, const struct ctl_flag *f, const char *value)
{
    struct ctl_value *v = &t->values[f - ctl_flags];
    v->list = mem_resize(v->list, (v->count + 1) * sizeof *v->list);
    v->list[v->count++] = value;
}

/* --- values --------------------------------------------------------------------------------------------- */

/* Go's strconv.ParseInt: a sign and digits. */
static bool is_number(const char *text, int base, int64_t *ret)
{
    char *end;
    size_t at = *text == '-' || *text == '+';
    if (strspn(text + at, base == 16 ? "0123456789abcdefABCDEF" : "0123456789") != strlen(text + at) ||
        !text[at])
        return false;
    errno = 0;
    intmax_t v = strtoimax(text, &end, base);
    *ret = v;
    return errno == 0 && !*end;
}

static const char *kind_name(enum ctl_kind k)
{
    return k == CTL_BOOL       ? "true or false"
           : k == CTL_DURATION ? "a time, as 5s or 1m30s"
           : k == CTL_HEX      ? "a hexadecimal number"
                               : "a whole number";
}

static bool is_valid(const struct ctl_flag *f, const char *value)
{
    int64_t number;
    uint64_t count;
    bool flag;
    switch (f->kind) {
    case CTL_BOOL:
        return text_to_bool(slice_text(value), &flag) == OK;
    case CTL_DURATION:
        return text_to_duration_ns(slice_text(value), &number) == OK && number >= 0;
    case CTL_INT:
        return is_number(value, 10, &number);
    case CTL_UINT:
        return text_to_u64(slice_text(value), &count) == OK;
    case CTL_HEX: /* etcdctl's commands report an invalid one themselves */
    case CTL_TEXT:
    case CTL_LIST:
        break;
    }
    return true;
}

static int refuse_value(struct ctl_command_line *t, const struct ctl_flag *f, const char *value,
                        const char *from)
{
    buf_clear(&t->error);
    if (ctl_has_etcd_texts(t)) {
        const char *type = f->kind == CTL_BOOL ? "Bool" : f->kind == CTL_UINT ? "Uint" : "Int";
        if (f->kind == CTL_DURATION)
            buf_addf(&t->error,
                     "Error: invalid argument \"%s\" for \"--%s\" flag: time: invalid duration \"%s\"\n",
                     value, f->name, value);
        else
            buf_addf(&t->error,
                     "Error: invalid argument \"%s\" for \"--%s\" flag: strconv.Parse%s: parsing \"%s\": "
                     "invalid syntax\n",
                     value, f->name, type, value);
        return ERR_INVALID;
    }
    buf_addf(&t->error, "%s: --%s%s is \"%s\"; it must be %s\n", t->program, f->name, from, value,
             kind_name(f->kind));
    return ERR_INVALID;
}

int ctl_supply(struct ctl_command_line *t, const struct ctl_flag *f, const char *value, const char *from)
{
    if (!is_valid(f, value))
        return refuse_value(t, f, value, from);
    ctl_parse_add_value(t, f, value);
    return OK;
}

static const struct ctl_flag *flag_of(const struct ctl_command_line *t, const char *name)
{
    const struct ctl_flag *f = ctl_find_flag(t->command, name, strlen(name), false);
    assert(f); /* a handler reads only flags of its own rows */
    return f;
}

const struct ctl_value *ctl_list(const struct ctl_command_line *t, const char *name)
{
    return &t->values[flag_of(t, name) - ctl_flags];
}

const char *ctl_flag_value(const struct ctl_command_line *t, const char *name)
{
    const struct ctl_value *v = ctl_list(t, name);
    return v->count ? v->list[v->count - 1] : NULL;
}

const char *ctl_text(const struct ctl_command_line *t, const char *name)
{
    const char *given = ctl_flag_value(t, name);
    return given ? given : flag_of(t, name)->default_text;
}

bool ctl_bool(const struct ctl_command_line *t, const char *name)
{
    const char *text = ctl_text(t, name);
    bool value = false;
    return text && text_to_bool(slice_text(text), &value) == OK && value;
}

int64_t ctl_int(const struct ctl_command_line *t, const char *name)
{
    const char *text = ctl_text(t, name);
    int64_t value = 0;
    return text && is_number(text, flag_of(t, name)->kind == CTL_HEX ? 16 : 10, &value) ? value : 0;
}

uint64_t ctl_uint(const struct ctl_command_line *t, const char *name)
{
    const char *text = ctl_text(t, name);
    uint64_t value = 0;
    return text && text_to_u64(slice_text(text), &value) == OK ? value : 0;
}

int64_t ctl_duration_ms(const struct ctl_command_line *t, const char *name)
{
    const char *text = ctl_text(t, name);
    int64_t ns = 0;
    if (!text || text_to_duration_ns(slice_text(text), &ns) != OK)
        return 0;
    return ns / 1000000 + (ns % 1000000 != 0);
}

/* --- the command ---------------------------------------------------------------------------------------- */

static enum ctl_command_id find_command(const struct ctl_command_line *t, const char *words)
{
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        bool has_command = t->is_etcdutl ? ctl_is_etcdutl_command((enum ctl_command_id)id)
                                         : ctl_has_command((enum ctl_command_id)id, t->is_etcdctl);
        if (has_command && strcmp(ctl_commands[id].words, words) == 0)
            return (enum ctl_command_id)id;
    }
    return CTL_COMMAND_global;
}

/* True if the word after this flag is its value. Unknown flags are reported later. */
static bool takes_next(const struct ctl_command_line *t, const char *words, const char *word)
{
    if (strchr(word, '='))
        return false;
    const struct ctl_flag *f;
    if (word[1] == '-')
        f = ctl_any_flag(words, word + 2, strlen(word + 2), t->is_etcdctl);
    else
        f = word[2] ? NULL : ctl_find_letter(CTL_COMMAND_global, word[1], t->is_etcdctl);
    return f && f->kind != CTL_BOOL;
}

struct found_words {
    int at[COMMAND_WORDS_MAX]; /* their indexes in argv; 0 = none */
};

static int refuse_command(struct ctl_command_line *t, const char *words, enum ctl_exit *ret_exit)
{
    const char *near = t->is_etcdutl ? NULL : ctl_suggest_command(words, t->is_etcdctl);
    *ret_exit = ctl_has_etcd_texts(t) ? CTL_ERROR : CTL_BAD_ARGS;
    if (ctl_has_etcd_texts(t)) {
        buf_addf(&t->error, "Error: unknown command \"%s\" for \"%s\"\n", words, t->program);
        if (near)
            buf_addf(&t->error, "\nDid you mean this?\n\t%s\n\n", near);
        buf_addf(&t->error, "Run '%s --help' for usage.\n", t->program);
        return ERR_INVALID;
    }
    buf_addf(&t->error, "%s: there is no command \"%s\"", t->program, words);
    if (near)
        buf_addf(&t->error, "; did you mean \"%s\"?\n", near);
    else
        buf_addf(&t->error, "; \"%s help\" lists them\n", t->program);
    return ERR_INVALID;
}

static int read_command(struct ctl_command_line *t, int argc, const char *const *argv,
                        struct found_words *found, enum ctl_exit *ret_exit)
{
    char words[128] = "";
    int count = 0;
    for (int i = 1; i < argc && count < COMMAND_WORDS_MAX; i++) {
        if (argv[i][0] == '-' && argv[i][1]) {
            if (strcmp(argv[i], "--") == 0)
                break;
            i += takes_next(t, words, argv[i]);
            continue;
        }
        size_t size = strlen(words);
        if (size + strlen(argv[i]) + 2 > sizeof words)
            return t->command ? OK : refuse_command(t, count ? words : "...", ret_exit);
        snprintf(words + size, sizeof words - size, "%s%s", count ? " " : "", argv[i]);
        enum ctl_command_id command = find_command(t, words);
        if (t->command && !command)
            return OK; /* the shorter one: this word is its argument */
        found->at[count++] = i;
        t->command = command;
        if (command && ctl_is_group(words, t->is_etcdctl))
            continue; /* both "backup" and "backup list" are commands */
        if (command)
            return OK;
        if (!ctl_is_group(words, t->is_etcdctl) || (t->is_etcdutl && strcmp(words, "snapshot") != 0))
            return refuse_command(t, words, ret_exit);
    }
    if (t->command)
        return OK;
    snprintf(t->group, sizeof t->group, "%.60s", words);
    t->wants_help = true; /* no command, or a group alone */
    return OK;
}

/* --- flags ---------------------------------------------------------------------------------------------- */

static int refuse_flag(struct ctl_command_line *t, const char *word, size_t name_size)
{
    bool is_long = word[1] == '-';
    if (ctl_has_etcd_texts(t)) {
        if (is_long)
            buf_addf(&t->error, "Error: unknown flag: --%.*s\n", (int)name_size, word + 2);
        else
            buf_addf(&t->error, "Error: unknown shorthand flag: '%c' in %s\n", word[1], word);
        return ERR_INVALID;
    }
    const char *near = is_long ? ctl_suggest_flag(t->command, word + 2, name_size, false) : NULL;
    buf_addf(&t->error, "%s: ", t->program);
    buf_addf(&t->error, t->command ? "%s has no flag %.*s" : "%sthere is no flag %.*s",
             t->command ? ctl_commands[t->command].words : "", (int)(is_long ? name_size + 2 : 2), word);
    if (near)
        buf_addf(&t->error, "; did you mean --%s?\n", near);
    else
        buf_addf(&t->error, "; \"%s%s%s --help\" lists them\n", t->program, t->command ? " " : "",
                 t->command ? ctl_commands[t->command].words : "");
    return ERR_INVALID;
}

/* Takes the value of a flag: behind '=' or its letter (text), or the next word. */
static int ctl_parse_take_value(struct ctl_command_line *t, const struct ctl_flag *f, const char *text,
                                const char *next, int *i)
{
    if (!text && f->kind == CTL_BOOL) {
        text = "true";
    } else if (!text) {
        if (!next) {
            if (ctl_has_etcd_texts(t))
                buf_addf(&t->error, "Error: flag needs an argument: --%s\n", f->name);
            else
                buf_addf(&t->error, "%s: --%s needs a value: %s\n", t->program, f->name, f->value);
            return ERR_INVALID;
        }
        text = next;
        ++*i;
    }
    return ctl_supply(t, f, text, "");
}

static int read_long(struct ctl_command_line *t, const char *word, const char *next, int *i)
{
    const char *equals = strchr(word, '=');
    size_t size = equals ? (size_t)(equals - word) - 2 : strlen(word + 2);
    const struct ctl_flag *f = ctl_find_flag(t->command, word + 2, size, t->is_etcdctl);
    if (!f || (ctl_is_etcdutl_flag(f) && !t->is_etcdutl))
        return refuse_flag(t, word, size);
    return ctl_parse_take_value(t, f, equals ? equals + 1 : NULL, next, i);
}

/* -w json, -wjson, -w=json, -yi */
static int read_letters(struct ctl_command_line *t, const char *word, const char *next, int *i)
{
    for (const char *p = word + 1; *p; p++) {
        const struct ctl_flag *f = ctl_find_letter(t->command, *p, t->is_etcdctl);
        if (!f)
            return refuse_flag(t, word, 0);
        if (f->kind != CTL_BOOL || p[1] == '=') {
            const char *text = p[1] == '=' ? p + 2 : p[1] ? p + 1 : NULL;
            return ctl_parse_take_value(t, f, text, next, i);
        }
        ctl_parse_add_value(t, f, "true");
    }
    return OK;
}

static int read_words(struct ctl_command_line *t, int argc, const char *const *argv,
                      const struct found_words *found)
{
    t->args = mem_new((size_t)argc * sizeof *t->args + 1);
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        int err = OK;
        if (t->has_dash || word[0] != '-' || !word[1]) {
            if (t->has_dash || (i != found->at[0] && i != found->at[1]))
                t->args[t->arg_count++] = word;
        } else if (strcmp(word, "--") == 0) {
            t->has_dash = true;
            t->dash_at = t->arg_count;
        } else {
            err = word[1] == '-' ? read_long(t, word, next, &i) : read_letters(t, word, next, &i);
        }
        if (err)
            return err;
    }
    if (!t->has_dash)
        t->dash_at = t->arg_count;
    return OK;
}

/* Checks the number of arguments. etcdctl's commands do it themselves, each with its own error text. */
static int check_count(struct ctl_command_line *t)
{
    const struct ctl_command *command = &ctl_commands[t->command];
    size_t count = t->has_dash ? t->dash_at : t->arg_count;
    if (t->is_etcdctl || command->grammar != CTL_CAIRN)
        return OK;
    /* The words after "--" are a command to run, of any length. */
    size_t max = command->max >= 0 ? (size_t)command->max : t->has_dash ? SIZE_MAX : (size_t)command->min;
    if (count >= (size_t)command->min && t->arg_count <= max &&
        (command->max >= 0 || count == (size_t)command->min))
        return OK;
    buf_addf(&t->error, "%s: %s %s\nusage: %s %s %s\n", t->program, command->words,
             count < (size_t)command->min ? "needs more arguments" : "has too many arguments", t->program,
             command->words, command->arguments);
    return ERR_INVALID;
}

/* True if the word names one of etcd's programs. */
static bool choose_grammar(struct ctl_command_line *t, const char *word)
{
    t->is_etcdctl = strcmp(word, "etcdctl") == 0;
    t->is_etcdutl = strcmp(word, "etcdutl") == 0;
    t->program = t->is_etcdctl ? "etcdctl" : t->is_etcdutl ? "etcdutl" : "cairnctl";
    return ctl_has_etcd_texts(t);
}

int ctl_parse(int argc, const char *const *argv, struct ctl_command_line *t, enum ctl_exit *ret_exit)
{
    *t = (struct ctl_command_line){0};
    const char *name = argc > 0 ? argv[0] : "cairnctl", *slash = strrchr(name, '/');
    name = slash ? slash + 1 : name;
    bool is_link = choose_grammar(t, name);
    /* a first word selects a grammar without another program name */
    if (!is_link && argc > 1 && choose_grammar(t, argv[1])) {
        argc--;
        argv++;
    }
    t->values = mem_new(ctl_flag_count * sizeof *t->values);
    struct found_words found = {0};
    int err = read_command(t, argc, argv, &found, ret_exit);
    if (err)
        return err;
    *ret_exit = ctl_has_etcd_texts(t) ? CTL_ERROR : CTL_BAD_ARGS;
    err = read_words(t, argc, argv, &found);
    if (!err && ctl_bool(t, "help"))
        t->wants_help = true;
    return err || t->wants_help ? err : check_count(t);
}
