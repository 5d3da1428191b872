"""First boot: what is written to a card so that its system gets the key and the DHCP hint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from picluster.firstboot.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from picluster.cards.bootfiles import BootFiles

# What --firstboot takes.
NAMES = ("cloud-init", "firstrun", "init-script")


@dataclass(frozen=True)
class NodeIdentity:
    """The node that a card becomes.

    The name is the host name and both DHCP hints: host name (option 12) and client-id (option 61). The instance is
    unique to this burn of this card, so that a card burnt anew runs its first boot again.
    """

    name: str
    keys: tuple[str, ...]
    user: str
    instance: str
    settings: Settings = field(default_factory=Settings)


class FirstBoot(Protocol):
    """One way to prepare a first boot from the FAT partition alone.

    The name is one of NAMES; ``client_id`` says whether a system prepared so sends the node's name as DHCP client-id.
    """

    name: str
    title: str
    client_id: bool

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the files to write to the boot partition, by path; all other files stay as they are."""
        ...
