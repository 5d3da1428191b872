# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""kubectl of the k3s that the role installed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import our_link
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import BIN_DIR
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome

# The server's own, which may do everything; and the kubelet's, which may read its own node.
ADMIN = "/etc/rancher/k3s/k3s.yaml"
KUBELET = "/var/lib/rancher/k3s/agent/kubelet.kubeconfig"


class Kubectl:
    """Runs kubectl with one set of credentials, never with root's own configuration."""

    def __init__(self, node: Node, kubeconfig: str) -> None:
        self._node = node
        self._kubeconfig = kubeconfig

    def run(self, *arguments: str, stdin: str | None = None) -> Outcome:
        """Run kubectl, in check mode too."""
        # By the role's link, unless the user's own kubectl is in its place.
        ours = our_link(self._node, "kubectl")
        program = [f"{BIN_DIR}/kubectl"] if ours else [f"{BIN_DIR}/k3s", "kubectl"]
        return self._node.run(*program, f"--kubeconfig={self._kubeconfig}", *arguments, stdin=stdin)

    def change(self, *arguments: str) -> None:
        """Run kubectl to change the cluster, but not in check mode.

        Raises:
            UserError: it failed.
        """
        if not self._node.check_mode:
            self._query(*arguments)

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return an object, or a listing.

        Raises:
            UserError: kubectl failed, or its answer is not an object in JSON.
        """
        out = self._query("get", *arguments, "--output=json", "--request-timeout=10s")
        try:
            loaded = json.loads(out)
        except ValueError:
            loaded = None
        if not isinstance(loaded, dict):
            said = out.strip()[:100]
            raise UserError(f"kubectl get {' '.join(arguments)} did not answer in JSON: '{said}'; run again")
        return loaded

    def _query(self, *arguments: str) -> str:
        outcome = self.run(*arguments)
        if not outcome.ok:
            reason = last_words(outcome.err or outcome.out) or outcome.reason
            raise UserError(f"kubectl {' '.join(arguments[:3])} failed: {reason}")
        return outcome.out


def last_words(said: str) -> str:
    """Return the line of kubectl's output that says what is wrong: its last error, or else its last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # `drain` names the node in its first error and the cause in a later one.
    errors = [line.partition(":")[2].strip() for line in lines if line.lower().startswith("error")]
    return " ".join(errors[-1:] or lines[-1:])[:600]
