/* SPDX-License-Identifier: Apache-2.0
 * The command line of `cairnd waldump`. consensus/tools/waldump.h does the work. */
#ifndef SERVER_WALDUMP_H
#define SERVER_WALDUMP_H

/* argv[0] is "waldump". Returns the exit code: 0, 1 (damage, no log, no space), 2 (wrong arguments). */
int waldump_main(int argc, char **argv);

#endif
