/* SPDX-License-Identifier: Apache-2.0
 * The HTTP/1.1 part of a health check: the request, and the status line of the answer (RFC 9112). The rest of
 * the answer is not read, and redirects are not followed. Pure. */
#ifndef SERVER_PROBE_PROBE_HTTP_H
#define SERVER_PROBE_PROBE_HTTP_H

#include "base/buf.h"
#include "base/err.h"

enum {
    PROBE_LINE_MAX = 512,       /* bytes of a status line */
    PROBE_ANSWER_MAX = 8 << 10, /* bytes up to the end of the last status line, interim answers included */
};

/* The host of an instance may stand in a request and in a lookup: letters, digits, dots, colons, hyphens and
 * underscores alone. */
bool probe_host_is_valid(const char *host);
/* host is valid; path is printable ASCII without blanks (registry/check.c). port 0: the scheme's own. */
void probe_http_request(struct buf *out, const char *host, uint16_t port, const char *path);

struct probe_answer { /* zeroed is ready */
    int status;       /* not 0: the answer's status, and nothing else is read */
    char line[PROBE_LINE_MAX];
    size_t size, total;
    bool is_interim; /* in the fields of a 1xx answer */
};

/* Takes the next bytes. ERR_MALFORMED: this is no HTTP/1 answer. ERR_LIMIT. */
MUST_CHECK int probe_answer_feed(struct probe_answer *a, struct slice bytes);

#endif
