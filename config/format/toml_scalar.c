/* SPDX-License-Identifier: Apache-2.0
 * TOML's strings, numbers, booleans and dates; see toml.h. */
#include "base/text.h"
#include "config/format/toml.h"

bool toml_take_newline(struct toml *t)
{
    size_t n = 0;
    if (t->at < t->end && *t->at == '\n')
        n = 1;
    else if (t->end - t->at >= 2 && t->at[0] == '\r' && t->at[1] == '\n')
        n = 2;
    t->at += n;
    return n > 0;
}

/* --- strings --------------------------------------------------------------------------------- */

static bool is_control(uint8_t c)
{
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* Takes a backslash at a line's end, and all blanks and line ends after it. */
static bool take_line_ending_backslash(struct toml *t)
{
    const uint8_t *begin = t->at;
    bool has_newline = false;
    for (;;) {
        if (t->at < t->end && (*t->at == ' ' || *t->at == '\t'))
            t->at++;
        else if (toml_take_newline(t))
            has_newline = true;
        else
            break;
    }
    if (!has_newline)
        t->at = begin;
    return has_newline;
}

/* t->at is at the backslash. */
static int take_escape(struct toml *t, bool is_multiline, struct buf *out)
{
    static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
    const uint8_t *backslash = t->at++;
    if (is_multiline && take_line_ending_backslash(t))
        return OK;
    uint8_t c = t->at < t->end ? *t->at : 0;
    const char *known = c ? strchr(from, c) : NULL;
    if (known) {
        t->at++;
        buf_add_byte(out, (uint8_t)to[known - from]);
        return OK;
    }
    if (c != 'u' && c != 'U')
        return toml_refuse(t, backslash, "not a TOML 1.0 escape");
    unsigned digits = c == 'u' ? 4 : 8;
    uint32_t code;
    if (!text_hex(t->at + 1, t->end, digits, &code))
        return toml_refuse(t, backslash, "\\u takes four hexadecimal digits and \\U eight");
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return toml_refuse(t, backslash, "this escape is not a Unicode character");
    t->at += 1 + digits;
    utf8_add(out, code);
    return OK;
}

static size_t count_quotes(const struct toml *t, uint8_t quote)
{
    size_t n = 0;
    while (n < 6 && t->at + n < t->end && t->at[n] == quote)
        n++;
    return n;
}

/* Takes the end of a multi-line string: three quotes; one or two quotes before those are part of it. */
static bool take_multiline_end(struct toml *t, uint8_t quote, struct buf *out)
{
    size_t n = count_quotes(t, quote);
    if (n < 3) {
        buf_add(out, t->at, n);
        t->at += n;
        return false;
    }
    n = n > 5 ? 5 : n;
    buf_add(out, t->at, n - 3);
    t->at += n;
    return true;
}

static int take_multiline(struct toml *t, uint8_t quote, const uint8_t *begin, struct buf *out)
{
    toml_take_newline(t);
    while (t->at < t->end) {
        int err = OK;
        const uint8_t *before = t->at;
        if (*t->at == quote) {
            if (take_multiline_end(t, quote, out))
                return OK;
        } else if (*t->at == '\\' && quote == '"') {
            err = take_escape(t, true, out);
        } else if (toml_take_newline(t)) {
            buf_add(out, before, (size_t)(t->at - before));
        } else if (is_control(*t->at)) {
            err = toml_refuse(t, t->at, "a control character in a string must be escaped");
        } else {
            buf_add_byte(out, *t->at++);
        }
        if (err)
            return err;
    }
    return toml_refuse(t, begin, "this string has no end");
}

int toml_take_string(struct toml *t, bool may_be_multiline, struct buf *out)
{
    const uint8_t *begin = t->at;
    uint8_t quote = *t->at;
    buf_clear(out);
    if (may_be_multiline && count_quotes(t, quote) >= 3) {
        t->at += 3;
        return take_multiline(t, quote, begin, out);
    }
    for (t->at++; t->at < t->end && *t->at != '\n' && *t->at != '\r';) {
        int err = OK;
        if (*t->at == quote) {
            t->at++;
            return OK;
        }
        if (*t->at == '\\' && quote == '"')
            err = take_escape(t, false, out);
        else if (is_control(*t->at))
            err = toml_refuse(t, t->at, "a control character in a string must be escaped");
        else
            buf_add_byte(out, *t->at++);
        if (err)
            return err;
    }
    return toml_refuse(t, begin, "this string has no end in its line");
}

/* --- numbers --------------------------------------------------------------------------------- */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Digits of the base with single underscores between them; returns their end, NULL if there are none. */
static const uint8_t *digits_end(const uint8_t *p, const uint8_t *end, unsigned base)
{
    uint32_t digit;
    const uint8_t *begin = p;
    while (p < end) {
        if (*p == '_' && p > begin && p[-1] != '_' && p + 1 < end && p[1] != '_')
            p++;
        if (!text_hex(p, end, 1, &digit) || digit >= base)
            break;
        p++;
    }
    return p > begin && p[-1] != '_' ? p : NULL;
}

static bool format_toml_scalar_fits(const uint8_t *p, const uint8_t *end, unsigned base, uint64_t max)
{
    uint64_t value = 0;
    uint32_t digit;
    for (; p < end; p++) {
        if (*p == '_')
            continue;
        if (!text_hex(p, end, 1, &digit) || __builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, digit, &value) || value > max)
            return false;
    }
    return true;
}

static int check_based(const struct toml *t, const uint8_t *p, const uint8_t *end)
{
    unsigned base = p[1] == 'x' ? 16 : p[1] == 'o' ? 8 : 2;
    if (digits_end(p + 2, end, base) != end)
        return toml_refuse(t, p, "not a TOML number");
    return format_toml_scalar_fits(p + 2, end, base, INT64_MAX)
               ? OK
               : toml_refuse(t, p, "an integer beyond 64 bits");
}

static int check_number(const struct toml *t, const uint8_t *begin, const uint8_t *end)
{
    const uint8_t *p = begin + (*begin == '+' || *begin == '-');
    struct slice rest = slice_of(p, (size_t)(end - p));
    if (slice_equal(rest, slice_text("inf")) || slice_equal(rest, slice_text("nan")))
        return OK;
    if (p == begin && rest.size > 2 && p[0] == '0' && (p[1] == 'x' || p[1] == 'o' || p[1] == 'b'))
        return check_based(t, p, end);
    const uint8_t *whole = p < end ? digits_end(p, end, 10) : NULL, *at = whole;
    if (!whole)
        return toml_refuse(t, begin, "not a TOML value: a string needs quotes");
    if (*p == '0' && whole - p > 1)
        return toml_refuse(t, begin, "a number cannot begin with 0");
    if (at == end)
        return format_toml_scalar_fits(p, end, 10, (uint64_t)INT64_MAX + (*begin == '-'))
                   ? OK
                   : toml_refuse(t, begin, "an integer beyond 64 bits");
    if (*at == '.')
        at = digits_end(at + 1, end, 10);
    if (at && at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = digits_end(at, end, 10);
    }
    return at == end ? OK : toml_refuse(t, begin, "not a TOML number");
}

/* --- dates and times ------------------------------------------------------------------------- */

/* Takes exactly `count` digits. */
static bool format_toml_scalar_take_number(const uint8_t **p, const uint8_t *end, int count,
                                           unsigned *ret_value)
{
    *ret_value = 0;
    for (; count > 0; count--, ++*p) {
        if (*p == end || !is_digit(**p))
            return false;
        *ret_value = *ret_value * 10 + (unsigned)(**p - '0');
    }
    return true;
}

static bool take_byte(const uint8_t **p, const uint8_t *end, char c)
{
    if (*p == end || **p != (uint8_t)c)
        return false;
    ++*p;
    return true;
}

static bool take_date(const uint8_t **p, const uint8_t *end)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    unsigned year, month, day;
    if (!format_toml_scalar_take_number(p, end, 4, &year) || !take_byte(p, end, '-') ||
        !format_toml_scalar_take_number(p, end, 2, &month) || !take_byte(p, end, '-') ||
        !format_toml_scalar_take_number(p, end, 2, &day) || month < 1 || month > 12)
        return false;
    bool is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return day >= 1 && day <= days[month - 1] + (unsigned)(month == 2 && is_leap);
}

static bool take_time(const uint8_t **p, const uint8_t *end)
{
    unsigned hour, minute, second;
    if (!format_toml_scalar_take_number(p, end, 2, &hour) || !take_byte(p, end, ':') ||
        !format_toml_scalar_take_number(p, end, 2, &minute) || !take_byte(p, end, ':') ||
        !format_toml_scalar_take_number(p, end, 2, &second) || hour > 23 || minute > 59 || second > 60)
        return false;
    if (!take_byte(p, end, '.'))
        return true;
    const uint8_t *begin = *p;
    while (*p < end && is_digit(**p))
        ++*p;
    return *p > begin;
}

static bool take_offset(const uint8_t **p, const uint8_t *end)
{
    unsigned hour, minute;
    if (take_byte(p, end, 'Z') || take_byte(p, end, 'z'))
        return true;
    if (!take_byte(p, end, '+') && !take_byte(p, end, '-'))
        return false;
    return format_toml_scalar_take_number(p, end, 2, &hour) && take_byte(p, end, ':') &&
           format_toml_scalar_take_number(p, end, 2, &minute) && hour <= 23 && minute <= 59;
}

static int check_time(const struct toml *t, const uint8_t *begin, const uint8_t *end)
{
    const uint8_t *p = begin;
    bool has_date = end - p > 4 && p[4] == '-', is_fine = true;
    if (has_date)
        is_fine = take_date(&p, end);
    if (is_fine && p < end && has_date)
        is_fine = (take_byte(&p, end, 'T') || take_byte(&p, end, 't') || take_byte(&p, end, ' ')) &&
                  take_time(&p, end) && (p == end || take_offset(&p, end));
    else if (is_fine && !has_date)
        is_fine = take_time(&p, end);
    return is_fine && p == end ? OK : toml_refuse(t, begin, "not a TOML date or time");
}

/* --- words and numbers ------------------------------------------------------------------------------ */

static bool is_word(uint8_t c)
{
    return is_digit(c) || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '+' || c == '-' || c == '_' ||
           c == '.' || c == ':';
}

static bool are_digits(const uint8_t *p, const uint8_t *end, ptrdiff_t count)
{
    if (end - p < count)
        return false;
    for (ptrdiff_t i = 0; i < count; i++)
        if (!is_digit(p[i]))
            return false;
    return true;
}

int toml_take_word(struct toml *t)
{
    const uint8_t *begin = t->at, *p = begin;
    while (p < t->end && is_word(*p))
        p++;
    bool has_date = are_digits(begin, p, 4) && p - begin > 4 && begin[4] == '-';
    bool has_time = are_digits(begin, p, 2) && p - begin > 2 && begin[2] == ':';
    if (has_date && p - begin == 10 && t->end - p > 3 && *p == ' ' && are_digits(p + 1, t->end, 2) &&
        p[3] == ':')
        for (p++; p < t->end && is_word(*p);)
            p++;
    struct slice word = slice_of(begin, (size_t)(p - begin));
    if (word.size == 0)
        return toml_refuse_here(t, "a value");
    t->at = p;
    if (slice_equal(word, slice_text("true")) || slice_equal(word, slice_text("false")))
        return OK;
    return has_date || has_time ? check_time(t, begin, p) : check_number(t, begin, p);
}
