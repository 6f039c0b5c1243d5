/* SPDX-License-Identifier: Apache-2.0
 * Offline reader of a log: every record of a WAL folder, in the order in which it was written, as lines of
 * JSON or as an etcd WAL. It only reads, takes no lock and repairs nothing. So it works on the folder of a
 * running member, of one that does not start any more, and on a copy.
 *
 * It cannot know whether an entry was committed. It also prints entries that a new leader replaced, at their
 * place, and entries after the last commit index. */
#ifndef CONSENSUS_TOOLS_WALDUMP_H
#define CONSENSUS_TOOLS_WALDUMP_H

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

struct waldump_options {
    const char *dir;      /* a WAL folder, or a data folder with member/wal in it */
    const char *etcd_dir; /* NULL = JSON; else the folder for the etcd WAL, which must not hold one */
    uint64_t from;        /* entries below it are skipped; with JSON only */
};

/* Writes records to `out` and errors to `errors`: one sentence each, with file and offset. After a
 * damaged place it continues with the next segment. ERR_NOT_FOUND: no log there. ERR_CORRUPT: something is
 * damaged, all readable records are printed. ERR_IO. ERR_EXISTS. */
MUST_CHECK int waldump(const struct waldump_options *options, FILE *out, FILE *errors);

#endif
