"""Runs Autobahn's wstest from a folder it was installed into: wstest.py FOLDER [arguments]. Python 2.7."""
import site
import sys

site.addsitedir(sys.argv.pop(1))
from autobahntestsuite.wstest import run  # noqa: E402

run()
