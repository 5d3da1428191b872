# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""HTTP requests to the cluster's own services, never through a proxy."""

from __future__ import annotations

import urllib.request


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return an opener that connects directly.

    A proxy in root's environment (on many sites in /etc/environment) is for the internet and cannot reach the cluster;
    no_proxy is rarely set for all of its services.

    Args:
        handlers: Further handlers, for example an HTTPSHandler with its context.
    """
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
