#!/usr/bin/env bash
# old.sh: builds the oldest supported version, once, and prints the path of its cairnd; prints its version on
# stderr if it is not the one of tests/upgrade/oldest.
#
#   OLD=/path/to/cairnd   that program; OLD=REF: that tag or commit. Else the commit that tests/upgrade/oldest names; when git
#                         does not have it (squashed, or a shallow clone), the oldest commit of the first-parent history, from
#                         the parent of the one that brought the file oldest on, that speaks the peer protocol of this tree.
#
# Exit 77, with one line on stderr, when there is nothing to build it from: no git, or no such commit.
cd "$(dirname "$0")/../.." || exit 1
. tests/shell/environment.sh
oldest=tests/upgrade/oldest
wire=consensus/peer/peer_wire.h
peer_protocol() { sed -n 's/^ *WIRE_VERSION = \([0-9]*\),.*/\1/p'; }
skip() {
    echo "skip: $*" >&2
    exit 77
}
# On the first-parent history: a branch that was merged or squashed counts as one commit. HEAD itself is older than a tree with
# changes that are not committed. A history that begins with this file (a shallow clone) is taken as it is.
commits_that_talk() { # newest first
    local ours commit came first
    ours=$(peer_protocol <$wire)
    came=$(git log --first-parent --diff-filter=A --format=%H -- $oldest | tail -1)
    first=$(git rev-parse -q --verify "$came^1^{commit}")
    git diff-index --quiet HEAD -- || git rev-parse HEAD
    git rev-list --first-parent HEAD | tail -n +2 | while read -r commit; do
        [ "$(git show "$commit:$wire" 2>/dev/null | peer_protocol)" = "$ours" ] || break
        echo "$commit"
        [ "$commit" != "$first" ] || break
    done
}
if [ -n "${OLD:-}" ] && [ -x "$OLD" ] && [ ! -d "$OLD" ]; then
    realpath "$OLD"
    exit
fi
top=$(git rev-parse --show-toplevel 2>/dev/null)
[ -n "$top" ] && [ "$(realpath "$top")" = "$PWD" ] || skip "this is no git checkout, and OLD=/path/to/cairnd is not given"
named=${OLD:-$(grep -v '^#' $oldest | head -1)}
commit=$(git rev-parse -q --verify "$named^{commit}")
if [ -z "$commit" ] && [ -n "${OLD:-}" ]; then
    echo "git has no commit $OLD, and there is no program of that name" >&2
    exit 1
fi
if [ -z "$commit" ]; then
    commit=$(commits_that_talk | tail -1)
    [ -n "$commit" ] || skip "git has no commit $named, and no earlier one that speaks this tree's peer protocol (a shallow clone? git fetch --unshallow)"
    echo "git has no commit $named; the old build is $(git log -1 --format='%h of %cs (%s)' "$commit")" >&2
fi
at=build/upgrade/old-${commit:0:12}
if [ ! -x "$at/bin/cairnd" ]; then
    rm -rf "$at" && mkdir -p "$at"
    git archive "$commit" | tar -x -C "$at" || exit 1
    # Its own Makefile decides how it is built; ours must not reach into it.
    (cd "$at" && env -u MAKEFLAGS -u MAKELEVEL -u BUILD -u BIN make -j"${JOBS:-2}" bin/cairnd) >"$at.log" 2>&1 || {
        tail -5 "$at.log" >&2
        rm -rf "$at"
        exit 1
    }
    find "$at/build" -name '*.o' -delete
fi
realpath "$at/bin/cairnd"
