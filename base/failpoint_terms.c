/* SPDX-License-Identifier: Apache-2.0
 * Parser and evaluation of gofail's terms. See failpoint_terms.h. Difference from gofail: invalid terms (a
 * sleep without a time, an unknown action) are an error here; gofail prints a warning and continues. */
#include "base/failpoint_terms.h"

#include "base/mem.h"
#include "base/text.h"

enum { TERMS_MAX = 16, SLEEP_MS_MAX = 3600 * 1000 };

struct term {
    bool has_count, has_percent;
    uint64_t count;
    double percent;
    enum failpoint_action action;
    uint64_t sleep_ms;
};

struct failpoint_terms {
    struct buf text;
    struct term list[TERMS_MAX];
    size_t count;
    uint64_t acted;
};

static bool failpoint_terms_take_text(struct slice *s, const char *text)
{
    size_t n = strlen(text);
    if (s->size < n || memcmp(s->data, text, n) != 0)
        return false;
    *s = slice_of(s->data + n, s->size - n);
    return true;
}

/* Takes digits and an optional fraction after a point. */
static bool failpoint_terms_take_number(struct slice *s, uint64_t *ret_whole, double *ret_value)
{
    size_t n = 0;
    uint64_t whole = 0;
    double value, scale = 1;
    for (; n < s->size && s->data[n] >= '0' && s->data[n] <= '9'; n++) {
        if (whole > UINT32_MAX)
            return false;
        whole = whole * 10 + (uint64_t)(s->data[n] - '0');
    }
    if (n == 0)
        return false;
    value = (double)whole;
    if (n < s->size && s->data[n] == '.')
        for (n++; n < s->size && s->data[n] >= '0' && s->data[n] <= '9'; n++)
            value += (s->data[n] - '0') * (scale /= 10);
    *s = slice_of(s->data + n, s->size - n);
    *ret_whole = whole;
    *ret_value = value;
    return true;
}

static bool take_limits(struct slice *s, struct term *t)
{
    uint64_t whole;
    double value;
    while (s->size && s->data[0] >= '0' && s->data[0] <= '9') {
        if (!failpoint_terms_take_number(s, &whole, &value))
            return false;
        if (failpoint_terms_take_text(s, "*")) {
            t->has_count = true;
            t->count = whole;
        } else if (failpoint_terms_take_text(s, "%")) {
            t->has_percent = true;
            t->percent = value;
        } else {
            return false;
        }
    }
    return true;
}

static bool take_action(struct slice *s, struct term *t)
{
    static const struct {
        const char *name;
        enum failpoint_action action;
    } actions[] = {{"panic", FAILPOINT_PANIC},
                   {"sleep", FAILPOINT_SLEEP},
                   {"return", FAILPOINT_RETURN},
                   {"print", FAILPOINT_PRINT},
                   {"off", FAILPOINT_NOTHING}};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (failpoint_terms_take_text(s, actions[i].name)) {
            t->action = actions[i].action;
            return true;
        }
    }
    return false;
}

/* Takes the text between the parentheses, with its quotes. Only a sleep uses it. */
static bool failpoint_terms_take_value(struct slice *s, struct slice *ret_value)
{
    size_t n = 0;
    bool is_quoted = false;
    *ret_value = (struct slice){0};
    if (!failpoint_terms_take_text(s, "("))
        return true;
    for (; n < s->size && (is_quoted || s->data[n] != ')'); n++) {
        if (s->data[n] == '"')
            is_quoted = !is_quoted;
        else if (s->data[n] == '\\' && is_quoted)
            n++;
    }
    if (n >= s->size)
        return false;
    *ret_value = slice_of(s->data, n);
    *s = slice_of(s->data + n + 1, s->size - n - 1);
    return true;
}

static bool read_sleep(struct slice value, struct term *t)
{
    int64_t ns;
    bool is_text = value.size >= 2 && value.data[0] == '"' && value.data[value.size - 1] == '"';
    if (!is_text)
        return text_to_u64(value, &t->sleep_ms) == OK && t->sleep_ms <= SLEEP_MS_MAX;
    if (text_to_duration_ns(slice_of(value.data + 1, value.size - 2), &ns) != OK || ns < 0)
        return false;
    t->sleep_ms = (uint64_t)ns / 1000000;
    return t->sleep_ms <= SLEEP_MS_MAX;
}

static bool take_term(struct slice *s, struct term *t)
{
    struct slice value;
    if (!take_limits(s, t) || !take_action(s, t) || !failpoint_terms_take_value(s, &value))
        return false;
    return t->action != FAILPOINT_SLEEP || read_sleep(value, t);
}

int failpoint_terms_new(struct slice text, struct failpoint_terms **ret_terms)
{
    struct failpoint_terms *t = mem_new(sizeof *t);
    struct slice rest = text;
    bool is_good;
    buf_add_slice(&t->text, text);
    do
        is_good = t->count < TERMS_MAX && take_term(&rest, &t->list[t->count++]);
    while (is_good && failpoint_terms_take_text(&rest, "->"));
    if (!is_good || rest.size) {
        failpoint_terms_free(t);
        return ERR_MALFORMED;
    }
    *ret_terms = t;
    return OK;
}

void failpoint_terms_free(struct failpoint_terms *t)
{
    if (t)
        buf_done(&t->text);
    mem_free(t);
}

/* Both limits may precede one action. If the first one forbids the action, the second one's count stays. */
static bool allows(struct term *t, double chance)
{
    if (t->has_percent && chance * 100 >= t->percent)
        return false;
    if (t->has_count && t->count == 0)
        return false;
    if (t->has_count)
        t->count--;
    return true;
}

struct failpoint_step failpoint_terms_pass(struct failpoint_terms *t, double chance)
{
    for (size_t i = 0; i < t->count; i++) {
        if (allows(&t->list[i], chance)) {
            t->acted++;
            return (struct failpoint_step){t->list[i].action, t->list[i].sleep_ms};
        }
    }
    return (struct failpoint_step){0};
}

struct slice failpoint_terms_text(const struct failpoint_terms *t)
{
    return buf_slice(&t->text);
}

uint64_t failpoint_terms_count(const struct failpoint_terms *t)
{
    return t->acted;
}
