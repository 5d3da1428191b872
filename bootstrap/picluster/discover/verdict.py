"""Interpret the answers: which node is where, which is missing, and which is not what it claims to be."""

from __future__ import annotations

import asyncio
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import shell
from picluster.discover.login import LOGINS, REFUSED, is_trusted
from picluster.inventory import known_hosts
from picluster.inventory.known_hosts import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from ipaddress import IPv4Address

    from picluster.discover.login import Access, Answer, Login
    from picluster.inventory.edit import Cluster

FOUND, MISSING, TWICE, WRONG_KEY = "found", "missing", "twice", "wrong host key"


@dataclass(frozen=True)
class NodeResult:
    """The result for one node of the inventory.

    The state is FOUND, MISSING, TWICE or WRONG_KEY; ``why`` is the reason in one sentence if it was not found.
    ``is_new`` says that its host key was seen for the first time.
    """

    name: str
    state: str
    address: IPv4Address | None = None
    login: Login | None = None
    is_new: bool = False
    why: str = ""

    @property
    def answer(self) -> Answer | None:
        """Return what the node reports about itself."""
        return self.login.answer if self.login else None


@dataclass
class Findings:
    """The result of a search.

    Each text is one sentence: ``warnings`` about copied cards, ``unlisted`` about boards that accept the key and have a
    name that is not in the inventory. ``strangers`` is the number of hosts with ssh that do not accept the key.
    """

    nodes: list[NodeResult] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    strangers: int = 0

    def of(self, state: str) -> list[str]:
        """Return the nodes in this state."""
        return [node.name for node in self.nodes if node.state == state]


def judge(cluster: Cluster, logins: Sequence[Login], trusted: Mapping[IPv4Address, Verdict]) -> Findings:
    """Return what the logins mean; ``trusted`` is what known_hosts says about each under the name of a node."""
    found = Findings()
    by_name: dict[str, list[Login]] = defaultdict(list)
    for login in logins:
        if login.answer is None:
            found.strangers += 1
        elif login.answer.name in cluster.addresses:
            by_name[login.answer.name].append(login)
        else:
            name = login.answer.name or "''"
            found.unlisted.append(f"the board at {login.address} has the name {name}, which is not in the inventory")
    for name in cluster.addresses:
        seen = by_name.get(name, [])
        found.nodes.append(_node(cluster, name, seen, trusted) if seen else _missing(cluster, name, logins))
    found.warnings += _copies(logins)
    return found


def _identity(login: Login) -> tuple[str, ...]:
    answer = login.answer
    return (login.host_key, *((answer.mac, answer.serial, answer.machine_id) if answer else ()))


def _node(cluster: Cluster, name: str, seen: list[Login], trusted: Mapping[IPv4Address, Verdict]) -> NodeResult:
    if len({_identity(login) for login in seen}) > 1:
        differ = len({_mac(one) for one in seen}) == len(seen)
        marks = ((one, _mac(one) if differ else known_hosts.fingerprint(one.host_key)) for one in seen)
        boards = " and ".join(f"{one.address} ({mark})" for one, mark in marks)
        why = f"{len(seen)} boards have the name {name}: {boards}; burn a card with another name for all but one"
        return NodeResult(name, TWICE, why=why)
    login = _preferred(cluster, name, seen)
    verdict = trusted[login.address]
    if verdict is Verdict.OTHER:
        forget = shell.join(["ssh-keygen", "-R", name, "-f", f"{cluster.folder}/known_hosts"])
        why = (
            f"{name} at {login.address} has the wrong host key: {known_hosts.fingerprint(login.host_key)}, but "
            "known_hosts has another; this may be another host. If the system of the node is new, remove the old key: "
            f"{forget}"
        )
        return NodeResult(name, WRONG_KEY, why=why)
    return NodeResult(name, FOUND, login.address, login, is_new=verdict is Verdict.NEW)


def _mac(login: Login) -> str:
    return login.answer.mac if login.answer else ""


def _preferred(cluster: Cluster, name: str, seen: list[Login]) -> Login:
    """Return the login at the reserved address, else where the node was last found, else at the lowest address."""
    at = {login.address: login for login in seen}
    likely = (cluster.addresses[name], cluster.found_at.get(name))
    return next((at[address] for address in likely if address in at), seen[0])


def _missing(cluster: Cluster, name: str, logins: Iterable[Login]) -> NodeResult:
    """Return the result for a missing node, with the reason if its host key or its address answers."""
    why = ""
    for login in logins:
        if login.answer is not None:
            continue
        refused = login.problem == REFUSED
        said = f"refuses the key of {cluster.user}" if refused else f"does not allow a login ({login.problem})"
        if login.host_key and known_hosts.judge(cluster.known_hosts, name, login.host_key) is Verdict.KNOWN:
            return NodeResult(name, MISSING, why=f"{name} is missing: its host key is at {login.address}, which {said}")
        if login.address == cluster.addresses[name]:
            why = f"{name} is missing: its address {login.address} {said}"
    return NodeResult(name, MISSING, why=why)


def _copies(logins: Iterable[Login]) -> Iterator[str]:
    """Yield a sentence for boards of different names that share what must be unique: one card is a copy."""
    owners: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for login in logins:
        if login.answer is None:
            continue
        answer = login.answer
        marks = (("host key", login.host_key), ("machine id", answer.machine_id), ("MAC", answer.mac))
        for what, value in marks:
            if value:
                owners[what, value][answer.name] = None
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (what, _), names in owners.items():
        if len(names) > 1:
            shared[tuple(names)].append(what)
    for copies, whats in shared.items():
        yield (
            f"{' and '.join(copies)} have the same {' and '.join(whats)}: a card was copied after its first boot; "
            "burn all but one of them again"
        )


def trust(cluster: Cluster, access: Access, logins: Sequence[Login]) -> dict[IPv4Address, Verdict]:
    """Return what known_hosts says about each login under the name of a node; if only ssh can decide, log in again."""
    ours = [login for login in logins if login.answer and login.answer.name in cluster.addresses]
    verdicts = {login.address: known_hosts.judge(cluster.known_hosts, _name(login), login.host_key) for login in ours}
    unsure = [login for login in ours if verdicts[login.address] is Verdict.UNSURE]
    if unsure:
        verdicts |= asyncio.run(_check_with_ssh(cluster, access, unsure))
    return verdicts


def _name(login: Login) -> str:
    return login.answer.name if login.answer else ""


async def _check_with_ssh(cluster: Cluster, access: Access, logins: Sequence[Login]) -> dict[IPv4Address, Verdict]:
    doors = asyncio.Semaphore(LOGINS)

    async def one(login: Login, folder: Path) -> Verdict:
        # A copy for each: ssh adds new keys, which must not be added to the cluster yet.
        copy = folder / str(login.address)
        copy.write_text(cluster.known_hosts, encoding="utf-8", errors="surrogateescape")
        async with doors:
            if not await is_trusted(access, login.address, _name(login), copy):
                return Verdict.OTHER
        after = copy.read_text(encoding="utf-8", errors="surrogateescape")
        if after == cluster.known_hosts:
            return Verdict.KNOWN
        # The recorded key must be the one that was presented both times.
        return Verdict.NEW if login.host_key and login.host_key in after else Verdict.OTHER

    with tempfile.TemporaryDirectory(dir=access.folder) as folder:
        verdicts = await asyncio.gather(*(one(login, Path(folder)) for login in logins))
    return {login.address: verdict for login, verdict in zip(logins, verdicts, strict=True)}
