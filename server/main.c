/* SPDX-License-Identifier: Apache-2.0
 * The cairnd program. Exit codes: 0 = ended as requested (or --help, --version), 1 = could not start or
 * continue, 2 = a wrong flag. */
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "server/failpoint_http.h"
#include "server/server.h"
#include "server/waldump.h"

static void log_warnings(struct options *o)
{
    const char *at = buf_text(&o->set.warnings);
    while (*at) {
        size_t n = strcspn(at, "\n");
        log_warn("option", F_BYTES("warning", slice_of(at, n)));
        at += n + (at[n] == '\n');
    }
}

/* Large buffers (a batch, a copy of a big value) are returned to the kernel when they are freed. By
 * default glibc keeps later ones after the first was freed. Each worker has an arena of its own. In an
 * arena shared with the loop, the next allocation of the loop would sort or merge all that the worker has
 * freed: one hostile document is a tree of 500,000 blocks. */
static void tame_malloc(void)
{
    enum { ARENAS_MAX = 8 }; /* more than the threads that allocate much */
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    mallopt(M_TRIM_THRESHOLD, 512 << 10);
    mallopt(M_ARENA_MAX, ARENAS_MAX);
}

/* Opens closed standard descriptors. Otherwise a socket or a file of the store would get the number, and
 * printed text would go there; libuv rejects such descriptors. */
static void open_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

static int server_main_start(struct options *o)
{
    log_set_level(o->level);
    log_set_format(strcmp(o->log_format, "console") == 0 ? LOG_CONSOLE : LOG_JSON);
    if (log_open(o->log_outputs, (unsigned)o->log_rotate_mb, (unsigned)o->log_backups))
        return 1;
    log_warnings(o);
#ifdef FAILPOINTS
    if (failpoint_http_start())
        return 1;
#endif
    return server_run(o);
}

int main(int argc, char **argv)
{
    struct options o = {0};
    int code = 0;
    open_standard_files();
    tame_malloc();
    signal(SIGPIPE, SIG_IGN);
    hash_seed(random_u64());
    if (argc > 1 && strcmp(argv[1], "waldump") == 0)
        return waldump_main(argc - 1, argv + 1);
    switch (options_load(&o, argc, argv, environ)) {
    case OPTIONS_START:
        code = server_main_start(&o);
        break;
    case OPTIONS_PRINT:
        fwrite(o.output.data, 1, o.output.size, stdout);
        break;
    case OPTIONS_USAGE:
        fprintf(stderr, "%s\nSee cairnd --help.\n", o.error);
        code = 2;
        break;
    case OPTIONS_REFUSED:
        log_error("failed to verify flags", F_STR("error", o.error));
        code = 1;
        break;
    }
    options_done(&o);
    log_close();
    return code;
}
