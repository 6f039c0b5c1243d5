# The environment of make and of every script: what a person's own settings must not change. Makefile includes this file,
# the scripts source it; so it holds only lines that make and the shell read alike.
#
# Sort order, character classes and messages: C, with UTF-8.
export LC_ALL=C.UTF-8
export LANGUAGE=
# No proxy stands between a test and its servers.
export no_proxy=127.0.0.1,localhost,::1
export NO_PROXY=127.0.0.1,localhost,::1
# `cd` prints nothing and goes nowhere else; no file is run before a script.
export CDPATH=
export BASH_ENV=
