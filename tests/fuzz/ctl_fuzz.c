/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a command line of cairnctl with one word a line, and a line of a transaction. After a refusal
 * there is an error text and an exit status. After success all flags can be read and the help can be shown.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sdk/ctl/kv.h"

enum { WORDS_MAX = 64 };

static void read_all(const struct ctl_command_line *t)
{
    for (size_t i = 0; i < ctl_flag_count; i++) {
        const struct ctl_flag *f = &ctl_flags[i];
        if (f->command != t->command && f->command != CTL_COMMAND_global)
            continue;
        (void)ctl_bool(t, f->name);
        (void)ctl_int(t, f->name);
        assert(ctl_duration_ms(t, f->name) >= 0);
    }
    assert(t->dash_at <= t->arg_count);
}

/* The same bytes as a line of a transaction. */
static void read_line(const char *line)
{
    struct arena arena = {0};
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT;
    int count = 0;
    char **words = ctl_cut_line(&arena, line, &count);
    assert(!words || !words[count]);
    if (ctl_read_compare(&arena, line, &compare))
        assert(compare.target_union_case && compare.key.data);
    arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = mem_new(size + 1);
    memcpy(text, data, size);
    read_line(text);
    const char *words[WORDS_MAX + 1];
    int count = 0;
    for (char *save, *word = strtok_r(text, "\n", &save); word && count < WORDS_MAX;
         word = strtok_r(NULL, "\n", &save))
        words[count++] = word;
    struct ctl_command_line t;
    enum ctl_exit how = CTL_DONE;
    int err = ctl_parse(count, words, &t, &how);
    assert(err == OK ? t.error.size == 0 : t.error.size > 0 && how != CTL_DONE);
    if (!err) {
        struct buf help = {0};
        read_all(&t);
        ctl_add_help(&help, &t);
        buf_done(&help);
    }
    ctl_command_line_done(&t);
    mem_free(text);
    return 0;
}
