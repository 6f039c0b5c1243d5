/* SPDX-License-Identifier: Apache-2.0
 * `cairnd waldump`: the words of its command line. What it does is consensus/tools/waldump.h. */
#ifndef SERVER_WALDUMP_H
#define SERVER_WALDUMP_H

/* argv[0] is "waldump". The exit code: 0, 1 (damage, no log, no space), 2 (wrong words). */
int waldump_main(int argc, char **argv);

#endif
