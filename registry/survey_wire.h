/* SPDX-License-Identifier: Apache-2.0
 * Messages of a survey: the request of one member about subscribers, and the answer, as bytes. Pure.
 *
 *   request   version (1), revision (8), most entries (4), namespace, group, service
 *   answer    version (1), acknowledged (8), waiting (8), member, entries (4),
 *             each: client id, peer, transport, revision (8), labels (4), each: key, value
 * Numbers are big-endian; a text is its size (4) and its bytes. A message of another version is malformed:
 * the member that sent it counts as silent. */
#ifndef REGISTRY_SURVEY_WIRE_H
#define REGISTRY_SURVEY_WIRE_H

#include "base/document.h"
#include "base/mem.h"

struct survey_request {
    struct slice ns, group, service;
    int64_t revision; /* 0: all subscribers are listed; else those that have not acknowledged it */
    uint32_t max;     /* subscribers that an answer lists */
};

struct survey_entry {
    struct slice client_id, peer, transport;
    int64_t revision; /* acknowledged */
    struct document_map labels;
};

struct survey_answer {
    uint64_t acknowledged, waiting; /* subscribers, listed or not */
    struct slice member;
    const struct survey_entry *list;
    size_t count;
};

void survey_write_request(const struct survey_request *q, struct buf *out);
/* Writes as many entries as size_max has room for. */
void survey_write_answer(const struct survey_answer *a, size_t size_max, struct buf *out);
/* ERR_MALFORMED. The request's slices are borrowed, the answer's lie in the arena. */
MUST_CHECK int survey_read_request(struct slice bytes, struct survey_request *ret);
MUST_CHECK int survey_read_answer(struct slice bytes, struct arena *a, struct survey_answer *ret);

#endif
