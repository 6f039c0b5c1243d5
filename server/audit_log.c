/* SPDX-License-Identifier: Apache-2.0
 * The file of --audit-log; see audit_log.h. One write of one line for each record, at the end of the file, so
 * that a program that rotates files may copy and truncate it. A line that cannot be written is lost; the
 * record in the store is not. */
#include "server/audit_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

struct audit_log {
    struct audit *trail;
    int file; /* -1 = none */
    bool has_failed;
    struct buf line;
};

static void write_line(void *arg, struct slice line)
{
    struct audit_log *l = arg;
    buf_clear(&l->line);
    buf_add_slice(&l->line, line);
    buf_add_byte(&l->line, '\n');
    ssize_t n = write(l->file, l->line.data, l->line.size);
    bool is_written = n == (ssize_t)l->line.size;
    if (!is_written && !l->has_failed)
        log_error("the audit log cannot be written; its records are in the store",
                  F_STR("error", n < 0 ? strerror(errno) : "the disk is full"));
    l->has_failed = !is_written;
}

int audit_log_open(struct kv *kv, const struct options *options, char *error, size_t error_size,
                   struct audit_log **ret)
{
    struct audit_log *l = mem_new(sizeof *l);
    const char *path = options->audit_log;
    l->file = -1;
    if (strcmp(path, "stdout") == 0)
        l->file = dup(STDOUT_FILENO);
    else if (*path)
        l->file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (*path && l->file < 0) {
        snprintf(error, error_size, "--audit-log: %s cannot be opened: %s", path, strerror(errno));
        mem_free(l);
        return ERR_IO;
    }
    if (options->audit) {
        const struct audit_options trail = {
            .kv = kv,
            .records_etcd = options->audit_etcd,
            .retention_ms = (uint64_t)options->audit_retention_ns / 1000000,
            .retention_bytes = options->audit_retention_bytes,
            .on_line = l->file >= 0 ? write_line : NULL,
            .arg = l,
        };
        l->trail = audit_new(&trail);
    }
    *ret = l;
    return OK;
}

void audit_log_close(struct audit_log *l)
{
    if (!l)
        return;
    audit_free(l->trail);
    if (l->file >= 0)
        (void)close(l->file);
    buf_done(&l->line);
    mem_free(l);
}

void audit_log_turn(struct audit_log *l)
{
    if (l)
        audit_turn(l->trail);
}

struct audit *audit_log_trail(const struct audit_log *l)
{
    return l->trail;
}

void audit_log_report(void *arg, const struct audit_record *r)
{
    const struct audit_log *l = arg;
    if (r->error.size)
        audit_etcd_refused(l->trail, r);
    else
        audit_done(l->trail, r);
}
