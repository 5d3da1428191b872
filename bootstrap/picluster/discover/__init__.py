"""Find the nodes that are switched on, at any address, and identify them by their host names.

Candidates are the reserved addresses, the leases of a DHCP server, mDNS answers and a bounded scan. A login at each
candidate with an open ssh port reports the host name, which identifies the node; the address never does.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from picluster.discover import mdns
from picluster.discover.login import LOGINS, log_in

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from ipaddress import IPv4Address, IPv4Network

    from picluster.discover.login import Access, Login

# In parallel; with the pipes of LOGINS they stay below the limit of macOS, 256 open files per process.
_KNOCKS = 160
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


class SearchWatcher:
    """Receives progress; does nothing."""

    def queried(self, done: int, total: int) -> None:
        """Receive the number of queried candidates."""

    def answered(self, login: Login) -> None:
        """Receive the result of a login."""


@dataclass(frozen=True)
class Where:
    """Where to search: likely addresses, whole networks, and host names by mDNS; timeout_s is for each address."""

    first: Sequence[IPv4Address]
    nets: Sequence[IPv4Network]
    names: Collection[str]
    timeout_s: float

    def addresses(self) -> Iterable[IPv4Address]:
        """Return all addresses without duplicates, the likely ones first."""
        return dict.fromkeys([*self.first, *(address for net in self.nets for address in net.hosts())])


@dataclass
class _Search:
    access: Access
    where: Where
    watcher: SearchWatcher
    logins: list[Login] = field(default_factory=list)
    seen: set[IPv4Address] = field(default_factory=set)
    done: int = 0

    def __post_init__(self) -> None:
        self._unheard = set(self.where.names)
        self._knocks = asyncio.Semaphore(_KNOCKS)
        self._doors = asyncio.Semaphore(LOGINS)

    async def run(self) -> list[Login]:
        """Query all candidates; return the logins in the order of their addresses."""
        async with asyncio.TaskGroup() as tasks:

            def look(address: IPv4Address) -> None:
                if address not in self.seen:
                    self.seen.add(address)
                    tasks.create_task(self._look(address))

            for address in self.where.addresses():
                look(address)
            self._mdns = tasks.create_task(self._ask_by_name(look))
        return sorted(self.logins, key=lambda login: login.address)

    async def _ask_by_name(self, look: Callable[[IPv4Address], None]) -> None:
        def found(address: IPv4Address) -> None:
            # Any host on the link may answer, and must not direct the search to a host on the internet.
            if address.is_private or any(address in net for net in self.where.nets):
                look(address)

        await mdns.resolve(self.where.names, found, self.where.timeout_s)

    async def _look(self, address: IPv4Address) -> None:
        async with self._knocks:
            is_open = await knock(address, self.access.port, self.where.timeout_s)
        if is_open:
            async with self._doors:
                login = await log_in(self.access, address)
            self.logins.append(login)
            self.watcher.answered(login)
            if login.answer:
                self._unheard.discard(login.answer.name)
                if not self._unheard:
                    self._mdns.cancel()
        self.done += 1
        self.watcher.queried(self.done, len(self.seen))


async def knock(address: IPv4Address, port: int, timeout_s: float) -> bool:
    """Return whether a TCP connection is accepted there."""
    with socket.socket() as client:
        client.settimeout(0)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(client, (str(address), port)), timeout_s)
        except TimeoutError:
            return False
        except OSError as error:
            if error.errno in _TOO_MANY_FILES:
                raise
            return False
    return True


def search(access: Access, where: Where, watcher: SearchWatcher | None = None) -> list[Login]:
    """Search for nodes; return every attempted login in the order of their addresses.

    An OSError says that this machine cannot continue, for example because of its limit of open files.
    """
    try:
        return asyncio.run(_Search(access, where, watcher or SearchWatcher()).run())
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
