"""Make of the answers what they mean: which node is where, which is missing, and who is not who it says."""

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
class Node:
    """What became of one node of the inventory.

    Attributes:
        name: Its name.
        state: FOUND, MISSING, TWICE or WRONG_KEY.
        address: Where it is, if it was found.
        login: Of that address.
        is_new: Whether its host key was seen for the first time.
        why: One sentence, if it was not found.
    """

    name: str
    state: str
    address: IPv4Address | None = None
    login: Login | None = None
    is_new: bool = False
    why: str = ""

    @property
    def answer(self) -> Answer | None:
        """What it told of itself."""
        return self.login.answer if self.login else None


@dataclass
class Findings:
    """All that was found.

    Attributes:
        nodes: Every node of the inventory, in its order.
        warnings: Copied cards, one sentence each.
        unlisted: Boards that let us in under a name that is not in the inventory, one sentence each.
        strangers: How many hosts have ssh and are none of ours.
    """

    nodes: list[Node] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    strangers: int = 0

    def of(self, state: str) -> list[str]:
        """Return the nodes in this state."""
        return [node.name for node in self.nodes if node.state == state]


def judge(cluster: Cluster, logins: Sequence[Login], trusted: Mapping[IPv4Address, Verdict]) -> Findings:
    """Say what the logins mean.

    Args:
        cluster: The inventory.
        logins: Of all candidates.
        trusted: What known_hosts says of each that let us in under a node's name.
    """
    found = Findings()
    by_name: dict[str, list[Login]] = defaultdict(list)
    for login in logins:
        if login.answer is None:
            found.strangers += 1
        elif login.answer.name in cluster.addresses:
            by_name[login.answer.name].append(login)
        else:
            name = login.answer.name or "nothing"
            found.unlisted.append(f"the board at {login.address} calls itself {name}, which is not in the inventory")
    for name in cluster.addresses:
        seen = by_name.get(name, [])
        found.nodes.append(_node(cluster, name, seen, trusted) if seen else _missing(cluster, name, logins))
    found.warnings += _copies(logins)
    return found


def _identity(login: Login) -> tuple[str, ...]:
    told = login.answer
    return (login.host_key, *((told.mac, told.serial, told.machine_id) if told else ()))


def _node(cluster: Cluster, name: str, seen: list[Login], trusted: Mapping[IPv4Address, Verdict]) -> Node:
    if len({_identity(login) for login in seen}) > 1:
        differ = len({_mac(one) for one in seen}) == len(seen)
        told = ((one, _mac(one) if differ else known_hosts.fingerprint(one.host_key)) for one in seen)
        boards = " and ".join(f"{one.address} ({mark})" for one, mark in told)
        why = f"{len(seen)} boards call themselves {name}, at {boards}: give one of them another card"
        return Node(name, TWICE, why=why)
    login = _preferred(cluster, name, seen)
    verdict = trusted[login.address]
    if verdict is Verdict.OTHER:
        forget = shell.join(["ssh-keygen", "-R", name, "-f", f"{cluster.folder}/known_hosts"])
        why = (
            f"{name} at {login.address} shows the host key {known_hosts.fingerprint(login.host_key)}, and known_hosts "
            f"holds another: if its system is a new one, forget the old key ({forget}), "
            "else somebody else answers there"
        )
        return Node(name, WRONG_KEY, why=why)
    return Node(name, FOUND, login.address, login, is_new=verdict is Verdict.NEW)


def _mac(login: Login) -> str:
    return login.answer.mac if login.answer else ""


def _preferred(cluster: Cluster, name: str, seen: list[Login]) -> Login:
    """Return the login at the node's own address, else where it was found before, else at the lowest address."""
    at = {login.address: login for login in seen}
    likely = (cluster.addresses[name], cluster.found_at.get(name))
    return next((at[address] for address in likely if address in at), seen[0])


def _missing(cluster: Cluster, name: str, logins: Iterable[Login]) -> Node:
    """Say of a missing node what is known of it, which is more where its host key or its address answers."""
    why = ""
    for login in logins:
        if login.answer is not None:
            continue
        said = f"refuses {cluster.user}'s key" if login.problem == REFUSED else f"gives no login ({login.problem})"
        if login.host_key and known_hosts.judge(cluster.known_hosts, name, login.host_key) is Verdict.KNOWN:
            return Node(name, MISSING, why=f"{name} is missing: its host key is at {login.address}, which {said}")
        if login.address == cluster.addresses[name]:
            why = f"{name} is missing: its address {login.address} {said}"
    return Node(name, MISSING, why=why)


def _copies(logins: Iterable[Login]) -> Iterator[str]:
    """Yield which boards of different names share what each must have for itself: one card is a copy of another."""
    owners: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for login in logins:
        if login.answer is None:
            continue
        told = login.answer
        marks = (("host key", login.host_key), ("machine id", told.machine_id), ("MAC", told.mac))
        for what, value in marks:
            if value:
                owners[what, value][told.name] = None
    shared: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (what, _), names in owners.items():
        if len(names) > 1:
            shared[tuple(names)].append(what)
    for copies, whats in shared.items():
        yield (
            f"{' and '.join(copies)} have the same {' and '.join(whats)}: a card was copied after its first boot, "
            "burn all but one anew"
        )


def trust(cluster: Cluster, access: Access, logins: Sequence[Login]) -> dict[IPv4Address, Verdict]:
    """Ask known_hosts about every login under a node's name; where it takes ssh to judge, log in once more."""
    ours = [login for login in logins if login.answer and login.answer.name in cluster.addresses]
    said = {login.address: known_hosts.judge(cluster.known_hosts, _name(login), login.host_key) for login in ours}
    unsure = [login for login in ours if said[login.address] is Verdict.UNSURE]
    if unsure:
        said |= asyncio.run(_ask_ssh(cluster, access, unsure))
    return said


def _name(login: Login) -> str:
    return login.answer.name if login.answer else ""


async def _ask_ssh(cluster: Cluster, access: Access, logins: Sequence[Login]) -> dict[IPv4Address, Verdict]:
    doors = asyncio.Semaphore(LOGINS)

    async def one(login: Login, folder: Path) -> Verdict:
        # A copy each: ssh adds what it has not seen, and that must not yet become the cluster's.
        copy = folder / str(login.address)
        copy.write_text(cluster.known_hosts, encoding="utf-8", errors="surrogateescape")
        async with doors:
            if not await is_trusted(access, login.address, _name(login), copy):
                return Verdict.OTHER
        after = copy.read_text(encoding="utf-8", errors="surrogateescape")
        if after == cluster.known_hosts:
            return Verdict.KNOWN
        # What is recorded must be what was shown both times.
        return Verdict.NEW if login.host_key and login.host_key in after else Verdict.OTHER

    with tempfile.TemporaryDirectory(dir=access.folder) as folder:
        verdicts = await asyncio.gather(*(one(login, Path(folder)) for login in logins))
    return {login.address: verdict for login, verdict in zip(logins, verdicts, strict=True)}
