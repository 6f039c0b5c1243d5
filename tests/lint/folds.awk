# SPDX-License-Identifier: Apache-2.0
# Finds `c ? p->x + k : k` in C sources, and its equals: k first, | and ^, `c ? p->x - 1 : -1`, and `1 + (c ? p->x : 0)` with a
# constant. gcc 14.2 (Debian 13) makes a multiplication of them and reads p->x whatever c is, when c is a truth value
# (tests/compiler/README.md). This script does not know types: it reports every such expression that reads through a
# pointer, calls or divides; write it as an if.
function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }
function may_trap(s) { return s ~ /->|\[|\(|[\/%]|(^|[-+|^(=?:,] *)\*[a-z_(]/ }
# The end of an operand that begins at i: the position of the first of the stop characters outside of parentheses.
function stop_at(s, i, stops,   depth, nested, c) {
    depth = nested = 0
    for (; i <= length(s); i++) {
        c = substr(s, i, 1)
        if (c ~ /[(\[{]/)
            depth++
        else if (c ~ /[)\]}]/) {
            if (depth-- == 0)
                return i
        } else if (depth == 0) {
            if (c == "?")
                nested++
            else if (c == ":" && nested)
                nested--
            else if (index(stops, c))
                return i
        }
    }
    return i
}
# Whether a is b with something added, or'ed or xor'ed to it.
function is_with(a, b,   n, tail, head) {
    n = length(b)
    head = substr(a, 1, n); tail = substr(a, length(a) - n + 1)
    if (head == b && substr(a, n + 1) ~ /^ [+|^] / && may_trap(substr(a, n + 4)))
        return 1
    if (tail == b && substr(a, 1, length(a) - n) ~ / [+|^] $/ && may_trap(substr(a, 1, length(a) - n - 3)))
        return 1
    head = substr(a, 1, length(a) - n - 2)
    return b ~ /^-/ && a == head " - " substr(b, 2) && may_trap(head)
}
function judge(s, line,   i, colon, end, a, b, c, swap, before, after, constant) {
    constant = "([0-9][0-9A-Za-z]*|[A-Z][A-Z0-9_]+|sizeof[^?]*)"
    for (i = 1; i <= length(s); i++) {
        if (substr(s, i, 1) != "?")
            continue
        colon = stop_at(s, i + 1, ":,;")
        if (substr(s, colon, 1) != ":")
            continue
        end = stop_at(s, colon + 1, ":,;?")
        a = trim(substr(s, i + 1, colon - i - 1)); b = trim(substr(s, colon + 1, end - colon - 1))
        before = opening(s, i); after = substr(s, end + 1)
        if (!may_be_truth(c = condition(s, i)))
            continue
        if (c ~ / == (0|false)$| != (1|true)$/) {
            swap = a; a = b; b = swap
        }
        if ((b != "" && is_with(a, b)) ||
            (b == "0" && may_trap(a) && substr(s, end, 1) == ")" &&
             (before ~ ("(^|[-(=,?:+ ])" constant " [+|^] $") || after ~ ("^ [-+|^] " constant "( [^*/%]|[);,:]|$)")))) {
            printf "%s:%d: gcc 14.2 reads \"%s\" whatever the condition is: write an if\n", FILENAME, line, a
            found = 1
        }
    }
}
# The condition before a ? at i.
function condition(s, i,   depth, j, c) {
    depth = 0
    for (j = i - 1; j >= 1; j--) {
        c = substr(s, j, 1)
        if (c ~ /[)\]}]/)
            depth++
        else if (c ~ /[(\[{]/) {
            if (depth-- == 0)
                break
        } else if (depth == 0 && (c ~ /[,?:;]/ || (c == "=" && substr(s, j - 1, 3) !~ /^[=!<>]=|==$/)))
            break
    }
    c = trim(substr(s, j + 1, i - j - 1))
    sub(/^return /, "", c)
    return c
}
# Whether gcc may know that a condition is 0 or 1: none that compares, but with 0 or 1; ! turns the fold off.
function may_be_truth(c) {
    gsub(/->/, ".", c)
    gsub(/ [!=]= (0|1|true|false)$/, "", c)
    return c !~ /[<>=]|&&|\|\||^!/
}
# The text before the parenthesis that holds a condition's ?.
function opening(s, i,   depth, c) {
    depth = 0
    for (i--; i >= 1; i--) {
        c = substr(s, i, 1)
        if (c == ")")
            depth++
        else if (c == "(" && depth-- == 0)
            return substr(s, 1, i - 1)
    }
    return ""
}
FNR == 1 { statement = ""; in_comment = 0 }
{
    line = $0
    gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
    gsub(/'([^'\\]|\\.)+'/, "0", line)
    gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
    if (in_comment) {
        if (!sub(/^.*\*\//, "", line))
            next
        in_comment = 0
    }
    if (sub(/\/\*.*$/, "", line))
        in_comment = 1
    sub(/\/\/.*$/, "", line)
    if (statement == "") {
        first = FNR
        sub(/^[ \t]+/, "", line)
    } else
        sub(/^[ \t]+/, " ", line)
    statement = statement line
    if (line ~ /[;{}][ \t\\]*$/ || line ~ /^ ?#.*[^\\]$/ || length(statement) > 4000) {
        if (index(statement, "?"))
            judge(statement, first)
        statement = ""
    }
}
END { exit found }
