/* SPDX-License-Identifier: Apache-2.0
 * XML 1.0 (fifth edition): well-formedness, UTF-8, one root, no attribute twice in an element. Validity and
 * namespaces are not checked.
 *
 * A document type may be declared with an external identifier, as many configurations do; nothing is ever
 * fetched. An internal subset is refused: it can declare entities that read files or grow without end, and no
 * configuration needs it. So the only entities are the five of XML itself. */
#include <strings.h>

#include "base/mem.h"
#include "base/text.h"
#include "config/format/check.h"

struct xml {
    const struct check *check;
    const uint8_t *start, *at, *end;
    unsigned depth;
    struct slice open[FORMAT_DEPTH_MAX]; /* names of open elements, in the text */
    struct strmap attributes;            /* of the current tag */
};

static size_t offset(const struct xml *x, const uint8_t *where)
{
    return (size_t)(where - x->start);
}

static int format_xml_refuse(const struct xml *x, const uint8_t *where, const char *what)
{
    return check_refuse(x->check, offset(x, where), "%s", what);
}

static int refuse_here(const struct xml *x, const char *wanted)
{
    return check_refuse(x->check, offset(x, x->at), "%s, where %s should be",
                        check_quote_at(x->check, offset(x, x->at)).text, wanted);
}

/* --- characters ------------------------------------------------------------------------------ */

static bool is_char(uint32_t c)
{
    return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0xd7ff) ||
           (c >= 0xe000 && c <= 0xfffd) || (c >= 0x10000 && c <= 0x10ffff);
}

/* Decodes one character; the text is valid UTF-8. */
static uint32_t format_xml_decode(const uint8_t *p, size_t *ret_size)
{
    static const uint8_t masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    size_t n = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    uint32_t c = *p & masks[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    *ret_size = n;
    return c;
}

static int check_xml_characters(const struct xml *x)
{
    int err = check_characters(x->check);
    if (err)
        return err;
    for (const uint8_t *p = x->start; p < x->end; p++) {
        bool is_high = *p == 0xef && p[1] == 0xbf && p[2] >= 0xbe; /* U+FFFE and U+FFFF */
        if (is_high || (*p < 0x20 && !is_char(*p)))
            return format_xml_refuse(x, p, "a character that XML does not have");
    }
    return OK;
}

static const struct {
    uint32_t first, last;
} name_starts[] = {
    {'A', 'Z'},       {'_', '_'},       {'a', 'z'},       {':', ':'},
    {0xc0, 0xd6},     {0xd8, 0xf6},     {0xf8, 0x2ff},    {0x370, 0x37d},
    {0x37f, 0x1fff},  {0x200c, 0x200d}, {0x2070, 0x218f}, {0x2c00, 0x2fef},
    {0x3001, 0xd7ff}, {0xf900, 0xfdcf}, {0xfdf0, 0xfffd}, {0x10000, 0xeffff},
};

static bool is_name_start(uint32_t c)
{
    for (size_t i = 0; i < sizeof name_starts / sizeof *name_starts; i++)
        if (c >= name_starts[i].first && c <= name_starts[i].last)
            return true;
    return false;
}

static bool is_name_char(uint32_t c)
{
    return is_name_start(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == 0xb7 ||
           (c >= 0x300 && c <= 0x36f) || (c >= 0x203f && c <= 0x2040);
}

static bool format_xml_is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool format_xml_skip_blanks(struct xml *x)
{
    const uint8_t *begin = x->at;
    while (x->at < x->end && format_xml_is_blank(*x->at))
        x->at++;
    return x->at > begin;
}

static bool begins(const struct xml *x, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(x->end - x->at) >= n && memcmp(x->at, text, n) == 0;
}

static bool format_xml_take(struct xml *x, const char *text)
{
    if (!begins(x, text))
        return false;
    x->at += strlen(text);
    return true;
}

static int format_xml_take_name(struct xml *x, struct slice *ret_name)
{
    const uint8_t *begin = x->at;
    while (x->at < x->end) {
        size_t n;
        uint32_t c = format_xml_decode(x->at, &n);
        if (!(x->at == begin ? is_name_start(c) : is_name_char(c)))
            break;
        x->at += n;
    }
    *ret_name = slice_of(begin, (size_t)(x->at - begin));
    return ret_name->size ? OK : refuse_here(x, "a name");
}

/* --- pieces ---------------------------------------------------------------------------------- */

static int take_character_reference(struct xml *x)
{
    const uint8_t *begin = x->at;
    uint32_t base = 10, code = 0, digit;
    x->at += 2;
    if (x->at < x->end && *x->at == 'x') {
        base = 16;
        x->at++;
    }
    const uint8_t *digits = x->at;
    for (; x->at < x->end && text_hex(x->at, x->end, 1, &digit) && digit < base; x->at++)
        code = code > 0x10ffff ? code : code * base + digit;
    if (x->at == digits || !format_xml_take(x, ";"))
        return format_xml_refuse(x, begin, "a character reference is &#...; with digits");
    return is_char(code) ? OK : format_xml_refuse(x, begin, "this reference is not an XML character");
}

/* x->at is at '&'. */
static int take_reference(struct xml *x)
{
    static const char *const known[] = {"amp", "lt", "gt", "quot", "apos"};
    const uint8_t *begin = x->at;
    struct slice name;
    if (begins(x, "&#"))
        return take_character_reference(x);
    x->at++;
    if (format_xml_take_name(x, &name) || !format_xml_take(x, ";"))
        return format_xml_refuse(x, begin, "& begins an entity: write &amp;");
    for (size_t i = 0; i < 5; i++)
        if (slice_equal(name, slice_text(known[i])))
            return OK;
    return check_refuse(x->check, offset(x, begin), "unknown entity \"%s\"", check_quote(name).text);
}

/* Skips to the text `end` and takes it. */
static int skip_to(struct xml *x, const uint8_t *begin, const char *end, const char *what)
{
    size_t left = (size_t)(x->end - x->at);
    const uint8_t *found = left ? memmem(x->at, left, end, strlen(end)) : NULL;
    if (!found)
        return check_refuse(x->check, offset(x, begin), "this %s has no end", what);
    x->at = found + strlen(end);
    return OK;
}

static int take_comment(struct xml *x)
{
    const uint8_t *begin = x->at;
    x->at += 4;
    int err = skip_to(x, begin, "--", "comment");
    if (!err && !format_xml_take(x, ">"))
        err = format_xml_refuse(x, x->at - 2, "\"--\" within a comment");
    return err;
}

static int take_instruction(struct xml *x)
{
    const uint8_t *begin = x->at;
    struct slice target;
    x->at += 2;
    int err = format_xml_take_name(x, &target);
    if (err)
        return err;
    if (target.size == 3 && (target.data[0] | 0x20) == 'x' && (target.data[1] | 0x20) == 'm' &&
        (target.data[2] | 0x20) == 'l')
        return format_xml_refuse(x, begin, "an XML declaration must be at the very beginning");
    if (!begins(x, "?>") && !format_xml_skip_blanks(x))
        return refuse_here(x, "a blank or ?>");
    return skip_to(x, begin, "?>", "instruction");
}

static int take_quoted(struct xml *x, struct slice *ret_text)
{
    uint8_t quote = x->at < x->end ? *x->at : 0;
    if (quote != '"' && quote != '\'')
        return refuse_here(x, "a quote");
    const uint8_t *begin = ++x->at, *end = memchr(begin, quote, (size_t)(x->end - begin));
    if (!end)
        return format_xml_refuse(x, begin - 1, "this quote has no end");
    *ret_text = slice_of(begin, (size_t)(end - begin));
    x->at = end + 1;
    return OK;
}

/* --- the prolog ------------------------------------------------------------------------------ */

/* ` version="1.0"`; *ret_value has no data if the name is another one. */
static int take_pseudo(struct xml *x, const char *name, struct slice *ret_value)
{
    const uint8_t *begin = x->at;
    *ret_value = (struct slice){0};
    if (!format_xml_skip_blanks(x) || !format_xml_take(x, name)) {
        x->at = begin;
        return OK;
    }
    format_xml_skip_blanks(x);
    if (!format_xml_take(x, "="))
        return refuse_here(x, "=");
    format_xml_skip_blanks(x);
    return take_quoted(x, ret_value);
}

static bool is_version(struct slice s)
{
    bool is = s.size > 2 && s.data[0] == '1' && s.data[1] == '.';
    for (size_t i = 2; i < s.size; i++)
        is = is && s.data[i] >= '0' && s.data[i] <= '9';
    return is;
}

static bool is_like(struct slice s, const char *text)
{
    return s.size == strlen(text) && strncasecmp((const char *)s.data, text, s.size) == 0;
}

static int take_declaration(struct xml *x)
{
    struct slice version, encoding, standalone;
    x->at += 5;
    int err = take_pseudo(x, "version", &version);
    if (!err && !is_version(version))
        err = format_xml_refuse(x, x->at, "an XML declaration begins with version=\"1.0\"");
    if (!err)
        err = take_pseudo(x, "encoding", &encoding);
    if (!err && encoding.data && !is_like(encoding, "UTF-8") && !is_like(encoding, "US-ASCII"))
        err = check_refuse(x->check, offset(x, encoding.data), "encoding \"%s\": only UTF-8 is accepted",
                           check_quote(encoding).text);
    if (!err)
        err = take_pseudo(x, "standalone", &standalone);
    if (!err && standalone.data && !slice_equal(standalone, slice_text("yes")) &&
        !slice_equal(standalone, slice_text("no")))
        err = format_xml_refuse(x, standalone.data, "standalone is \"yes\" or \"no\"");
    format_xml_skip_blanks(x);
    if (!err && !format_xml_take(x, "?>"))
        err = refuse_here(x, "?>");
    return err;
}

static bool is_public_id(struct slice s)
{
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        bool is_letter = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!is_letter && (!c || !strchr(" \r\n-'()+,./:=?;!*#@$_%", c)))
            return false;
    }
    return true;
}

static int take_external_id(struct xml *x)
{
    struct slice id;
    bool is_public = begins(x, "PUBLIC");
    x->at += 6;
    if (!format_xml_skip_blanks(x))
        return refuse_here(x, "a blank");
    int err = take_quoted(x, &id);
    if (err || !is_public)
        return err;
    if (!is_public_id(id))
        return format_xml_refuse(x, id.data, "a character that a public identifier cannot have");
    if (!format_xml_skip_blanks(x))
        return refuse_here(x, "a blank");
    return take_quoted(x, &id);
}

static int take_doctype(struct xml *x)
{
    struct slice name;
    x->at += 9;
    if (!format_xml_skip_blanks(x))
        return refuse_here(x, "a blank");
    int err = format_xml_take_name(x, &name);
    if (err)
        return err;
    bool has_blank = format_xml_skip_blanks(x);
    if (begins(x, "SYSTEM") || begins(x, "PUBLIC")) {
        if (!has_blank)
            return refuse_here(x, "a blank");
        err = take_external_id(x);
        if (err)
            return err;
        format_xml_skip_blanks(x);
    }
    if (begins(x, "["))
        return format_xml_refuse(x, x->at, "declarations in the document type: entities are not accepted");
    return format_xml_take(x, ">") ? OK : refuse_here(x, ">");
}

/* Takes comments, instructions and blanks around the root. */
static int take_misc(struct xml *x, bool may_have_doctype)
{
    for (;;) {
        int err;
        format_xml_skip_blanks(x);
        if (begins(x, "<!--"))
            err = take_comment(x);
        else if (begins(x, "<?"))
            err = take_instruction(x);
        else if (may_have_doctype && begins(x, "<!DOCTYPE")) {
            may_have_doctype = false;
            err = take_doctype(x);
        } else {
            return OK;
        }
        if (err)
            return err;
    }
}

/* --- elements -------------------------------------------------------------------------------- */

static int take_attribute_value(struct xml *x)
{
    struct slice value;
    int err = take_quoted(x, &value);
    const uint8_t *after = x->at, *end = value.data + value.size;
    if (err)
        return err;
    for (x->at = value.data; x->at < end;) {
        if (*x->at == '<')
            return format_xml_refuse(x, x->at, "< in an attribute: write &lt;");
        if (*x->at != '&')
            x->at++;
        else if ((err = take_reference(x)))
            return err;
    }
    x->at = after;
    return OK;
}

/* Takes attributes up to the end of the tag. */
static int take_attributes(struct xml *x, bool *ret_is_empty)
{
    for (;;) {
        struct slice name;
        bool has_blank = format_xml_skip_blanks(x);
        *ret_is_empty = begins(x, "/>");
        if (format_xml_take(x, "/>") || format_xml_take(x, ">"))
            return OK;
        if (!has_blank)
            return refuse_here(x, "a blank, > or />");
        const uint8_t *where = x->at;
        int err = format_xml_take_name(x, &name);
        if (!err)
            err = check_unique(x->check, &x->attributes, "attribute", name, offset(x, where));
        if (err)
            return err;
        format_xml_skip_blanks(x);
        if (!format_xml_take(x, "="))
            return refuse_here(x, "=");
        format_xml_skip_blanks(x);
        err = take_attribute_value(x);
        if (err)
            return err;
    }
}

static int take_start(struct xml *x)
{
    struct slice name;
    bool is_empty = false;
    const uint8_t *begin = x->at++;
    int err = format_xml_take_name(x, &name);
    if (!err)
        err = take_attributes(x, &is_empty);
    strmap_done(&x->attributes);
    if (err || is_empty)
        return err;
    if (x->depth == FORMAT_DEPTH_MAX)
        return format_xml_refuse(x, begin, "nested deeper than 200 levels");
    x->open[x->depth++] = name;
    return OK;
}

static int take_end(struct xml *x)
{
    struct slice name;
    const uint8_t *begin = x->at;
    x->at += 2;
    int err = format_xml_take_name(x, &name);
    if (err)
        return err;
    format_xml_skip_blanks(x);
    if (!format_xml_take(x, ">"))
        return refuse_here(x, ">");
    struct slice open = x->open[x->depth - 1];
    if (!slice_equal(open, name))
        return check_refuse(x->check, offset(x, begin), "</%.100s> ends no <%.100s>", check_quote(name).text,
                            check_quote(open).text);
    x->depth--;
    return OK;
}

static int format_xml_take_text(struct xml *x)
{
    while (x->at < x->end && *x->at != '<' && *x->at != '&') {
        if (*x->at == ']' && begins(x, "]]>"))
            return format_xml_refuse(x, x->at, "]]> in text: write ]]&gt;");
        x->at++;
    }
    return OK;
}

static int take_content(struct xml *x)
{
    if (*x->at == '&')
        return take_reference(x);
    if (*x->at != '<')
        return format_xml_take_text(x);
    if (begins(x, "</"))
        return take_end(x);
    if (begins(x, "<!--"))
        return take_comment(x);
    if (begins(x, "<?"))
        return take_instruction(x);
    if (begins(x, "<![CDATA[")) {
        const uint8_t *begin = x->at;
        x->at += 9;
        return skip_to(x, begin, "]]>", "CDATA section");
    }
    return take_start(x);
}

static int check_all(struct xml *x)
{
    int err = check_xml_characters(x);
    if (err)
        return err;
    format_xml_take(x, "\xef\xbb\xbf");
    if (begins(x, "<?xml") && x->end - x->at > 5 && format_xml_is_blank(x->at[5]))
        err = take_declaration(x);
    if (!err)
        err = take_misc(x, true);
    if (!err)
        err = begins(x, "<") ? take_start(x) : refuse_here(x, "an element");
    while (!err && x->depth > 0 && x->at < x->end)
        err = take_content(x);
    if (!err && x->depth > 0)
        err = check_refuse(x->check, offset(x, x->open[x->depth - 1].data) - 1, "<%s> has no end",
                           check_quote(x->open[x->depth - 1]).text);
    if (!err)
        err = take_misc(x, false);
    if (!err && x->at < x->end)
        err = refuse_here(x, "the end");
    return err;
}

int format_check_xml(const struct check *c)
{
    struct xml *x = mem_new(sizeof *x);
    x->check = c;
    x->start = x->at = c->text.data;
    x->end = c->text.data + c->text.size;
    int err = check_all(x);
    mem_free(x);
    return err;
}
