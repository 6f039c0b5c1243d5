/* SPDX-License-Identifier: Apache-2.0
 * The options about other members, applied to the peer port and the start; see peering.h. */
#include "server/peering.h"

#include <stdio.h>

#include "base/mem.h"
#include "consensus/peer/peer_tcp.h"

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static void warn_of_plain(const struct options *o)
{
    bool has_tls = *o->peer_cert_file || o->peer_auto_tls || *o->peer_trusted_ca_file;
    for (size_t i = 0; i < o->listen_peer.count; i++) {
        const char *url = o->listen_peer.items[i];
        if (strncmp(url, "http:", 5) != 0)
            continue;
        if (has_tls)
            log_warn("scheme is http: peer certificates and --peer-auto-tls have no effect on this URL",
                     F_STR("peer-url", url));
        if (o->peer_client_cert_auth)
            log_warn("scheme is http: --peer-client-cert-auth has no effect on this URL",
                     F_STR("peer-url", url));
    }
}

static bool has_own_proof(const struct options *o)
{
    bool is_plain = !*o->peer_trusted_ca_file;
    for (size_t i = 0; i < o->listen_peer.count; i++)
        is_plain |= strncmp(o->listen_peer.items[i], "http:", 5) == 0;
    return *o->join_token_file || !is_plain;
}

void peering_warn_unproved(const struct options *o, bool has_users)
{
    if (has_own_proof(o))
        return;
    if (has_users)
        log_warn(
            "users are enabled, but the peer port asks for no password: members prove themselves by their "
            "address alone, and an attacker on their network can take the place of one. Give all members "
            "the same --join-token-file, or peer TLS with --peer-trusted-ca-file");
    else
        log_warn("the peer port has neither a join token nor TLS with a peer CA: members prove themselves by "
                 "their address alone. Give all members the same --join-token-file, or peer TLS with "
                 "--peer-trusted-ca-file");
}

void peering_reload(struct options *o, struct peers *peers)
{
    char error[768];
    if (!peers || !*o->join_token_file)
        return;
    if (options_read_join_tokens(o, error, sizeof error) != OK) {
        log_error("cannot read the join tokens again; the old ones stay valid", F_STR("error", error));
        return;
    }
    peer_tcp_set_tokens(peers, &o->join_tokens);
    log_info("read the join tokens", F_STR("join-token-file", o->join_token_file),
             F_UINT("tokens", o->join_tokens.count));
}

static char *fixtures(const struct options *o)
{
    struct buf b = {0};
    buf_addf(&b, "%s/fixtures/peer", o->dir);
    char *dir = mem_string(buf_text(&b));
    buf_done(&b);
    return dir;
}

int peering_open(const struct options *o, struct io *io, struct uv_loop_s *loop, struct output_budget *output,
                 char *error, size_t error_size, struct peers **ret_peers)
{
    bool is_auto = o->peer_auto_tls && !*o->peer_cert_file;
    char *auto_dir = is_auto ? fixtures(o) : NULL;
    struct peer_tcp_options options = {
        .io = io,
        .loop = loop,
        .listen_urls = (const char *const *)o->listen_peer.items,
        .listen_url_count = o->listen_peer.count,
        .advertise_urls = (const char *const *)o->advertise_peer.items,
        .advertise_url_count = o->advertise_peer.count,
        .tokens = &o->join_tokens,
        .requires_proof = o->require_peer_proof,
        .output = output,
        .heartbeat_ms = o->heartbeat_ms,
        .tls =
            {
                .cert_file = or_null(o->peer_cert_file),
                .key_file = or_null(o->peer_key_file),
                .client_cert_file = or_null(o->peer_client_cert_file),
                .client_key_file = or_null(o->peer_client_key_file),
                .ca_file = or_null(o->peer_trusted_ca_file),
                .crl_file = or_null(o->peer_crl_file),
                .client_cert_auth = o->peer_client_cert_auth,
                .allowed_cn = or_null(o->peer_cert_allowed_cn),
                .allowed_hostname = or_null(o->peer_cert_allowed_hostname),
                .skip_client_san = o->peer_skip_client_san,
                .cipher_suites = or_null(o->cipher_suites),
                .min_version = or_null(o->tls_min_version),
                .max_version = or_null(o->tls_max_version),
                .auto_dir = auto_dir,
                .auto_years = (unsigned)o->cert_validity_years,
            },
    };
    warn_of_plain(o);
    peering_warn_unproved(o, false);
    if (o->peer_auto_tls && *o->peer_cert_file)
        log_warn("ignoring peer auto TLS since certs given");
    int err = auto_dir ? io->ops->mkdir(io, auto_dir) : OK;
    if (err)
        snprintf(error, error_size, "cannot make the folder %.300s: %s", auto_dir, err_text(err));
    else
        err = peer_tcp_new(&options, error, error_size, ret_peers);
    mem_free(auto_dir);
    for (size_t i = 0; i < o->listen_peer.count && !err; i++)
        log_info("listening for peers", F_STR("url", o->listen_peer.items[i]));
    return err;
}

void peering_boot_options(const struct options *o, struct io *io, struct peers *peers,
                          struct boot_options *ret_options)
{
    *ret_options = (struct boot_options){
        .io = io,
        .peers = peers,
        .data_dir = o->dir,
        .wal_dir = or_null(o->wal_dir),
        .name = o->initial_name ? o->initial_name : o->name,
        .initial_cluster_token = o->initial_cluster_token,
        .initial_cluster = o->members,
        .initial_cluster_count = o->member_count,
        .peer_urls = (const char *const *)o->advertise_peer.items,
        .peer_url_count = o->advertise_peer.count,
        .is_existing = o->is_existing,
        .is_auto = o->is_auto,
        .requires_peer_proof = o->require_peer_proof,
        .auto_join = o->auto_join,
    };
}
