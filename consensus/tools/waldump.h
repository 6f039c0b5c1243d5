/* SPDX-License-Identifier: Apache-2.0
 * Reading a log from outside: every record of a WAL folder, in the order in which it was written, as lines of
 * JSON or as an etcd WAL. It only ever reads, takes no lock and repairs nothing, so it works on the folder of
 * a member that runs, of one that does not start any more, and on a copy.
 *
 * What it cannot do: tell whether an entry was committed. Entries that a new leader replaced are told too,
 * where they stand; so is what lies behind the last commit index. */
#ifndef CONSENSUS_TOOLS_WALDUMP_H
#define CONSENSUS_TOOLS_WALDUMP_H

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

struct waldump_options {
    const char *dir;      /* a WAL folder, or a data folder with member/wal in it */
    const char *etcd_dir; /* NULL = JSON; else the folder in which the etcd WAL is made, which has none yet */
    uint64_t from;        /* entries below it are passed over; with JSON only */
};

/* Writes to `out`, complaints to `complaints`, one sentence each with file and offset. Behind a damaged place
 * the next segment is read. ERR_NOT_FOUND: no log there; ERR_CORRUPT: something is damaged, what could be
 * read was told; ERR_IO; ERR_EXISTS. */
MUST_CHECK int waldump(const struct waldump_options *options, FILE *out, FILE *complaints);

#endif
