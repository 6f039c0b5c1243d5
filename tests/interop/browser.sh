#!/usr/bin/env bash
# browser.sh CHROMIUM PORT PAGE_PORT: a page from PAGE_PORT follows the stream of the server on PORT in headless chromium, by WebSocket
# and by EventSource, and says in its title what it saw. The server must have --cors=http://127.0.0.1:PAGE_PORT. A page from
# another port must be refused.
set -euo pipefail
chromium=$1 port=$2 page_port=$3
work=$(mktemp -d)
server=""
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$work"' EXIT
cat >"$work/page.html" <<P
<!doctype html><title>wait</title><pre id=out>wait</pre><script>
const say = text => { document.getElementById('out').textContent = text; };
const seen = [];
const base = '127.0.0.1:$port/api/v1/stream';
const finish = () => say(seen.sort().join(' '));
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
    (cd "$work" && exec python3 -m http.server --bind 127.0.0.1 "$1" >/dev/null 2>&1) &
    server=$!
    for _ in $(seq 600); do curl -sf -o /dev/null "http://127.0.0.1:$1/page.html" && return; sleep 0.1; done
}
look() { # PORT: what the page says after some seconds
    timeout 300 "$chromium" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$work/profile$1" \
        --virtual-time-budget=15000 --dump-dom "http://127.0.0.1:$1/page.html" 2>"$work/chromium.log" |
        sed -n 's/.*<pre id="out">\([^<]*\)<.*/\1/p'
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
