/* SPDX-License-Identifier: Apache-2.0
 * The models and the readers of their histories. In both kinds of file a line is a call or a return of a
 * process; its number is the time.
 */
#include "tests/check/wgl_models.h"

#include "base/hash.h"
#include "base/text.h"

/* --- the register ------------------------------------------------------------------------------ */

static bool register_step(void *arg, uint64_t state, const struct wgl_op *op, uint64_t *ret_state)
{
    (void)arg;
    const struct register_op *r = op->data;
    int64_t value = (int64_t)state;
    *ret_state = state;
    switch (r->kind) {
    case REGISTER_READ:
        return r->is_unknown || r->to == value;
    case REGISTER_WRITE:
        *ret_state = (uint64_t)r->to;
        return true;
    case REGISTER_CAS:
        if (!r->is_unknown && r->is_refused)
            return r->from != value;
        *ret_state = (uint64_t)r->to;
        return r->from == value;
    }
    return false;
}

void wgl_register_model(struct wgl_history *h)
{
    h->model = (struct wgl_model){.arg = h, .initial = (uint64_t)REGISTER_NIL, .step = register_step};
}

/* --- the map of strings: state = number of a string in h->texts ------------------------------------- */

static uint64_t append_state(struct wgl_history *h, struct slice text)
{
    uintptr_t known = (uintptr_t)strmap_get(&h->strings, text);
    if (known)
        return known - 1;
    if (h->text_count == h->text_capacity) {
        h->text_capacity = h->text_capacity ? h->text_capacity * 2 : 64;
        h->texts = mem_resize(h->texts, h->text_capacity * sizeof *h->texts);
    }
    h->texts[h->text_count] = slice_of(arena_copy(&h->arena, text.data, text.size), text.size);
    strmap_put(&h->strings, text, (void *)(uintptr_t)++h->text_count);
    return h->text_count - 1;
}

static bool append_step(void *arg, uint64_t state, const struct wgl_op *op, uint64_t *ret_state)
{
    struct wgl_history *h = arg;
    const struct append_op *a = op->data;
    *ret_state = state;
    switch (a->kind) {
    case APPEND_GET:
        return a->is_unknown || slice_equal(h->texts[state], a->value);
    case APPEND_PUT:
        *ret_state = append_state(h, a->value);
        return true;
    case APPEND_ADD: {
        struct buf b = {0};
        buf_add_slice(&b, h->texts[state]);
        buf_add_slice(&b, a->value);
        *ret_state = append_state(h, buf_slice(&b));
        buf_done(&b);
        return true;
    }
    }
    return false;
}

static uint64_t append_part(const struct wgl_op *op)
{
    const struct append_op *a = op->data;
    return hash64(a->key.data, a->key.size);
}

void wgl_append_model(struct wgl_history *h)
{
    h->model = (struct wgl_model){.arg = h, .step = append_step, .part = append_part};
    h->model.initial = append_state(h, slice_text(""));
}

/* --- histories --------------------------------------------------------------------------------- */

void wgl_history_add(struct wgl_history *h, int64_t call, int64_t ret, const void *op)
{
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : 256;
        h->ops = mem_resize(h->ops, h->capacity * sizeof *h->ops);
    }
    h->ops[h->count++] = (struct wgl_op){call, ret, op};
}

void wgl_history_done(struct wgl_history *h)
{
    arena_done(&h->arena);
    mem_free(h->ops);
    strmap_done(&h->strings);
    mem_free(h->texts);
    *h = (struct wgl_history){0};
}

/* Cuts the next line off; false at the end. */
static bool next_line(struct slice *text, struct slice *ret_line)
{
    if (text->size == 0)
        return false;
    const uint8_t *end = memchr(text->data, '\n', text->size);
    size_t size = end ? (size_t)(end - text->data) : text->size;
    *ret_line = slice_of(text->data, size);
    size_t skip = size + (end != NULL);
    *text = slice_of(text->data + skip, text->size - skip);
    return true;
}

/* Cuts the next word off, without the brackets around pairs; empty at the end. */
static struct slice next_word(struct slice *line)
{
    size_t i = 0, from;
    while (i < line->size && strchr(" \t\r[", line->data[i]))
        i++;
    for (from = i; i < line->size && !strchr(" \t\r]", line->data[i]); i++)
        ;
    struct slice word = slice_of(line->data + from, i - from);
    while (i < line->size && line->data[i] == ']')
        i++;
    *line = slice_of(line->data + i, line->size - i);
    return word;
}

static bool is_word(struct slice s, const char *word)
{
    return slice_equal(s, slice_text(word));
}

/* The call of a process that has not returned: its number plus one, 0 when there is none. */
static size_t open_call(const struct map *open, int64_t process)
{
    return (uintptr_t)map_get(open, (uint64_t)process);
}

static void open_put(struct map *open, int64_t process, size_t number)
{
    map_put(open, (uint64_t)process, (void *)(uintptr_t)(number + 1));
}

static int register_value(struct slice word, int64_t *ret_value)
{
    if (is_word(word, "nil")) {
        *ret_value = REGISTER_NIL;
        return 0;
    }
    return text_to_i64(word, ret_value);
}

static int register_call(struct wgl_history *h, struct slice kind, struct slice *line, int64_t time)
{
    struct register_op *r = arena_new(&h->arena, sizeof *r);
    r->is_unknown = true;
    wgl_history_add(h, time, WGL_NEVER, r);
    if (is_word(kind, ":read")) {
        r->kind = REGISTER_READ;
        return 0;
    }
    r->kind = is_word(kind, ":write") ? REGISTER_WRITE : REGISTER_CAS;
    if (r->kind == REGISTER_CAS) {
        int rc = is_word(kind, ":cas") ? text_to_i64(next_word(line), &r->from) : ERR_MALFORMED;
        if (rc)
            return rc;
    }
    return text_to_i64(next_word(line), &r->to);
}

static int register_line(struct wgl_history *h, struct map *open, struct slice line, int64_t time)
{
    struct slice process_word, type, kind;
    int64_t process;
    do
        process_word = next_word(&line);
    while (process_word.size && text_to_i64(process_word, &process) != 0);
    type = next_word(&line);
    kind = next_word(&line);
    if (process_word.size == 0 || kind.size == 0)
        return ERR_MALFORMED;
    if (is_word(type, ":invoke")) {
        open_put(open, process, h->count);
        return register_call(h, kind, &line, time);
    }
    size_t number = open_call(open, process);
    if (number == 0)
        return ERR_MALFORMED;
    struct wgl_op *op = &h->ops[number - 1];
    struct register_op *r = arena_copy(&h->arena, op->data, sizeof *r);
    op->data = r;
    /* :info and a read's :fail give no information: an unknown outcome stays unknown. */
    if (is_word(type, ":info") || (is_word(type, ":fail") && r->kind == REGISTER_READ))
        return 0;
    op->ret = time;
    r->is_unknown = false;
    r->is_refused = is_word(type, ":fail");
    if (is_word(type, ":ok"))
        return r->kind == REGISTER_READ ? register_value(next_word(&line), &r->to) : 0;
    return r->is_refused && r->kind == REGISTER_CAS ? 0 : ERR_MALFORMED;
}

int wgl_read_register(struct wgl_history *h, struct slice text, size_t *ret_line)
{
    struct map open = {0};
    struct slice line;
    int rc = 0;
    wgl_register_model(h);
    for (int64_t number = 1; rc == 0 && next_line(&text, &line); number++) {
        struct slice rest = line;
        if (next_word(&rest).size == 0 || memmem(line.data, line.size, "jepsen.util", 11) == NULL)
            continue;
        rc = register_line(h, &open, line, number);
        if (rc)
            *ret_line = (size_t)number;
    }
    map_done(&open);
    return rc;
}

/* The word, or the text between quotes, after `name` in the line. */
static bool find_field(struct slice line, const char *name, struct slice *ret_value)
{
    const uint8_t *at = memmem(line.data, line.size, name, strlen(name));
    if (!at)
        return false;
    at += strlen(name);
    size_t left = (size_t)(line.data + line.size - at), i = 0;
    bool is_quoted = left > 0 && *at == '"';
    if (is_quoted) {
        at++;
        left--;
    }
    while (i < left && (is_quoted ? at[i] != '"' : at[i] != ',' && at[i] != '}'))
        i++;
    *ret_value = slice_of(at, i);
    return i < left;
}

static int append_line(struct wgl_history *h, struct map *open, struct slice line, int64_t time)
{
    struct slice process_word, type, kind, key, value;
    int64_t process;
    if (!find_field(line, ":process ", &process_word) || text_to_i64(process_word, &process) ||
        !find_field(line, ":type ", &type) || !find_field(line, ":f ", &kind) ||
        !find_field(line, ":key ", &key) || !find_field(line, ":value ", &value))
        return ERR_MALFORMED;
    if (is_word(type, ":invoke")) {
        struct append_op *a = arena_new(&h->arena, sizeof *a);
        a->kind = is_word(kind, ":get") ? APPEND_GET : is_word(kind, ":put") ? APPEND_PUT : APPEND_ADD;
        if (a->kind == APPEND_ADD && !is_word(kind, ":append"))
            return ERR_MALFORMED;
        a->key = key;
        a->value = value;
        a->is_unknown = true;
        open_put(open, process, h->count);
        wgl_history_add(h, time, WGL_NEVER, a);
        return 0;
    }
    size_t number = open_call(open, process);
    if (number == 0 || !is_word(type, ":ok"))
        return ERR_MALFORMED;
    struct append_op *a = arena_copy(&h->arena, h->ops[number - 1].data, sizeof *a);
    a->is_unknown = false;
    a->value = value;
    h->ops[number - 1].data = a;
    h->ops[number - 1].ret = time;
    return 0;
}

int wgl_read_append(struct wgl_history *h, struct slice text, size_t *ret_line)
{
    struct map open = {0};
    struct slice line;
    int rc = 0;
    size_t size = text.size;
    text = slice_of(arena_copy(&h->arena, text.data, size), size);
    wgl_append_model(h);
    for (int64_t number = 1; rc == 0 && next_line(&text, &line); number++) {
        if (line.size == 0)
            continue;
        rc = append_line(h, &open, line, number);
        if (rc)
            *ret_line = (size_t)number;
    }
    map_done(&open);
    return rc;
}
