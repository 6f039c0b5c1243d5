/* SPDX-License-Identifier: Apache-2.0
 * Completion scripts for bash, zsh and fish, generated from command.def. Pure.
 *
 * Each script has the same three functions:
 *
 * - `takes`: whether a value follows a flag, and its possible values.
 * - `next`: the command after one more word.
 * - `offers`: the candidates after a command: words, flags, values.
 *
 * A value "@" is a file name. Texts are in single quotes, which all three shells read in the same way. */
#include "sdk/ctl/ctl.h"

#include <stdio.h>
#include <string.h>

struct script {
    struct buf *out;
    const char *program;
    bool is_etcdctl;
    bool is_fish;
};

static void add_quoted(struct buf *out, const char *text)
{
    buf_add_byte(out, '\'');
    for (; *text; text++) {
        if (*text == '\'')
            buf_add_text(out, "'\\''");
        else
            buf_add_byte(out, (uint8_t)*text);
    }
    buf_add_byte(out, '\'');
}

/* Appends the words of "l|s" or "l s"; "@" for a file; "" for an unknown value. */
static void add_values(struct buf *out, const char *value, const char *between)
{
    if (strstr(value, "FILE")) {
        buf_add_byte(out, '@');
    } else if (strpbrk(value, "| ")) {
        for (; *value; value++) {
            if (strchr("| ", *value))
                buf_add_text(out, between);
            else
                buf_add_byte(out, (uint8_t)*value);
        }
    }
}

static void add_flag_values(struct buf *out, const struct ctl_flag *f, const char *between)
{
    for (size_t i = 0; i < ctl_choice_count; i++) {
        if (ctl_choices[i].command == f->command && strcmp(ctl_choices[i].flag, f->name) == 0) {
            add_values(out, ctl_choices[i].values, between);
            return;
        }
    }
    add_values(out, f->value, between);
}

static bool has_flag(const struct script *s, const struct ctl_flag *f)
{
    return ctl_has_flag(f, s->is_etcdctl) && !ctl_is_etcdutl_flag(f) &&
           (f->command == CTL_COMMAND_global || ctl_has_command(f->command, s->is_etcdctl));
}

/* 'service get --zone': a flag with the words of its command; a global flag alone. */
static void add_takes(const struct script *s, const char *before, const char *after)
{
    struct buf values = {0};
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        const char *words = f->command == CTL_COMMAND_global ? "" : ctl_commands[f->command].words;
        if (f->kind == CTL_BOOL || !has_flag(s, f))
            continue;
        buf_clear(&values);
        add_flag_values(&values, f, s->is_fish ? " " : "\\n");
        buf_addf(s->out, "%s'%s --%s'", s->is_fish ? "        case " : "    ", words, f->name);
        if (f->letter)
            buf_addf(s->out, "%s'%s -%c'", s->is_fish ? " " : "|", words, f->letter);
        buf_addf(s->out, "%s%s%s", before, values.size ? buf_text(&values) : "", after);
    }
    buf_done(&values);
}

/* Appends the names of groups, after which a second word follows. */
static void add_groups(const struct script *s, const char *between)
{
    const char *last = "", *space = "";
    size_t last_size = 0;
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        const char *words = ctl_commands[id].words;
        size_t size = strcspn(words, " ");
        if (!words[size] || !ctl_has_command((enum ctl_command_id)id, s->is_etcdctl) ||
            (size == last_size && memcmp(words, last, size) == 0))
            continue;
        buf_addf(s->out, "%s%.*s", space, (int)size, words);
        last = words, last_size = size, space = between;
    }
}

/* 'word:help' for zsh, 'word' for bash, "word<tab>help" for fish. */
static void ctl_complete_add_item(const struct script *s, const char *word, size_t size, const char *help,
                                  const char *shell)
{
    char text[512];
    bool has_help = *help && strcmp(shell, "bash") != 0;
    snprintf(text, sizeof text, "%.*s%s%s", (int)size, word,
             has_help ? strcmp(shell, "zsh") == 0 ? ":" : "\t" : "", has_help ? help : "");
    buf_add_byte(s->out, ' ');
    add_quoted(s->out, text);
}

/* Appends the words that may follow the words so far ("" or a group), each once. */
static void add_words(const struct script *s, const char *before, const char *shell)
{
    size_t size = strlen(before), last_size = 0;
    const char *last = "";
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        const char *words = ctl_commands[id].words;
        if (!ctl_has_command((enum ctl_command_id)id, s->is_etcdctl) ||
            (size && (strncmp(words, before, size) != 0 || words[size] != ' ')))
            continue;
        const char *word = words + size + (size != 0);
        size_t word_size = strcspn(word, " ");
        if (word_size == last_size && memcmp(word, last, word_size) == 0)
            continue;
        ctl_complete_add_item(s, word, word_size, word[word_size] ? "" : ctl_commands[id].summary, shell);
        last = word, last_size = word_size;
    }
}

/* The first command of a group such as "config get": `group`, which the caller keeps, becomes its first word. */
static bool begins_group(const struct script *s, int id, char *group, size_t group_size)
{
    const char *words = ctl_commands[id].words;
    size_t size = strcspn(words, " ");
    if (!words[size] || !ctl_has_command((enum ctl_command_id)id, s->is_etcdctl) ||
        (strlen(group) == size && memcmp(group, words, size) == 0))
        return false;
    snprintf(group, group_size, "%.*s", (int)size, words);
    return true;
}

static void add_flags(const struct script *s, enum ctl_command_id id, const char *shell)
{
    char name[64];
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if (!ctl_shows_flag(f, id, s->is_etcdctl))
            continue;
        snprintf(name, sizeof name, "--%s", f->name);
        ctl_complete_add_item(s, name, strlen(name), f->help, shell);
    }
}

/* Appends arguments of commands that are files or one of a few words. 'config set 1' is the second
 * argument. */
static void add_arguments(const struct script *s, const char *before, const char *after)
{
    struct buf values = {0};
    char one[64];
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        if (!ctl_has_command((enum ctl_command_id)id, s->is_etcdctl))
            continue;
        const char *at = ctl_commands[id].arguments;
        for (int k = 0; *at && strncmp(at, "[--", 3) != 0; k++) {
            size_t size = strcspn(at, " ");
            snprintf(one, sizeof one, "%.*s", (int)size, at);
            buf_clear(&values);
            add_values(&values, one, s->is_fish ? " " : "\\n");
            if (values.size) {
                buf_addf(s->out, "%s'%s %d'", s->is_fish ? "        case " : "    ", ctl_commands[id].words,
                         k);
                buf_addf(s->out, "%s%s%s", before, buf_text(&values), after);
            }
            at += size + (at[size] == ' ');
        }
    }
    buf_done(&values);
}

/* Appends the queries for names of services and configurations, which the cluster completes: only for first
 * arguments. */
static void add_name_queries(const struct script *s, const char *before, const char *after)
{
    static const char *const groups[] = {"service", "config"};
    if (s->is_etcdctl)
        return;
    for (size_t g = 0; g < 2; g++) {
        for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
            const struct ctl_command *command = &ctl_commands[id];
            size_t size = strlen(groups[g]);
            bool is_name =
                strncmp(command->arguments, "SERVICE", 7) == 0 || strncmp(command->arguments, "NAME", 4) == 0;
            if (!is_name || strncmp(command->words, groups[g], size) != 0 || command->words[size] != ' ')
                continue;
            buf_addf(s->out, "%s'%s 0'", s->is_fish ? "        case " : "    ", command->words);
            buf_addf(s->out, "%scairnctl %s ls -o name --command-timeout 1s 2>/dev/null%s", before, groups[g],
                     after);
        }
    }
}

/* --- bash ----------------------------------------------------------------------------------------------- */

/* bash splits words at = and : too; these and the text after them do not count as words. Names from a
 * server are quoted and never go through compgen -W, which expands $(...). */
static const char bash_tail[] =
    "_~() {\n"
    "  local cur=${COMP_WORDS[COMP_CWORD]} command=\"\" values=\"\" args=0 i word\n"
    "  local -a after=() flags=()\n"
    "  local IFS=$'\\n'\n"
    "  COMPREPLY=()\n"
    "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "    word=${COMP_WORDS[i]}\n"
    "    case $word in\n"
    "    --) return ;;\n"
    "    = | :) ((i++)) ;;\n"
    "    -*)\n"
    "      _~_takes \"$command\" \"$word\" || continue\n"
    "      ((i + 1 < COMP_CWORD)) && [ \"${COMP_WORDS[i + 1]}\" = = ] && ((i++))\n"
    "      if ((++i >= COMP_CWORD)); then\n"
    "        [ \"$cur\" != = ] || cur=\"\"\n"
    "        _~_values\n"
    "        return\n"
    "      fi ;;\n"
    "    *) _~_next \"$word\" ;;\n"
    "    esac\n"
    "  done\n"
    "  _~_offers \"$command\"\n"
    "  case $cur in\n"
    "  -*) values=\"${flags[*]}\" ;;\n"
    "  *) values=\"${after[*]}\"; [ -n \"$values\" ] || _~_argument \"$command $args\" ;;\n"
    "  esac\n"
    "  _~_values\n"
    "}\n"
    "_~_values() {\n"
    "  if [ \"$values\" = @ ]; then\n"
    "    compopt -o filenames 2>/dev/null\n"
    "    mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "  else\n"
    "    mapfile -t after <<<\"$values\"\n"
    "    for word in \"${after[@]}\"; do\n"
    "      [[ -z $word || $word != \"$cur\"* ]] || COMPREPLY+=(\"$(printf %q \"$word\")\")\n"
    "    done\n"
    "  fi\n"
    "}\n"
    "complete -o bashdefault -F _~ ~\n";

/* Appends a text in which ~ stands for the program's name. */
static void add_program(const struct script *s, const char *text)
{
    for (; *text; text++) {
        if (*text == '~')
            buf_add_text(s->out, s->program);
        else
            buf_add_byte(s->out, (uint8_t)*text);
    }
}

/* Appends the functions of bash and zsh, which differ in the form of items only. */
static void add_sh_tables(const struct script *s, const char *shell)
{
    add_program(s, "_~_takes() { # COMMAND FLAG: a value follows it; which ones\n  case \"$1 $2\" in\n");
    add_takes(s, ") values=$'", "' ;;\n");
    add_program(s, "  *)\n"
                   "    [ -n \"$1\" ] && _~_takes \"\" \"$2\" ;;\n"
                   "  esac\n"
                   "}\n"
                   "_~_next() { # WORD: of the command, or an argument\n"
                   "  case $command in\n"
                   "  '') command=$1 ;;\n"
                   "  ");
    add_groups(s, "|");
    buf_add_text(s->out, ") command=\"$command $1\" ;;\n"
                         "  *) args=$((args + 1)) ;;\n"
                         "  esac\n"
                         "}\n");
    add_program(s, "_~_argument() { # COMMAND NUMBER: which values it may have\n  case $1 in\n");
    add_arguments(s, ") values=$'", "' ;;\n");
    add_name_queries(s, ") values=$(", ") ;;\n");
    add_program(s, "  esac\n"
                   "}\n"
                   "_~_offers() { # COMMAND: its flags, or the words that may follow\n"
                   "  case $1 in\n");
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        if (!ctl_has_command((enum ctl_command_id)id, s->is_etcdctl))
            continue;
        buf_addf(s->out, "  '%s') flags=(", ctl_commands[id].words);
        add_flags(s, (enum ctl_command_id)id, shell);
        if (ctl_is_group(ctl_commands[id].words, s->is_etcdctl)) { /* a command and a group: "backup" */
            buf_add_text(s->out, ") after=(");
            add_words(s, ctl_commands[id].words, shell);
        }
        buf_add_text(s->out, ") ;;\n");
    }
    char group[64] = "";
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        if (!begins_group(s, id, group, sizeof group))
            continue;
        buf_addf(s->out, "  %s) after=(", group);
        add_words(s, group, shell);
        buf_add_text(s->out, ") ;;\n");
    }
    buf_add_text(s->out, "  '') after=(");
    add_words(s, "", shell);
    buf_add_text(s->out, ") ;;\n  esac\n  flags+=(");
    add_flags(s, CTL_COMMAND_global, shell);
    buf_add_text(s->out, ")\n}\n");
}

/* --- zsh ------------------------------------------------------------------------------------------------ */

static const char zsh_tail[] = "_~_values() {\n"
                               "  if [[ $values = @ ]]; then\n"
                               "    _files\n"
                               "  else\n"
                               "    compadd -- ${(f)values}\n"
                               "  fi\n"
                               "}\n"
                               "_~() {\n"
                               "  local command=\"\" values=\"\" word\n"
                               "  local -a after flags\n"
                               "  integer args=0 i\n"
                               "  for ((i = 2; i < CURRENT; i++)); do\n"
                               "    word=$words[i]\n"
                               "    case $word in\n"
                               "    --) _default; return ;;\n"
                               "    -*=*) ;;\n"
                               "    -*)\n"
                               "      _~_takes \"$command\" \"$word\" || continue\n"
                               "      if ((++i == CURRENT)); then\n"
                               "        _~_values\n"
                               "        return\n"
                               "      fi ;;\n"
                               "    *) _~_next \"$word\" ;;\n"
                               "    esac\n"
                               "  done\n"
                               "  word=$words[CURRENT]\n"
                               "  if [[ $word = --*=* ]]; then\n"
                               "    compset -P '*='\n"
                               "    _~_takes \"$command\" \"${word%%=*}\" && _~_values\n"
                               "    return\n"
                               "  fi\n"
                               "  _~_offers \"$command\"\n"
                               "  if [[ $word = -* ]]; then\n"
                               "    _describe -o flag flags\n"
                               "  elif (( $#after )); then\n"
                               "    _describe command after\n"
                               "  else\n"
                               "    values=\"\"\n"
                               "    _~_argument \"$command $args\"\n"
                               "    _~_values\n"
                               "  fi\n"
                               "}\n"
                               "if [[ $funcstack[1] = _~ ]]; then\n"
                               "  _~ \"$@\"\n"
                               "else\n"
                               "  compdef _~ ~\n"
                               "fi\n";

/* --- fish ----------------------------------------------------------------------------------------------- */

static const char fish_tail[] = "function __~_values\n"
                                "    if test \"$argv\" = '@'\n"
                                "        __fish_complete_path (commandline -ct)\n"
                                "    else if test -n \"$argv\"\n"
                                "        printf '%s\\n' $argv\n"
                                "    end\n"
                                "end\n"
                                "function __~_complete\n"
                                "    set -l command ''\n"
                                "    set -l args 0\n"
                                "    set -l flag ''\n"
                                "    set -l current (commandline -ct)\n"
                                "    for word in (commandline -opc)[2..-1]\n"
                                "        if test -n \"$flag\"\n"
                                "            set flag ''\n"
                                "            continue\n"
                                "        end\n"
                                "        switch $word\n"
                                "            case '--'\n"
                                "                __fish_complete_path $current\n"
                                "                return\n"
                                "            case '-*=*'\n"
                                "            case '-*'\n"
                                "                if __~_takes \"$command\" $word >/dev/null\n"
                                "                    set flag $word\n"
                                "                end\n"
                                "            case '*'\n"
                                "                if test -z \"$command\"\n"
                                "                    set command $word\n"
                                "                else if contains -- \"$command\" $__~_groups\n"
                                "                    set command \"$command $word\"\n"
                                "                else\n"
                                "                    set args (math $args + 1)\n"
                                "                end\n"
                                "        end\n"
                                "    end\n"
                                "    if test -n \"$flag\"\n"
                                "        __~_values (__~_takes \"$command\" $flag)\n"
                                "    else if string match -q -- '--*=*' \"$current\"\n"
                                "        set flag (string replace -r '=.*' '' -- $current)\n"
                                "        for value in (__~_values (__~_takes \"$command\" $flag))\n"
                                "            echo -- $flag=$value\n"
                                "        end\n"
                                "    else if string match -q -- '-*' \"$current\"\n"
                                "        __~_flags \"$command\"\n"
                                "    else if test -z \"$command\"; or contains -- \"$command\" $__~_groups\n"
                                "        __~_words \"$command\"\n"
                                "    else\n"
                                "        __~_values (__~_argument \"$command $args\")\n"
                                "    end\n"
                                "end\n"
                                "complete -c ~ -f -a '(__~_complete)'\n";

static void add_fish_words(const struct script *s)
{
    char group[64] = "";
    add_program(s, "function __~_words\n    switch \"$argv\"\n");
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        if (!begins_group(s, id, group, sizeof group))
            continue;
        buf_addf(s->out, "        case %s\n            printf '%%s\\n'", group);
        add_words(s, group, "fish");
        buf_add_byte(s->out, '\n');
    }
    buf_add_text(s->out, "        case ''\n            printf '%s\\n'");
    add_words(s, "", "fish");
    buf_add_text(s->out, "\n    end\nend\n");
}

static void add_fish_flags(const struct script *s)
{
    add_program(s, "function __~_flags\n    switch \"$argv\"\n");
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        size_t before = s->out->size;
        if (!ctl_has_command((enum ctl_command_id)id, s->is_etcdctl))
            continue;
        buf_addf(s->out, "        case '%s'\n            printf '%%s\\n'", ctl_commands[id].words);
        size_t empty = s->out->size;
        add_flags(s, (enum ctl_command_id)id, "fish");
        if (s->out->size == empty)
            s->out->size = before;
        else
            buf_add_byte(s->out, '\n');
    }
    buf_add_text(s->out, "    end\n    printf '%s\\n'");
    add_flags(s, CTL_COMMAND_global, "fish");
    buf_add_text(s->out, "\nend\n");
}

static void add_fish(const struct script *s)
{
    add_program(s, "set -g __~_groups ");
    add_groups(s, " ");
    add_program(s, "\nfunction __~_takes # COMMAND FLAG: a value follows it; prints which ones\n"
                   "    switch \"$argv[1] $argv[2]\"\n");
    add_takes(s, "\n            printf '%s\\n' ", "\n");
    add_program(s, "        case '*'\n"
                   "            test -n \"$argv[1]\"; and __~_takes '' $argv[2]\n"
                   "    end\n"
                   "end\n"
                   "function __~_argument # COMMAND NUMBER: prints which values it may have\n"
                   "    switch \"$argv\"\n");
    add_arguments(s, "\n            printf '%s\\n' ", "\n");
    add_name_queries(s, "\n            ", "\n");
    buf_add_text(s->out, "    end\nend\n");
    add_fish_words(s);
    add_fish_flags(s);
    add_program(s, fish_tail);
}

void ctl_add_completion(struct buf *out, const char *shell, bool is_etcdctl)
{
    const struct script s = {
        .out = out,
        .program = is_etcdctl ? "etcdctl" : "cairnctl",
        .is_etcdctl = is_etcdctl,
        .is_fish = strcmp(shell, "fish") == 0,
    };
    if (s.is_fish) {
        add_fish(&s);
    } else if (strcmp(shell, "zsh") == 0) {
        add_program(&s, "#compdef ~\n");
        add_sh_tables(&s, shell);
        add_program(&s, zsh_tail);
    } else if (strcmp(shell, "bash") == 0) {
        add_sh_tables(&s, shell);
        add_program(&s, bash_tail);
    } else if (strcmp(shell, "powershell") == 0) {
        ctl_add_powershell(out, is_etcdctl);
    }
}
