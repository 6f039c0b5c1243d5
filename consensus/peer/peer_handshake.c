/* SPDX-License-Identifier: Apache-2.0
 * Handshake of a connection between members: hello, challenge and proof, of the dialer and of the dialed
 * side.
 *
 *  dialer                                               listener
 *  ------                                               --------
 *  1. HELLO: ids, stream, run, number, nonce, URLs -->  2. checks the ids (peer_listen.c); may refuse here
 *                                                  <--  3. CHALLENGE: its nonce, MAC(token) or zeros
 *  4. checks the listener's proof, if it requires one
 *  5. PROOF: MAC(token) or zeros                   -->  6. checks the proof: certificate, token, or none
 *                                                       7. none: dial-back (peer_confirm.c)
 *                                                  <--  8. HELLO_REPLY: welcome, or the reason of a refusal
 *  9. the stream is UP: MESSAGE, PING              -->
 *                                                  <--  PONG
 *
 * A bootstrap query has a QUERY instead of step 5 and an ANSWER instead of step 8. Its MAC covers its text
 * and is sent in front of it. peer_proof.h decides what each proof allows. */
#include "consensus/peer/peer_impl.h"

#include <stdio.h>

static void fill_random(struct tcp_peers *p, uint8_t *bytes)
{
    for (size_t i = 0; i < PROOF_NONCE_SIZE; i += 8)
        put_le64(bytes + i, p->io->ops->random(p->io));
}

static struct handshake *handshake_new(struct conn *c, const struct wire_hello *hello)
{
    peer_handshake_free(c->handshake);
    struct handshake *o = mem_new(sizeof *o);
    o->hello = *hello;
    buf_add_slice(&o->urls, hello->urls);
    o->hello.urls = buf_slice(&o->urls);
    c->handshake = o;
    return o;
}

void peer_handshake_free(struct handshake *o)
{
    if (!o)
        return;
    buf_done(&o->urls);
    mem_free(o);
}

struct proof_handshake peer_handshake_input(const struct conn *c, struct slice text)
{
    const struct handshake *o = c->handshake;
    const struct wire_hello *h = &o->hello;
    return (struct proof_handshake){
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
void peer_handshake_dial(struct conn *c, struct wire_hello *hello)
{
    struct tcp_peers *p = c->p;
    hello->version = WIRE_VERSION;
    hello->level = p->level;
    hello->run = p->run;
    hello->number = ++p->next_number;
    hello->urls = buf_slice(&p->urls);
    fill_random(p, hello->nonce);
    c->stage = WIRE_AWAIT_CHALLENGE;
    wire_add_hello(&c->out, &handshake_new(c, hello)->hello);
    peer_conn_flush(c);
}

int peer_handshake_read_challenge(struct conn *c, struct slice payload)
{
    struct tcp_peers *p = c->p;
    struct wire_challenge challenge;
    int err = wire_read_challenge(payload, &challenge);
    if (err || challenge.version != WIRE_VERSION)
        return ERR_MALFORMED;
    memcpy(c->handshake->dialed_nonce, challenge.nonce, PROOF_NONCE_SIZE);
    c->handshake->is_challenged = true;
    struct proof_handshake o = peer_handshake_input(c, (struct slice){0});
    if (c->tls && p->ca_proves)
        c->handshake->proof = PEER_PROOF_CERTIFICATE;
    else if (proof_tokens_match(&p->tokens, PROOF_DIALED, &o, challenge.mac))
        c->handshake->proof = PEER_PROOF_TOKEN;
    return p->requires_proof && c->handshake->proof < PEER_PROOF_TOKEN ? ERR_PERMISSION_DENIED : OK;
}

void peer_handshake_add_proof(struct conn *c)
{
    uint8_t mac[PROOF_MAC_SIZE];
    struct proof_handshake o = peer_handshake_input(c, (struct slice){0});
    proof_tokens_mac(&c->p->tokens, PROOF_DIALER, &o, mac);
    wire_add_frame(&c->out, WIRE_PROOF, slice_of(mac, sizeof mac), (struct slice){0});
    peer_conn_flush(c);
}

/* --- the dialed side ----------------------------------------------------------------------------------- */
void peer_handshake_accept(struct conn *c, const struct wire_hello *hello)
{
    struct wire_challenge challenge = {.version = WIRE_VERSION};
    struct handshake *o = handshake_new(c, hello);
    if (hello->version != WIRE_VERSION)
        return; /* it would not understand the challenge */
    fill_random(c->p, o->dialed_nonce);
    o->is_challenged = true;
    memcpy(challenge.nonce, o->dialed_nonce, PROOF_NONCE_SIZE);
    struct proof_handshake proof = peer_handshake_input(c, (struct slice){0});
    proof_tokens_mac(&c->p->tokens, PROOF_DIALED, &proof, challenge.mac);
    wire_add_challenge(&c->out, &challenge);
}

bool peer_handshake_is_certified(const struct conn *c, bool for_all)
{
    char text[WIRE_URLS_MAX + 1];
    unsigned count = 0, certified = 0;
    struct slice urls = buf_slice(&c->handshake->urls);
    snprintf(text, sizeof text, "%.*s", (int)urls.size, urls.size ? (const char *)urls.data : "");
    char *rest = text;
    for (char *url; (url = strsep(&rest, ",")) != NULL; count++)
        certified += peer_is_certified_for(c, url);
    return for_all ? certified == count : certified > 0;
}

enum peer_proof peer_handshake_check_proof(struct conn *c, const uint8_t mac[PROOF_MAC_SIZE],
                                           struct slice text)
{
    struct proof_handshake o = peer_handshake_input(c, text);
    if (c->tls && c->p->ca_proves)
        return PEER_PROOF_CERTIFICATE;
    return proof_tokens_match(&c->p->tokens, PROOF_DIALER, &o, mac) ? PEER_PROOF_TOKEN : PEER_PROOF_NONE;
}
