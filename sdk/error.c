/* SPDX-License-Identifier: Apache-2.0
 * Errors of the SDK: the mapping of gRPC statuses to the codes of cairn.h. Pure. */
#include <stdarg.h>
#include <stdio.h>

#include "sdk/private.h"

#define CAIRN_E(name, text) {#name, text},
static const struct {
    const char *name, *text;
} table[] = {CAIRN_ERRORS(CAIRN_E)};
#undef CAIRN_E

static bool is_known(int code)
{
    return code < 0 && code >= -(int)CAIRN_ERR_COUNT;
}

const char *cairn_error_name(int code)
{
    if (code == CAIRN_OK)
        return "CAIRN_OK";
    return is_known(code) ? table[-code - 1].name : "?";
}

const char *cairn_error_text(int code)
{
    if (code == CAIRN_OK)
        return "";
    return is_known(code) ? table[-code - 1].text : "unknown error";
}

const char *cairn_version(void)
{
    return CAIRN_SDK_VERSION;
}

int set_error(struct cairn_error *error, int code, const char *format, ...)
{
    if (!error)
        return code;
    struct cairn_error e = {.code = code};
    va_list args;
    va_start(args, format);
    vsnprintf(e.message, sizeof e.message, format, args);
    va_end(args);
    *error = e; /* the arguments may lie in *error */
    return code;
}

static bool has(struct slice text, const char *part)
{
    return memmem(text.data ? (const void *)text.data : "", text.size, part, strlen(part)) != NULL;
}

static int code_of(int status, struct slice text)
{
    static const int by_status[] = {
        CAIRN_OK,        CAIRN_CANCELED,        CAIRN_SERVER,        CAIRN_INVALID, CAIRN_TIMEOUT,
        CAIRN_NOT_FOUND, CAIRN_EXISTS,          CAIRN_DENIED,        CAIRN_LIMIT,   CAIRN_PRECONDITION,
        CAIRN_CONFLICT,  CAIRN_INVALID,         CAIRN_UNIMPLEMENTED, CAIRN_SERVER,  CAIRN_UNAVAILABLE,
        CAIRN_SERVER,    CAIRN_UNAUTHENTICATED,
    };
    if (status < 0 || status >= (int)(sizeof by_status / sizeof *by_status))
        return CAIRN_PROTOCOL;
    if (status == 11)
        return has(text, "compacted") ? CAIRN_COMPACTED : has(text, "future") ? CAIRN_FUTURE : CAIRN_INVALID;
    return by_status[status];
}

int error_of_grpc(struct cairn_error *error, int status, struct slice text)
{
    int code = code_of(status, text);
    if (code == CAIRN_OK)
        *error = (struct cairn_error){0};
    else if (text.size)
        set_error(error, code, "%.*s", (int)(text.size < 500 ? text.size : 500), (const char *)text.data);
    else
        set_error(error, code, "%s (gRPC status %d)", cairn_error_text(code), status);
    error->status = status;
    return code;
}
