"""What becomes of an inventory after it was made: what the boards told is recorded, nodes leave by name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network, collapse_addresses
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from picluster.errors import PiclusterError
from picluster.files import YamlFile, write_atomically
from picluster.inventory import known_hosts as inventory_known_hosts
from picluster.inventory import plan, reservations
from picluster.inventory.names import MAX_PREFIX
from picluster.inventory.yamlcut import cut

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from picluster.inventory.yamlcut import Keys

# What a board tells of itself, and where a node is that is not at its own address.
FACTS = ("node_mac", "node_serial", "node_model")
FOUND_AT = "ansible_host"
_HOSTS = ("all", "children", "nodes", "hosts")
_SSH_PORT = 22
_MAX_PORT = 65535
# IFNAMSIZ of Linux is 16 with the final zero; the name goes to a shell on the node.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_FOLDER = re.compile(r"\{\{\s*inventory_dir\s*\}\}")


@dataclass(frozen=True)
class Cluster:
    """What discovery needs to know of an inventory.

    Attributes:
        folder: Its directory.
        addresses: Each node's reserved address.
        found_at: Where a node was found last, if not there.
        macs: The MACs that are recorded.
        networks: The nets that the reserved addresses are in.
        interface: The nodes' network interface.
        user: Who logs in.
        key: Private key, None if ssh finds one by itself.
        port: Of the nodes' ssh.
        known_hosts: What the file of host keys holds.
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
    """Changes of an inventory, all checked.

    Attributes:
        folder: Its directory.
        writes: New contents by file, in the order in which they are to be written.
        notes: What the user may want to know, one sentence each.
    """

    folder: Path
    writes: dict[Path, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def apply(self) -> None:
        """Write it: each file whole or not at all."""
        for path, contents in self.writes.items():
            write_atomically(path, contents)

    def put(self, path: Path, before: str, after: str) -> None:
        """Have a file written if it changes."""
        if after != before:
            self.writes[path] = after.encode(errors="surrogateescape")


def read(folder: Path) -> Cluster:
    """Read what discovery needs to know.

    Raises:
        PiclusterError: if there is no such inventory, or a value in it cannot be used.
    """
    nodes = _nodes(folder)
    hosts = nodes.section(*_HOSTS)
    addresses = plan.known_addresses(nodes.path, hosts)
    if not addresses:
        raise PiclusterError(f"{nodes.path} has no node with an address: picluster inventory writes them")
    cluster = YamlFile(folder / plan.CLUSTER, "")
    connection = YamlFile(folder / plan.CONNECTION, "")
    prefix = cluster.data.get("node_prefix", plan.DEFAULT_PREFIX)
    if isinstance(prefix, bool) or not isinstance(prefix, int) or not 8 <= prefix <= MAX_PREFIX:  # noqa: PLR2004 - as in names
        raise PiclusterError(f"{cluster.path}: node_prefix {prefix!r} is not a number from 8 to {MAX_PREFIX}")
    interface = cluster.data.get("node_interface", "eth0")
    if not isinstance(interface, str) or not _INTERFACE.fullmatch(interface):
        raise PiclusterError(f"{cluster.path}: node_interface {interface!r} is not a network interface such as eth0")
    port = connection.data.get("ansible_port", _SSH_PORT)
    if isinstance(port, bool) or not isinstance(port, int) or not 0 < port <= _MAX_PORT:
        raise PiclusterError(f"{connection.path}: ansible_port {port!r} is not a port such as {_SSH_PORT}")
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
        known_hosts=_read_text(folder / plan.KNOWN_HOSTS),
    )


def _nodes(folder: Path) -> YamlFile:
    path = folder / plan.NODES
    if not path.is_file():
        raise PiclusterError(f"there is no {path}: picluster burn and picluster inventory write it")
    return YamlFile(path, "")


def _read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def _found_at(hosts: CommentedMap) -> dict[str, IPv4Address]:
    """Return where nodes were found; a host name or a template is the user's, and stays."""
    found = {}
    for name, settings in hosts.items():
        text = settings.get(FOUND_AT) if isinstance(settings, CommentedMap) else None
        try:
            found[str(name)] = IPv4Address(text)
        except AddressValueError:
            continue
    return found


def _text(connection: YamlFile, key: str, folder: Path) -> str:
    """Return a value with {{ inventory_dir }} filled in, which is the one template that picluster writes."""
    value = connection.data.get(key)
    if value is None:
        return ""
    text = _FOLDER.sub(lambda _: folder.resolve().as_posix(), str(value))
    if not isinstance(value, str) or "{{" in text or "{%" in text or text.startswith("-"):
        raise PiclusterError(f"{connection.path}: {key} {value!r} is more than picluster can read: write it out")
    return text


def _key(connection: YamlFile, folder: Path) -> Path | None:
    text = _text(connection, "ansible_ssh_private_key_file", folder)
    if not text:
        return None
    key = Path(text).expanduser()
    if not key.is_file():
        raise PiclusterError(f"{connection.path}: there is no private key {key} (ansible_ssh_private_key_file)")
    return key


def record(
    cluster: Cluster,
    facts: Mapping[str, Mapping[str, str]],
    found: Mapping[str, IPv4Address],
    host_keys: Mapping[str, str],
) -> Edit:
    """Work out what an inventory becomes when nodes were found. Reads only.

    Args:
        cluster: The inventory.
        facts: What the boards told, by node and key (FACTS); what is empty changes nothing.
        found: The address where each of them is.
        host_keys: Those that were seen for the first time.
    """
    edit = Edit(cluster.folder)
    edit.put(
        cluster.folder / plan.KNOWN_HOSTS,
        cluster.known_hosts,
        inventory_known_hosts.add(cluster.known_hosts, host_keys),
    )
    nodes = _nodes(cluster.folder)
    hosts = nodes.section(*_HOSTS)
    gone = _other_boards(edit, hosts, facts)
    for name, address in found.items():
        here = hosts[name]
        for key, value in facts[name].items():
            if value:
                # Quoted always: YAML 1.1, which Ansible reads, takes 10:20:30:40:50:59 for a number of base 60.
                nodes.put(here, key, DoubleQuotedScalarString(value), label=f"{name} ")
        if address == cluster.addresses[name]:
            gone += [(*_HOSTS, name, FOUND_AT)] if name in cluster.found_at else []
        elif FOUND_AT not in here or name in cluster.found_at:
            nodes.put(here, FOUND_AT, str(address), label=f"{name} ")
        else:
            edit.notes.append(f"{name} was found at {address}; its {FOUND_AT} {here[FOUND_AT]} is yours and stays")
    edit.notes += nodes.notes
    before = _read_text(nodes.path)
    changed = nodes.changed()
    edit.put(nodes.path, before, cut(before if changed is None else changed.decode(), gone, nodes.path))
    return edit


def _other_boards(edit: Edit, hosts: CommentedMap, facts: Mapping[str, Mapping[str, str]]) -> list[Keys]:
    """Return what is recorded of boards that carry another node's card now: no MAC may stand there twice."""
    owners = {told["node_mac"]: name for name, told in facts.items() if told.get("node_mac")}
    gone: list[Keys] = []
    for name, settings in hosts.items():
        mac = settings.get("node_mac") if isinstance(settings, CommentedMap) else None
        owner = owners.get(str(mac))
        if owner is None or owner == name or facts.get(name, {}).get("node_mac"):
            continue
        gone += [(*_HOSTS, str(name), key) for key in FACTS if key in settings]
        edit.notes.append(f"the board {mac}, which was {name}'s, is {owner}'s now")
    return gone


def remove(folder: Path, names: Sequence[str]) -> Edit:
    """Work out what an inventory becomes without these nodes. Reads only.

    Raises:
        PiclusterError: if a node is not in it, none would be left, or a file cannot be changed safely.
    """
    nodes = _nodes(folder)
    hosts = nodes.section(*_HOSTS)
    for name in names:
        if name not in hosts:
            raise PiclusterError(f"{name} is not in {nodes.path}: nothing was removed")
    if set(map(str, hosts)) <= set(names):
        raise PiclusterError(f"no node would be left: to remove the cluster, delete the folder {folder}")
    edit = Edit(folder)
    path = folder / plan.KNOWN_HOSTS
    edit.put(path, _read_text(path), inventory_known_hosts.forget(_read_text(path), names))
    path = folder / plan.RESERVATIONS
    edit.put(path, _read_text(path), reservations.remove(_read_text(path), names))
    roles = YamlFile(folder / plan.ROLES, "")
    left: dict[str, list[str]] = {name: [] for name in names}
    # The nodes' own file last: as long as a node is in it, the same command again finishes what was cut short.
    for file in (roles, nodes):
        if not file.new:
            victims = list(_memberships(file, names))
            for keys in victims:
                if keys != (*_HOSTS, keys[-1]):
                    left[keys[-1]].append(keys[-3])
            before = _read_text(file.path)
            edit.put(file.path, before, cut(before, victims, file.path))
    edit.notes += [
        f"{name} leaves {', '.join(groups)}: what these put on it stays, unless it leaves them first and site.yml runs"
        for name, groups in left.items()
        if groups
    ]
    edit.notes += [
        f"{path} is yours and was left alone"
        for name in names
        for path in sorted((folder / "host_vars").glob(f"{name}*"))
        if path.name.removesuffix(path.suffix) == name
    ]
    return edit


def _memberships(file: YamlFile, names: Collection[str]) -> Iterator[Keys]:
    """Yield where an inventory file names these hosts: in the hosts of any group, however deep."""
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
        raise PiclusterError(f"{path} names {min(inside)} by the range {pattern}: write that range without it first")
