# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What a host name, a domain and an address may look like. Pure."""

from __future__ import annotations

import ipaddress
import re

# RFC 1123 section 2.1, and RFC 1035 section 2.3.4 for the length. Kubernetes allows no capitals in a node's name.
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# What is_hostname allows, for messages.
HOSTNAME_RULE = "one RFC 1123 label: a-z, 0-9 and inner hyphens, at most 63 characters"


def is_hostname(name: str) -> bool:
    """Return whether a node can have this name."""
    return _HOSTNAME.fullmatch(name) is not None


def is_domain(name: str) -> bool:
    """Return whether this is a domain: one label or several, as the resolver and DNS accept them."""
    return _DOMAIN.fullmatch(name) is not None


def is_address(text: str) -> bool:
    """Return whether this is an IP address of either family."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
