# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Find the nodes that may not be at their node_address, on the controller, before any of them is touched."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import ARGUMENTS
from ansible_collections.picluster.cloud.plugins.plugin_utils.inventory.specs import is_decided_later
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.locate import (
    SSH_PORT,
    Node,
    find,
    missing_sentence,
    places,
    taken_problems,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.settled import settled_answers
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.vacate import Move, Net, ParkingError, first_moves
from ansible_collections.picluster.cloud.plugins.plugin_utils.node import known_hosts
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.masters import close_masters
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.seen import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# What connection.yml says: no opinion of its own.
_AS_WANTED = re.compile(r"\{\{\s*node_address\s*\}\}")
# Through another machine only ssh itself could ask.
_THROUGH = re.compile(r"Proxy(Jump|Command)|(^|\s)-J")
# Seconds beyond the time that a move has to be confirmed, in which the node is back for certain.
_BACK = 15
_SSH = (None, "ssh", "smart", "ansible.builtin.ssh")


class ActionModule(ActionBase):  # type: ignore[misc]  # ansible-core carries no types
    """The action behind picluster.cloud.locate."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return where the nodes are that were in doubt, and which must leave their addresses first."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            {"nodes": {"type": "dict", "required": True}, "timeout": {"type": "int", "default": 5}}
        )
        variables = task_vars or {}
        book = _Book(variables["hostvars"], arguments["nodes"])
        doubtful = [node for node in book.nodes if node.is_doubtful]
        found: dict[str, str] = {}
        if doubtful:
            answers = settled_answers(
                doubtful,
                ask=lambda nodes: _ask(nodes, arguments["timeout"]),
                window=lambda nodes: max(book.window(node.name) for node in nodes) + _BACK,
                in_the_way=lambda heard: taken_problems(book.nodes, find(doubtful, heard)),
                say=Display().display,
            )
            found = find(doubtful, answers)
            for node in doubtful:
                close_masters(
                    self._shared_loader_obj.connection_loader,
                    self._play_context,
                    variables["hostvars"][node.name],
                    node.candidates,
                )
                if node.name not in found:
                    self._warn(missing_sentence(node, answers))
                elif node.own and found[node.name] == node.wanted:
                    self._warn(f"{node.name} is at its node_address now: take its ansible_host {node.own} out")
            self._refuse_taken(taken_problems(book.nodes, found), limited=bool(variables.get("ansible_limit")))
        try:
            moves = first_moves(
                {node.name: node.wanted for node in book.nodes},
                found,
                {address for node in book.nodes for address in node.seen},
                book.net,
            )
        except (ParkingError, ValueError) as error:
            raise AnsibleActionFail(f"{error}; no node was touched") from error
        if not self._task.check_mode:
            self._remember(book, found, moves)
        return {
            **result,
            "changed": False,
            "hosts": found,
            "vacate": {name: _as_variables(move) for name, move in moves.items()},
        }

    def _warn(self, text: str) -> None:
        Display().warning(text)

    def _refuse_taken(self, problems: Mapping[str, str], *, limited: bool) -> None:
        if problems and not limited:
            raise AnsibleActionFail("\n".join(["No node was touched.", *problems.values()]))
        # Whether the two are within --limit is not known here.
        for problem in problems.values():
            self._warn(problem)

    def _remember(self, book: _Book, found: Mapping[str, str], moves: Mapping[str, Move]) -> None:
        """Write down where a next run must ask, before any node goes there."""
        for folder, nodes in book.by_folder().items():
            try:
                with Seen(folder).edit() as record:
                    for node in nodes:
                        place = found.get(node.name, "" if node.is_doubtful else node.wanted)
                        move = [moves[node.name].address] if node.name in moves else []
                        if place:
                            addresses = list(node.recorded(place, *move, node.wanted))
                            record.setdefault(node.name, {})["addresses"] = addresses
            except OSError as error:
                text = f"what is known of the nodes cannot be kept in {Seen(folder).path}: {error.strerror}"
                if moves:
                    raise AnsibleActionFail(f"{text}; without it no node is moved out of another's way") from error
                self._warn(f"{text}; a node whose address changes may not be found again")


class _Book:
    """The nodes, read from inventory, record and known_hosts."""

    def __init__(self, hostvars: Any, wanted: Mapping[str, str]) -> None:  # noqa: ANN401 - ansible's HostVars
        self._hostvars = hostvars
        self._raw = {name: hostvars.raw_get(name) for name in wanted}
        self._seen = {folder: Seen(folder).nodes() for folder in {self._folder(name) for name in wanted}}
        self._keys = {folder: self._known(folder) for folder in self._seen}
        self.nodes = [self._node(str(name), str(address)) for name, address in wanted.items()]

    def by_folder(self) -> dict[str, list[Node]]:
        """Return the nodes of each inventory that have a record there."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.wanted in node.candidates:
                found.setdefault(self._folder(node.name), []).append(node)
        return {folder: nodes for folder, nodes in found.items() if folder}

    def net(self, name: str) -> Net:
        """Return what belongs to a node's address."""
        return Net(
            prefix=int(self._value(name, "node_prefix")),
            gateway=str(self._value(name, "node_gateway")),
            dns=tuple(map(str, self._value(name, "node_dns") or [])),
            search=tuple(map(str, self._value(name, "node_search") or [])),
            parking=str(self._value(name, "network_parking") or ""),
        )

    def window(self, name: str) -> int:
        """Return the seconds that a move of this node has to be confirmed."""
        return int(self._value(name, "network_confirm_within") or ARGUMENTS["confirm_within"]["default"])

    def _folder(self, name: str) -> str:
        return str(self._raw[name].get("inventory_dir") or "")

    def _known(self, folder: str) -> dict[str, frozenset[str]]:
        names = [name for name in self._raw if self._folder(name) == folder]
        path = Path(folder) / "known_hosts"
        text = path.read_text(encoding="utf-8", errors="replace") if folder and path.exists() else ""
        return known_hosts.host_keys(text, names)

    def _value(self, name: str, key: str) -> Any:  # noqa: ANN401 - a user's YAML value
        """Return a node's variable, templated only where it has to be."""
        raw = self._raw[name].get(key)
        return self._hostvars[name][key] if is_decided_later(raw) else raw

    def _node(self, name: str, wanted: str) -> Node:
        folder, raw = self._folder(name), self._raw[name]
        host = raw.get("ansible_host")
        own = "" if host is None or _AS_WANTED.fullmatch(str(host).strip()) else str(self._value(name, "ansible_host"))
        ways = " ".join(str(raw.get(key, "")) for key in ("ansible_ssh_common_args", "ansible_ssh_extra_args"))
        direct = raw.get("ansible_connection") in _SSH and not _THROUGH.search(ways)
        addresses = self._seen[folder].get(name, {}).get("addresses")
        return Node(
            name=name,
            wanted=wanted,
            own=own if direct and own != wanted else "",
            port=int(self._value(name, "ansible_port") or SSH_PORT),
            seen=tuple(map(str, addresses)) if direct and isinstance(addresses, list) else (),
            keys=self._keys[folder][name],
        )


def _ask(nodes: Sequence[Node], seconds: int) -> dict[known_hosts.Place, frozenset[str]]:
    types = {key.partition(" ")[0] for node in nodes for key in node.keys}
    if not all(node.keys for node in nodes):
        types.update(known_hosts.USUAL_TYPES)
    try:
        return known_hosts.scan(places(nodes), types, seconds)
    except OSError as error:
        raise AnsibleActionFail(f"ssh-keyscan, which finds the nodes, cannot be run: {error.strerror}") from error


def _as_variables(move: Move) -> dict[str, Any]:
    """Return the variables of the role that makes a move."""
    net = asdict(move.net)
    return {"address": move.address, "parked": move.parked} | {
        key: list(net[key]) if key in {"dns", "search"} else net[key] for key in ("prefix", "gateway", "dns", "search")
    }
