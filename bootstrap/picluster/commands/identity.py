"""Options for what every card receives: the keys, and optional settings of the first boot."""

from __future__ import annotations

import getpass
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from picluster import firstboot
from picluster.commands import can_ask
from picluster.errors import PiclusterError
from picluster.firstboot import settings
from picluster.inventory import keys

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from picluster.firstboot.generations import Recognised
    from picluster.firstboot.settings import Settings
    from picluster.inventory.record import Record

# Replaces a passphrase until the user was asked for it: the key that is derived from it has the same length.
_STAND_IN = "passphrase"


def add_identity(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--firstboot",
        choices=firstboot.NAMES,
        help="how the first boot is configured (default: what the boot files of the image support)",
    )
    optional = parser.add_argument_group("optional settings", "a wired cluster needs none of them")
    optional.add_argument("--wifi", metavar="SSID", help="Wi-Fi network to join; prompts for the passphrase")
    optional.add_argument(
        "--wifi-passphrase-file", type=Path, metavar="FILE", help="file whose only line is the passphrase"
    )
    optional.add_argument("--wifi-hidden", action="store_true", help="the network does not broadcast its name")
    optional.add_argument("--country", metavar="CC", help="country where the Wi-Fi is used, such as DE")
    optional.add_argument("--timezone", metavar="ZONE", help="time zone, such as Europe/Berlin")
    optional.add_argument("--locale", help="locale, such as de_DE.UTF-8")


@dataclass(frozen=True)
class IdentityRequest:
    """What the options say; None and empty are options that were not given."""

    keys: tuple[str, ...]
    firstboot: str | None
    wifi: str | None
    passphrase: str | None
    ask: bool
    hidden: bool
    country: str | None
    timezone: str | None
    locale: str | None

    def with_record(self, record: Record) -> IdentityRequest:
        """Return the request with a record's values for the options that were not given.

        Refuses a record with a Wi-Fi network, whose key is not recorded.
        """
        if record.wifi and self.wifi is None:
            raise PiclusterError(
                f"--wifi is missing: the cards join the network {record.wifi!r}, whose key is not recorded; "
                "give --wifi again"
            )
        return replace(
            self,
            keys=self.keys or record.keys,
            firstboot=self.firstboot or record.firstboot or None,
            hidden=self.hidden or (record.wifi_hidden and self.wifi == record.wifi),
            country=self.country or record.country or None,
            timezone=self.timezone or record.timezone or None,
            locale=self.locale or record.locale or None,
        )


@dataclass(frozen=True)
class Identity:
    """What all cards of one command receive.

    ``firstboot`` is None to choose by the image; with ``ask`` the passphrase is a stand-in, see complete().
    """

    keys: tuple[str, ...]
    settings: Settings
    firstboot: str | None
    ask: bool = False

    def files(self, image: Recognised, name: str, user: str) -> Mapping[str, bytes]:
        """Return the files of a node's boot partition; each call is a new burn with a first boot of its own."""
        instance = f"picluster-{name}-{uuid.uuid4().hex}"
        return image.render(firstboot.NodeIdentity(name, self.keys, user, instance, self.settings))


def parse_identity(options: argparse.Namespace) -> IdentityRequest:
    """Return what the options of add_identity() say; read the files that they name."""
    file: Path | None = options.wifi_passphrase_file
    ask = options.wifi is not None and file is None
    if ask and not can_ask(as_json=options.json):
        raise PiclusterError(
            "the passphrase of --wifi is missing: there is no terminal to ask for it; give --wifi-passphrase-file"
        )
    return IdentityRequest(
        keys=keys.read_keys(options.key),
        firstboot=options.firstboot,
        wifi=options.wifi,
        passphrase=settings.read_passphrase(file) if file is not None else None,
        ask=ask,
        hidden=options.wifi_hidden,
        country=options.country,
        timezone=options.timezone,
        locale=options.locale,
    )


def check(request: IdentityRequest) -> Identity:
    """Check the request and return what the cards receive."""
    if not request.keys:
        raise PiclusterError("no --key was given: name a public key that may log in, such as ~/.ssh/id_ed25519.pub")
    checked = settings.parse(
        wifi=request.wifi,
        passphrase=_STAND_IN if request.ask else request.passphrase,
        hidden=request.hidden,
        country=request.country,
        timezone=request.timezone,
        locale=request.locale,
    )
    return Identity(request.keys, checked, request.firstboot, request.ask)


def complete(identity: Identity) -> Identity:
    """Ask for the passphrase of the Wi-Fi network if it was not given, as the last step before anything is written."""
    known = identity.settings
    if not identity.ask or known.wifi is None:
        return identity
    try:
        typed = getpass.getpass(f"Passphrase of the Wi-Fi network {known.wifi.ssid}: ")
    except EOFError:
        raise PiclusterError("no passphrase was entered, nothing was changed") from None
    wifi = settings.parse(wifi=known.wifi.ssid, passphrase=typed, hidden=known.wifi.hidden, country=known.country).wifi
    return replace(identity, settings=replace(known, wifi=wifi), ask=False)
