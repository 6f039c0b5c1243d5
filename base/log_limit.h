/* SPDX-License-Identifier: Apache-2.0
 * Rate limit for log lines that a client can cause without limit: at most LOG_LIMIT_LINES in LOG_LIMIT_MS
 * are written, the others are counted. The next line that is written has their number. Valid when zeroed. */
#ifndef BASE_LOG_LIMIT_H
#define BASE_LOG_LIMIT_H

#include "base/log.h"

enum { LOG_LIMIT_LINES = 10, LOG_LIMIT_MS = 10000 };

struct log_limit {
    uint64_t until_ms, left_out;
    unsigned lines;
};

/* True: the line may be written; *ret_left_out lines were left out before it. */
static inline bool log_limit_take(struct log_limit *l, uint64_t now_ms, uint64_t *ret_left_out)
{
    if (now_ms >= l->until_ms) {
        l->until_ms = now_ms + LOG_LIMIT_MS;
        l->lines = 0;
    }
    if (l->lines >= LOG_LIMIT_LINES) {
        l->left_out++;
        return false;
    }
    l->lines++;
    *ret_left_out = l->left_out;
    l->left_out = 0;
    return true;
}

/* log_warn with a rate limit. */
#define log_warn_limited(limit, now_ms, ...)                                                                 \
    do {                                                                                                     \
        uint64_t left_out_;                                                                                  \
        if (log_limit_take((limit), (now_ms), &left_out_))                                                   \
            log_warn(__VA_ARGS__, left_out_ ? F_UINT("lines-left-out", left_out_) : (struct log_field){0});  \
    } while (0)

#endif
