/* SPDX-License-Identifier: Apache-2.0
 * Thompson's automaton: a parser that writes states, and their simulation; see regex.h.
 *
 * Each state is one instruction. SPLIT goes on at two places, JUMP at one; the assertions pass or do not;
 * CHARACTER and CLASS take a character; MATCH ends. The simulation holds the set of states that take the next
 * character. */
#include "config/schema/regex.h"

#include <stdio.h>

#include "base/text.h"

enum op { CHARACTER, ANY, CLASS, BEGIN, END, WORD, NOT_WORD, SPLIT, JUMP, MATCH };

struct range {
    uint32_t from, to;
};

struct state {
    enum op op;
    bool is_negated; /* CLASS */
    uint32_t at;     /* CHARACTER; SPLIT, JUMP: the next state */
    uint32_t other;  /* SPLIT: the other one */
    uint32_t first;  /* CLASS: in ranges */
    uint32_t count;
};

struct regex {
    struct state *states;
    struct range *ranges;
    uint32_t count;
};

struct parser {
    const uint8_t *start, *at, *end;
    struct buf states, ranges;
    unsigned depth;
    uint32_t states_max;
    char *error;
    size_t error_size;
};

static int refuse(struct parser *p, const char *why)
{
    snprintf(p->error, p->error_size, "pattern: %s, at byte %zu", why, (size_t)(p->at - p->start) + 1);
    return ERR_INVALID;
}

static uint32_t state_count(const struct parser *p)
{
    return (uint32_t)(p->states.size / sizeof(struct state));
}

static struct state *state_at(const struct parser *p, uint32_t i)
{
    return (struct state *)(void *)p->states.data + i;
}

static int add_state(struct parser *p, struct state s)
{
    if (state_count(p) == REGEX_STATES_MAX)
        return refuse(p, "with repetitions written out it has more than 2,000 parts");
    if (state_count(p) == p->states_max)
        return refuse(p, "the patterns of the schema have more than 20,000 parts together");
    buf_add(&p->states, &s, sizeof s);
    return OK;
}

/* --- characters and classes ----------------------------------------------------------------------------- */

static uint32_t decode(const uint8_t *p, size_t size)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t c = p[0] & masks[size];
    for (size_t i = 1; i < size; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

static int take_character(struct parser *p, uint32_t *ret)
{
    size_t n = utf8_length(slice_of(p->at, (size_t)(p->end - p->at)));
    if (!n)
        return refuse(p, "not UTF-8");
    *ret = decode(p->at, n);
    p->at += n;
    return OK;
}

static void add_range(struct parser *p, uint32_t from, uint32_t to)
{
    const struct range r = {from, to};
    buf_add(&p->ranges, &r, sizeof r);
}

static const struct range digit_ranges[] = {{'0', '9'}};
static const struct range word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const struct range space_ranges[] = {
    {9, 13},          {32, 32},         {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};

/* \d \D \w \W \s \S: adds its ranges; false: another letter. The negated ones are written out. */
static bool add_class_escape(struct parser *p, uint8_t letter)
{
    const struct range *list;
    size_t count;
    uint32_t next = 0;
    switch (letter | 0x20) {
    case 'd':
        list = digit_ranges;
        count = sizeof digit_ranges / sizeof *list;
        break;
    case 'w':
        list = word_ranges;
        count = sizeof word_ranges / sizeof *list;
        break;
    case 's':
        list = space_ranges;
        count = sizeof space_ranges / sizeof *list;
        break;
    default:
        return false;
    }
    if (letter & 0x20) {
        for (size_t i = 0; i < count; i++)
            add_range(p, list[i].from, list[i].to);
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (list[i].from > next)
            add_range(p, next, list[i].from - 1);
        next = list[i].to + 1;
    }
    add_range(p, next, 0x10ffff);
    return true;
}

static int take_hex(struct parser *p, unsigned digits, uint32_t *ret)
{
    if (!text_hex(p->at, p->end, digits, ret))
        return refuse(p, "hexadecimal digits must stand here");
    p->at += digits;
    return OK;
}

/* After \u: four digits, a surrogate pair of two escapes, or {H…}. */
static int take_unicode(struct parser *p, uint32_t *ret)
{
    uint32_t low = 0;
    if (p->at < p->end && *p->at == '{') {
        const uint8_t *from = ++p->at;
        uint32_t digit;
        for (*ret = 0; p->at < p->end && p->at - from < 6 && text_hex(p->at, p->end, 1, &digit); p->at++)
            *ret = *ret << 4 | digit;
        if (p->at == from || p->at == p->end || *p->at != '}' || *ret > 0x10ffff)
            return refuse(p, "not a character \\u{…}");
        p->at++;
        return OK;
    }
    int err = take_hex(p, 4, ret);
    if (!err && *ret >= 0xd800 && *ret < 0xdc00 && p->end - p->at >= 6 && p->at[0] == '\\' &&
        p->at[1] == 'u' && text_hex(p->at + 2, p->end, 4, &low) && low >= 0xdc00 && low < 0xe000) {
        *ret = 0x10000 + ((*ret - 0xd800) << 10) + (low - 0xdc00);
        p->at += 6;
    }
    return err;
}

/* The character of an escape that is no class; p is behind the backslash. */
static int take_escape(struct parser *p, bool is_in_class, uint32_t *ret)
{
    static const char from[] = "tnrfv0", to[] = "\t\n\r\f\v";
    if (p->at == p->end)
        return refuse(p, "a backslash at the end");
    uint8_t c = *p->at++;
    const char *known = c ? strchr(from, c) : NULL;
    if (c == 'b' && is_in_class)
        *ret = '\b';
    else if (known && !(c == '0' && p->at < p->end && *p->at >= '0' && *p->at <= '9'))
        *ret = (uint8_t)to[known - from];
    else if (c == 'x')
        return take_hex(p, 2, ret);
    else if (c == 'u')
        return take_unicode(p, ret);
    else if (c == 'c' && p->at < p->end && ((*p->at | 0x20) >= 'a' && (*p->at | 0x20) <= 'z'))
        *ret = *p->at++ & 0x1f;
    else if (c && strchr("^$\\.*+?()[]{}|/-,:;<>=!\"'#%&@`~_ ", c))
        *ret = c;
    else {
        p->at--;
        return refuse(p, c >= '1' && c <= '9'   ? "references to groups are not supported"
                         : c == 'p' || c == 'P' ? "\\p{…} is not supported: write the ranges"
                         : c == 'k'             ? "references to groups are not supported"
                                                : "not an escape");
    }
    return OK;
}

/* One character of a class. *ret_is_set: it was a whole class, whose ranges are added. */
static int take_class_atom(struct parser *p, uint32_t *ret, bool *ret_is_set)
{
    *ret_is_set = false;
    if (*p->at != '\\')
        return take_character(p, ret);
    p->at++;
    if (p->at < p->end && add_class_escape(p, *p->at)) {
        p->at++;
        *ret_is_set = true;
        return OK;
    }
    return take_escape(p, true, ret);
}

/* After "[". */
static int parse_class(struct parser *p)
{
    struct state s = {.op = CLASS, .first = (uint32_t)(p->ranges.size / sizeof(struct range))};
    int err = OK;
    s.is_negated = p->at < p->end && *p->at == '^';
    p->at += s.is_negated;
    while (!err && p->at < p->end && *p->at != ']') {
        uint32_t from = 0, to = 0;
        bool is_set, is_set_too = false;
        err = take_class_atom(p, &from, &is_set);
        to = from;
        if (!err && p->end - p->at >= 2 && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            err = take_class_atom(p, &to, &is_set_too);
            if (!err && (is_set || is_set_too || from > to))
                err = refuse(p, "not a range of characters");
        }
        if (!err && !is_set)
            add_range(p, from, to);
    }
    if (err)
        return err;
    if (p->at == p->end)
        return refuse(p, "] is missing");
    p->at++;
    s.count = (uint32_t)(p->ranges.size / sizeof(struct range)) - s.first;
    return add_state(p, s);
}

/* --- expressions ---------------------------------------------------------------------------------------- */

static int parse_alternatives(struct parser *p);

/* After "(". */
static int parse_group(struct parser *p)
{
    if (++p->depth > REGEX_DEPTH_MAX)
        return refuse(p, "groups are nested deeper than 50 levels");
    if (p->at < p->end && *p->at == '?') {
        const uint8_t *end;
        p->at++;
        if (p->end - p->at >= 2 && p->at[0] == '<' && p->at[1] != '=' && p->at[1] != '!') {
            end = memchr(p->at, '>', (size_t)(p->end - p->at));
            if (!end || end == p->at + 1)
                return refuse(p, "not the name of a group");
            p->at = end + 1;
        } else if (p->at < p->end && *p->at == ':') {
            p->at++;
        } else {
            return refuse(p, "look-ahead, look-behind and flags are not supported");
        }
    }
    int err = parse_alternatives(p);
    if (err)
        return err;
    if (p->at == p->end)
        return refuse(p, ") is missing");
    p->at++;
    p->depth--;
    return OK;
}

static int parse_escape(struct parser *p)
{
    struct state s = {.op = CLASS, .first = (uint32_t)(p->ranges.size / sizeof(struct range))};
    if (p->at < p->end && (*p->at == 'b' || *p->at == 'B'))
        return add_state(p, (struct state){.op = *p->at++ == 'b' ? WORD : NOT_WORD});
    if (p->at < p->end && add_class_escape(p, *p->at)) {
        p->at++;
        s.count = (uint32_t)(p->ranges.size / sizeof(struct range)) - s.first;
        return add_state(p, s);
    }
    s.op = CHARACTER;
    int err = take_escape(p, false, &s.at);
    return err ? err : add_state(p, s);
}

static int parse_atom(struct parser *p)
{
    struct state s = {.op = CHARACTER};
    int err;
    switch (*p->at) {
    case '(':
        p->at++;
        return parse_group(p);
    case '[':
        p->at++;
        return parse_class(p);
    case '\\':
        p->at++;
        return parse_escape(p);
    case '.':
        p->at++;
        return add_state(p, (struct state){.op = ANY});
    case '^':
        p->at++;
        return add_state(p, (struct state){.op = BEGIN});
    case '$':
        p->at++;
        return add_state(p, (struct state){.op = END});
    case '*':
    case '+':
    case '?':
    case '{':
    case '}':
    case ']':
        return refuse(p, "nothing to repeat, or a bracket without its other one");
    default:
        err = take_character(p, &s.at);
        return err ? err : add_state(p, s);
    }
}

static bool take_count(struct parser *p, uint32_t *ret)
{
    const uint8_t *from = p->at;
    for (*ret = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
        *ret = *ret > REGEX_STATES_MAX ? *ret : *ret * 10 + (*p->at - '0');
    return p->at > from;
}

/* min and max of a repetition; max UINT32_MAX: no limit. min 1, max 1: there is none. */
static int take_repetition(struct parser *p, uint32_t *ret_min, uint32_t *ret_max)
{
    *ret_min = *ret_max = 1;
    if (p->at == p->end || !strchr("*+?{", *p->at) || !*p->at)
        return OK;
    uint8_t c = *p->at++;
    *ret_min = c == '+';
    *ret_max = c == '?' ? 1 : UINT32_MAX;
    if (c == '{') {
        bool is_right = take_count(p, ret_min);
        *ret_max = *ret_min;
        if (is_right && p->at < p->end && *p->at == ',') {
            p->at++;
            *ret_max = UINT32_MAX;
            if (p->at < p->end && *p->at != '}')
                is_right = take_count(p, ret_max);
        }
        if (!is_right || p->at == p->end || *p->at != '}' || *ret_max < *ret_min)
            return refuse(p, "not a repetition {n}, {n,} or {n,m}");
        p->at++;
    }
    p->at += p->at < p->end && *p->at == '?';
    return OK;
}

/* A copy of the states [from, from + count) at the end; their targets move with them. */
static int copy_states(struct parser *p, uint32_t from, uint32_t count)
{
    uint32_t by = state_count(p) - from;
    int err = OK;
    for (uint32_t i = 0; !err && i < count; i++) {
        struct state s = *state_at(p, from + i);
        if (s.op == SPLIT || s.op == JUMP) {
            s.at += by;
            s.other += by;
        }
        err = add_state(p, s);
    }
    return err;
}

/* Makes room for one state before `from`: everything after it moves. */
static int insert_split(struct parser *p, uint32_t from)
{
    int err = add_state(p, (struct state){.op = SPLIT});
    if (err)
        return err;
    uint32_t count = state_count(p);
    struct state *list = state_at(p, 0);
    memmove(list + from + 1, list + from, (count - 1 - from) * sizeof *list);
    for (uint32_t i = from + 1; i < count; i++)
        if (list[i].op == SPLIT || list[i].op == JUMP) {
            list[i].at++;
            list[i].other++;
        }
    list[from] = (struct state){.op = SPLIT, .at = from + 1, .other = count};
    return OK;
}

/* The atom's states begin at from: e{2,4} becomes e e (e (e)?)?, e{2,} becomes e e e*. */
static int repeat(struct parser *p, uint32_t from, uint32_t min, uint32_t max)
{
    uint32_t size = state_count(p) - from, first_optional = 0;
    int err = OK;
    if (max == 0) {
        p->states.size = from * sizeof(struct state);
        return OK;
    }
    for (uint32_t i = 1; !err && i < min; i++)
        err = copy_states(p, from, size);
    if (err || max == min)
        return err;
    if (max == UINT32_MAX && min) { /* the last copy again */
        uint32_t last = state_count(p) - size;
        return add_state(p, (struct state){.op = SPLIT, .at = last, .other = state_count(p) + 1});
    }
    first_optional = min ? state_count(p) : from;
    if (min)
        err = copy_states(p, from, size);
    if (!err)
        err = insert_split(p, first_optional);
    if (!err && max == UINT32_MAX)
        err = add_state(p, (struct state){.op = JUMP, .at = first_optional});
    if (!err && max == UINT32_MAX)
        state_at(p, first_optional)->other = state_count(p);
    for (uint32_t i = min + 1; !err && max != UINT32_MAX && i < max; i++) {
        uint32_t begin = state_count(p);
        err = copy_states(p, first_optional, size + 1);
        for (uint32_t k = first_optional; !err && k < begin; k += size + 1)
            state_at(p, k)->other = state_count(p); /* each optional copy skips all that follow it */
        if (!err)
            state_at(p, begin)->other = state_count(p);
    }
    return err;
}

static int parse_sequence(struct parser *p)
{
    int err = OK;
    while (!err && p->at < p->end && *p->at != '|' && *p->at != ')') {
        uint32_t from = state_count(p), min, max;
        err = parse_atom(p);
        if (!err)
            err = take_repetition(p, &min, &max);
        if (!err && (min != 1 || max != 1))
            err = repeat(p, from, min, max);
    }
    return err;
}

/* a|b|c: SPLIT a JUMP end, SPLIT b JUMP end, c. The jumps are a list until the end is known. */
static int parse_alternatives(struct parser *p)
{
    uint32_t from = state_count(p), jumps = UINT32_MAX;
    int err = parse_sequence(p);
    while (!err && p->at < p->end && *p->at == '|') {
        p->at++;
        err = insert_split(p, from);
        if (!err) /* the jumps stand before from: they do not move */
            err = add_state(p, (struct state){.op = JUMP, .other = jumps});
        if (err)
            return err;
        jumps = state_count(p) - 1;
        state_at(p, from)->other = state_count(p);
        from = state_count(p);
        err = parse_sequence(p);
    }
    while (!err && jumps != UINT32_MAX) {
        uint32_t next = state_at(p, jumps)->other;
        state_at(p, jumps)->at = state_count(p);
        state_at(p, jumps)->other = 0;
        jumps = next;
    }
    return err;
}

int regex_compile(struct slice text, struct arena *a, uint32_t *states_left, struct regex **ret, char *error,
                  size_t error_size)
{
    struct parser p = {.start = text.data,
                       .at = text.data,
                       .states_max = *states_left,
                       .error = error,
                       .error_size = error_size};
    p.end = p.at + text.size;
    int err =
        text.size > REGEX_SIZE_MAX ? refuse(&p, "it has more than 1,024 bytes") : parse_alternatives(&p);
    if (!err && p.at < p.end)
        err = refuse(&p, ") without (");
    if (!err)
        err = add_state(&p, (struct state){.op = MATCH});
    if (!err) {
        struct regex *r = arena_new(a, sizeof *r);
        r->count = state_count(&p);
        r->states = arena_copy(a, p.states.data, p.states.size);
        r->ranges = p.ranges.size ? arena_copy(a, p.ranges.data, p.ranges.size) : NULL;
        *ret = r;
        *states_left -= r->count;
    }
    buf_done(&p.states);
    buf_done(&p.ranges);
    return err;
}

/* --- matching ------------------------------------------------------------------------------------------- */

struct set {
    uint32_t *list;
    uint32_t count;
};

struct match {
    const struct regex *regex;
    uint32_t *marks, *stack; /* marks: the step in which a state was added last */
    uint32_t step;
    bool is_begin, is_end,
        is_at_word; /* at this place: of the text; between a word's character and another */
    bool has_matched;
};

static bool is_word(uint32_t c)
{
    return c < 128 && (c == '_' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'));
}

static bool passes(const struct match *m, enum op op)
{
    if (op == BEGIN)
        return m->is_begin;
    if (op == END)
        return m->is_end;
    return m->is_at_word == (op == WORD);
}

/* Adds a state and all that it reaches without a character. */
static void add(struct match *m, struct set *set, uint32_t state)
{
    uint32_t depth = 0;
    m->stack[depth++] = state;
    while (depth) {
        uint32_t at = m->stack[--depth];
        const struct state *s = &m->regex->states[at];
        if (m->marks[at] == m->step)
            continue;
        m->marks[at] = m->step;
        if (s->op == MATCH) {
            m->has_matched = true;
        } else if (s->op == SPLIT) {
            m->stack[depth++] = s->other;
            m->stack[depth++] = s->at;
        } else if (s->op == JUMP) {
            m->stack[depth++] = s->at;
        } else if (s->op >= BEGIN) {
            if (passes(m, s->op))
                m->stack[depth++] = at + 1;
        } else {
            set->list[set->count++] = at;
        }
    }
}

static bool takes(const struct regex *r, const struct state *s, uint32_t c, int64_t *steps)
{
    bool is_in = false;
    if (s->op == CHARACTER)
        return s->at == c;
    if (s->op == ANY)
        return c != '\n' && c != '\r' && c != 0x2028 && c != 0x2029;
    *steps -= s->count;
    for (uint32_t i = 0; i < s->count && !is_in; i++)
        is_in = c >= r->ranges[s->first + i].from && c <= r->ranges[s->first + i].to;
    return is_in != s->is_negated;
}

bool regex_matches(const struct regex *r, struct slice text, int64_t *steps)
{
    uint32_t *memory = mem_new(5 * ((size_t)r->count + 1) * sizeof *memory);
    struct set now = {memory, 0}, next = {memory + r->count + 1, 0};
    struct match m = {.regex = r, .marks = memory + 2 * (r->count + 1), .stack = memory + 3 * (r->count + 1)};
    uint32_t before = UINT32_MAX;
    size_t at = 0;
    *steps -= r->count;
    for (;;) {
        size_t n = at < text.size ? utf8_length(slice_of(text.data + at, text.size - at)) : 0;
        uint32_t c = n ? decode(text.data + at, n) : at < text.size ? 0xfffd : UINT32_MAX;
        n += at < text.size && !n;
        m.step++;
        m.is_begin = at == 0;
        m.is_end = at == text.size;
        m.is_at_word = (before != UINT32_MAX && is_word(before)) != (c != UINT32_MAX && is_word(c));
        for (uint32_t i = 0; i < now.count; i++)
            add(&m, &next, now.list[i]);
        add(&m, &next, 0); /* a match may begin here */
        *steps -= next.count + now.count + 1;
        if (m.has_matched || at == text.size || *steps < 0)
            break;
        now.count = 0;
        for (uint32_t i = 0; i < next.count; i++)
            if (takes(r, &r->states[next.list[i]], c, steps))
                now.list[now.count++] = next.list[i] + 1;
        next.count = 0;
        before = c;
        at += n;
    }
    mem_free(memory);
    return m.has_matched && *steps >= 0;
}
