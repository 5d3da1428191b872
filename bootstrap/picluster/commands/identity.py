"""What cards are told, as options: the keys, and what else a first boot may settle."""

from __future__ import annotations

import getpass
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import firstboot
from picluster.commands import somebody_to_ask
from picluster.errors import PiclusterError
from picluster.firstboot import settings
from picluster.inventory import keys

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from picluster.console.report import Report
    from picluster.firstboot.generations import Recognised
    from picluster.firstboot.settings import Settings
    from picluster.inventory.record import Record

# In the place of a passphrase until it was asked for: what is made of it has the same length.
_STAND_IN = "passphrase"


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--key",
        type=Path,
        default=[],
        action="append",
        metavar="FILE",
        help="public SSH key that may log in, may be repeated",
    )
    parser.add_argument(
        "--firstboot", choices=firstboot.NAMES, help="way of the first boot (default: told by the image's boot files)"
    )
    optional = parser.add_argument_group("optional, as imagers have it; a wired cluster needs none of it")
    optional.add_argument("--wifi", metavar="SSID", help="Wi-Fi network to join; its passphrase is asked for")
    optional.add_argument(
        "--wifi-passphrase-file", type=Path, metavar="FILE", help="file with the passphrase on its only line"
    )
    optional.add_argument("--wifi-hidden", action="store_true", help="the network does not announce its name")
    optional.add_argument("--country", metavar="CC", help="where the Wi-Fi is used, like DE")
    optional.add_argument("--timezone", metavar="ZONE", help="like Europe/Berlin")
    optional.add_argument("--locale", help="like de_DE.UTF-8")


@dataclass(frozen=True)
class Identity:
    """What all cards of one command are told.

    Attributes:
        keys: Public keys.
        settings: The optional part.
        firstboot: The way of the first boot, None to choose by the image.
        unasked: Whether the Wi-Fi's passphrase is still to be asked for; see complete().
    """

    keys: tuple[str, ...]
    settings: Settings
    firstboot: str | None
    unasked: bool = False

    def files(self, image: Recognised, name: str, user: str) -> Mapping[str, bytes]:
        """Return the files of one node's boot partition; each call is a new burn, with a first boot of its own."""
        instance = f"picluster-{name}-{uuid.uuid4().hex}"
        return image.render(firstboot.NodeIdentity(name, self.keys, user, instance, self.settings))


def read_identity(options: argparse.Namespace, report: Report, record: Record | None = None) -> Identity:
    """Check the options.

    Args:
        options: Of add_identity().
        report: How this command speaks.
        record: How the cluster's cards were burnt; stands in for what is not given.

    Raises:
        PiclusterError: for whatever is wrong.
    """
    if options.key:
        public = keys.read_keys(options.key)
    elif record:
        public = record.keys
    else:
        raise PiclusterError("no --key was given: name the public key that may log in, like ~/.ssh/id_ed25519.pub")
    if record and record.wifi and options.wifi is None:
        raise PiclusterError(f"the cards join the Wi-Fi {record.wifi!r}, whose key is not kept: give --wifi again")
    same_wifi = record is not None and options.wifi == record.wifi
    unasked = options.wifi is not None and options.wifi_passphrase_file is None
    if unasked and not somebody_to_ask(report):
        raise PiclusterError("--wifi needs a passphrase and nobody is there to ask: give --wifi-passphrase-file")
    passphrase = _STAND_IN if unasked else None
    if options.wifi_passphrase_file is not None:
        passphrase = settings.read_passphrase(options.wifi_passphrase_file)
    return Identity(
        public,
        settings.parse(
            wifi=options.wifi,
            passphrase=passphrase,
            hidden=options.wifi_hidden or bool(record and same_wifi and record.wifi_hidden),
            country=options.country or (record and record.country) or None,
            timezone=options.timezone or (record and record.timezone) or None,
            locale=options.locale or (record and record.locale) or None,
        ),
        options.firstboot or (record and record.firstboot) or None,
        unasked,
    )


def complete(identity: Identity) -> Identity:
    """Ask for the Wi-Fi's passphrase, if it was not given: when all else was checked, just before anything is written.

    Raises:
        PiclusterError: if there is no answer, or it can be no passphrase.
    """
    known = identity.settings
    if not identity.unasked or known.wifi is None:
        return identity
    try:
        typed = getpass.getpass(f"Passphrase of the Wi-Fi {known.wifi.ssid}: ")
    except EOFError:
        raise PiclusterError("no passphrase was typed, nothing was changed") from None
    asked = settings.parse(wifi=known.wifi.ssid, passphrase=typed, hidden=known.wifi.hidden, country=known.country)
    return replace(identity, settings=replace(known, wifi=asked.wifi), unasked=False)
