"""Resolve <name>.local, which Raspberry Pi OS answers through avahi at any address on the link."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


async def resolve(
    names: Collection[str],
    found: Callable[[IPv4Address], None],
    timeout_s: float,
    interfaces: Sequence[str] | None = None,
) -> None:
    """Resolve <name>.local for all names in parallel; where multicast is unavailable, return nothing immediately."""
    # Imported here: only this function of one command needs it.
    from zeroconf import AddressResolverIPv4, Error, InterfaceChoice  # type: ignore[attr-defined] # noqa: PLC0415
    from zeroconf.asyncio import AsyncZeroconf  # noqa: PLC0415

    try:
        zeroconf = AsyncZeroconf(interfaces=list(interfaces) if interfaces else InterfaceChoice.All)
    except (OSError, Error):
        return

    async def ask(name: str) -> None:
        resolver = AddressResolverIPv4(f"{name}.local.")
        if await resolver.async_request(zeroconf.zeroconf, timeout_s * 1000):
            for address in resolver.parsed_addresses():
                found(IPv4Address(address))

    try:
        await asyncio.gather(*(ask(name) for name in names))
    except (OSError, Error):
        return
    finally:
        await zeroconf.async_close()
