"""Edit an existing inventory: record what the boards report, remove nodes by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, collapse_addresses
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from picluster.errors import PiclusterError
from picluster.files import read_text, write_together
from picluster.inventory import known_hosts as inventory_known_hosts
from picluster.inventory import plan, reservations
from picluster.inventory.names import MAX_PREFIX, MIN_PREFIX
from picluster.inventory.yamlcut import cut
from picluster.inventory.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from picluster.inventory.yamlcut import Keys

# What a board reports, and where a node is that is not at its reserved address.
FACTS = ("node_mac", "node_serial", "node_model")
FOUND_AT = "ansible_host"
_SSH_PORT = 22
_MAX_PORT = 65535
# IFNAMSIZ of Linux is 16 with the final zero; the name goes to a shell on the node.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_FOLDER = re.compile(r"\{\{\s*inventory_dir\s*\}\}")


@dataclass(frozen=True)
class Cluster:
    """What discovery needs of an inventory.

    The addresses are the reserved ones, ``found_at`` is where a node was last found, if not there. The key is None for
    those that ssh tries by default; ``known_hosts`` is the contents of that file.
    """

    folder: Path
    addresses: Mapping[str, IPv4Address]
    found_at: Mapping[str, IPv4Address]
    macs: Mapping[str, str]
    networks: Sequence[IPv4Network]
    interface: str
    user: str
    key: Path | None
    port: int
    known_hosts: str


@dataclass
class Edit:
    """Checked changes of an existing inventory: contents of files in the order of writing, and notes for the user."""

    folder: Path
    writes: dict[Path, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def apply(self) -> None:
        """Write the changes completely or not at all."""
        with plan.refusing(self.folder):
            write_together(self.writes)

    def put(self, path: Path, before: str, after: str) -> None:
        """Add a file, if it changes, to a folder whose secrets git does not see."""
        if after != before:
            self.writes |= plan.missing_ignore(self.folder)
            self.writes[path] = after.encode(errors="surrogateescape")


def read(folder: Path) -> Cluster:
    """Read what discovery needs."""
    nodes = _nodes(folder)
    hosts = nodes.section(*plan.HOSTS)
    addresses = plan.known_addresses(nodes.path, hosts)
    if not addresses:
        raise PiclusterError(f"{nodes.path} has no node with an address: add nodes with picluster inventory")
    cluster = YamlFile(folder / plan.CLUSTER, "")
    connection = YamlFile(folder / plan.CONNECTION, "")
    prefix = cluster.data.get("node_prefix", plan.DEFAULT_PREFIX)
    if isinstance(prefix, bool) or not isinstance(prefix, int) or not MIN_PREFIX <= prefix <= MAX_PREFIX:
        raise PiclusterError(
            f"{cluster.path}: node_prefix {prefix!r} is invalid: expected an integer from {MIN_PREFIX} to {MAX_PREFIX}"
        )
    interface = cluster.data.get("node_interface", "eth0")
    if not isinstance(interface, str) or not _INTERFACE.fullmatch(interface):
        raise PiclusterError(
            f"{cluster.path}: node_interface {interface!r} is not a network interface: expected one such as eth0"
        )
    port = connection.data.get("ansible_port", _SSH_PORT)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= _MAX_PORT:
        raise PiclusterError(
            f"{connection.path}: ansible_port {port!r} is not a port: expected one such as {_SSH_PORT}"
        )
    return Cluster(
        folder=folder,
        addresses=addresses,
        found_at=_found_at(hosts),
        macs={str(name): str(one["node_mac"]) for name, one in hosts.items() if one and "node_mac" in one},
        networks=tuple(collapse_addresses(IPv4Interface((int(one), prefix)).network for one in addresses.values())),
        interface=interface,
        user=_text(connection, "ansible_user", folder) or plan.DEFAULT_USER,
        key=_key(connection, folder),
        port=port,
        known_hosts=read_text(folder / plan.KNOWN_HOSTS),
    )


def _nodes(folder: Path) -> YamlFile:
    path = folder / plan.NODES
    if not path.is_file():
        found = ", ".join(sorted(other.parent.name for other in folder.parent.glob(f"*/{plan.NODES}"))) or "none"
        raise PiclusterError(
            f"there is no cluster {folder.name} in {folder.parent} (found: {found}); "
            "create it with picluster burn or picluster inventory"
        )
    return YamlFile(path, "")


def _found_at(hosts: CommentedMap) -> dict[str, IPv4Address]:
    """Return where nodes were found; a host name or a template belongs to the user and stays."""
    found = {}
    for name, settings in hosts.items():
        text = settings.get(FOUND_AT) if isinstance(settings, CommentedMap) else None
        try:
            found[str(name)] = IPv4Address(text)
        except AddressValueError:
            continue
    return found


def _text(connection: YamlFile, key: str, folder: Path) -> str:
    """Return a value with {{ inventory_dir }} expanded, the only template that picluster writes."""
    value = connection.data.get(key)
    if value is None:
        return ""
    text = _FOLDER.sub(lambda _: folder.resolve().as_posix(), str(value))
    if not isinstance(value, str) or "{{" in text or "{%" in text or text.startswith("-"):
        raise PiclusterError(
            f"{connection.path}: {key} {value!r} cannot be used by picluster: expected plain text without templates"
        )
    return text


def _key(connection: YamlFile, folder: Path) -> Path | None:
    text = _text(connection, "ansible_ssh_private_key_file", folder)
    if not text:
        return None
    key = Path(text).expanduser()
    if not key.is_file():
        raise PiclusterError(f"{connection.path}: there is no private key {key}; correct ansible_ssh_private_key_file")
    return key


def record(
    cluster: Cluster,
    facts: Mapping[str, Mapping[str, str]],
    found: Mapping[str, IPv4Address],
    host_keys: Mapping[str, str],
) -> Edit:
    """Return the changes of an inventory when nodes were found; write nothing.

    The facts are what the boards report, by node and key (FACTS); empty values change nothing. ``found`` is the address
    of each of them; the host keys are those that were seen for the first time.
    """
    edit = Edit(cluster.folder)
    edit.put(
        cluster.folder / plan.KNOWN_HOSTS,
        cluster.known_hosts,
        inventory_known_hosts.add(cluster.known_hosts, host_keys),
    )
    nodes = _nodes(cluster.folder)
    hosts = nodes.section(*plan.HOSTS)
    gone = _other_boards(edit, hosts, facts)
    for name, address in found.items():
        here = hosts[name]
        for key, value in facts[name].items():
            if value:
                # Always quoted: YAML 1.1, which Ansible reads, parses 10:20:30:40:50:59 as a number of base 60.
                nodes.put(here, key, DoubleQuotedScalarString(value), label=f"{name} ")
        if address == cluster.addresses[name]:
            gone += [(*plan.HOSTS, name, FOUND_AT)] if name in cluster.found_at else []
        elif FOUND_AT not in here or name in cluster.found_at:
            nodes.put(here, FOUND_AT, str(address), label=f"{name} ")
        else:
            edit.notes.append(
                f"{name} was found at {address}; its {FOUND_AT} {here[FOUND_AT]} was not changed, because you set it"
            )
    edit.notes += nodes.notes
    before = read_text(nodes.path)
    changed = nodes.changed()
    edit.put(nodes.path, before, cut(before if changed is None else changed.decode(), gone, nodes.path))
    return edit


def _other_boards(edit: Edit, hosts: CommentedMap, facts: Mapping[str, Mapping[str, str]]) -> list[Keys]:
    """Return the records of boards that hold the card of another node now: each MAC address is recorded once."""
    owners = {board["node_mac"]: name for name, board in facts.items() if board.get("node_mac")}
    gone: list[Keys] = []
    for name, settings in hosts.items():
        mac = settings.get("node_mac") if isinstance(settings, CommentedMap) else None
        owner = owners.get(str(mac))
        if owner is None or owner == name or facts.get(name, {}).get("node_mac"):
            continue
        gone += [(*plan.HOSTS, str(name), key) for key in FACTS if key in settings]
        edit.notes.append(f"the board {mac}, recorded for {name}, is {owner} now")
    return gone


def remove(folder: Path, names: Sequence[str]) -> Edit:
    """Return the changes of an inventory when these nodes are removed; write nothing."""
    nodes = _nodes(folder)
    hosts = nodes.section(*plan.HOSTS)
    for name in names:
        if name not in hosts:
            raise PiclusterError(f"{name} is not in {nodes.path}: nothing was removed; name nodes of the inventory")
    if set(map(str, hosts)) <= set(names):
        raise PiclusterError(f"no node would be left: to remove the cluster, delete the folder {folder}")
    edit = Edit(folder)
    path = folder / plan.KNOWN_HOSTS
    edit.put(path, read_text(path), inventory_known_hosts.forget(read_text(path), names))
    path = folder / plan.RESERVATIONS
    edit.put(path, read_text(path), reservations.remove(read_text(path), names))
    roles = YamlFile(folder / plan.ROLES, "")
    left: dict[str, list[str]] = {name: [] for name in names}
    # The file of the nodes last: while a node is in it, the same command again completes an interrupted removal.
    for file in (roles, nodes):
        if not file.new:
            victims = list(_memberships(file, names))
            for keys in victims:
                if keys != (*plan.HOSTS, keys[-1]):
                    left[keys[-1]].append(keys[-3])
            before = read_text(file.path)
            edit.put(file.path, before, cut(before, victims, file.path))
    edit.notes += [
        f"{name} leaves {', '.join(groups)}, whose layers stay installed on it; to remove them, take it out of these "
        "groups and run site.yml before you remove it from the inventory"
        for name, groups in left.items()
        if groups
    ]
    edit.notes += [
        f"{path} was not removed; remove it, because site.yml refuses variables of hosts that do not exist"
        for name in names
        for path in sorted((folder / "host_vars").glob(f"{name}*"))
        if path.name.removesuffix(path.suffix) == name
    ]
    return edit


def _memberships(file: YamlFile, names: Collection[str]) -> Iterator[Keys]:
    """Yield where an inventory file names these hosts, in groups of any depth."""
    groups: list[tuple[Keys, object]] = [((str(name),), group) for name, group in file.data.items()]
    while groups:
        keys, group = groups.pop(0)
        if not isinstance(group, CommentedMap):
            continue
        children = group.get("children")
        if isinstance(children, CommentedMap):
            groups += [((*keys, "children", str(name)), below) for name, below in children.items()]
        hosts = group.get("hosts")
        for host in hosts if isinstance(hosts, CommentedMap) else ():
            if str(host) in names:
                yield (*keys, "hosts", str(host))
            elif "[" in str(host):
                _refuse_pattern(file.path, str(host), names)


def _refuse_pattern(path: Path, pattern: str, names: Collection[str]) -> None:
    # Imported here: loading Ansible takes long, and ranges are rare in these files.
    from ansible.plugins.inventory import expand_hostname_range  # noqa: PLC0415

    inside = set(expand_hostname_range(pattern)).intersection(names)
    if inside:
        raise PiclusterError(f"{path} names {min(inside)} in the range {pattern}: rewrite the range without it first")
