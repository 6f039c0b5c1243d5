/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the readers of options. The first byte picks the reader. Flags and variables are lines of the
 * input, YAML is the whole input. After a refusal there is an error text. After success every number is in
 * its range. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/option.h"

struct settings {
    char *name, *cert;
    bool flag;
    int64_t number, interval_ns;
    uint64_t count;
};

#define AT(field) offsetof(struct settings, field)
static const struct option options[] = {
    {"name", OPTION_STRING, OPTION_WORKS, AT(name), "default", 0, 0, NULL, "# Group\nName."},
    {"cert-file", OPTION_STRING, OPTION_WORKS, AT(cert), NULL, 0, 0, "tls.cert-file", NULL},
    {"flag", OPTION_BOOL, OPTION_WORKS, AT(flag), "true", 0, 0, "tls.deep.flag", "Flag."},
    {"number", OPTION_INT, OPTION_WORKS, AT(number), "-3", -10, 10, NULL, "Number."},
    {"count", OPTION_UINT, OPTION_WORKS, AT(count), "3", 1, INT64_MAX, NULL, "Count."},
    {"interval", OPTION_DURATION, OPTION_WORKS, AT(interval_ns), "1s", 1000, 3600000000000, NULL,
     "Interval."},
    {"old", OPTION_INT, OPTION_ACCEPTED, 0, "0", 0, 0, NULL, "Old."},
    {"older", OPTION_BOOL, OPTION_IGNORED, 0, NULL, 0, 0, NULL, NULL},
};

enum { WORDS_MAX = 64 };

/* Cuts text at newlines; the list ends with NULL. */
static int split(char *text, char **words)
{
    int count = 0;
    for (char *save, *word = strtok_r(text, "\n", &save); word && count < WORDS_MAX;
         word = strtok_r(NULL, "\n", &save))
        words[count++] = word;
    words[count] = NULL;
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct option_set set = {.options = options,
                             .count = sizeof options / sizeof *options,
                             .env_prefix = "ETCD_",
                             .program = "fuzz"};
    struct settings s = {0};
    option_init(&set, &s);
    char *text = mem_alloc(size);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = 0;
    static char program[] = "fuzz";
    char *words[WORDS_MAX + 2] = {program};
    int err;
    if (data[0] % 3 == 0) {
        int count = split(text, words + 1);
        err = option_parse_args(&set, &s, count + 1, words);
    } else if (data[0] % 3 == 1) {
        split(text, words);
        err = option_parse_env(&set, &s, words);
    } else {
        err = option_parse_yaml(&set, &s, slice_of(data + 1, size - 1), "f.yaml");
    }
    assert(err == OK ? !set.error[0] : err == ERR_INVALID && set.error[0]);
    assert(s.name && s.cert && s.number >= -10 && s.number <= 10 && s.count >= 1);
    assert(s.interval_ns >= 1000 && s.interval_ns <= 3600000000000);
    mem_free(text);
    option_done(&set, &s);
    return 0;
}
