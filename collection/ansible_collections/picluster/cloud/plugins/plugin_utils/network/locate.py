# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Where a node is that may not be at its node_address: where to ask, and who is who among those that answer. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.node.known_hosts import Place

SSH_PORT = 22
# Of each node; more addresses than this no node can have been at since its last whole run.
REMEMBERED = 8


@dataclass(frozen=True)
class Node:
    """A node as the inventory, the record and known_hosts have it.

    Attributes:
        name: its name.
        wanted: its node_address.
        own: its ansible_host, where that is another.
        port: of its ssh server.
        seen: where it was seen before, the newest first.
        keys: its known host keys, as ``type base64``.
    """

    name: str
    wanted: str
    own: str = ""
    port: int = SSH_PORT
    seen: tuple[str, ...] = ()
    keys: frozenset[str] = field(default=frozenset())

    @property
    def candidates(self) -> tuple[str, ...]:
        """Where it may be, the likeliest first; one address where there is no doubt."""
        if self.own and not _is_address(self.own):
            # The user's own way to the node, which may lead through another machine.
            return (self.own,)
        return tuple(dict.fromkeys([self.wanted, *([self.own] if self.own else []), *self.seen]))

    @property
    def is_doubtful(self) -> bool:
        """Whether it has to be asked for."""
        return len(self.candidates) > 1

    @property
    def was_moving(self) -> bool:
        """Whether an earlier run began to move it and did not come to the end."""
        return len(self.seen) > 1

    def recorded(self, *more: str) -> tuple[str, ...]:
        """Return where a next run must ask, if this one ends now: `more` first."""
        return tuple(dict.fromkeys([*more, *self.seen]))[:REMEMBERED]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def places(nodes: Iterable[Node]) -> list[Place]:
    """Return everywhere that has to be asked for these nodes."""
    return list(dict.fromkeys((address, node.port) for node in nodes for address in node.candidates))


def find(nodes: Sequence[Node], answers: Mapping[Place, frozenset[str]]) -> dict[str, str]:
    """Return where each of these nodes is; those that are nowhere are not in it.

    The host key tells, not the address: two nodes that are to swap their addresses answer at both. Only a node whose
    key is not known is taken to be the first that answers and is nobody else's.
    """
    claimed: dict[Place, str] = {}
    found: dict[str, str] = {}
    for node in nodes:
        place = next((at for at in _asked(node) if node.keys & answers.get(at, frozenset())), None)
        if place:
            claimed[place] = node.name
            found[node.name] = place[0]
    for node in nodes:
        if not node.keys:
            place = next((at for at in _asked(node) if at in answers and at not in claimed), None)
            if place:
                claimed[place] = node.name
                found[node.name] = place[0]
    return found


def _asked(node: Node) -> Iterator[Place]:
    return ((address, node.port) for address in node.candidates)


def homes(node: Node, answers: Mapping[Place, frozenset[str]]) -> list[str]:
    """Return where a node answers, by its known key, of all addresses that are its own business.

    More than one while a move waits for its confirmation. A second address that the inventory itself names is none.
    """
    own = dict.fromkeys([node.wanted, *node.seen])
    return [address for address in own if node.keys & answers.get((address, node.port), frozenset())]


def missing_sentence(node: Node, answers: Mapping[Place, frozenset[str]]) -> str:
    """Say where a node was looked for that is nowhere."""
    others = [address for address, port in _asked(node) if (address, port) in answers]
    text = f"{node.name} does not answer at {' or '.join(node.candidates)}"
    if others:
        text += f" ({' and '.join(others)}: another machine, by its host key)"
    return text


def taken_problems(nodes: Sequence[Node], found: Mapping[str, str]) -> dict[str, str]:
    """Return by silent node that another node would get the address that it has still, as far as is known.

    Nobody answers for that address now; with its next start there would be two.
    """
    takers = {node.wanted: node.name for node in nodes if found.get(node.name, node.wanted) != node.wanted}
    problems = {}
    for node in nodes:
        last = next(iter(node.seen), "")
        taker = takers.get(last, node.name)
        if node.is_doubtful and node.name not in found and taker != node.name:
            problems[node.name] = (
                f"{node.name} does not answer and was last at {last}, which is {taker}'s from now on: with "
                f"{node.name}'s next start two nodes would have it; switch {node.name} on, or take it out of the "
                "inventory, and run the playbook again"
            )
    return problems
