/* SPDX-License-Identifier: Apache-2.0
 * Walk over all records of a WAL folder, for readers. waldump.h says what it guarantees. */
#ifndef CONSENSUS_TOOLS_WAL_WALK_H
#define CONSENSUS_TOOLS_WAL_WALK_H

#include <stdio.h>

#include "consensus/wal/segment.h"

struct wal_place {
    const char *segment; /* the file's name */
    uint64_t offset;
};

struct wal_visitor {
    void (*on_segment)(void *arg, struct wal_place place, const struct wal_segment_header *header);
    void (*on_record)(void *arg, struct wal_place place, const struct wal_record *record);
    void (*on_damage)(void *arg, struct wal_place place, const char *what);
    void *arg;
};

/* ERR_NOT_FOUND, ERR_CORRUPT (on_damage has reported the place), ERR_IO. */
MUST_CHECK int wal_walk(const char *dir, const struct wal_visitor *visitor);

#endif
