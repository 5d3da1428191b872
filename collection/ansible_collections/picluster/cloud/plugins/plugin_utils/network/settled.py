# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Answers that are stable, even if a run was killed while it moved a node.

Such a node may answer at two addresses, or briefly at none: its move waits for a confirmation that never comes, and
then it goes back. A connection that is opened before that would break.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.plugin_utils.network.locate import KnownNode, homes, places

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ansible_collections.picluster.cloud.plugins.plugin_utils.node.known_hosts import Place

    Answers = dict[Place, frozenset[str]]

PAUSE = 2.0  # seconds between two scans


def settled_answers(
    nodes: Sequence[KnownNode],
    ask: Callable[[Sequence[KnownNode]], Answers],
    window: Callable[[Sequence[KnownNode]], float],
    in_the_way: Callable[[Answers], Collection[str]],
    say: Callable[[str], None],
) -> Answers:
    """Return the host keys at these nodes' addresses.

    Args:
        nodes: The nodes in doubt.
        ask: Returns the host keys at some nodes' addresses now.
        window: Returns the seconds after which some nodes' moves are certainly over.
        in_the_way: Returns the names of silent nodes that block others.
        say: Shows the user why it takes time.
    """
    answers = ask(nodes)
    restless = [node for node in nodes if node.was_moving]
    if not restless:
        return answers
    seconds = window(restless)
    end = time.monotonic() + seconds
    told = False
    while restless and time.monotonic() < end:
        time.sleep(PAUSE)
        heard = ask(restless)
        asked = set(places(restless))
        changed = [
            node for node in restless if len(homes(node, heard)) > 1 or homes(node, heard) != homes(node, answers)
        ]
        answers = {place: keys for place, keys in answers.items() if place not in asked} | heard
        silent = in_the_way(answers)
        restless = [node for node in restless if node in changed or node.name in silent]
        if restless and not told:
            names = ", ".join(node.name for node in restless)
            say(f"An earlier run was moving {names}; waiting until that is over, at most {seconds:.0f} s.")
            told = True
    return answers
