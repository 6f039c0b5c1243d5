/* SPDX-License-Identifier: Apache-2.0
 * Parser of a transaction's lines: compares and quoted words. Pure. */
#include "sdk/ctl/kv.h"

#include "base/text.h"

/* Reads a double-quoted Go string and moves *at behind it. NULL: malformed. */
static char *read_quoted(struct arena *a, const char **at, size_t *ret_size)
{
    const char *p = *at;
    if (*p++ != '"')
        return NULL;
    char *text = arena_alloc(a, strlen(p) + 1);
    size_t size = 0;
    for (; *p && *p != '"'; p++) {
        static const char letters[] = "abtnvfr\\\"'", codes[] = "\a\b\t\n\v\f\r\\\"'";
        if (*p != '\\') {
            text[size++] = *p;
            continue;
        }
        p++;
        const char *letter = *p ? strchr(letters, *p) : NULL;
        uint32_t byte;
        if (letter) {
            text[size++] = codes[letter - letters];
        } else if (*p == 'x' && p[1] && p[2] &&
                   text_hex((const uint8_t *)p + 1, (const uint8_t *)p + 3, 2, &byte)) {
            text[size++] = (char)byte;
            p += 2;
        } else {
            return NULL;
        }
    }
    if (*p != '"')
        return NULL;
    text[size] = 0;
    *at = p + 1;
    *ret_size = size;
    return text;
}

static const char *ctl_txn_line_skip_blanks(const char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

char **ctl_cut_line(struct arena *a, const char *line, int *ret_count)
{
    char **words = arena_alloc(a, (strlen(line) + 2) * sizeof *words);
    int count = 0;
    for (const char *p = ctl_txn_line_skip_blanks(line); *p; p = ctl_txn_line_skip_blanks(p)) {
        size_t size;
        if (*p == '"') {
            char *word = read_quoted(a, &p, &size);
            if (!word)
                return NULL;
            words[count++] = word;
        } else if (*p == '\'') {
            const char *end = strchr(p + 1, '\'');
            if (!end)
                return NULL;
            words[count++] = arena_string(a, p + 1, (size_t)(end - p - 1));
            p = end + 1;
        } else {
            size = strcspn(p, " \t");
            words[count++] = arena_string(a, p, size);
            p += size;
        }
    }
    words[count] = NULL;
    *ret_count = count;
    return words;
}

static bool read_target(const char *name, size_t size, Etcdserverpb__Compare *c)
{
    static const struct {
        const char *name;
        Etcdserverpb__Compare__CompareTarget target;
        Etcdserverpb__Compare__TargetUnionCase which;
    } targets[] = {
        {"ver", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION, ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION},
        {"version", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION,
         ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION},
        {"c", ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE,
         ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION},
        {"create", ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE,
         ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION},
        {"m", ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD, ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION},
        {"mod", ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD, ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION},
        {"val", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE, ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE},
        {"value", ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE, ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE},
        {"lease", ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE, ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE},
    };
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (strlen(targets[i].name) == size && memcmp(name, targets[i].name, size) == 0) {
            c->target = targets[i].target;
            c->target_union_case = targets[i].which;
            return true;
        }
    }
    return false;
}

static bool read_result(const char **at, Etcdserverpb__Compare *c)
{
    const char *p = ctl_txn_line_skip_blanks(*at);
    if (p[0] == '!' && p[1] == '=') {
        c->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL;
        *at = p + 2;
        return true;
    }
    c->result = *p == '<'   ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS
                : *p == '>' ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER
                            : ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
    *at = p + 1;
    return *p == '<' || *p == '>' || *p == '=';
}

bool ctl_read_compare(struct arena *a, const char *line, Etcdserverpb__Compare *ret_compare)
{
    const char *open = strchr(line, '(');
    if (!open || !read_target(line, (size_t)(open - line), ret_compare))
        return false;
    const char *at = open + 1;
    char *key = read_quoted(a, &at, &ret_compare->key.len);
    if (!key || *at++ != ')' || !read_result(&at, ret_compare))
        return false;
    ret_compare->key.data = (uint8_t *)key;
    at = ctl_txn_line_skip_blanks(at);
    size_t size;
    char *value = read_quoted(a, &at, &size);
    if (!value || *ctl_txn_line_skip_blanks(at))
        return false;
    if (ret_compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE) {
        ret_compare->value = (ProtobufCBinaryData){size, (uint8_t *)value};
        return true;
    }
    if (ret_compare->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE) {
        uint64_t lease = 0;
        for (size_t i = 0; i < size; i++) {
            uint32_t digit;
            if (lease >> 59 || !text_hex((uint8_t *)value + i, (uint8_t *)value + i + 1, 1, &digit))
                return false;
            lease = lease << 4 | digit;
        }
        ret_compare->lease = (int64_t)lease;
        return size > 0;
    }
    return text_to_i64(slice_of(value, size), &ret_compare->version) ==
           OK; /* all members of the union are 64-bit numbers */
}
