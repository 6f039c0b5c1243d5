# SPDX-License-Identifier: Apache-2.0
"""Pytest plugin for python-etcd3's own tests: clients without an address go to our server, and properties are tried
with EXAMPLES examples, as each costs several processes."""
import os
from urllib.parse import urlparse

import etcd3
from hypothesis import HealthCheck, settings

url = urlparse(os.environ["PYTHON_ETCD_HTTP_URL"])
defaults = etcd3.client.__defaults__
assert defaults[:2] == ("localhost", 2379), defaults
etcd3.client.__defaults__ = (url.hostname, url.port) + defaults[2:]
# Examples share one client, which the tests are made for and today's hypothesis warns of.
settings.register_profile("few", max_examples=int(os.environ.get("EXAMPLES", "10")),
                          suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("few")
