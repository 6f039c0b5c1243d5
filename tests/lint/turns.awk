# SPDX-License-Identifier: Apache-2.0
# Finds callbacks of the event loop that do not name their work (base/turn.h): their time would
# count as that of the callback before. Begin and end of a function are a brace in the first column.
# Callbacks of closed handles and of idle handles are left out: libuv calls the former after the
# check handle, which names what follows "unnamed", and the latter do nothing here.
FNR == 1 { name = "" }
/^(static )?void [a-z_0-9]+\(uv_(poll|stream|timer|write|shutdown|connect|getaddrinfo|prepare|check|signal)_t \*/ {
    name = $0
    sub(/\(.*/, "", name)
    sub(/.* /, "", name)
    line = FNR
    is_named = 0
}
/;$/ && /^(static )?void / { name = "" }
name && /turn_enter\(/ { is_named = 1 }
name && /^}/ {
    if (!is_named) {
        printf "%s:%d: %s does not name its work: turn_enter (base/turn.h)\n", FILENAME, line, name
        bad = 1
    }
    name = ""
}
END { exit bad }
