/* SPDX-License-Identifier: Apache-2.0
 * The log: one JSON line for each event, in the form of etcd's zap logger: level, ts, caller, msg, then the
 * fields.
 *
 *     log_info("ready to serve client requests", F_STR("address", text), F_INT("port", 2379));
 *
 * Pure modules and base do not log above debug. Lines are written whole and unbuffered. A field is at most
 * 4 KiB. Worker threads may log too. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_PANIC, LOG_FATAL };
enum log_format { LOG_JSON, LOG_CONSOLE };

struct log_field {
    const char *name; /* NULL ends the list */
    enum { LOG_F_STR, LOG_F_BYTES, LOG_F_INT, LOG_F_UINT, LOG_F_HEX, LOG_F_BOOL, LOG_F_DOUBLE } kind;
    union {
        const char *str;
        struct slice bytes;
        int64_t i;
        uint64_t u;
        bool b;
        double d;
    };
};

/* F_HEX prints as "8e9e05c5", like etcd's ids. */
#define F_STR(n, v)    ((struct log_field){.name = (n), .kind = LOG_F_STR, .str = (v)})
#define F_BYTES(n, v)  ((struct log_field){.name = (n), .kind = LOG_F_BYTES, .bytes = (v)})
#define F_INT(n, v)    ((struct log_field){.name = (n), .kind = LOG_F_INT, .i = (int64_t)(v)})
#define F_UINT(n, v)   ((struct log_field){.name = (n), .kind = LOG_F_UINT, .u = (uint64_t)(v)})
#define F_HEX(n, v)    ((struct log_field){.name = (n), .kind = LOG_F_HEX, .u = (uint64_t)(v)})
#define F_BOOL(n, v)   ((struct log_field){.name = (n), .kind = LOG_F_BOOL, .b = (v)})
#define F_DOUBLE(n, v) ((struct log_field){.name = (n), .kind = LOG_F_DOUBLE, .d = (v)})
#define F_ERR(e)       ((struct log_field){.name = "error", .kind = LOG_F_STR, .str = err_text(e)})

/* The macro adds the end of the list, so that a message without fields needs no separate macro. */
#define log_at(level, ...) LOG_AT(level, __VA_ARGS__, (struct log_field){0})
#define LOG_AT(level, msg, ...)                                                                              \
    do {                                                                                                     \
        if (log_is_on(level))                                                                                \
            log_write(level, __FILE__, __LINE__, msg, (struct log_field[]){__VA_ARGS__});                    \
    } while (0)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)
/* Writes the line, then ends the process at once with exit code 1, without exit handlers. For errors after
 * which the process must not continue: a failed fsync, a corrupt store. */
#define log_fatal(...)                                                                                       \
    do {                                                                                                     \
        log_at(LOG_FATAL, __VA_ARGS__);                                                                      \
        log_die();                                                                                           \
    } while (0)

bool log_is_on(enum log_level level);
void log_write(enum log_level level, const char *file, int line, const char *msg,
               const struct log_field *fields);
_Noreturn void log_die(void);
void log_set_level(enum log_level level);
/* ERR_INVALID: not a level. */
MUST_CHECK int log_level_parse(const char *text, enum log_level *ret_level);
void log_set_format(enum log_format format);

/* Sets the outputs: "stderr", "stdout", "default" (stderr) or file paths, comma-separated. rotate_size_mb 0
 * = no rotation. A rotated file is renamed to path.1; at most max_backups are kept. ERR_IO; the reason is
 * logged. */
MUST_CHECK int log_open(const char *outputs, unsigned rotate_size_mb, unsigned max_backups);
void log_close(void);

#endif
