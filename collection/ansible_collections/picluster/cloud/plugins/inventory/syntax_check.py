# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Stop at a file of the inventory that Ansible cannot read, and name file and line."""

from __future__ import annotations

DOCUMENTATION = r"""
name: syntax_check
short_description: Report files of an inventory that Ansible cannot read
version_added: 0.1.0
description:
  - Reports each YAML error, duplicate key and wrong structure in an inventory's YAML sources, C(group_vars) and
    C(host_vars), and each file that would not be read because of its suffix, with file and line; then ends the program
    with exit code 4, before any node is contacted.
  - Reads nothing into the inventory. Enable it before all other inventory plugins, which read what is valid.
options: {}
author: [The picluster authors (!UNKNOWN)]
"""

EXAMPLES = r"""
# ansible.cfg
# [inventory]
# enable_plugins = picluster.cloud.syntax_check, host_list, script, auto, yaml, ini, toml
"""

from pathlib import Path
from typing import Any

from ansible.plugins.inventory import BaseInventoryPlugin

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.syntax import folder_problems, source_problem

_PARSER_ERROR = 4  # the exit code of ansible-core for a file that it cannot parse


def _problems(path: Path) -> list[str]:
    own = source_problem(path)
    return [*([own] if own else []), *folder_problems(path.parent)]


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # ansible-core carries no types
    """Claims only the sources that cannot be read."""

    NAME = "picluster.cloud.syntax_check"

    def verify_file(self, path: str) -> bool:
        """Return whether the source, or a file beside it, cannot be read."""
        return bool(super().verify_file(path) and _problems(Path(path)))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:  # noqa: ANN401, ARG002, FBT001, FBT002  # Ansible's signature
        """Report the problems and end the program."""
        for problem in _problems(Path(path)):
            self.display.error(f"{problem} (no node was touched)")
        # After an exception, Ansible would try the other plugins, report the guesses of each, and end with exit code 1.
        raise SystemExit(_PARSER_ERROR)
