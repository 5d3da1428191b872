# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Names in the inventory's files that Ansible ignores or misreads: of hosts, of files with variables, of variables."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import HOSTNAME_RULE, is_text_to_yaml
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import nearest
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.inventory import Inventory, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.files import InventoryFiles

# How similar the beginning of a variable's name must be to a role's to be taken for a slip.
_SIMILAR = 0.7


def misread_problems(inventory: Inventory, files: InventoryFiles) -> Iterator[Problem]:
    """Yield the hosts that YAML reads as a number or a truth value, for which Ansible rejects the whole file."""
    known = set(inventory.members("all"))
    for host, group in files.members():
        if host not in known and not is_text_to_yaml(host):
            yield Problem(f"{host!r} is not a host name; expected {HOSTNAME_RULE}", node=host, group=group)


def stray_problems(inventory: Inventory, files: InventoryFiles, layers: Collection[str] = ()) -> Iterator[Problem]:
    """Yield the files with variables of hosts and groups that do not exist; a layer's group may be unused."""
    known = {
        "host": {*inventory.members("all"), "localhost"},
        "group": {*inventory.groups, *layers, "all", "ungrouped"},
    }
    for kind, names in known.items():
        for name, file in files.vars_names(kind):
            if name not in names:
                guess = nearest(name, names)
                rename = f"did you mean {guess}?" if guess else f"rename it to one of the {kind}s, or remove it"
                yield Problem(f"there is no {kind} {name}, so nothing reads these variables; {rename}", file=file)


def meant_variable(name: str, owners: Mapping[str, Collection[str]]) -> str:
    """Return the variable that was meant where only the beginning is misspelt, as in hadop_vcores; empty if none was.

    `owners` has the variables by their beginning, such as hadoop_.
    """
    head, _, rest = name.partition("_")
    candidates = [prefix for prefix, options in owners.items() if rest and prefix + rest in options]
    near = difflib.get_close_matches(f"{head}_", candidates, n=1, cutoff=_SIMILAR)
    return near[0] + rest if near else ""
