"""Plan the inventory of a cluster: created once, then owned by the user; a rerun adds nodes and keeps edits."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from picluster.errors import PiclusterError
from picluster.files import naming, read_text, write_atomically, write_together
from picluster.inventory import known_hosts, names, reservations
from picluster.inventory.groups import declared_groups
from picluster.inventory.yamlfile import YamlFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

NODES = "10-nodes.yml"
ROLES = "20-roles.yml"
CLUSTER = "group_vars/all/cluster.yml"
SECRETS = "group_vars/all/secrets.yml"
CONNECTION = "group_vars/nodes/connection.yml"
RESERVATIONS = "reservations.dnsmasq"
KNOWN_HOSTS = "known_hosts"
IGNORE = ".gitignore"
ARCHS = ("arm64", "armhf", "amd64")
DEFAULT_PREFIX = 24
DEFAULT_USER = "pi"
HOSTS = ("all", "children", "nodes", "hosts")
_IGNORED = f"""\
# What git must not commit: the secret of the cluster, and what runs recorded about its nodes. To commit the secret,
# encrypt it with ansible-vault, then remove its line. picluster writes this file once.
/{SECRETS}
/seen.json
"""
_NODES_HEADER = "The nodes of the cluster. picluster adds to it; edit it as you like."
# The alias stores the host key under the name of the node, so a new address asks nothing. Inner quotes: ssh splits
# the value at blanks once more. curve25519 first: a new connection costs the controller 11 ms instead of 70 ms with the
# default key exchange of OpenSSH 9 (measured on 200 nodes); the ^ keeps all others as fallback.
_SSH_ARGS = (
    "-o 'UserKnownHostsFile=\"{{ inventory_dir }}/known_hosts\"' -o HostKeyAlias={{ inventory_hostname }} "
    "-o StrictHostKeyChecking=accept-new -o HashKnownHosts=no -o KexAlgorithms=^curve25519-sha256"
)


@dataclass(frozen=True)
class InventoryRequest:
    """The desired nodes of an inventory; None means the value of the inventory, or else the default.

    Attributes:
        folder: Directory of the inventory, named as the cluster.
        addresses: Their addresses by name, None for those of the inventory.
        guessed_arch: Architecture if neither option nor inventory says.
        private_key: Private key to log in with, if ssh does not try it by default.
        client_id: Whether the cards of the nodes send a client-id; None if no card is made.
        region: Time zone and locale by the name of their setting: what the cards received must remain true.
    """

    folder: Path
    names: Sequence[str]
    addresses: Mapping[str, IPv4Address] | None
    prefix: int | None = None
    gateway: str | None = None
    dns: Sequence[str] = ()
    user: str | None = None
    arch: str | None = None
    guessed_arch: str | None = None
    private_key: Path | None = None
    client_id: bool | None = None
    region: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Plan:
    """Checked changes of an inventory: the addresses of all nodes, new contents of files, and notes for the user."""

    folder: Path
    net: names.Net
    addresses: dict[str, IPv4Address]
    user: str
    writes: dict[Path, bytes] = field(default_factory=dict)
    make_secret: bool = False
    notes: list[str] = field(default_factory=list)


def plan(request: InventoryRequest) -> Plan:
    """Return what the inventory becomes; write nothing."""
    folder = request.folder
    nodes = YamlFile(folder / NODES, _NODES_HEADER)
    cluster = YamlFile(folder / CLUSTER, "What all nodes of the cluster share.")
    connection = YamlFile(folder / CONNECTION, "How Ansible reaches the nodes.")
    hosts = nodes.section(*HOSTS)
    known = known_addresses(nodes.path, hosts)
    desired = _desired(request, known)
    addresses = known | desired
    net = _net(request, cluster, addresses)
    names.check_nodes(addresses.items(), net)
    roles = _roles(folder / ROLES, list(addresses))
    _check_groups(roles, addresses)

    for name, address in desired.items():
        if not isinstance(hosts.get(name), CommentedMap):
            hosts[name] = CommentedMap()
            hosts[name].fa.set_flow_style()
        nodes.put(hosts[name], "node_address", str(address), label=f"{name} ")
    _fill_cluster(request, cluster, net)
    user = _fill_connection(request, connection)

    made = Plan(folder, net, addresses, user, missing_ignore(folder))
    for file in (nodes, cluster, connection):
        contents = file.changed()
        if contents is not None:
            made.writes[file.path] = contents
        made.notes += file.notes
    if roles.new:
        made.writes[roles.path] = roles.changed() or b""
    else:
        made.notes += _without_group(roles, addresses)
    path = folder / RESERVATIONS
    text = read_text(path)
    ids = {} if request.client_id is None else dict.fromkeys(request.names, request.client_id)
    merged = reservations.merge(text, addresses, ids)
    if merged != text:
        made.writes[path] = merged.encode(errors="surrogateescape")
    made.make_secret = not (folder / SECRETS).exists()
    return made


def missing_ignore(folder: Path) -> dict[Path, bytes]:
    """Return the file that hides secrets from git, unless the folder has one: the user may edit it."""
    path = folder / IGNORE
    return {} if path.exists() else {path: _IGNORED.encode()}


def require_known(folder: Path, burnt: Iterable[str]) -> None:
    """Check that these nodes are in the inventory."""
    nodes = YamlFile(folder / NODES, _NODES_HEADER)
    known = nodes.section(*HOSTS)
    for name in burnt:
        if name not in known:
            raise PiclusterError(f"{name} is not in {nodes.path}: to add it, give --ips and leave out --replace")


def known_addresses(path: Path, hosts: CommentedMap) -> dict[str, IPv4Address]:
    """Return the reserved addresses of these hosts of an inventory file."""
    known: dict[str, IPv4Address] = {}
    for name, settings in hosts.items():
        address = settings.get("node_address") if isinstance(settings, CommentedMap) else None
        if address is None:
            continue
        try:
            known[str(name)] = IPv4Address(str(address))
        except ValueError as error:
            raise PiclusterError(
                f"{path}: node_address {address} of {name} is not an IPv4 address: correct it"
            ) from error
    return known


def _desired(request: InventoryRequest, known: Mapping[str, IPv4Address]) -> dict[str, IPv4Address]:
    if request.addresses is not None:
        return dict(request.addresses)
    missing = [name for name in request.names if name not in known]
    if missing:
        raise PiclusterError(
            f"{missing[0]} has no address in {request.folder / NODES}: give --ips with an address for each node"
        )
    return {name: known[name] for name in request.names}


def _net(request: InventoryRequest, cluster: YamlFile, addresses: Mapping[str, IPv4Address]) -> names.Net:
    data = cluster.data
    prefix = request.prefix if request.prefix is not None else data.get("node_prefix", DEFAULT_PREFIX)
    if not isinstance(prefix, int):
        raise PiclusterError(
            f"{cluster.path}: node_prefix {prefix!r} is not an integer: expected one such as {DEFAULT_PREFIX}"
        )
    gateway = request.gateway or data.get("node_gateway")
    dns = list(request.dns) or data.get("node_dns") or []
    if not isinstance(dns, list):
        raise PiclusterError(f"{cluster.path}: node_dns must be a list of addresses, got {dns!r}")
    first = addresses[request.names[0]]
    return names.make_net(
        [first],
        prefix=prefix,
        gateway=gateway and str(gateway),
        dns=[str(one) for one in dns],
        found={
            "--prefix": "" if request.prefix is not None else f"{cluster.path}: node_prefix",
            "--gateway": "" if request.gateway else f"{cluster.path}: node_gateway",
            "--dns": "" if request.dns else f"{cluster.path}: node_dns",
        },
    )


def _fill_cluster(request: InventoryRequest, cluster: YamlFile, net: names.Net) -> None:
    data = cluster.data
    arch = request.arch or data.get("node_arch") or request.guessed_arch or ARCHS[0]
    if arch not in ARCHS:
        raise PiclusterError(f"{cluster.path}: node_arch {arch!r} is unknown: expected one of {', '.join(ARCHS)}")
    if request.guessed_arch and not request.arch and arch != request.guessed_arch:
        cluster.notes.append(
            f"{cluster.path.name} has node_arch: {arch}, but this image looks like {request.guessed_arch}; "
            f"if so, set node_arch for these nodes in {NODES}"
        )
    cluster.put(data, "cluster_name", request.folder.name)
    if "node_interface" not in data:
        data["node_interface"] = "eth0"
    cluster.put(data, "node_prefix", net.network.prefixlen)
    cluster.put(data, "node_gateway", str(net.gateway))
    servers = [str(server) for server in net.dns]
    if data.get("node_dns") != servers:
        flow = CommentedSeq(servers)
        flow.fa.set_flow_style()
        cluster.put(data, "node_dns", flow)
    cluster.put(data, "node_arch", arch)
    for name, value in request.region.items():
        cluster.put(data, name, value)


def _fill_connection(request: InventoryRequest, connection: YamlFile) -> str:
    data = connection.data
    user = request.user or data.get("ansible_user") or DEFAULT_USER
    if "ansible_host" not in data:
        data["ansible_host"] = "{{ node_address }}"
    connection.put(data, "ansible_user", user)
    if "ansible_python_interpreter" not in data:
        data["ansible_python_interpreter"] = "/usr/bin/python3"
    if request.private_key is not None:
        shown = _portable(request.private_key, request.folder)
        connection.put(data, "ansible_ssh_private_key_file", shown)
    if "ansible_ssh_common_args" not in data:
        data["ansible_ssh_common_args"] = _SSH_ARGS
    return str(user)


def _portable(key: Path, folder: Path) -> str:
    """Return the path of a key so that it is valid in any checkout: relative to the inventory, or to the home."""
    key = key.resolve()
    project = folder.resolve().parent.parent
    if key.is_relative_to(project):
        return "{{ inventory_dir }}/" + Path(os.path.relpath(key, folder.resolve())).as_posix()
    home = Path.home().resolve()
    return "~/" + key.relative_to(home).as_posix() if key.is_relative_to(home) else key.as_posix()


def _roles(path: Path, nodes: Sequence[str]) -> YamlFile:
    file = YamlFile(path, "Which node runs which layer. Edit it as you like: picluster writes it once.")
    if not file.new:
        return file
    first, *others = nodes
    chosen = {"first": [first], "others": others, "others_or_first": others or [first]}
    groups = file.section("all", "children")
    for group, settings in declared_groups().items():
        groups[group] = CommentedMap()
        if settings["initial"] == "all":
            groups[group]["children"] = CommentedMap({"nodes": None})
        else:
            groups[group]["hosts"] = CommentedMap(dict.fromkeys(chosen[settings["initial"]]))
        groups.yaml_set_comment_before_after_key(group, before=settings["description"], indent=4)
    return file


def _check_groups(roles: YamlFile, addresses: Iterable[str]) -> None:
    taken = set(roles.section("all", "children"))
    for name in addresses:
        if name in taken:
            raise PiclusterError(f"{name!r} is the name of a group in {ROLES}: choose another name for the node")


def _without_group(roles: YamlFile, addresses: Iterable[str]) -> list[str]:
    """Return a note about nodes that no group of an existing roles file names."""
    named: set[str] = set()
    for group in roles.section("all", "children").values():
        hosts = group.get("hosts") if isinstance(group, CommentedMap) else None
        # Ansible reports anything else, with file and line.
        named.update(map(str, hosts if isinstance(hosts, CommentedMap) else ()))
    alone = [name for name in addresses if name not in named]
    if not alone:
        return []
    return [f"{roles.path.name} was not changed: add {', '.join(alone)} to the groups you want"]


def apply(planned: Plan) -> Callable[[], None]:
    """Write a plan completely or not at all, the secret only if there is none; return a function that takes it back."""
    with refusing(planned.folder), ExitStack() as undo:
        undo.callback(write_together(planned.writes))
        if planned.make_secret:
            _make_secret(planned.folder / SECRETS, undo)
        return undo.pop_all().close


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """Turn an OSError of a file that could not be written into the sentence that says so: nothing was changed."""
    try:
        yield
    except OSError as error:
        raise PiclusterError(
            f"the inventory {folder} cannot be written: {error.filename or folder}: {error.strerror or error};"
            " nothing was changed"
        ) from error


def _make_secret(path: Path, undo: ExitStack) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = (
        "---\n# Generated once; every layer derives its own secret from it. Changing it locks running layers out.\n"
        f"cluster_secret: {secrets.token_hex(32)!r}\n"
    )
    try:
        # O_EXCL: of two commands at once only one creates the secret, and none ever replaces it.
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    undo.callback(path.unlink, missing_ok=True)
    with naming(path), os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def forget_host_keys(folder: Path, burnt: Iterable[str]) -> bool:
    """Remove the host keys of nodes with a new card; return whether there were any."""
    path = folder / KNOWN_HOSTS
    before = read_text(path)
    after = known_hosts.forget(before, burnt)
    if after == before:
        return False
    write_atomically(path, after.encode(errors="surrogateescape"))
    return True
