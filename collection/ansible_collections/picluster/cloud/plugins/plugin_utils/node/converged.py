# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Record which layers a node has, once a module has converged one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping


def note_layer(
    answer: dict[str, Any], variables: Mapping[str, Any], layer: str, *, present: bool, check_mode: bool
) -> dict[str, Any]:
    """Record that the node of a task has a layer, or has it no longer, and return the answer of the layer's module.

    A module that failed proves neither, so the record stays. A record that cannot be written becomes a warning.
    """
    folder = variables.get("inventory_dir")
    if not folder or check_mode or any(answer.get(word) for word in ("failed", "unreachable", "skipped")):
        return answer
    record = Seen(folder)
    try:
        record.note_layer(str(variables["inventory_hostname"]), layer, present=present)
    except OSError as error:
        words = f"{record.path} cannot be written: {error.strerror}; a slip that removes {layer} will not be noticed"
        return {**answer, "warnings": [*answer.get("warnings", []), words]}
    return answer
