# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Cordon and drain a Kubernetes node before a restart, and uncordon it afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.kubectl import ADMIN, Kubectl
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

# Marks the role's own cordon, and what it is for; a cordon without it is the user's.
ANNOTATION = "picluster.cloud/cordoned-for"
PURPOSE = "reboot"


def is_cordoned(item: dict[str, Any]) -> bool:
    """Return whether a node takes no new pods."""
    return bool(item.get("spec", {}).get("unschedulable"))


def is_ours(item: dict[str, Any]) -> bool:
    """Return whether the role cordoned a node."""
    return ANNOTATION in (item.get("metadata", {}).get("annotations") or {})


class Drain:
    """Which nodes take pods, as Kubernetes knows it; asked and changed on a server."""

    def __init__(self, node: Node) -> None:
        """Work from a server, `node`."""
        self._node = node
        self._kubectl = Kubectl(node, ADMIN)

    def cordoned(self) -> list[str]:
        """Return the nodes that the role cordoned.

        Raises:
            UserError: Kubernetes does not answer.
        """
        return sorted(item["metadata"]["name"] for item in self._kubectl.get("nodes").get("items", []) if is_ours(item))

    def drain(self, name: str, timeout: int, *, force: bool) -> None:
        """Cordon a node and evict its pods.

        Args:
            name: The node's name in Kubernetes.
            timeout: Seconds until all pods must have left.
            force: Whether pods that no controller would start elsewhere are deleted.

        Raises:
            UserError: the pods do not leave; the node is uncordoned again, unless it was cordoned before.
        """
        item = self._kubectl.get("node", name)
        theirs = is_cordoned(item) and not is_ours(item)
        self._node.note(f"node {name}", "cordoned" if is_cordoned(item) else "takes pods", "drained")
        if not theirs:
            self._kubectl.change("annotate", "node", name, f"{ANNOTATION}={PURPOSE}", "--overwrite")
        options = ["--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={timeout}s"]
        try:
            self._kubectl.change("drain", name, *options, *(["--force"] if force else []))
        except UserError as error:
            now = "stays cordoned, as it was before" if theirs else self._try_to_uncordon(name)
            why = str(error).replace("use --force to override", "force, in the role k3s_drain_force, deletes them")
            raise UserError(
                f"the pods of {name} did not leave within {timeout} s, so it must not be restarted; it {now}: {why}"
            ) from error

    def uncordon(self, name: str) -> None:
        """Let a node take pods again if the role cordoned it.

        Raises:
            UserError: Kubernetes does not answer.
        """
        if is_ours(self._kubectl.get("node", name)):
            self._node.note(f"node {name}", "cordoned", "takes pods")
            self._uncordon(name)

    def _try_to_uncordon(self, name: str) -> str:
        """Uncordon a node; return its state. A failure here is not the one to report."""
        try:
            self._uncordon(name)
        except UserError:
            return "stays cordoned until the same command is run again"
        return "takes pods again"

    def _uncordon(self, name: str) -> None:
        # In this order: a run that is killed in between leaves an annotation, by which the next run uncordons it.
        self._kubectl.change("uncordon", name)
        self._kubectl.change("annotate", "node", name, f"{ANNOTATION}-")
