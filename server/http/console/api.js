// SPDX-License-Identifier: Apache-2.0
// Client of the public API: requests, base64 of keys and values, the WebSocket stream. The user's token is kept in this tab
// (sessionStorage) and sent in headers and in `hello`, never in a URL.

const TOKEN = 'cairn.token';
const STREAM_WAIT_MS = [500, 1000, 2000, 4000];

export class ApiError extends Error {
  constructor(status, body, text) {
    const error = body?.error && typeof body.error === 'object' ? body.error : body ?? {};
    super(error.message || text || (status ? `the server answers ${status}` : 'the server does not answer'));
    this.status = status;
    this.code = error.code;
    this.line = error.line;
    this.column = error.column;
    this.current = error.current;
  }
}

// --- the user --------------------------------------------------------------------------------------------

export const identity = {
  get token() { return sessionStorage.getItem(TOKEN); },
  get user() { return sessionStorage.getItem(TOKEN + '.user'); },
  onNeeded: () => {},
  async signIn(name, password) {
    const r = await fetch('/v3/auth/authenticate', { method: 'POST', body: JSON.stringify({ name, password }) });
    const body = await r.json().catch(() => null);
    if (!r.ok) throw new ApiError(r.status, body);
    sessionStorage.setItem(TOKEN, body.token);
    sessionStorage.setItem(TOKEN + '.user', name);
    stream.restart();
  },
  signOut() {
    sessionStorage.removeItem(TOKEN);
    sessionStorage.removeItem(TOKEN + '.user');
    stream.restart();
  },
};

// etcd says 400 where a request without a token needs one.
const isUnknownUser = e => e.status === 401 || (e.status === 400 && /user name is empty|invalid auth token/.test(e.message));

// --- requests ---------------------------------------------------------------------------------------------

// Returns the response's JSON, or with as: 'text' | 'response' that. Throws an ApiError.
export async function ask(path, { method = 'GET', body, headers = {}, signal, as = 'json' } = {}) {
  if (identity.token) headers.authorization = identity.token;
  let r;
  try {
    r = await fetch(path, { method, body, headers, signal, cache: 'no-store' });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    throw new ApiError(0, null);
  }
  if (as === 'response' && (r.ok || r.status === 304)) return r;
  const text = await r.text();
  let parsed = null;
  if (as === 'json' || !r.ok) try { parsed = JSON.parse(text); } catch { /* an error as a line of text */ }
  if (!r.ok) {
    const error = new ApiError(r.status, parsed, text.slice(0, 300).trim());
    if (isUnknownUser(error)) identity.onNeeded(error);
    throw error;
  }
  return as === 'json' ? parsed : text;
}

// The server rejects a POST with a type that any page could send: text/plain (the default of fetch), or none.
export const send = (method, path, body) => {
  if (body === undefined || typeof body === 'string') return ask(path, { method, body });
  const isFile = body instanceof Blob;
  return ask(path, { method, headers: { 'content-type': isFile ? 'application/octet-stream' : 'application/json' }, body: isFile ? body : JSON.stringify(body) });
};
export const v3 = (path, body = {}, signal) => ask('/v3/' + path, { method: 'POST', body: JSON.stringify(body), signal });
export const isAbort = e => e?.name === 'AbortError';

// A path such as "/api/v1/services/{}/instances/{}" with its segments, and the parameters that are not empty.
export function url(pattern, segments = [], parameters = {}) {
  let i = 0;
  const path = '/api/v1/' + pattern.replace(/\{\}/g, () => encodeURIComponent(segments[i++]));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined && value !== null && value !== '') query.set(name, value);
  return query.size ? `${path}?${query}` : path;
}

// A long poll: on(body, null) whenever the result has changed; on(null, error), then a retry after a while.
export async function followUrl(make, on, signal) {
  let revision;
  while (!signal.aborted) {
    try {
      const r = await ask(make(revision === undefined ? {} : { wait_revision: revision, timeout: '25s' }), { signal, as: 'response' });
      if (r.status === 304) continue;
      const body = await r.json();
      revision = body.revision;
      on(body, null);
    } catch (e) {
      if (isAbort(e) || signal.aborted) return;
      revision = undefined;
      on(null, e);
      await new Promise(done => setTimeout(done, 2000));
    }
  }
}

// Downloads a file. A plain link could not send the token.
export async function download(path, name) {
  const r = await ask(path, { as: 'response' });
  const a = document.createElement('a');
  a.href = URL.createObjectURL(await r.blob());
  a.download = name;
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 60000);
}

// --- bytes ------------------------------------------------------------------------------------------------

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
export const toBytes = text => new TextEncoder().encode(text);
export const fromBase64 = text => Uint8Array.from(atob(text ?? ''), c => c.charCodeAt(0));
export function toBase64(data) {
  const bytes = typeof data === 'string' ? toBytes(data) : data;
  let text = '';
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}
// The bytes as text, or null if they are not UTF-8.
export function toText(bytes) {
  try { return strict.decode(bytes); } catch { return null; }
}
// The end of the range of all keys with this prefix, as etcd wants it ("\0": all that follow).
export function prefixEnd(bytes) {
  const end = bytes.slice();
  for (let n = end.length; n > 0; n--)
    if (end[n - 1] < 255) {
      end[n - 1]++;
      return end.slice(0, n);
    }
  return new Uint8Array([0]);
}

// --- the stream -------------------------------------------------------------------------------------------

// One WebSocket for all subscriptions of the pages. After a disconnection it subscribes again: level-triggered kinds begin with a
// snapshot, keys resume after the last revision that was received.
class Stream {
  subscriptions = new Map();
  state = 'closed';
  onState = () => {};
  #sid = 0;
  #tries = 0;
  #socket = null;
  #timer = 0;

  // on(frame) gets snapshot, delta, resync and error. Returns a function that ends the subscription.
  follow(what, on) {
    const sid = ++this.#sid;
    this.subscriptions.set(sid, { what, on });
    if (this.state === 'open') this.#subscribe(sid);
    else this.#open();
    return () => {
      this.subscriptions.delete(sid);
      if (this.state === 'open') this.#say({ type: 'unsubscribe', sid });
      setTimeout(() => this.subscriptions.size || this.#close(), 2000);
    };
  }

  // Items by id, level-triggered: on(items, changed) whenever a complete state has come.
  followItems(what, on) {
    let items = new Map();
    return this.follow(what, frame => {
      if (frame.type === 'error') return on(null, frame);
      if (frame.type === 'snapshot') {
        if (frame.part === 1) items = new Map();
        for (const item of frame.items) items.set(item.id, item);
        if (frame.last) on(items, null);
      } else if (frame.type === 'delta') {
        for (const id of frame.delete ?? []) items.delete(id);
        for (const item of frame.put ?? []) items.set(item.id, item);
        on(items, { put: (frame.put ?? []).map(i => i.id), delete: frame.delete ?? [], revision: frame.revision });
      }
    });
  }

  restart() {
    this.#close();
    if (this.subscriptions.size) this.#open();
  }

  #say(frame) { this.#socket.send(JSON.stringify(frame)); }
  #subscribe(sid) {
    const { what, seen } = this.subscriptions.get(sid);
    this.#say({ type: 'subscribe', sid, ...what, ...(seen ? { from_revision: seen + 1 } : {}) });
  }
  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.onState(state);
  }
  #close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const socket = this.#socket;
    this.#socket = null;
    this.#become('closed');
    socket?.close();
  }
  #open() {
    if (this.#socket || this.#timer) return;
    const socket = new WebSocket(location.origin.replace(/^http/, 'ws') + '/api/v1/stream', ['cairn.v1+json']);
    this.#socket = socket;
    this.#become('connecting');
    socket.onopen = () => socket === this.#socket && this.#say({ type: 'hello', client_id: 'console', ...(identity.token ? { token: identity.token } : {}) });
    socket.onmessage = e => socket === this.#socket && this.#take(JSON.parse(e.data));
    socket.onclose = () => {
      if (socket !== this.#socket) return;
      this.#socket = null;
      this.#become('connecting');
      this.#timer = setTimeout(() => {
        this.#timer = 0;
        if (this.subscriptions.size) this.#open();
      }, STREAM_WAIT_MS[Math.min(this.#tries++, STREAM_WAIT_MS.length - 1)]);
    };
  }
  #take(frame) {
    if (frame.type === 'welcome') {
      this.#tries = 0;
      this.#become('open');
      for (const sid of this.subscriptions.keys()) this.#subscribe(sid);
      return;
    }
    const s = this.subscriptions.get(frame.sid);
    if (frame.revision) this.#say({ type: 'ack', revision: frame.revision });
    if (!s || !['snapshot', 'delta', 'resync', 'error'].includes(frame.type)) return;
    if (s.what.kind === 'kv' && frame.type === 'delta') s.seen = frame.revision;
    if (s.what.kind === 'kv' && frame.type === 'snapshot' && frame.last) s.seen = frame.revision;
    s.on(frame);
  }
}
export const stream = new Stream();
