"""First boot: how a card tells its system the key and the DHCP hint, one adapter for each generation of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from picluster.cards.image import identify
from picluster.errors import PiclusterError
from picluster.firstboot.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from picluster.cards.image import BootFiles

# What --firstboot takes.
NAMES = ("cloud-init", "firstrun", "init-script")


@dataclass(frozen=True)
class NodeIdentity:
    """What a card is told about the node it makes.

    Attributes:
        name: Host name, and both DHCP hints: host name (option 12) and client-id (option 61).
        keys: Public SSH keys that may log in, one line each.
        user: Who logs in, with sudo.
        instance: Unique to this burn of this card, so that a card burnt anew runs its first boot again.
        settings: What the user added.
    """

    name: str
    keys: tuple[str, ...]
    user: str
    instance: str
    settings: Settings = field(default_factory=Settings)


class FirstBoot(Protocol):
    """One way to prepare a first boot from the FAT partition alone.

    Attributes:
        name: One of NAMES.
        title: For people.
        client_id: Whether a system prepared so sends the node's name as DHCP client-id.
    """

    name: str
    title: str
    client_id: bool

    def recognises(self, boot: BootFiles) -> bool:
        """Whether this is the way of the image with these boot files."""
        ...

    def refusal(self, boot: BootFiles) -> str:
        """Why this way cannot work with the image, as the end of a sentence; empty if it can."""
        ...

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the files to write to the boot partition, by path; all other files stay as they are."""
        ...


def choose(boot: BootFiles, image: str, forced: str | None = None) -> FirstBoot:
    """Return the adapter for an image.

    Args:
        boot: What is on its boot partition.
        image: Its name, for the error sentence.
        forced: One of NAMES that the user insists on.

    Raises:
        PiclusterError: if no adapter knows this generation, or the forced one cannot work with it.
    """
    from picluster.firstboot.cloudinit import NetworkdCloudInit, NetworkManagerCloudInit  # noqa: PLC0415 - they import us
    from picluster.firstboot.firstrun import FirstRun  # noqa: PLC0415
    from picluster.firstboot.initscript import InitScript  # noqa: PLC0415

    adapters: tuple[FirstBoot, ...] = (NetworkdCloudInit(), NetworkManagerCloudInit(), FirstRun(), InitScript())
    title = identify(boot).title
    if forced is not None:
        named = [adapter for adapter in adapters if adapter.name == forced]
        if not named:
            raise PiclusterError(f"--firstboot {forced!r} is none of {', '.join(NAMES)}")
        refusals = [adapter.refusal(boot) for adapter in named]
        if all(refusals):
            raise PiclusterError(f"--firstboot {forced} cannot work with {image}, {title}: {refusals[-1]}")
        return named[refusals.index("")]
    for adapter in adapters:
        if adapter.recognises(boot):
            return adapter
    if identify(boot).name == "dietpi":
        raise PiclusterError(f"{image} is DietPi, which is set up by its own dietpi.txt: use Raspberry Pi OS or Ubuntu")
    raise PiclusterError(
        f"{image} is {title}: if it was made from Raspberry Pi OS, name its first boot by --firstboot firstrun"
        " (Buster or later) or --firstboot init-script (Stretch)"
    )
