# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What names may look like: of a host, a domain, an address, a user, a network interface. Pure."""

from __future__ import annotations

import ipaddress
import re

# RFC 1123 section 2.1, and RFC 1035 section 2.3.4 for the length. Kubernetes allows no capitals in a node's name.
_HOSTNAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# What YAML reads as a number, a date, a truth value or nothing; files of several programs have a node's name unquoted.
_NO_TEXT = re.compile(r"\d+|\d+e\d+|0x[0-9a-f]+|0o[0-7]+|0b[01]+|\d{4}-\d\d?-\d\d?|null|true|false|yes|no|on|off")
# Ansible's own words: as a host, each of them changes the meaning of a play.
_TAKEN = frozenset({"all", "ungrouped", "localhost", "nodes"})
# What is_hostname allows, for messages.
HOSTNAME_RULE = (
    "one RFC 1123 label (a-z, 0-9 and inner hyphens, at most 63 characters) that is not a number or a word of YAML or "
    "Ansible, such as no or all"
)
# As useradd allows it; a dot is common in names of a directory service.
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
# The kernel's dev_valid_name, and IFNAMSIZ less the closing zero.
_INTERFACE = re.compile(r"(?!\.{1,2}$)[^\s/:]{1,15}")
INTERFACE_RULE = "the name of a network interface such as eth0: at most 15 characters, no blank, slash or colon"


def is_label(name: str) -> bool:
    """Return whether this is a label of a host name, which may be a number or a word that a node's name must not be."""
    return _HOSTNAME.fullmatch(name) is not None


def is_text_to_yaml(name: str) -> bool:
    """Return whether YAML reads a name without quotes as text."""
    return _NO_TEXT.fullmatch(name.lower()) is None


def is_hostname(name: str) -> bool:
    """Return whether a node can have this name."""
    return is_label(name) and is_text_to_yaml(name) and name not in _TAKEN


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


def is_user(name: str) -> bool:
    """Return whether this can be the name of a user."""
    return _USER.fullmatch(name) is not None


def is_interface(name: str) -> bool:
    """Return whether a network interface can have this name."""
    return _INTERFACE.fullmatch(name) is not None
