# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Connections that ssh keeps open beyond the run (ControlPersist), to the machine that had the address then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible import constants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def close_masters(loader: Any, context: Any, variables: Mapping[str, Any], addresses: Iterable[str]) -> None:  # noqa: ANN401 - ansible-core carries no types
    """Close the open connections to a node, so that the next login opens a new one.

    Args:
        loader: The loader of connection plugins.
        context: The play's context.
        variables: The node's variables, templated when they are read.
        addresses: Where the node may be.
    """
    for address in addresses:
        connection = loader.get("ssh", context, new_stdin=None)
        # Known only once the plugin is loaded.
        names = constants.config.get_plugin_vars("connection", "ssh")
        options = {name: variables[name] for name in names if name in variables}
        connection.set_options(var_options=options, direct={"host": address})
        # Contacts the master by its socket, not the node; does nothing where there is none.
        connection.reset()
