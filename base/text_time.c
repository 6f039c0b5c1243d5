/* SPDX-License-Identifier: Apache-2.0
 * Points in time as text (RFC 3339). See text.h. Pure: no clock, and no time zone except the text's. */
#include <stdio.h>
#include <time.h>

#include "base/text.h"

/* Reads count digits; false if a character is not a digit. */
static bool text_time_take_number(struct slice *s, size_t count, int *ret_value)
{
    int value = 0;
    if (s->size < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (s->data[i] < '0' || s->data[i] > '9')
            return false;
        value = value * 10 + (s->data[i] - '0');
    }
    *s = slice_of(s->data + count, s->size - count);
    *ret_value = value;
    return true;
}

static bool take_letter(struct slice *s, const char *letters)
{
    if (s->size == 0 || !strchr(letters, s->data[0]) || s->data[0] == 0)
        return false;
    *s = slice_of(s->data + 1, s->size - 1);
    return true;
}

/* Reads "Z" or "+02:00": the seconds to subtract. */
static bool take_offset(struct slice *s, int *ret_offset_s)
{
    int sign = s->size && s->data[0] == '-' ? -1 : 1, hours, minutes;
    *ret_offset_s = 0;
    if (take_letter(s, "Zz"))
        return true;
    if (!take_letter(s, "+-") || !text_time_take_number(s, 2, &hours) || !take_letter(s, ":") ||
        !text_time_take_number(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_offset_s = sign * (hours * 3600 + minutes * 60);
    return true;
}

int text_to_time(struct slice s, int64_t *ret_s)
{
    struct tm t = {0};
    int offset_s;
    if (!text_time_take_number(&s, 4, &t.tm_year) || !take_letter(&s, "-") ||
        !text_time_take_number(&s, 2, &t.tm_mon) || !take_letter(&s, "-") ||
        !text_time_take_number(&s, 2, &t.tm_mday) || !take_letter(&s, "Tt ") ||
        !text_time_take_number(&s, 2, &t.tm_hour) || !take_letter(&s, ":") ||
        !text_time_take_number(&s, 2, &t.tm_min) || !take_letter(&s, ":") ||
        !text_time_take_number(&s, 2, &t.tm_sec))
        return ERR_MALFORMED;
    if (take_letter(&s, ".")) {
        int digit;
        if (!text_time_take_number(&s, 1, &digit))
            return ERR_MALFORMED;
        while (text_time_take_number(&s, 1, &digit))
            continue;
    }
    if (!take_offset(&s, &offset_s) || s.size)
        return ERR_MALFORMED;
    struct tm given = t;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    time_t seconds = timegm(&t); /* normalizes the fields: if it changes one, the date is invalid */
    if (t.tm_mday != given.tm_mday || t.tm_mon != given.tm_mon - 1 || t.tm_hour != given.tm_hour ||
        t.tm_min != given.tm_min || t.tm_sec != given.tm_sec)
        return ERR_MALFORMED;
    *ret_s = (int64_t)seconds - offset_s;
    return OK;
}

void text_add_time(struct buf *b, int64_t s)
{
    time_t seconds = (time_t)s;
    struct tm t;
    if (!gmtime_r(&seconds, &t))
        t = (struct tm){.tm_mday = 1};
    buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02dZ", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
             t.tm_min, t.tm_sec);
}
