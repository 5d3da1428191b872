from __future__ import annotations

import string
from typing import TYPE_CHECKING

import pytest
from cardkit import run
from hypothesis import given, settings
from hypothesis import strategies as st

from picluster.errors import PiclusterError
from picluster.firstboot import settings as node_settings
from picluster.firstboot.settings import Settings, parse, read_passphrase

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "correct horse battery"
ASCII = st.text(string.ascii_letters + string.digits + string.punctuation + " ", min_size=8, max_size=63)


def _psk(ssid: str, passphrase: str) -> str:
    wifi = parse(wifi=ssid, passphrase=passphrase, country="DE").wifi
    assert wifi is not None
    return wifi.psk


def test_nothing_is_asked_of_who_wants_nothing() -> None:
    assert parse() == Settings()


def test_all_that_is_given_is_kept() -> None:
    given_all = parse(
        wifi="lab", passphrase=SECRET, hidden=True, country="GB", timezone="Europe/London", locale="en_GB.UTF-8"
    )
    assert given_all.wifi is not None
    assert (given_all.wifi.ssid, given_all.wifi.hidden) == ("lab", True)
    assert (given_all.country, given_all.timezone, given_all.locale) == ("GB", "Europe/London", "en_GB.UTF-8")
    assert SECRET not in repr(given_all)


@pytest.mark.parametrize(
    ("passphrase", "ssid", "psk"),
    [
        # IEEE 802.11i-2004, H.4.3.
        ("password", "IEEE", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"),
        ("ThisIsAPassword", "ThisIsASSID", "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"),
    ],
)
def test_the_key_is_that_of_the_standard(passphrase: str, ssid: str, psk: str) -> None:
    assert _psk(ssid, passphrase) == psk


@settings(max_examples=20, deadline=None)
@given(passphrase=ASCII, ssid=st.text(string.ascii_letters + string.digits + " _'$`;\u00e9", min_size=1, max_size=16))
def test_the_key_is_that_of_wpa_passphrase(passphrase: str, ssid: str) -> None:
    said = run("wpa_passphrase", ssid, passphrase)
    assert f"\tpsk={_psk(ssid, passphrase)}\n" in said


def test_a_key_that_was_made_before_is_taken_as_it_is() -> None:
    assert _psk("lab", "AB" * 32) == "ab" * 32


BAD = {
    "an empty name": ({"wifi": "", "passphrase": SECRET}, "--wifi '' has 0 bytes"),
    "a long name": ({"wifi": "\u00e9" * 17, "passphrase": SECRET}, "has 34 bytes"),
    "a name of two lines": ({"wifi": "a\nb", "passphrase": SECRET}, "cannot be printed"),
    "no passphrase": ({"wifi": "lab", "country": "DE"}, "needs its passphrase"),
    "no country": ({"wifi": "lab", "passphrase": SECRET}, "needs --country"),
    "a short passphrase": ({"wifi": "lab", "passphrase": "1234567", "country": "DE"}, "has 7 bytes"),
    "a long passphrase": ({"wifi": "lab", "passphrase": "x" * 65, "country": "DE"}, "has 65 bytes"),
    "64 that are no hex": ({"wifi": "lab", "passphrase": "g" * 64, "country": "DE"}, "has 64 bytes"),
    "a passphrase with a bell": ({"wifi": "lab", "passphrase": SECRET + "\a", "country": "DE"}, "control characters"),
    "a passphrase for nothing": ({"passphrase": SECRET}, "without --wifi"),
    "hidden for nothing": ({"hidden": True}, "without --wifi"),
    "a country in small letters": ({"country": "de"}, "--country 'de'"),
    "a country that is none": ({"country": "XX"}, "--country 'XX'"),
    "the United Kingdom": ({"country": "UK"}, "write GB"),
    "an unknown zone": ({"timezone": "Europe/Atlantis"}, "--timezone 'Europe/Atlantis'"),
    "a zone out of the tree": ({"timezone": "../../etc/shadow"}, "--timezone"),
    "an empty zone": ({"timezone": ""}, "--timezone ''"),
    "a locale without encoding": ({"locale": "de_DE"}, "--locale 'de_DE'"),
    "a locale that is a command": ({"locale": "de_DE.UTF-8; reboot"}, "--locale"),
    "an empty locale": ({"locale": ""}, "--locale ''"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_value_is_named_and_a_passphrase_never(what: str) -> None:
    values, wanted = BAD[what]
    with pytest.raises(PiclusterError) as caught:
        parse(**values)  # type: ignore[arg-type]
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(values.get("passphrase", SECRET)) not in str(caught.value)


def test_without_a_tz_database_the_form_still_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_settings.zoneinfo, "TZPATH", ())
    monkeypatch.setattr(node_settings.zoneinfo, "available_timezones", set)
    assert parse(country="DE", timezone="Europe/Berlin").timezone == "Europe/Berlin"
    for bad in ({"country": "deu"}, {"timezone": "../x"}, {"timezone": "a b"}):
        with pytest.raises(PiclusterError):
            parse(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", [f"{SECRET}\n", SECRET, f"{SECRET}\r\n"])
def test_a_passphrase_is_the_only_line_of_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "p").write_bytes(text.encode())
    assert read_passphrase(tmp_path / "p") == SECRET


@pytest.mark.parametrize("data", [b"", b"a\nb\n", b"\xff\xfe"])
def test_a_passphrase_file_that_is_none_is_refused_without_its_contents(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "p"
    path.write_bytes(data)
    with pytest.raises(PiclusterError, match=str(path)):
        read_passphrase(path)
    with pytest.raises(PiclusterError, match="cannot be read"):
        read_passphrase(tmp_path / "none")
