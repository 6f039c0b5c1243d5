/* SPDX-License-Identifier: Apache-2.0
 * Lookups in the command table, and suggestions for misspelled words. */
#include "sdk/ctl/table.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#define BOTH     CTL_BOTH
#define CAIRN    CTL_CAIRN
#define UTL      CTL_UTL
#define ONLY_UTL CTL_ONLY_UTL

const struct ctl_command ctl_commands[CTL_COMMAND_COUNT] = {
    {NULL, 0, CTL_BOTH, "", 0, -1, NULL},
#define CTL_GROUP(...)
#define CTL_COMMAND(id, words, group, grammar, arguments, min, max, summary)                                 \
    {words, CTL_GROUP_##group, grammar, arguments, min, max, summary},
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
};

const struct ctl_flag ctl_flags[] = {
#define CTL_GROUP(...)
#define CTL_COMMAND(...)
#define CTL_FLAG(id, name, letter, kind, value, default_text, help)                                          \
    {CTL_COMMAND_##id, name, letter, CTL_##kind, value, default_text, help},
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
};
const size_t ctl_flag_count = sizeof ctl_flags / sizeof *ctl_flags;

const struct ctl_choices ctl_choices[] = {
#define CTL_GROUP(...)
#define CTL_COMMAND(...)
#define CTL_FLAG(...)
#define CTL_CHOICES(id, name, values) {CTL_COMMAND_##id, name, values},
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
};
const size_t ctl_choice_count = sizeof ctl_choices / sizeof *ctl_choices;

const char *ctl_group_title(enum ctl_group g)
{
    static const char *const titles[] = {
#define CTL_GROUP(id, title) title,
#define CTL_COMMAND(...)
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
    };
    return titles[g];
}

bool ctl_has_command(enum ctl_command_id id, bool is_etcdctl)
{
    enum ctl_grammar grammar = ctl_commands[id].grammar;
    return id != CTL_COMMAND_global && grammar != CTL_ONLY_UTL && (!is_etcdctl || grammar == CTL_BOTH);
}

bool ctl_is_etcdutl_command(enum ctl_command_id id)
{
    return ctl_commands[id].grammar == CTL_UTL || ctl_commands[id].grammar == CTL_ONLY_UTL ||
           id == CTL_COMMAND_snapshot_status || id == CTL_COMMAND_defrag || id == CTL_COMMAND_completion ||
           id == CTL_COMMAND_help || id == CTL_COMMAND_version;
}

bool ctl_is_etcdutl_flag(const struct ctl_flag *f)
{
    return f->command == CTL_COMMAND_global && strcmp(f->name, "timeout") == 0;
}

bool ctl_has_flag(const struct ctl_flag *f, bool is_etcdctl)
{
    static const char *const ours[] = {"output", "namespace", "group", "context", "password-file", "timeout"};
    if (!is_etcdctl || f->command != CTL_COMMAND_global)
        return true;
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++) {
        if (strcmp(f->name, ours[i]) == 0)
            return false;
    }
    return true;
}

static bool is_named(const struct ctl_flag *f, const char *name, size_t size)
{
    return strlen(f->name) == size && memcmp(f->name, name, size) == 0;
}

/* The command's own flags come first: they may redefine a global flag's name. */
const struct ctl_flag *ctl_find_flag(enum ctl_command_id id, const char *name, size_t size, bool is_etcdctl)
{
    const struct ctl_flag *found = NULL;
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if ((f->command == id || (f->command == CTL_COMMAND_global && !found)) &&
            ctl_has_flag(f, is_etcdctl) && is_named(f, name, size))
            found = f;
    }
    return found;
}

const struct ctl_flag *ctl_find_letter(enum ctl_command_id id, char letter, bool is_etcdctl)
{
    const struct ctl_flag *found = NULL;
    for (size_t i = 0; letter && i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if ((f->command == id || (f->command == CTL_COMMAND_global && !found)) &&
            ctl_has_flag(f, is_etcdctl) && f->letter == letter)
            found = f;
    }
    return found;
}

const struct ctl_flag *ctl_any_flag(const char *words, const char *name, size_t size, bool is_etcdctl)
{
    size_t words_size = strlen(words);
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        bool is_global = f->command == CTL_COMMAND_global;
        if (!ctl_has_flag(f, is_etcdctl) || !is_named(f, name, size))
            continue;
        if (is_global || (ctl_has_command(f->command, is_etcdctl) &&
                          strncmp(ctl_commands[f->command].words, words, words_size) == 0))
            return f;
    }
    return NULL;
}

bool ctl_is_group(const char *text, bool is_etcdctl)
{
    size_t size = strlen(text);
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        const char *words = ctl_commands[id].words;
        if (ctl_has_command((enum ctl_command_id)id, is_etcdctl) && strncmp(words, text, size) == 0 &&
            words[size] == ' ')
            return true;
    }
    return false;
}

/* --- suggestions ---------------------------------------------------------------------------------------- */

enum { WORD_MAX = 40 };

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The Levenshtein distance, case-insensitive. */
static size_t distance(const char *a, size_t a_size, const char *b)
{
    size_t b_size = strlen(b), row[WORD_MAX + 1];
    if (a_size > WORD_MAX || b_size > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t same = corner + (strncasecmp(&a[i - 1], &b[j - 1], 1) != 0);
            corner = row[j];
            row[j] = least(same, least(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_size];
}

struct nearest {
    const char *text;
    size_t distance;
};

/* Considers a candidate. At most two letters may differ, fewer in short words. A word of which only the
 * beginning was given is similar too. */
static void consider_candidate(struct nearest *n, const char *typed, size_t size, const char *candidate)
{
    size_t d = distance(typed, size, candidate);
    if (size >= 2 && strncasecmp(typed, candidate, size) == 0)
        d = 1;
    if (d < n->distance && d <= 2 && d < size)
        *n = (struct nearest){candidate, d};
}

const char *ctl_suggest_command(const char *text, bool is_etcdctl)
{
    struct nearest n = {NULL, SIZE_MAX};
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        if (ctl_has_command((enum ctl_command_id)id, is_etcdctl))
            consider_candidate(&n, text, strlen(text), ctl_commands[id].words);
    }
    /* "services ls": only the first word is corrected; "list" suggests ls. */
    static char meant[2 * WORD_MAX];
    const char *space = strchr(text, ' ');
    size_t head = space ? (size_t)(space - text) : strlen(text);
    for (int id = 1; !n.text && id < CTL_COMMAND_COUNT; id++) {
        const char *words = ctl_commands[id].words, *second = strchr(words, ' ');
        if (!second || !ctl_has_command((enum ctl_command_id)id, is_etcdctl))
            continue;
        size_t size = (size_t)(second - words);
        char first[WORD_MAX + 1];
        memcpy(first, words, size);
        first[size] = 0;
        struct nearest group = {NULL, SIZE_MAX};
        consider_candidate(&group, text, head, first);
        if (group.text && (!space || distance(space + 1, strlen(space + 1), second + 1) <= 2)) {
            strcpy(meant, space ? words : first);
            return meant;
        }
    }
    return n.text;
}

const char *ctl_suggest_flag(enum ctl_command_id id, const char *name, size_t size, bool is_etcdctl)
{
    struct nearest n = {NULL, SIZE_MAX};
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if ((f->command == id || f->command == CTL_COMMAND_global) && ctl_has_flag(f, is_etcdctl) &&
            !ctl_is_etcdutl_flag(f))
            consider_candidate(&n, name, size, f->name);
    }
    return n.text;
}
