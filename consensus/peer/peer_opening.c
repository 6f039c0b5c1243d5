/* SPDX-License-Identifier: Apache-2.0
 * Openings of connections: hello, challenge and proof, of the dialer and of the dialed side.
 *
 *   dialer                                  dialed
 *   HELLO: ids, nonce, URLs            -->
 *                                      <--  CHALLENGE: nonce, MAC by the token (or zeros)
 *   PROOF: MAC by the token (or zeros) -->  no token shown: dial-back (peer_confirm.c)
 *                                      <--  HELLO_REPLY: welcome, or a reason
 *
 * A bootstrap query's MAC covers its text and is sent in front of it. What each proof allows is decided by
 * peer_proof.h. */
#include "consensus/peer/peer_impl.h"

#include <stdio.h>

static void fill_random(struct tcp_peers *p, uint8_t *bytes)
{
    for (size_t i = 0; i < PROOF_NONCE_SIZE; i += 8)
        put_le64(bytes + i, p->io->ops->random(p->io));
}

static struct opening *opening_new(struct conn *c, const struct wire_hello *hello)
{
    peer_opening_free(c->opening);
    struct opening *o = mem_new(sizeof *o);
    o->hello = *hello;
    buf_add_slice(&o->urls, hello->urls);
    o->hello.urls = buf_slice(&o->urls);
    c->opening = o;
    return o;
}

void peer_opening_free(struct opening *o)
{
    if (!o)
        return;
    buf_done(&o->urls);
    mem_free(o);
}

struct proof_opening peer_opening_proof(const struct conn *c, struct slice text)
{
    const struct opening *o = c->opening;
    const struct wire_hello *h = &o->hello;
    return (struct proof_opening){
        .version = h->version,
        .stream = h->stream,
        .cluster_id = h->cluster_id,
        .from = h->from,
        .to = h->to,
        .run = h->run,
        .number = h->number,
        .dialer_nonce = h->nonce,
        .dialed_nonce = o->dialed_nonce,
        .urls = buf_slice(&o->urls),
        .text = text,
    };
}

/* --- the dialer ---------------------------------------------------------------------------------------- */
void peer_opening_dial(struct conn *c, struct wire_hello *hello)
{
    struct tcp_peers *p = c->p;
    hello->version = WIRE_VERSION;
    hello->level = p->level;
    hello->run = p->run;
    hello->number = ++p->next_number;
    hello->urls = buf_slice(&p->urls);
    fill_random(p, hello->nonce);
    c->stage = WIRE_AWAIT_CHALLENGE;
    wire_add_hello(&c->out, &opening_new(c, hello)->hello);
    peer_conn_flush(c);
}

int peer_opening_take_challenge(struct conn *c, struct slice payload)
{
    struct tcp_peers *p = c->p;
    struct wire_challenge challenge;
    int err = wire_read_challenge(payload, &challenge);
    if (err || challenge.version != WIRE_VERSION)
        return ERR_MALFORMED;
    memcpy(c->opening->dialed_nonce, challenge.nonce, PROOF_NONCE_SIZE);
    c->opening->is_challenged = true;
    struct proof_opening o = peer_opening_proof(c, (struct slice){0});
    if (c->tls && p->ca_proves)
        c->opening->proof = PEER_PROOF_CERTIFICATE;
    else if (proof_tokens_match(&p->tokens, PROOF_DIALED, &o, challenge.mac))
        c->opening->proof = PEER_PROOF_TOKEN;
    return p->requires_proof && c->opening->proof < PEER_PROOF_TOKEN ? ERR_PERMISSION_DENIED : OK;
}

void peer_opening_add_proof(struct conn *c)
{
    uint8_t mac[PROOF_MAC_SIZE];
    struct proof_opening o = peer_opening_proof(c, (struct slice){0});
    proof_tokens_mac(&c->p->tokens, PROOF_DIALER, &o, mac);
    wire_add_frame(&c->out, WIRE_PROOF, slice_of(mac, sizeof mac), (struct slice){0});
    peer_conn_flush(c);
}

/* --- the dialed side ----------------------------------------------------------------------------------- */
void peer_opening_accept(struct conn *c, const struct wire_hello *hello)
{
    struct wire_challenge challenge = {.version = WIRE_VERSION};
    struct opening *o = opening_new(c, hello);
    if (hello->version != WIRE_VERSION)
        return; /* it would not understand */
    fill_random(c->p, o->dialed_nonce);
    o->is_challenged = true;
    memcpy(challenge.nonce, o->dialed_nonce, PROOF_NONCE_SIZE);
    struct proof_opening proof = peer_opening_proof(c, (struct slice){0});
    proof_tokens_mac(&c->p->tokens, PROOF_DIALED, &proof, challenge.mac);
    wire_add_challenge(&c->out, &challenge);
}

bool peer_opening_is_certified(const struct conn *c, bool for_all)
{
    char text[WIRE_URLS_MAX + 1];
    struct url parsed;
    unsigned count = 0, certified = 0;
    struct slice urls = buf_slice(&c->opening->urls);
    snprintf(text, sizeof text, "%.*s", (int)urls.size, urls.size ? (const char *)urls.data : "");
    char *rest = text;
    for (char *url; (url = strsep(&rest, ",")) != NULL; count++)
        certified += url_parse(slice_text(url), &parsed) == OK && tls_peer_is(c->tls, parsed.host);
    return for_all ? certified == count : certified > 0;
}

enum peer_proof peer_opening_shown(struct conn *c, const uint8_t mac[PROOF_MAC_SIZE], struct slice text)
{
    struct proof_opening o = peer_opening_proof(c, text);
    if (c->tls && c->p->ca_proves)
        return PEER_PROOF_CERTIFICATE;
    return proof_tokens_match(&c->p->tokens, PROOF_DIALER, &o, mac) ? PEER_PROOF_TOKEN : PEER_PROOF_NONE;
}
