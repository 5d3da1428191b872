# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Questions to the cluster's own services: never by way of a proxy."""

from __future__ import annotations

import urllib.request


def opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """Return an opener that goes straight to the address.

    A proxy in root's environment (/etc/environment, on many sites) is for the internet and has no way back into the
    cluster; no_proxy is rarely set for all that runs there.

    Args:
        handlers: further handlers, for example an HTTPSHandler with its context.
    """
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
