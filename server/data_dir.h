/* SPDX-License-Identifier: Apache-2.0
 * Checks of the data folder before anything is created in it. */
#ifndef SERVER_DATA_DIR_H
#define SERVER_DATA_DIR_H

#include <stddef.h>

#include "base/err.h"

/* ERR_IO: the folder, or the nearest existing folder above it, is not accessible. ERR_CORRUPT: an interrupted
 * restore left it, or it is one of etcd's. With a sentence in error. */
MUST_CHECK int check_data_dir(const char *dir, char *error, size_t error_size);

#endif
