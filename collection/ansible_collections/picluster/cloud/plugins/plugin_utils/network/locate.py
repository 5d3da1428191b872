# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The present address of a node that may not be at its node_address: where to scan, and which answer is whose."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.node.known_hosts import Place

    Answers = Mapping[Place, frozenset[str]]

SSH_PORT = 22
# Of each node; no node can have been at more addresses since its last complete run.
REMEMBERED = 8
PAUSE = 2.0  # seconds between two scans
# Seconds beyond the window for the confirmation of a move, after which the node has certainly gone back.
_BACK = 15


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
        window: Seconds within which a move of it must be confirmed.
    """

    name: str
    desired: str
    own: str = ""
    port: int = SSH_PORT
    seen: tuple[str, ...] = ()
    keys: frozenset[str] = field(default=frozenset())
    window: int = 0

    @property
    def candidates(self) -> tuple[str, ...]:
        """Where it may be, the likeliest first; one address if there is no doubt."""
        if self.own and not is_address(self.own):
            # The user's own route to the node, which may lead through another machine.
            return (self.own,)
        return tuple(dict.fromkeys([self.desired, *([self.own] if self.own else []), *self.seen]))

    @property
    def places(self) -> list[Place]:
        """Where to scan for it, the likeliest first."""
        return [(address, self.port) for address in self.candidates]

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


def places(nodes: Iterable[KnownNode]) -> list[Place]:
    """Return all places to scan for these nodes."""
    return list(dict.fromkeys(place for node in nodes for place in node.places))


def find(nodes: Sequence[KnownNode], answers: Answers) -> dict[str, str]:
    """Return where each of these nodes is, without those that are nowhere.

    The host key identifies a node, not the address: two nodes that swap their addresses answer at both. A node whose
    key is not known is taken to be at the first place that answers and is no other node's.
    """
    claimed: set[Place] = set()
    found: dict[str, str] = {}
    for node in sorted(nodes, key=lambda node: not node.keys):
        for place in node.places:
            is_known = bool(node.keys & answers.get(place, frozenset()))
            if is_known or (not node.keys and place in answers and place not in claimed):
                claimed.add(place)
                found[node.name] = place[0]
                break
    return found


def homes(node: KnownNode, answers: Answers) -> list[str]:
    """Return where a node answers, by its known key, of its node_address and the addresses where it was seen.

    More than one while a move waits for its confirmation. Its ansible_host is not one of them.
    """
    own = dict.fromkeys([node.desired, *node.seen])
    return [address for address in own if node.keys & answers.get((address, node.port), frozenset())]


def settled_answers(
    nodes: Sequence[KnownNode], scan: Callable[[Sequence[KnownNode]], Answers], say: Callable[[str], None]
) -> Answers:
    """Return the host keys at the addresses of the doubtful nodes, once a killed run's moves are over.

    A node that such a run was moving may answer at two addresses, or briefly at none: its move waits for a confirmation
    that never comes, and then it goes back. A connection that is opened before that would break.

    Args:
        nodes: All nodes.
        scan: Returns the host keys at some nodes' addresses now.
        say: Shows the user why it takes time.
    """
    doubtful = [node for node in nodes if node.is_doubtful]
    answers = scan(doubtful)
    restless = [node for node in doubtful if node.was_moving]
    seconds = max((node.window for node in restless), default=0) + _BACK
    end = time.monotonic() + seconds
    told = False
    while restless and time.monotonic() < end:
        time.sleep(PAUSE)
        heard = scan(restless)
        changed = [
            node for node in restless if len(homes(node, heard)) > 1 or homes(node, heard) != homes(node, answers)
        ]
        asked = places(restless)
        answers = {**{place: keys for place, keys in answers.items() if place not in asked}, **heard}
        in_the_way = taken_problems(nodes, find(doubtful, answers))
        restless = [node for node in restless if node in changed or node.name in in_the_way]
        if restless and not told:
            names = ", ".join(node.name for node in restless)
            say(f"An earlier run was moving {names}; waiting until that is over, at most {seconds} s.")
            told = True
    return answers


def describe_missing(node: KnownNode, answers: Answers) -> str:
    """Return in one sentence where a node that is nowhere was looked for."""
    others = [address for address, port in node.places if (address, port) in answers]
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
