/* SPDX-License-Identifier: Apache-2.0
 * The console's files as the Makefile has gzipped them, in a section of their own: console_file_ID to console_file_end_ID. */
#define CONSOLE_FILE(id, name, type) \
    .global console_file_##id; .global console_file_end_##id; \
    console_file_##id: .incbin name; console_file_end_##id:

    .section .rodata.console, "a"
#include "server/http/console/console.def"

    .section .note.GNU-stack, "", %progbits
