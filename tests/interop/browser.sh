#!/usr/bin/env bash
# browser.sh CHROMIUM PORT PAGE_PORT: a page from PAGE_PORT follows the stream of the server on PORT in headless chromium, by WebSocket
# and by EventSource, and asks its own server for /said?what-it-saw, in whose log it is read. The server must have
# --cors=http://127.0.0.1:PAGE_PORT. A page from another port must be refused.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../shell/environment.sh"
chromium=$1 port=$2 page_port=$3
work=$(mktemp -d)
server=""
browser=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; [ -z "$browser" ] || kill -KILL -- "-$browser" 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/page.html" <<P
<!doctype html><script>
const seen = [];
let has_said = false;
const say = () => { if (!has_said) fetch('/said?' + encodeURIComponent(seen.sort().join(' '))); has_said = true; };
const finish = () => { if (seen.length === (seen.some(s => s.endsWith('refused')) ? 2 : 3)) say(); };
setTimeout(say, 90000); // what it has until then
const base = '127.0.0.1:$port/api/v1/stream';
const ws = new WebSocket('ws://' + base, ['cairn.v1+json']);
ws.onopen = () => {
  ws.send(JSON.stringify({ type: 'hello', client_id: 'page', token: 'of the page' }));
  ws.send(JSON.stringify({ type: 'subscribe', sid: 1, kind: 'service', name: 'orders' }));
  ws.send(JSON.stringify({ type: 'subscribe', sid: 2, kind: 'config', name: 'page.json' }));
};
ws.onerror = () => { seen.push('ws:refused'); finish(); };
ws.onmessage = e => {
  const frame = JSON.parse(e.data);
  if (frame.type !== 'snapshot') return;
  if (frame.sid === 2) { seen.push('config:' + JSON.parse(frame.items[0].content).title); finish(); return; }
  seen.push('ws:' + ws.protocol + ':' + (ws.extensions.includes('permessage-deflate') ? 'deflate' : 'plain') + ':' + frame.items.map(i => i.id));
  finish();
};
const es = new EventSource('http://' + base + '?kind=service&name=orders');
es.addEventListener('snapshot', e => { seen.push('es:' + JSON.parse(e.data).items.map(i => i.id)); finish(); es.close(); });
es.onerror = () => { seen.push('es:refused'); finish(); es.close(); };
</script>
P
serve() { # PORT
    (cd "$work" && exec python3 -u -m http.server --bind 127.0.0.1 "$1" >/dev/null 2>"$work/server.log") &
    server=$!
    for _ in $(seq 600); do curl -sf -o /dev/null "http://127.0.0.1:$1/page.html" && return; sleep 0.1; done
}
said() {
    sed -n 's|.*"GET /said?\([^ ]*\) HTTP.*|\1|p' "$work/server.log" | head -1 | python3 -c 'import sys, urllib.parse; print(urllib.parse.unquote(sys.stdin.read().strip()))'
}
look() { # PORT: what the page says
    setsid "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run \
        --user-data-dir="$work/profile$1" --remote-debugging-port=0 "http://127.0.0.1:$1/page.html" >/dev/null 2>"$work/chromium.log" &
    browser=$!
    for _ in $(seq 1200); do grep -q 'GET /said' "$work/server.log" && break; sleep 0.1; done
    kill -KILL -- "-$browser"
    wait "$browser" 2>/dev/null || true
    browser=""
    said
}
expect() { # WHAT WANTED GOT
    [ "$2" = "$3" ] || { printf '%s\n  wanted: %s\n  got:    %s\n' "$1" "$2" "$3"; tail -3 "$work/chromium.log"; exit 1; }
}
curl -sf -o /dev/null "http://127.0.0.1:$port/v3/kv/put" -d "{\"key\":\"$(printf /cairn/registry/instances/default/default/orders/o1 | base64 -w0)\",
    \"value\":\"$(printf '{"host":"10.0.0.5","port":8080}' | base64 -w0)\"}"
curl -sf -o /dev/null -X PUT --data-binary '{"title":"hello"}' "http://127.0.0.1:$port/api/v1/configs/page.json"
serve "$page_port"
expect "the page that --cors names" "config:hello es:o1 ws:cairn.v1+json:deflate:o1" "$(look "$page_port")"
kill "$server"
serve $((page_port + 1))
expect "a page that it does not name" "es:refused ws:refused" "$(look $((page_port + 1)))"
echo "$("$chromium" --version 2>/dev/null | head -1): WebSocket with permessage-deflate, EventSource, Origin"
