/* SPDX-License-Identifier: Apache-2.0
 * The command line of `cairnd waldump`; see waldump.h. */
#include "server/waldump.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "consensus/tools/waldump.h"

static const char usage[] =
    "Usage: cairnd waldump [--json] [--from INDEX] DIR | --data-dir DIR\n"
    "       cairnd waldump --etcd OUT_DIR DIR | --data-dir DIR\n"
    "\n"
    "Shows the write-ahead log in DIR, a log folder or a data folder. Only reads, and repairs nothing: it "
    "may be\n"
    "used beside a running member.\n"
    "\n"
    "  --json          one JSON object a line (the default): segment, offset, index, term, type, request\n"
    "  --from INDEX    no entries below INDEX\n"
    "  --data-dir DIR  the same as DIR\n"
    "  --etcd OUT_DIR  write the same log as an etcd WAL into OUT_DIR instead\n"
    "\n"
    "Exit status: 0; 1 = no log there, or it is damaged (what is readable is shown); 2 = wrong words.\n";

static int waldump_refuse(const char *what, const char *word)
{
    fprintf(stderr, "cairnd waldump: %s%s\n%s", what, word, usage);
    return 2;
}

/* Parses --name VALUE or --name=VALUE; a single dash works too. NULL: it is another word, or has no value. */
static const char *value_of(const char *name, int argc, char **argv, int *at)
{
    const char *word = argv[*at] + (strncmp(argv[*at], "--", 2) == 0 ? 2 : 1);
    size_t n = strlen(name);
    if (argv[*at][0] != '-' || strncmp(word, name, n) != 0)
        return NULL;
    if (word[n] == '=')
        return word + n + 1;
    if (word[n] || *at + 1 == argc)
        return NULL;
    return argv[++*at];
}

static bool is_flag(const char *word, const char *name)
{
    return word[0] == '-' && strcmp(word + (word[1] == '-' ? 2 : 1), name) == 0;
}

int waldump_main(int argc, char **argv)
{
    struct waldump_options o = {0};
    const char *value;
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (is_flag(word, "help") || is_flag(word, "h")) {
            fputs(usage, stdout);
            return 0;
        }
        if (is_flag(word, "json"))
            continue;
        if ((value = value_of("from", argc, argv, &i))) {
            if (text_to_u64(slice_text(value), &o.from) != OK)
                return waldump_refuse("not an index: ", value);
        } else if ((value = value_of("data-dir", argc, argv, &i))) {
            o.dir = value;
        } else if ((value = value_of("etcd", argc, argv, &i))) {
            o.etcd_dir = value;
        } else if (word[0] == '-') {
            return waldump_refuse("unknown word, or its value is missing: ", word);
        } else if (o.dir) {
            return waldump_refuse("one folder at a time: ", word);
        } else {
            o.dir = word;
        }
    }
    if (!o.dir)
        return waldump_refuse("which folder?", "");
    if (o.etcd_dir && o.from)
        return waldump_refuse("--from goes with JSON only", "");
    return waldump(&o, stdout, stderr) == OK ? 0 : 1;
}
