"""What cards are told, as options: the keys, and what else a first boot may settle."""

from __future__ import annotations

import getpass
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import firstboot, keys
from picluster.errors import PiclusterError
from picluster.firstboot import settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from picluster.firstboot import FirstBoot
    from picluster.firstboot.settings import Settings
    from picluster.image import BootFiles
    from picluster.record import Record


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
    """

    keys: tuple[str, ...]
    settings: Settings
    firstboot: str | None

    def files(self, adapter: FirstBoot, boot: BootFiles, name: str, user: str) -> Mapping[str, bytes]:
        """Return the files of one node's boot partition; each call is a new burn, with a first boot of its own."""
        instance = f"picluster-{name}-{uuid.uuid4().hex}"
        return adapter.render(boot, firstboot.NodeIdentity(name, self.keys, user, instance, self.settings))


def read_identity(options: argparse.Namespace, record: Record | None = None) -> Identity:
    """Check the options.

    Args:
        options: Of add_identity().
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
    return Identity(
        public,
        settings.parse(
            wifi=options.wifi,
            passphrase=_passphrase(options),
            hidden=options.wifi_hidden,
            country=options.country or (record and record.country) or None,
            timezone=options.timezone or (record and record.timezone) or None,
            locale=options.locale or (record and record.locale) or None,
        ),
        options.firstboot or (record and record.firstboot) or None,
    )


def _passphrase(options: argparse.Namespace) -> str | None:
    if options.wifi_passphrase_file is not None:
        return settings.read_passphrase(options.wifi_passphrase_file)
    if options.wifi is None:
        return None
    if not sys.stdin.isatty():
        raise PiclusterError("--wifi needs a passphrase and nobody is there to ask: give --wifi-passphrase-file")
    return getpass.getpass(f"Passphrase of the Wi-Fi {options.wifi}: ")
