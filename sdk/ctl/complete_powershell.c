/* SPDX-License-Identifier: Apache-2.0
 * Completion script for PowerShell, generated from command.def. Pure.
 *
 * $words has the words after each group, $flags the flags of each command ('' = of all commands), $values the
 * possible values of flags and arguments. Texts are in single quotes, in which a quote is doubled. */
#include "sdk/ctl/ctl.h"

#include <string.h>

static void add_quoted(struct buf *out, const char *text, size_t size)
{
    buf_add_byte(out, '\'');
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\'')
            buf_add_byte(out, '\'');
        buf_add_byte(out, (uint8_t)text[i]);
    }
    buf_add_byte(out, '\'');
}

/* Appends the words that may follow `before`, each once. */
static void add_words(struct buf *out, const char *before, bool is_etcdctl)
{
    size_t size = strlen(before), last_size = 0;
    const char *last = "", *space = "";
    buf_add_text(out, "    ");
    add_quoted(out, before, size);
    buf_add_text(out, " = @(");
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        const char *words = ctl_commands[id].words;
        if (!ctl_has_command((enum ctl_command_id)id, is_etcdctl) ||
            (size && (strncmp(words, before, size) != 0 || words[size] != ' ')))
            continue;
        const char *word = words + size + (size != 0);
        size_t word_size = strcspn(word, " ");
        if (word_size == last_size && memcmp(word, last, word_size) == 0)
            continue;
        buf_add_text(out, space);
        add_quoted(out, word, word_size);
        last = word, last_size = word_size, space = ", ";
    }
    buf_add_text(out, ")\n");
}

static void add_groups(struct buf *out, bool is_etcdctl)
{
    char last[64] = "";
    for (int id = 1; id < CTL_COMMAND_COUNT; id++) {
        const char *words = ctl_commands[id].words;
        size_t size = strcspn(words, " ");
        char group[64];
        if (!words[size] || size >= sizeof group || !ctl_has_command((enum ctl_command_id)id, is_etcdctl))
            continue;
        memcpy(group, words, size);
        group[size] = 0;
        if (strcmp(group, last) != 0)
            add_words(out, group, is_etcdctl);
        strcpy(last, group);
    }
}

static void add_flags(struct buf *out, enum ctl_command_id id, bool is_etcdctl)
{
    const char *words = id == CTL_COMMAND_global ? "" : ctl_commands[id].words, *space = "";
    buf_add_text(out, "    ");
    add_quoted(out, words, strlen(words));
    buf_add_text(out, " = @(");
    for (size_t i = 0; i < ctl_flag_count; i++) {
        if (!ctl_shows_flag(&ctl_flags[i], id, is_etcdctl))
            continue;
        buf_addf(out, "%s'--%s'", space, ctl_flags[i].name);
        space = ", ";
    }
    buf_add_text(out, ")\n");
}

/* Appends the values of "s|m|l" or "json table" as a list. */
static void add_values(struct buf *out, const char *words, const char *flag, const char *values)
{
    if (!strpbrk(values, "| ") || strpbrk(values, "[.,"))
        return;
    buf_addf(out, "    '%s%s%s' = @(", words, *flag ? " --" : "", flag);
    for (const char *at = values; *at;) {
        size_t size = strcspn(at, "| ");
        add_quoted(out, at, size);
        at += size + (at[size] != 0);
        buf_add_text(out, *at ? ", " : "");
    }
    buf_add_text(out, ")\n");
}

static void add_all_values(struct buf *out, bool is_etcdctl)
{
    for (size_t i = 0; i < ctl_choice_count; i++) {
        const struct ctl_choices *choices = &ctl_choices[i];
        enum ctl_command_id id = choices->command;
        const struct ctl_flag *f = ctl_find_flag(id, choices->flag, strlen(choices->flag), is_etcdctl);
        if (f && (id == CTL_COMMAND_global || ctl_has_command(id, is_etcdctl)))
            add_values(out, id == CTL_COMMAND_global ? "" : ctl_commands[id].words, choices->flag,
                       choices->values);
    }
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if (f->command != CTL_COMMAND_global && ctl_has_command(f->command, is_etcdctl))
            add_values(out, ctl_commands[f->command].words, f->name, f->value);
    }
    add_values(out, "completion", "", ctl_commands[CTL_COMMAND_completion].arguments);
}

static const char tail[] =
    "Register-ArgumentCompleter -Native -CommandName '%s' -ScriptBlock {\n"
    "    param($wordToComplete, $commandAst, $cursorPosition)\n"
    "    $given = @($commandAst.CommandElements | Select-Object -Skip 1 |\n"
    "        Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })\n"
    "    $command = ''\n"
    "    foreach ($word in $given) {\n"
    "        if ($word.StartsWith('-')) { continue }\n"
    "        if (-not $words.ContainsKey($command) -or $words[$command] -notcontains $word) { continue }\n"
    "        $command = \"$command $word\".Trim()\n"
    "    }\n"
    "    $last = if ($given.Count) { $given[-1] } else { '' }\n"
    "    $found = @()\n"
    "    if ($values.ContainsKey(\"$command $last\")) { $found = $values[\"$command $last\"] }\n"
    "    elseif ($values.ContainsKey(\" $last\")) { $found = $values[\" $last\"] }\n"
    "    elseif ($wordToComplete.StartsWith('-')) { $found = @($flags[$command]) + $flags[''] }\n"
    "    elseif ($words.ContainsKey($command)) { $found = $words[$command] }\n"
    "    elseif ($values.ContainsKey($command)) { $found = $values[$command] }\n"
    "    $found | Where-Object { $_ -like \"$wordToComplete*\" } | ForEach-Object {\n"
    "        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)\n"
    "    }\n"
    "}.GetNewClosure()\n";

void ctl_add_powershell(struct buf *out, bool is_etcdctl)
{
    buf_add_text(out, "$words = @{\n");
    add_words(out, "", is_etcdctl);
    add_groups(out, is_etcdctl);
    buf_add_text(out, "}\n$flags = @{\n");
    for (int id = 0; id < CTL_COMMAND_COUNT; id++) {
        if (id == CTL_COMMAND_global || ctl_has_command((enum ctl_command_id)id, is_etcdctl))
            add_flags(out, (enum ctl_command_id)id, is_etcdctl);
    }
    buf_add_text(out, "}\n$values = @{\n");
    add_all_values(out, is_etcdctl);
    buf_add_text(out, "}\n");
    for (const char *at = tail, *mark; *at; at = mark + 2) {
        mark = strstr(at, "%s");
        buf_add(out, at, mark ? (size_t)(mark - at) : strlen(at));
        if (!mark)
            break;
        buf_add_text(out, is_etcdctl ? "etcdctl" : "cairnctl");
    }
}
