/* SPDX-License-Identifier: Apache-2.0
 * The daemon's options: read from flags, environment or a file by base/option.h, then checked as a whole with
 * etcd's rules. Texts that tools may compare are etcd's. options.def is the list. */
#ifndef SERVER_OPTIONS_H
#define SERVER_OPTIONS_H

#include "base/log.h"
#include "base/option.h"
#include "consensus/kv.h"

struct text_list {
    char **items;
    size_t count;
};

struct options {
#define STRING   char *
#define BOOL     bool
#define INT      int64_t
#define UINT     uint64_t
#define DURATION int64_t
#define GROUP(title)
#define OPT(field, kind, name, default_text, min, max, yaml, help) kind field;
#define ACCEPT(kind, name, default_text, yaml, help)
#define IGNORE(name)
#include "server/options.def"
#undef STRING
#undef BOOL
#undef INT
#undef UINT
#undef DURATION
#undef GROUP
#undef OPT
#undef ACCEPT
#undef IGNORE

    /* Derived from the fields by options_load. URLs are without duplicates, in etcd's order (sorted). */
    char *dir; /* data_dir or ${name}.etcd */
    struct text_list listen_client, listen_http, listen_metrics, listen_peer, advertise_client,
        advertise_peer;
    struct kv_member_option *members; /* initial-cluster, one per peer URL */
    size_t member_count;
    char *initial_name; /* this member's among `members`, if DNS gave it another than `name`; else NULL */
    bool is_existing, is_auto;  /* initial-cluster-state, by options_check_bootstrap */
    int64_t retention;          /* nanoseconds (periodic) or revisions */
    uint64_t compare_states_ms; /* 0 = never */
    char *own_hosts;            /* names of the client URLs, of --host-whitelist and --cors: http_options */
    enum log_level level;
    uint64_t log_rotate_mb, log_backups; /* 0 = no rotation */
    bool is_from_file;

    struct option_set set;
    struct buf output;                 /* of --help, --version */
    struct proof_tokens join_tokens;   /* of --join-token-file */
    struct seal_keys *encryption_keys; /* NULL = none */
    char error[768];                   /* one sentence */
};

enum options_next {
    OPTIONS_START,   /* continue */
    OPTIONS_PRINT,   /* print output, exit 0 */
    OPTIONS_USAGE,   /* print error, exit 2: a flag has an impossible value */
    OPTIONS_REFUSED, /* print error, exit 1 */
};

/* Zero the struct before; call options_done in every case. The name in argv[0] decides how --version
 * begins. */
enum options_next options_load(struct options *o, int argc, char **argv, char *const *environ_list);
void options_done(struct options *o);

/* Replaces --initial-cluster by what discovery has found; own_name is this member's there. advertised: the
 * advertised peer URLs from now on, NULL = as they are. ERR_INVALID with a sentence. */
MUST_CHECK int options_replace_cluster(struct options *o, const char *cluster, const char *own_name,
                                       const char *advertised, char *error, size_t error_size);
/* Reads --join-token-file again. ERR_INVALID with a sentence; then the tokens do not change. */
MUST_CHECK int options_read_join_tokens(struct options *o, char *error, size_t error_size);

/* Reads the keys that seal configurations, by the file or the command. ERR_INVALID with a sentence in
 * o->error. */
MUST_CHECK int options_read_encryption_keys(struct options *o);
void options_forget_encryption_keys(struct options *o);

/* Checks the options that only a member without data needs. The advertised peer URLs must be those of its own
 * name in the initial cluster. In the state 'auto' a name that is not there is added. ERR_INVALID with a
 * sentence in o->error. */
MUST_CHECK int options_check_bootstrap(struct options *o);

/* --- options_check.c, for options.c and tests --------------------------------------------------------- */
/* Checks all fields and fills the derived ones. */
enum options_next options_check(struct options *o);
bool text_list_has(const struct text_list *list, const char *text);

#endif
