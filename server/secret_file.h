/* SPDX-License-Identifier: Apache-2.0
 * Files and commands with secrets that options name. The log never has their contents. */
#ifndef SERVER_SECRET_FILE_H
#define SERVER_SECRET_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* Reads the file that an option names, with a warning in the log if other users of the machine can read it.
 * ERR_INVALID with a sentence that names the option. The caller calls secret_text_done in every case. */
MUST_CHECK int secret_file_read(const char *option, const char *path, size_t size_max, struct buf *ret_text,
                                char *error, size_t error_size);
/* Runs `sh -c command`, blocking, and takes its standard output. It has timeout_ms; then it is killed with all
 * processes of its group. ERR_INVALID with a sentence: it ended with another status than 0, printed more than
 * size_max bytes, or took too long. For the start of the process, before there are threads. */
MUST_CHECK int secret_command_run(const char *option, const char *command, int timeout_ms, size_t size_max,
                                  struct buf *ret_text, char *error, size_t error_size);
void secret_text_done(struct buf *text); /* overwrites it first */

#endif
