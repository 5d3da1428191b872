"""First boot: how a card tells its system the key and the DHCP hint, one adapter for each generation of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from picluster.errors import PiclusterError
from picluster.image import identify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from picluster.image import BootFiles


@dataclass(frozen=True)
class NodeIdentity:
    """What a card is told about the node it makes.

    Attributes:
        name: Host name, and both DHCP hints: host name (option 12) and client-id (option 61).
        keys: Public SSH keys that may log in, one line each.
        user: Who logs in, with sudo.
        instance: Unique to this burn of this card, so that a card burnt anew runs its first boot again.
    """

    name: str
    keys: tuple[str, ...]
    user: str
    instance: str


class FirstBoot(Protocol):
    """One way to prepare a first boot from the FAT partition alone.

    Attributes:
        title: For people.
        client_id: Whether a system prepared so sends the node's name as DHCP client-id.
    """

    title: str
    client_id: bool

    def recognises(self, boot: BootFiles) -> bool:
        """Whether this is the way of the image with these boot files."""
        ...

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the files to write to the boot partition, by path; all other files stay as they are."""
        ...


def choose(boot: BootFiles, image: str) -> FirstBoot:
    """Return the adapter for an image.

    Args:
        boot: What is on its boot partition.
        image: Its name, for the error sentence.

    Raises:
        PiclusterError: if no adapter knows this generation.
    """
    from picluster.firstboot.cloudinit import NetworkdCloudInit, NetworkManagerCloudInit  # noqa: PLC0415 - they import us

    adapters: tuple[FirstBoot, ...] = (NetworkdCloudInit(), NetworkManagerCloudInit())
    for adapter in adapters:
        if adapter.recognises(boot):
            return adapter
    known = " and ".join(sorted(adapter.title for adapter in adapters))
    raise PiclusterError(f"{image} is {identify(boot).title}, whose first boot is not supported yet: use {known}")
