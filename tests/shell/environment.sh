# The environment of make and of every script, independent of a user's own settings. Makefile includes this file,
# the scripts source it; so it holds only lines that make and the shell read alike.
#
# Sort order, character classes and messages: C, with UTF-8.
export LC_ALL=C.UTF-8
export LANGUAGE=
# A test reaches its servers without a proxy.
export no_proxy=127.0.0.1,localhost,::1
export NO_PROXY=127.0.0.1,localhost,::1
# `cd` prints nothing and ignores CDPATH; no file runs before a script.
export CDPATH=
export BASH_ENV=
