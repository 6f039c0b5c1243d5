/* SPDX-License-Identifier: Apache-2.0
 * Lookups in err.def. One array holds each row; the index of a negative error is -err - 1. */
#include "base/err.h"

#include <errno.h>

struct err_row {
    const char *name, *text;
    int grpc, http;
};

static const struct err_row err_rows[ERR_COUNT] = {
#define ERR(name, grpc, http, text) {#name, text, grpc, http},
#include "base/err.def"
#undef ERR
};

static const struct err_row err_none = {"OK", "", 0, 200};

static const struct err_row *err_row(int err)
{
    if (err == OK)
        return &err_none;
    if (err > 0 || err < -ERR_COUNT)
        err = ERR_UNKNOWN;
    return &err_rows[-err - 1];
}

const char *err_name(int err)
{
    return err_row(err)->name;
}

const char *err_text(int err)
{
    return err_row(err)->text;
}

int err_grpc(int err)
{
    return err_row(err)->grpc;
}

int err_http(int err)
{
    return err_row(err)->http;
}

int err_from_errno(int errnum)
{
    switch (errnum) {
    case 0:
        return OK;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_DISK_SPACE;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    default:
        return ERR_IO;
    }
}
