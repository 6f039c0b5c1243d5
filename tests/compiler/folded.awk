# SPDX-License-Identifier: Apache-2.0
# Reads gcc's -fdump-tree-original-raw and prints each multiplication by a truth value whose other factor is not a plain
# variable or constant: "FUNCTION (FILE:LINE): ...". An affected gcc makes these of `flag ? p->x + 1 : 1`, and then reads
# p->x whatever the flag is. `count * is_on` written by hand, with a plain variable, is not reported.
function code(n) { return kind[n] }
function through(n) { # past conversions
    while (n in kind && kind[n] ~ /^(nop_expr|convert_expr|non_lvalue_expr)$/ && op0[n] != "") {
        if (kind[type[n]] == "boolean_type")
            return n
        n = op0[n]
    }
    return n
}
function is_truth(n) {
    n = through(n)
    if (kind[type[n]] == "boolean_type" || kind[n] ~ /^(truth_|eq_expr|ne_expr|lt_expr|gt_expr|le_expr|ge_expr)/)
        return 1
    if (kind[n] ~ /^bit_(and|ior|xor)_expr$/ && is_truth(op0[n]) && is_truth(op1[n]))
        return 1
    if (kind[n] == "bit_and_expr" && (value[op0[n]] == 1 || value[op1[n]] == 1))
        return 1
    return prec[type[n]] == 1
}
function is_plain(n) {
    n = through(n)
    return kind[n] ~ /_cst$|^(var_decl|parm_decl|result_decl|save_expr|real_cst|sizeof_expr)$/
}
function flush_function(  n) {
    for (n in kind)
        if (kind[n] == "mult_expr" && ((is_truth(op0[n]) && !is_plain(op1[n])) || (is_truth(op1[n]) && !is_plain(op0[n])))) {
            printf "%s: %s() multiplies by a truth value: is it flag ? p->x + 1 : 1? Write it as an if\n", file, name
            found = 1
        }
    split("", kind); split("", op0); split("", op1); split("", type); split("", value); split("", prec)
}
/^;; Function / { flush_function(); name = $3; next }
/^@[0-9]+/ { at = $1; kind[at] = $2 }
{
    line = $0
    if (match(line, /type: @[0-9]+/) && !(at in type)) type[at] = substr(line, RSTART + 6, RLENGTH - 6)
    if (match(line, /op 0: @[0-9]+/)) op0[at] = substr(line, RSTART + 6, RLENGTH - 6)
    if (match(line, /op 1: @[0-9]+/)) op1[at] = substr(line, RSTART + 6, RLENGTH - 6)
    if (match(line, /int: -?[0-9]+/)) value[at] = substr(line, RSTART + 5, RLENGTH - 5)
    if (match(line, /prec: [0-9]+/)) prec[at] = substr(line, RSTART + 6, RLENGTH - 6)
}
END { flush_function(); exit found }
