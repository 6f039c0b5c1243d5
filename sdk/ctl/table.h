/* SPDX-License-Identifier: Apache-2.0
 * The command table in C: commands, flags, and suggestions for misspelled words. Pure. */
#ifndef SDK_CTL_TABLE_H
#define SDK_CTL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

struct ctl;

/* Exit codes of the program, as of etcdctl. */
enum ctl_exit {
    CTL_DONE = 0,
    CTL_ERROR = 1,
    CTL_BAD_CONNECTION = 2,
    CTL_INVALID_INPUT = 3,
    CTL_BAD_FEATURE = 4,
    CTL_INTERRUPTED = 5,
    CTL_IO = 6,
    CTL_BAD_ARGS = 128,
};

enum ctl_group {
#define CTL_GROUP(id, title) CTL_GROUP_##id,
#define CTL_COMMAND(...)
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
    CTL_GROUP_COUNT
};

enum ctl_command_id {
    CTL_COMMAND_global, /* no command: its flags are the global ones */
#define CTL_GROUP(...)
#define CTL_COMMAND(id, ...) CTL_COMMAND_##id,
#define CTL_FLAG(...)
#include "sdk/ctl/command.def"
#undef CTL_GROUP
#undef CTL_COMMAND
#undef CTL_FLAG
    CTL_COMMAND_COUNT
};

enum ctl_grammar {
    CTL_CAIRN, /* cairnctl's alone */
    CTL_BOTH,  /* etcdctl's, too */
    CTL_UTL,   /* etcdutl's, too */
    CTL_ONLY_UTL,
};

enum ctl_kind { CTL_BOOL, CTL_TEXT, CTL_LIST, CTL_INT, CTL_UINT, CTL_HEX, CTL_DURATION };

struct ctl_command {
    const char *words; /* "service ls"; NULL for the first row, which is no command */
    enum ctl_group group;
    enum ctl_grammar grammar;
    const char *arguments;
    int min, max;
    const char *summary;
};

struct ctl_flag {
    enum ctl_command_id command;
    const char *name;
    char letter;
    enum ctl_kind kind;
    const char *value, *default_text, *help;
};

extern const struct ctl_command ctl_commands[CTL_COMMAND_COUNT];
extern const struct ctl_flag ctl_flags[];
extern const size_t ctl_flag_count;

struct ctl_choices {
    enum ctl_command_id command;
    const char *flag, *values; /* separated by blanks */
};
extern const struct ctl_choices ctl_choices[];
extern const size_t ctl_choice_count;
const char *ctl_group_title(enum ctl_group g);

/* The program has two grammars: its own, and etcdctl's under this name. */
bool ctl_has_command(enum ctl_command_id id, bool is_etcdctl);
bool ctl_is_etcdutl_command(enum ctl_command_id id);
bool ctl_has_flag(const struct ctl_flag *f, bool is_etcdctl);
bool ctl_is_etcdutl_flag(const struct ctl_flag *f); /* a flag of all commands, but only under that name */

/* Finds a flag of the command, or a global one; NULL if there is none. */
const struct ctl_flag *ctl_find_flag(enum ctl_command_id id, const char *name, size_t size, bool is_etcdctl);
const struct ctl_flag *ctl_find_letter(enum ctl_command_id id, char letter, bool is_etcdctl);
/* Finds a flag of any command that begins with these words ("" = any). Flags of one name are alike below
 * one first word, so this tells whether a value follows. */
const struct ctl_flag *ctl_any_flag(const char *words, const char *name, size_t size, bool is_etcdctl);

/* True if text is the first words of a command: "snapshot" of "snapshot save". */
bool ctl_is_group(const char *text, bool is_etcdctl);
/* The command or flag name that is most similar to a misspelled one; NULL = none is similar. */
const char *ctl_suggest_command(const char *text, bool is_etcdctl);
const char *ctl_suggest_flag(enum ctl_command_id id, const char *name, size_t size, bool is_etcdctl);

#endif
