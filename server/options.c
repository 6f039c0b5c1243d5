/* SPDX-License-Identifier: Apache-2.0
 * Sources of options: flags, then environment, or a file alone. options_check.c checks the values. */
#include "server/options.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/version.h"

enum { CONFIG_FILE_BYTES_MAX = 1 << 20 };

static const struct option table[] = {
#define STRING       OPTION_STRING
#define BOOL         OPTION_BOOL
#define INT          OPTION_INT
#define UINT         OPTION_UINT
#define DURATION     OPTION_DURATION
#define GROUP(title) {.help = "# " title},
#define OPT(field, its_kind, its_name, text, low, high, its_yaml, its_help)                                  \
    {                                                                                                        \
        .name = its_name,                                                                                    \
        .kind = its_kind,                                                                                    \
        .effect = OPTION_WORKS,                                                                              \
        .offset = offsetof(struct options, field),                                                           \
        .default_text = text,                                                                                \
        .min = low,                                                                                          \
        .max = high,                                                                                         \
        .yaml = its_yaml,                                                                                    \
        .help = its_help,                                                                                    \
    },
#define ACCEPT(its_kind, its_name, text, its_yaml, its_help)                                                 \
    {                                                                                                        \
        .name = its_name,                                                                                    \
        .kind = its_kind,                                                                                    \
        .effect = OPTION_ACCEPTED,                                                                           \
        .default_text = text,                                                                                \
        .yaml = its_yaml,                                                                                    \
        .help = its_help,                                                                                    \
    },
#define IGNORE(its_name) {.name = its_name, .kind = OPTION_BOOL, .effect = OPTION_IGNORED},
#include "server/options.def"
};

static const char usage[] =
    "Usage:\n"
    "\n"
    "  cairnd [flags]\n"
    "    Start a server.\n"
    "\n"
    "  cairnd --version\n"
    "    Show the version.\n"
    "\n"
    "  cairnd -h | --help\n"
    "    Show the help information.\n"
    "\n"
    "  cairnd --config-file\n"
    "    Path to the server configuration file. Note that if a configuration file is provided, "
    "other command line flags and environment variables will be ignored.\n"
    "\n"
    "  cairnd waldump --help\n"
    "    Show what a write-ahead log holds.\n";

static __attribute__((format(printf, 2, 3))) enum options_next refuse(struct options *o, const char *format,
                                                                      ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(o->error, sizeof o->error, format, args);
    va_end(args);
    return OPTIONS_REFUSED;
}

/* The four lines of etcd, which its tests and tools read. Under the name etcd nothing precedes them. */
void options_version(const char *program, struct buf *out)
{
    const char *slash = strrchr(program, '/');
    if (strcmp(slash ? slash + 1 : program, "etcd") != 0)
        buf_add_text(out, "cairnd Version: " CAIRN_VERSION "\n");
    struct utsname os;
    const char *machine = uname(&os) == 0 ? os.machine : "unknown";
    if (strcmp(machine, "x86_64") == 0)
        machine = "amd64";
    else if (strcmp(machine, "aarch64") == 0)
        machine = "arm64";
    buf_add_text(out, "etcd Version: " ETCD_VERSION "\n"
                      "Git SHA: cairnd-" CAIRN_VERSION "\n"
                      "Go Version: none (C17)\n");
    buf_addf(out, "Go OS/Arch: linux/%s\n", machine);
}

static bool is_help(const char *word)
{
    return strcmp(word, "-h") == 0 || strcmp(word, "--h") == 0 || strcmp(word, "-help") == 0 ||
           strcmp(word, "--help") == 0;
}

/* ETCD_VERSION is not the option --version (etcd unsets it); the other one belongs to etcd's build. */
static bool is_special(const char *entry)
{
    return strncmp(entry, "ETCD_VERSION=", 13) == 0 || strncmp(entry, "ETCD_UNSUPPORTED_ARCH=", 22) == 0;
}

static enum options_next load_env(struct options *o, char *const *environ_list)
{
    size_t count = 0, kept = 0;
    while (environ_list[count])
        count++;
    char **list = mem_new((count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        if (!is_special(environ_list[i]))
            list[kept++] = environ_list[i];
        else if (environ_list[i][5] == 'V')
            buf_add_text(&o->set.warnings, "cannot set special environment variable ETCD_VERSION\n");
    }
    int err = option_parse_env(&o->set, o, list);
    mem_free(list);
    return err ? refuse(o, "%s", o->set.error) : OPTIONS_START;
}

static int options_read_all(int fd, struct buf *text)
{
    while (text->size <= CONFIG_FILE_BYTES_MAX) {
        ssize_t n = read(fd, buf_reserve(text, 65536), 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? errno : 0;
        text->size += (size_t)n;
    }
    return EFBIG;
}

static enum options_next load_file(struct options *o, const char *path)
{
    enum options_next next = OPTIONS_START;
    struct buf text = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? errno : options_read_all(fd, &text);
    if (fd >= 0)
        close(fd);
    if (error) {
        next = refuse(o, "cannot read the configuration file %.300s: %s", path, strerror(error));
    } else {
        option_init(&o->set, o); /* drops the values of flags and environment */
        o->is_from_file = true;
        if (option_parse_yaml(&o->set, o, buf_slice(&text), path))
            next = refuse(o, "%s", o->set.error);
    }
    buf_done(&text);
    return next;
}

enum options_next options_load(struct options *o, int argc, char **argv, char *const *environ_list)
{
    o->set = (struct option_set){
        .options = table, .count = sizeof table / sizeof *table, .env_prefix = "ETCD_", .program = "cairnd"};
    option_init(&o->set, o);
    if (argc > 1 && (strcmp(argv[1], "gateway") == 0 || strcmp(argv[1], "grpc-proxy") == 0))
        return refuse(o, "\"%s\" of etcd is not part of cairnd: use etcd's own binary for it", argv[1]);
    for (int i = 1; i < argc; i++) {
        if (is_help(argv[i])) {
            buf_add_text(&o->output, usage);
            option_print_help(&o->set, &o->output);
            return OPTIONS_PRINT;
        }
    }
    if (option_parse_args(&o->set, o, argc, argv)) {
        bool is_positional = o->set.error[0] == '"';
        (void)refuse(o, "%s", o->set.error);
        return is_positional ? OPTIONS_REFUSED : OPTIONS_USAGE;
    }
    if (o->version) {
        options_version(argv[0], &o->output);
        return OPTIONS_PRINT;
    }
    const char *path = o->config_file;
    for (size_t i = 0; !*path && environ_list[i]; i++)
        if (strncmp(environ_list[i], "ETCD_CONFIG_FILE=", 17) == 0)
            path = environ_list[i] + 17;
    char *file = mem_string(path);
    enum options_next next = *file ? load_file(o, file) : load_env(o, environ_list);
    mem_free(file);
    return next == OPTIONS_START ? options_check(o) : next;
}

static void list_done(struct text_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->items[i]);
    mem_free(list->items);
}

void options_done(struct options *o)
{
    list_done(&o->listen_client);
    list_done(&o->listen_http);
    list_done(&o->listen_metrics);
    list_done(&o->listen_peer);
    list_done(&o->advertise_client);
    list_done(&o->advertise_peer);
    for (size_t i = 0; i < o->member_count; i++) {
        mem_free(o->members[i].name);
        mem_free(o->members[i].peer_url);
    }
    mem_free(o->members);
    mem_free(o->initial_name);
    mem_free(o->dir);
    mem_free(o->own_hosts);
    proof_tokens_free(&o->join_tokens);
    options_forget_encryption_keys(o);
    option_done(&o->set, o);
    buf_done(&o->output);
    *o = (struct options){0};
}
