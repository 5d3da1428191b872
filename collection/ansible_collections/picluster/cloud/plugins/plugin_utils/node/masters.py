# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Connections that ssh keeps open beyond the run (ControlPersist), and that lead to whoever had the address then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible import constants

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def close_masters(loader: Any, context: Any, variables: Mapping[str, Any], addresses: Iterable[str]) -> None:  # noqa: ANN401 - ansible-core carries no types
    """Have no further login of a node go through a connection that was opened before.

    Args:
        loader: of connection plugins.
        context: the play's.
        variables: the node's, templated when they are asked for.
        addresses: where the node may be.
    """
    for address in addresses:
        connection = loader.get("ssh", context, new_stdin=None)
        # Known only once the plugin is loaded.
        names = constants.config.get_plugin_vars("connection", "ssh")
        options = {name: variables[name] for name in names if name in variables}
        connection.set_options(var_options=options, direct={"host": address})
        # Asks the master by its socket, not the node; nothing happens where there is none.
        connection.reset()
