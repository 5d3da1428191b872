# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Tags of the command line, of which Ansible accepts any: with a mistyped one, it silently runs nothing. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

# Ansible's own, and that of the play that verifies the cluster.
_OTHERS = {"all", "always", "never", "tagged", "untagged", "verify"}


def check_tags(option: str, tags: Iterable[str], roles: Iterable[str]) -> tuple[str, str]:
    """Return a sentence about the first tag that is misspelled, and one about tags that no role has; each may be empty.

    `option` is `--tags` or `--skip-tags`. A playbook that imports ours may have tags of its own.
    """
    known = {*roles, *_OTHERS}
    unknown = [tag for tag in tags if tag not in known]
    for tag in unknown:
        guess = nearest(tag, known)
        if guess:
            return f"{option} {tag} is not the name of a role; did you mean {guess}? No node was touched.", ""
    others = ", ".join(sorted(known - _OTHERS))
    return "", f"{option}: no role of picluster is called {' or '.join(unknown)}; they are {others}" if unknown else ""
