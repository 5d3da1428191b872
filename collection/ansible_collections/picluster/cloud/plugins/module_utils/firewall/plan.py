# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The files of a node's firewall: one nftables table of its own, and the unit that loads it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ansible_collections.picluster.cloud.plugins.module_utils.firewall.rules import FirewallPolicy, Network, Ports

TABLE = "inet picluster"
RULES = "/etc/picluster/firewall.nft"
UNIT = "picluster-firewall.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
DROPIN = "/etc/systemd/system/nftables.service.d/picluster.conf"
NFT = "/usr/sbin/nft"

_DELETE = f"{NFT} delete table {TABLE} 2>/dev/null || :"
# What a rollback runs after it has restored the former file: by whether no table was loaded before.
RESTORE = {
    False: ["sh", "-c", f"if test -e {RULES}; then {NFT} -f {RULES}; else {_DELETE}; fi"],
    True: ["sh", "-c", _DELETE],
}

# The unit that loads the rules before the network is up.
UNIT_TEXT = f"""\
# Written by picluster (role firewall).
[Unit]
Description=Firewall of the node
ConditionPathExists={RULES}
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target shutdown.target
Conflicts=shutdown.target
After=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={NFT} -f {RULES}
ExecReload={NFT} -f {RULES}
ExecStop=-{NFT} delete table {TABLE}

[Install]
WantedBy=sysinit.target
"""
# Debian's nftables.service flushes all tables when it starts, reloads or stops.
_AGAIN = f'-/bin/sh -c "systemctl --quiet is-active {UNIT} && exec {NFT} -f {RULES}"'
DROPIN_TEXT = f"""\
# Written by picluster (role firewall).
[Service]
ExecStartPost={_AGAIN}
ExecReload={_AGAIN}
ExecStopPost={_AGAIN}
"""


def _set(name: str, kind: str, elements: Iterable[str]) -> list[str]:
    """Return the lines of a named set; nftables has no syntax for an empty list of elements."""
    inside = ", ".join(elements)
    return [
        f"  set {name} {{",
        f"    type {kind}",
        "    flags interval",
        *([f"    elements = {{ {inside} }}"] if inside else []),
        "  }",
    ]


def _address_sets(name: str, networks: Sequence[Network]) -> list[str]:
    # Single addresses without their prefix, as nft prints them.
    texts = {one: str(one.network_address if one.prefixlen == one.max_prefixlen else one) for one in networks}
    elements = {version: [text for one, text in texts.items() if one.version == version] for version in (4, 6)}
    return [line for version in (4, 6) for line in _set(f"{name}{version}", f"ipv{version}_addr", elements[version])]


def _port_sets(name: str, ports: Ports) -> list[str]:
    lines = []
    for protocol, ranges in (("tcp", ports.tcp), ("udp", ports.udp)):
        elements = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
        lines += _set(f"{name}_{protocol}", "inet_service", elements)
    return lines


def _from(name: str, verdict: str) -> list[str]:
    return [f"    ip saddr @{name}4 {verdict}", f"    ip6 saddr @{name}6 {verdict}"]


def _interfaces(direction: str, patterns: Iterable[str], verdict: str) -> list[str]:
    """Return a rule for each interface, because nft 0.9.8 and 1.0.2 (Bullseye, Jammy) know no patterns in a set."""
    return [f'    {direction} "{pattern}" {verdict}' for pattern in patterns]


def _to(name: str, before: str = "") -> list[str]:
    """Return rules that match a set's ports as the packet was addressed, before any translation."""
    # nft 1.0.6 refuses `ct original proto-dst` without a protocol before it.
    return [f"    {before}meta l4proto {one} ct original proto-dst @{name}_{one} accept" for one in ("tcp", "udp")]


def _nodes_may(policy: FirewallPolicy, before: str = "") -> list[str]:
    if policy.node_ports is None:
        return _from("nodes", "accept")
    families = (f"{before}ip saddr @nodes4 ", f"{before}ip6 saddr @nodes6 ")
    return [line for family in families for line in _to("node", family)]


def rules_text(policy: FirewallPolicy) -> str:
    """Return the file that nft loads: it replaces the table in one transaction and touches no other.

    An accept is final only for the chain's own hook and table, a drop is final for the packet, so Docker's and
    kube-proxy's rules still apply to what passes here.
    """
    from_containers = _interfaces("iifname", policy.containers, "accept")
    lines = [
        f"#!{NFT} -f",
        "# Written by picluster (role firewall) from the inventory. One table of its own: flushing the ruleset would",
        "# remove the rules of Docker and Kubernetes.",
        f"table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        *_address_sets("nodes", policy.nodes),
        *_address_sets("management", policy.management),
        *_address_sets("controller", policy.controller),
        *_port_sets("public", policy.public),
        *([] if policy.node_ports is None else _port_sets("node", policy.node_ports)),
        "  # Packets for the node itself.",
        "  chain input {",
        "    type filter hook input priority filter - 5; policy drop;",
        '    iifname "lo" accept',
        "    ct state { established, related } accept",
        "    ct state invalid drop",
        "    # ICMP, IGMP and ICMPv6 (neighbour discovery, path MTU, ping), by number: /etc/protocols may be missing.",
        "    meta l4proto { 1, 2, 58 } accept",
        "    # Replies of DHCP servers, and mDNS.",
        "    udp sport 67 udp dport 68 accept",
        "    ip6 saddr fe80::/10 udp sport 547 udp dport 546 accept",
        "    ip daddr 224.0.0.251 udp dport 5353 accept",
        "    ip6 daddr ff02::fb udp dport 5353 accept",
        "    # Containers and pods of this node.",
        *from_containers,
        *_from("management", "accept"),
        *_nodes_may(policy),
        *_from("controller", f"tcp dport {policy.ssh_port} accept"),
        *([f"    tcp dport {policy.ssh_port} accept"] if policy.strangers_ssh else []),
        *_to("public"),
        "    counter",
        "  }",
        "  # Packets for containers: published ports, NodePorts and ServiceLB pass here, not through input.",
        "  chain forward {",
        "    type filter hook forward priority filter - 5; policy accept;",
        "    ct state { established, related } accept",
        *from_containers,
        *_from("management", "accept"),
        *_nodes_may(policy, "ct status dnat "),
        *_to("public", "ct status dnat "),
        "    ct status dnat counter drop",
        "    # A host with a route to a container's own address needs no published port.",
        *_interfaces("oifname", policy.containers, "counter drop"),
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"
