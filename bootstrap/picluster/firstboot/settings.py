"""Optional settings of a node: Wi-Fi, country, time zone, locale."""

from __future__ import annotations

import hashlib
import re
import zoneinfo
from dataclasses import dataclass
from pathlib import Path

from picluster.errors import PiclusterError

# IEEE 802.11: an SSID has at most 32 bytes, a WPA passphrase 8 to 63, the key made of it 256 bits.
_SSID_MAX = 32
_PASSPHRASE_MIN, _PASSPHRASE_MAX = 8, 63
_PSK = re.compile(r"[0-9A-Fa-f]{64}")
# A UTF-8 locale by glibc's name; the other encodings are no longer in the stock images.
_LOCALE = re.compile(r"(?:[a-z]{2,3}_[A-Z]{2}|C)\.UTF-8(?:@[a-z]+)?")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")


@dataclass(frozen=True)
class Wifi:
    """A WPA2 network.

    ``psk`` is the key made of passphrase and name, 64 hex digits. It opens this one network as the passphrase does;
    what it spares is the passphrase itself, which people use elsewhere, too.
    """

    ssid: str
    psk: str
    hidden: bool = False


@dataclass(frozen=True)
class Settings:
    """Optional settings; where one is not given, the image's own value is kept.

    The country is that of the radio, two capital letters of ISO 3166; the time zone a name in the tz database.
    """

    wifi: Wifi | None = None
    country: str = ""
    timezone: str = ""
    locale: str = ""


def parse(  # noqa: PLR0913 - one argument an option
    *,
    wifi: str | None = None,
    passphrase: str | None = None,
    hidden: bool = False,
    country: str | None = None,
    timezone: str | None = None,
    locale: str | None = None,
) -> Settings:
    """Check what the user gave; None is an option that was left out.

    The passphrase may be the 64 hex digits that were made of it; see read_passphrase(). Errors name the option, and
    never the passphrase.
    """
    network = None
    if wifi is not None:
        _check_ssid(wifi)
        if passphrase is None:
            raise PiclusterError(f"--wifi {wifi!r} needs its passphrase: open networks are not supported")
        if country is None:
            raise PiclusterError(f"--wifi {wifi!r} needs --country: the boards keep their radio off until they know it")
        network = Wifi(wifi, _psk(wifi, passphrase), hidden)
    elif passphrase is not None or hidden:
        raise PiclusterError("a Wi-Fi passphrase or --wifi-hidden without --wifi: name the network")
    return Settings(
        network,
        "" if country is None else _country(country),
        "" if timezone is None else _timezone(timezone),
        "" if locale is None else _locale(locale),
    )


def read_passphrase(path: Path) -> str:
    """Read a Wi-Fi passphrase, the only line of a file."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "there is no such user's home"
        raise PiclusterError(f"the Wi-Fi passphrase {path} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise PiclusterError(f"the Wi-Fi passphrase {path} is not text") from error
    if len(lines) != 1:
        raise PiclusterError(f"the Wi-Fi passphrase {path} has {len(lines)} lines: it is the only line of its file")
    return lines[0]


def _check_ssid(ssid: str) -> None:
    size = len(ssid.encode("utf-8", "surrogateescape"))
    if not 0 < size <= _SSID_MAX:
        raise PiclusterError(f"--wifi {ssid!r} has {size} bytes: a network's name has 1 to {_SSID_MAX}")
    if not ssid.isprintable():
        raise PiclusterError(f"--wifi {ssid!r} has characters that cannot be printed: correct the network's name")


def _psk(ssid: str, passphrase: str) -> str:
    """Return the key as wpa_passphrase makes it: PBKDF2, SHA-1, 4096 rounds, salted with the name (IEEE 802.11i)."""
    if _PSK.fullmatch(passphrase):
        return passphrase.lower()
    data = passphrase.encode("utf-8", "surrogateescape")
    if not _PASSPHRASE_MIN <= len(data) <= _PASSPHRASE_MAX:
        raise PiclusterError(
            f"the passphrase of --wifi {ssid!r} has {len(data)} bytes: "
            f"it has {_PASSPHRASE_MIN} to {_PASSPHRASE_MAX}, or is a key of 64 hex digits"
        )
    if any(byte < 0x20 or byte == 0x7F for byte in data):  # noqa: PLR2004 - ASCII's control characters
        raise PiclusterError(f"the passphrase of --wifi {ssid!r} has control characters: it is plain text")
    return hashlib.pbkdf2_hmac("sha1", data, ssid.encode(), 4096, 32).hex()


def _country(text: str) -> str:
    known = _countries()
    if text == "UK":
        raise PiclusterError("--country 'UK' is GB in ISO 3166, which Wi-Fi goes by: write GB")
    if not re.fullmatch("[A-Z]{2}", text) or (known and text not in known):
        raise PiclusterError(f"--country {text!r} is not a country: two capital letters of ISO 3166, like DE or US")
    return text


def _countries() -> frozenset[str]:
    """Return the codes of the tz database's iso3166.tab; none where Python has that database from a package."""
    for folder in zoneinfo.TZPATH:
        table = Path(folder, "iso3166.tab")
        if table.is_file():
            lines = table.read_text(encoding="utf-8").splitlines()
            return frozenset(line.split("\t")[0] for line in lines if line and not line.startswith("#"))
    return frozenset()


def _timezone(text: str) -> str:
    # Without a tz database (Windows) only the form can be checked; the node keeps its own zone if it has no such one.
    known = zoneinfo.available_timezones()
    if not _ZONE.fullmatch(text) or (known and text not in known):
        raise PiclusterError(f"--timezone {text!r} is not in the tz database: write it like Europe/Berlin or Etc/UTC")
    return text


def _locale(text: str) -> str:
    if not _LOCALE.fullmatch(text):
        raise PiclusterError(f"--locale {text!r} is not a UTF-8 locale: write it like de_DE.UTF-8")
    return text
