# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Find the nodes that may not be at their node_address, on the controller, before any of them is touched."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.locate import (
    SSH_PORT,
    KnownNode,
    describe_missing,
    find,
    places,
    settled_answers,
    taken_problems,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.vacate import Move, Net, first_moves
from ansible_collections.picluster.cloud.plugins.plugin_utils.node import known_hosts
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.masters import close_masters
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.templated import is_templated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The default in connection.yml, which is no setting of the user's.
_DEFAULT_HOST = re.compile(r"\{\{\s*node_address\s*\}\}")
# Only ssh itself can reach a node through another machine.
_THROUGH = re.compile(r"Proxy(Jump|Command)|(^|\s)-J")
_SSH = (None, "ssh", "smart", "ansible.builtin.ssh")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.locate."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return where the doubtful nodes are, and which nodes must leave their addresses first."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {"nodes": {"type": "dict", "required": True}, "timeout": {"type": "int", "default": 5}}
        )
        variables = task_vars or {}
        known = _KnownNodes(variables["hostvars"], arguments["nodes"])
        doubtful = [node for node in known.nodes if node.is_doubtful]
        found: dict[str, str] = {}
        if doubtful:
            answers = settled_answers(known.nodes, lambda nodes: _scan(nodes, arguments["timeout"]), Display().display)
            found = find(doubtful, answers)
            for node in doubtful:
                close_masters(
                    self._shared_loader_obj.connection_loader,
                    self._play_context,
                    variables["hostvars"][node.name],
                    node.candidates,
                )
                if node.name not in found:
                    Display().warning(describe_missing(node, answers))
                elif node.own and found[node.name] == node.desired:
                    Display().warning(
                        f"{node.name} is at its node_address now; remove its ansible_host {node.own} from the inventory"
                    )
            problems = taken_problems(known.nodes, found)
            # Whether both nodes are within --limit is not known here.
            if problems and not variables.get("ansible_limit"):
                raise AnsibleActionFail("\n".join([*problems.values(), "no node was touched"]))
            for problem in problems.values():
                Display().warning(problem)
        try:
            moves = first_moves(
                {node.name: node.desired for node in known.nodes},
                found,
                {address for node in known.nodes for address in node.seen},
                known.net,
            )
        except UserError as error:
            raise AnsibleActionFail(f"{error}; no node was touched") from error
        if not self._task.check_mode:
            self._remember(known, found, moves)
        return {
            **result,
            "changed": False,
            "hosts": found,
            "vacate": {name: _as_variables(move) for name, move in moves.items()},
        }

    def _remember(self, known: _KnownNodes, found: Mapping[str, str], moves: Mapping[str, Move]) -> None:
        """Record where a next run must look, before any node moves there."""
        for folder in known.folders:
            nodes = [node for node in known.nodes if known.folder(node.name) == folder]
            try:
                with Seen(folder).edit() as record:
                    for node in nodes:
                        place = found.get(node.name, "" if node.is_doubtful else node.desired)
                        move = [moves[node.name].address] if node.name in moves else []
                        # A node behind a route of the user's own has no address of its own in the record.
                        if place and node.desired in node.candidates:
                            addresses = list(node.recorded(place, *move, node.desired))
                            record.setdefault(node.name, {})["addresses"] = addresses
            except OSError as error:
                text = f"the addresses of the nodes cannot be recorded: {Seen(folder).path}: {error.strerror}"
                if moves:
                    raise AnsibleActionFail(f"{text}; without the record no node is moved") from error
                Display().warning(f"{text}; a node whose address changes may not be found again")


class _KnownNodes:
    """All nodes, read from inventory, record and known_hosts."""

    def __init__(self, hostvars: Any, desired: Mapping[str, str]) -> None:  # noqa: ANN401 - ansible's HostVars
        self._hostvars = hostvars
        self._raw = {name: hostvars.raw_get(name) for name in desired}
        self._seen = {folder: Seen(folder).nodes() for folder in {self.folder(name) for name in desired}}
        self._keys = {folder: self._known(folder) for folder in self._seen}
        self.nodes = [self._node(str(name), str(address)) for name, address in desired.items()]

    @property
    def folders(self) -> list[str]:
        """The folders of the inventories."""
        return [folder for folder in self._seen if folder]

    def net(self, name: str) -> Net:
        """Return the network of a node's address."""
        return Net(
            prefix=int(self._value(name, "node_prefix")),
            gateway=str(self._value(name, "node_gateway")),
            dns=tuple(map(str, self._value(name, "node_dns") or [])),
            search=tuple(map(str, self._value(name, "node_search") or [])),
            parking=str(self._value(name, "network_parking") or ""),
        )

    def folder(self, name: str) -> str:
        """Return the folder of a node's inventory, empty if it has none."""
        return str(self._raw[name].get("inventory_dir") or "")

    def _known(self, folder: str) -> dict[str, frozenset[str]]:
        names = [name for name in self._raw if self.folder(name) == folder]
        path = Path(folder) / "known_hosts"
        text = path.read_text(encoding="utf-8", errors="replace") if folder and path.exists() else ""
        return known_hosts.host_keys(text, names)

    def _value(self, name: str, key: str) -> Any:  # noqa: ANN401 - a user's YAML value
        """Return a node's variable, templated only if necessary."""
        raw = self._raw[name].get(key)
        return self._hostvars[name][key] if is_templated(raw) else raw

    def _node(self, name: str, desired: str) -> KnownNode:
        folder, raw = self.folder(name), self._raw[name]
        host = raw.get("ansible_host")
        is_default = host is None or _DEFAULT_HOST.fullmatch(str(host).strip())
        own = "" if is_default else str(self._value(name, "ansible_host"))
        arguments = " ".join(str(raw.get(key, "")) for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args"))
        direct = raw.get("ansible_connection") in _SSH and not _THROUGH.search(arguments)
        addresses = self._seen[folder].get(name, {}).get("addresses")
        return KnownNode(
            name=name,
            desired=desired,
            own=own if direct and own != desired else "",
            port=int(self._value(name, "ansible_port") or SSH_PORT),
            seen=tuple(map(str, addresses)) if direct and isinstance(addresses, list) else (),
            keys=self._keys[folder][name],
            window=int(self._value(name, "network_confirm_within") or ARGUMENTS["confirm_within"]["default"]),
        )


def _scan(nodes: Sequence[KnownNode], seconds: int) -> dict[known_hosts.Place, frozenset[str]]:
    types = {key.partition(" ")[0] for node in nodes for key in node.keys}
    if not all(node.keys for node in nodes):
        types.update(known_hosts.USUAL_TYPES)
    try:
        return known_hosts.scan(places(nodes), types, seconds)
    except OSError as error:
        raise AnsibleActionFail(
            f"ssh-keyscan cannot be run: {error.strerror}; install the OpenSSH client on the controller"
        ) from error


def _as_variables(move: Move) -> dict[str, Any]:
    """Return the variables of the role that performs a move."""
    net = {"prefix": move.net.prefix, "gateway": move.net.gateway, "dns": [*move.net.dns], "search": [*move.net.search]}
    return {"address": move.address, "parked": move.parked, **net}
