# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The present address of a node that may not be at its node_address: where to scan, and which answer is whose. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.node.known_hosts import Place

SSH_PORT = 22
# Of each node; no node can have been at more addresses since its last complete run.
REMEMBERED = 8


@dataclass(frozen=True)
class KnownNode:
    """A node as the inventory, the record and known_hosts describe it.

    Attributes:
        name: Its name.
        desired: Its node_address.
        own: Its ansible_host, where that is another.
        port: The port of its ssh server.
        seen: Where it was seen before, the newest first.
        keys: Its known host keys, as ``type base64``.
    """

    name: str
    desired: str
    own: str = ""
    port: int = SSH_PORT
    seen: tuple[str, ...] = ()
    keys: frozenset[str] = field(default=frozenset())

    @property
    def candidates(self) -> tuple[str, ...]:
        """Where it may be, the likeliest first; one address if there is no doubt."""
        if self.own and not _is_address(self.own):
            # The user's own route to the node, which may lead through another machine.
            return (self.own,)
        return tuple(dict.fromkeys([self.desired, *([self.own] if self.own else []), *self.seen]))

    @property
    def is_doubtful(self) -> bool:
        """Whether it has to be located."""
        return len(self.candidates) > 1

    @property
    def was_moving(self) -> bool:
        """Whether an earlier run began to move it and did not finish."""
        return len(self.seen) > 1

    def recorded(self, *more: str) -> tuple[str, ...]:
        """Return where a next run must look if this one ends now: `more` first."""
        return tuple(dict.fromkeys([*more, *self.seen]))[:REMEMBERED]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def places(nodes: Iterable[KnownNode]) -> list[Place]:
    """Return all places to scan for these nodes."""
    return list(dict.fromkeys((address, node.port) for node in nodes for address in node.candidates))


def find(nodes: Sequence[KnownNode], answers: Mapping[Place, frozenset[str]]) -> dict[str, str]:
    """Return where each of these nodes is, without those that are nowhere.

    The host key identifies a node, not the address: two nodes that swap their addresses answer at both. A node whose
    key is not known is taken to be at the first place that answers and is no other node's.
    """
    claimed: dict[Place, str] = {}
    found: dict[str, str] = {}
    for node in nodes:
        place = next((at for at in _places(node) if node.keys & answers.get(at, frozenset())), None)
        if place:
            claimed[place] = node.name
            found[node.name] = place[0]
    for node in nodes:
        if not node.keys:
            place = next((at for at in _places(node) if at in answers and at not in claimed), None)
            if place:
                claimed[place] = node.name
                found[node.name] = place[0]
    return found


def _places(node: KnownNode) -> Iterator[Place]:
    return ((address, node.port) for address in node.candidates)


def homes(node: KnownNode, answers: Mapping[Place, frozenset[str]]) -> list[str]:
    """Return where a node answers, by its known key, of its node_address and the addresses where it was seen.

    More than one while a move waits for its confirmation. Its ansible_host is not one of them.
    """
    own = dict.fromkeys([node.desired, *node.seen])
    return [address for address in own if node.keys & answers.get((address, node.port), frozenset())]


def describe_missing(node: KnownNode, answers: Mapping[Place, frozenset[str]]) -> str:
    """Return in one sentence where a node that is nowhere was looked for."""
    others = [address for address, port in _places(node) if (address, port) in answers]
    text = f"{node.name} does not answer at {' or '.join(node.candidates)}"
    if others:
        text += f" (by its host key, another machine answers at {' and '.join(others)})"
    return text


def taken_problems(nodes: Sequence[KnownNode], found: Mapping[str, str]) -> dict[str, str]:
    """Return by name the silent nodes whose last known address another node gets.

    Nothing answers at that address now; after the node's next start two machines would have it.
    """
    takers = {node.desired: node.name for node in nodes if found.get(node.name, node.desired) != node.desired}
    problems = {}
    for node in nodes:
        last = next(iter(node.seen), "")
        taker = takers.get(last, node.name)
        if node.is_doubtful and node.name not in found and taker != node.name:
            problems[node.name] = (
                f"{node.name} does not answer: its last address {last} is {taker}'s from now on, so both would have it "
                f"after {node.name}'s next start; switch {node.name} on, or remove it from the inventory, and run the "
                "playbook again"
            )
    return problems
