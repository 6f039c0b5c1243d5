# awk -f names.awk FILE...: style rules that need no compiler. Exit 1 if one is broken.
#   the first line holds the licence; no typedef; functions in snake_case and under 90 lines; files under 900.

function report(line, what)
{
    printf "%s:%d: %s\n", file, line, what
    bad = 1
}

function end_of_file()
{
    if (file != "" && lines >= 900)
        report(lines, "file of " lines " lines; 900 is the limit")
}

FNR == 1 {
    end_of_file()
    file = FILENAME
    head = ""
    if ($0 !~ /^\/\* SPDX-License-Identifier: Apache-2\.0/)
        report(1, "must begin with /* SPDX-License-Identifier: Apache-2.0")
}

{ lines = FNR }

/^[ \t]*(__extension__ )?typedef[ \t]/ { report(FNR, "typedef; say struct, enum or union") }

# A definition's head is the last line that begins a declaration before its "{" in the first column.
/^[A-Za-z_].*\(/ && !/;[ \t]*$/ { head = $0; head_line = FNR }

/^\{/ {
    start = FNR
    name = head
    gsub(/__attribute__ *\(\([^()]*(\([^()]*\))?[^()]*\)\)/, "", name)
    sub(/\(.*$/, "", name)
    sub(/^.*[ *\t]/, "", name)
    if (head != "" && name ~ /[a-z][A-Z]/ && name != "LLVMFuzzerTestOneInput")
        report(head_line, name "() is not snake_case")
}

/^\}/ {
    if (start && FNR - start >= 90)
        report(start, name "() has " (FNR - start + 1) " lines; 90 is the limit")
    start = 0
    head = ""
}

END {
    end_of_file()
    exit bad
}
