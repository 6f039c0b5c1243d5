/* SPDX-License-Identifier: Apache-2.0
 * Writer of the log. Each event is one line, formatted on the caller's thread and written with one write(2)
 * to every output. A mutex orders the lines and guards the rotation; level and format are atomics. Failures
 * of write are not reported, because there is no place to report them. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"

enum {
    LOG_FIELD_MAX = 4096,
    LOG_OUTPUTS_MAX = 8,
    LOG_BACKUPS_ALL = 99, /* for max_backups 0: etcd keeps all, Cairn this many */
};

struct log_output {
    int fd;
    char *path; /* NULL for stdout and stderr */
    uint64_t size;
};

static const char *const level_names[] = {"debug", "info", "warn", "error", "panic", "fatal"};

static _Atomic int log_level = LOG_INFO;
static _Atomic int log_format = LOG_JSON;

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct log_output outputs[LOG_OUTPUTS_MAX];
static size_t output_count;
static uint64_t rotate_size;
static unsigned backups_max;

bool log_is_on(enum log_level level)
{
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

void log_set_level(enum log_level level)
{
    atomic_store(&log_level, (int)level);
}

void log_set_format(enum log_format format)
{
    atomic_store(&log_format, (int)format);
}

int log_level_parse(const char *text, enum log_level *ret_level)
{
    for (size_t i = 0; i < sizeof level_names / sizeof *level_names; i++)
        if (strcmp(text, level_names[i]) == 0) {
            *ret_level = (enum log_level)i;
            return OK;
        }
    return ERR_INVALID;
}

_Noreturn void log_die(void)
{
    _exit(1);
}

/* --- formatting ------------------------------------------------------------------------------ */

static void add_time(struct buf *b, bool is_console)
{
    uint64_t now = clock_wall_ns();
    time_t seconds = (time_t)(now / 1000000000u);
    unsigned micros = (unsigned)(now % 1000000000u / 1000u);
    struct tm t;
    gmtime_r(&seconds, &t);
    buf_addf(b, "%04d-%02d-%02dT%02d:%02d:%02d.", t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
             t.tm_min, t.tm_sec);
    if (is_console)
        buf_addf(b, "%03uZ", micros / 1000);
    else
        buf_addf(b, "%06uZ", micros);
}

/* Writes at most LOG_FIELD_MAX bytes, cut between characters. */
static void add_string(struct json_writer *w, struct slice s)
{
    if (s.size <= LOG_FIELD_MAX) {
        jw_string(w, s);
        return;
    }
    s.size = LOG_FIELD_MAX;
    while (s.size > LOG_FIELD_MAX - 4 && (s.data[s.size] & 0xc0) == 0x80)
        s.size--;
    jw_string(w, s);
    w->out->size--;
    buf_add_text(w->out, "...\"");
}

static void log_add_value(struct json_writer *w, const struct log_field *f)
{
    char hex[24];
    switch (f->kind) {
    case LOG_F_STR:
        add_string(w, slice_text(f->str ? f->str : ""));
        break;
    case LOG_F_BYTES:
        add_string(w, f->bytes);
        break;
    case LOG_F_INT:
        jw_int(w, f->i);
        break;
    case LOG_F_UINT:
        jw_uint(w, f->u);
        break;
    case LOG_F_HEX:
        snprintf(hex, sizeof hex, "%llx", (unsigned long long)f->u);
        jw_text(w, hex);
        break;
    case LOG_F_BOOL:
        jw_bool(w, f->b);
        break;
    case LOG_F_DOUBLE: {
        bool is_number = f->d - f->d == 0; /* NaN and infinities are not JSON */
        struct buf number = {0};
        text_add_double(&number, f->d);
        if (is_number)
            jw_raw(w, buf_slice(&number));
        else
            jw_string(w, buf_slice(&number));
        buf_done(&number);
        break;
    }
    }
}

static void add_fields(struct json_writer *w, const struct log_field *fields, bool is_console)
{
    for (const struct log_field *f = fields; f->name; f++) {
        if (is_console && w->needs_comma) {
            buf_add_text(w->out, ", ");
            w->needs_comma = false;
        }
        jw_key(w, f->name);
        if (is_console)
            buf_add_byte(w->out, ' ');
        log_add_value(w, f);
    }
}

/* {"level":"info","ts":"…","caller":"server/main.c:42","msg":"…","port":2379} */
static void format_json(struct buf *b, enum log_level level, const char *file, int line, const char *msg,
                        const struct log_field *fields)
{
    struct json_writer w = {.out = b};
    jw_open(&w, '{');
    jw_key(&w, "level");
    jw_text(&w, level_names[level]);
    buf_add_text(b, ",\"ts\":\"");
    add_time(b, false);
    buf_addf(b, "\",\"caller\":\"%s:%d\"", file, line);
    jw_key(&w, "msg");
    add_string(&w, slice_text(msg));
    add_fields(&w, fields, false);
    jw_close(&w, '}');
}

/* Tab-separated, as zap's console encoder writes. The fields are one JSON object with a space after ':' and
 * ','. */
static void format_console(struct buf *b, enum log_level level, const char *file, int line, const char *msg,
                           const struct log_field *fields)
{
    add_time(b, true);
    buf_addf(b, "\t%s\t%s:%d\t", level_names[level], file, line);
    for (const char *p = msg; *p; p++)
        buf_add_byte(b, *p == '\n' || *p == '\r' ? ' ' : (uint8_t)*p);
    if (!fields->name)
        return;
    struct json_writer w = {.out = b};
    buf_add_byte(b, '\t');
    jw_open(&w, '{');
    add_fields(&w, fields, true);
    jw_close(&w, '}');
}

/* --- outputs --------------------------------------------------------------------------------- */

static void write_all(int fd, const uint8_t *data, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        data += n;
        size -= (size_t)n;
    }
}

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* Rotates a file. path.1 is the newest backup; a backup beyond path.max is deleted. If the new file cannot
 * be opened, the old descriptor stays in use; the next attempt is one rotation size later. */
static void rotate(struct log_output *o)
{
    struct buf from = {0}, to = {0};
    unsigned last = backups_max ? backups_max : LOG_BACKUPS_ALL;
    for (unsigned i = last; i > 0; i--) {
        buf_clear(&from);
        buf_clear(&to);
        buf_add_text(&from, o->path);
        if (i > 1)
            buf_addf(&from, ".%u", i - 1);
        buf_addf(&to, "%s.%u", o->path, i);
        (void)rename(buf_text(&from), buf_text(&to));
    }
    buf_done(&from);
    buf_done(&to);
    o->size = 0;
    int fd = open_file(o->path);
    if (fd < 0)
        return;
    close(o->fd);
    o->fd = fd;
}

void log_write(enum log_level level, const char *file, int line, const char *msg,
               const struct log_field *fields)
{
    struct buf b = {0};
    buf_reserve(&b, 512);
    if (atomic_load_explicit(&log_format, memory_order_relaxed) == LOG_CONSOLE)
        format_console(&b, level, file, line, msg, fields);
    else
        format_json(&b, level, file, line, msg, fields);
    buf_add_byte(&b, '\n');
    pthread_mutex_lock(&log_mutex);
    if (output_count == 0)
        write_all(STDERR_FILENO, b.data, b.size);
    for (size_t i = 0; i < output_count; i++) {
        struct log_output *o = &outputs[i];
        if (o->path && rotate_size && o->size > 0 && o->size + b.size > rotate_size)
            rotate(o);
        write_all(o->fd, b.data, b.size);
        o->size += b.size;
    }
    pthread_mutex_unlock(&log_mutex);
    buf_done(&b);
}

static void close_outputs(struct log_output *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!list[i].path)
            continue;
        close(list[i].fd);
        mem_free(list[i].path);
    }
}

static int open_output(struct slice name, struct log_output *ret_output)
{
    struct log_output o = {.fd = STDERR_FILENO};
    if (slice_equal(name, slice_text("stdout"))) {
        o.fd = STDOUT_FILENO;
    } else if (!slice_equal(name, slice_text("stderr")) && !slice_equal(name, slice_text("default"))) {
        struct buf path = {0};
        buf_add_slice(&path, name);
        o.path = mem_string(buf_text(&path));
        buf_done(&path);
        o.fd = open_file(o.path);
        if (o.fd < 0) {
            log_error("failed to open log output", F_STR("path", o.path), F_STR("error", strerror(errno)));
            mem_free(o.path);
            return ERR_IO;
        }
        struct stat st;
        if (fstat(o.fd, &st) == 0)
            o.size = (uint64_t)st.st_size;
    }
    *ret_output = o;
    return OK;
}

int log_open(const char *outputs_text, unsigned rotate_size_mb, unsigned max_backups)
{
    struct log_output list[LOG_OUTPUTS_MAX];
    size_t count = 0;
    for (const char *p = outputs_text; *p;) {
        size_t n = strcspn(p, ",");
        if (n > 0) {
            int err = ERR_IO;
            if (count == LOG_OUTPUTS_MAX)
                log_error("too many log outputs", F_INT("limit", LOG_OUTPUTS_MAX));
            else
                err = open_output(slice_of(p, n), &list[count]);
            if (err) {
                close_outputs(list, count);
                return err;
            }
            count++;
        }
        p += n + (p[n] == ',');
    }
    log_close();
    pthread_mutex_lock(&log_mutex);
    memcpy(outputs, list, count * sizeof *list);
    output_count = count;
    rotate_size = (uint64_t)rotate_size_mb << 20;
    backups_max = max_backups;
    pthread_mutex_unlock(&log_mutex);
    return OK;
}

void log_close(void)
{
    pthread_mutex_lock(&log_mutex);
    close_outputs(outputs, output_count);
    output_count = 0;
    pthread_mutex_unlock(&log_mutex);
}
