# SPDX-License-Identifier: Apache-2.0
# help.awk Makefile: a line for each rule after a ## line, grouped by ##@ lines. With CHECK=1 nothing is printed but the
# words of .PHONY without such a line; INTERNAL names those that need none.
/^##@ / { title = substr($0, 5); next }
/^## / { text = substr($0, 4); next }
/^INTERNAL *:=/ { for (i = 3; i <= NF; i++) internal[$i] = 1 }
/^\.PHONY:/ && $2 !~ /^\$/ { for (i = 2; i <= NF; i++) phony[$i] = FNR }
text != "" && /^[a-z]/ {
    words = $0
    sub(/:.*/, "", words)
    n = split(words, list, " ")
    if (!CHECK && title != "")
        printf "\n%s\n", title
    for (i = 1; i <= n; i++) {
        has[list[i]] = 1
        if (!CHECK)
            printf "  make %-16s %s\n", list[i], text
    }
    title = ""
}
{ text = "" }
END {
    if (!CHECK)
        exit
    for (word in phony)
        if (!has[word] && !internal[word]) {
            print "Makefile:" phony[word] ": " word " has no line that begins with ## before its rule"
            bad = 1
        }
    for (word in has)
        if (!(word in phony)) {
            print "Makefile: " word " has a ## line and is not in .PHONY"
            bad = 1
        }
    exit bad
}
