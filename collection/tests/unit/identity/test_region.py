"""Time zone and locale of a node."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.identity import region as identity_region
from ansible_collections.picluster.cloud.plugins.module_utils.identity.rules import check_timezone
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.packages import Packages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ZONES, TIMEZONE, LOCALE_GEN = identity_region.ZONES, identity_region.TIMEZONE, identity_region.LOCALE_GEN
LOCALE = identity_region.LOCALE_FILES[0]
SUPPORTED = "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nde_DE@euro ISO-8859-15\nen_GB.UTF-8 UTF-8\nC.UTF-8 UTF-8\n"


def install_of(node: FakeNode, path: str, text: str = "") -> Callable[..., str]:
    """Return an apt-get whose package has one file."""

    def get(*_: str) -> str:
        node.write(path, text)
        return ""

    return get


class Machine(FakeNode):
    """A node whose locale-gen generates what locale.gen lists."""

    def __init__(self, root: Path, *, check_mode: bool = False) -> None:
        super().__init__(root, {"locale -a": self._list, "locale-gen": self._generate}, check_mode=check_mode)
        self.locales = {"C", "C.utf8", "POSIX"}
        self.broken = False
        for zone in ("UTC", "Europe/Berlin", "Europe/Bern"):
            self.write(f"{ZONES}/{zone}", zone)
        self.write(identity_region.SUPPORTED, SUPPORTED)
        self.write(LOCALE_GEN, "# comment\n# de_DE.UTF-8 UTF-8\n# en_GB.UTF-8 UTF-8\n")
        self.write(LOCALE, "LANG=C.UTF-8\n")
        self.localtime = self.path(identity_region.LOCALTIME)
        self.localtime.symlink_to("../usr/share/zoneinfo/UTC")

    def _list(self, *_: str) -> str:
        return "\n".join(sorted(self.locales))

    def _generate(self, *_: str) -> str:
        if not self.broken:
            lines = self.text(LOCALE_GEN).splitlines()
            self.locales |= {identity_region.canonical(line.split()[0]) for line in lines if not line.startswith("#")}
        return ""

    def converge(self, zone: str = "UTC", locale: str = "C.UTF-8") -> bool:
        self.diff.clear()
        region = identity_region.Region(self, Packages(self, 1))
        region.set_timezone(zone)
        region.set_locale(locale)
        return self.changed


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_node_that_has_both_is_not_asked_anything(node: Machine) -> None:
    assert not node.converge()
    assert node.commands == []


def test_a_time_zone_is_a_link_and_a_second_run_changes_nothing(node: Machine) -> None:
    node.write(TIMEZONE, "Etc/UTC\n")
    assert node.converge("Europe/Berlin")
    assert str(node.localtime.readlink()) == f"{ZONES}/Europe/Berlin"
    assert node.text(TIMEZONE) == "Europe/Berlin\n"
    assert not node.converge("Europe/Berlin")


def test_where_the_release_has_no_etc_timezone_none_is_made(node: Machine) -> None:
    node.converge("Europe/Berlin")
    assert not node.path(TIMEZONE).exists()


def test_a_copied_file_in_place_of_the_link_is_replaced(node: Machine) -> None:
    node.localtime.unlink()
    node.localtime.write_text("Berlin")
    assert node.converge("UTC")
    assert str(node.localtime.readlink()) == f"{ZONES}/UTC"


def test_a_node_without_the_tz_database_gets_it(node: Machine) -> None:
    shutil.rmtree(node.path(ZONES))
    node.answers |= {"apt-cache policy": "tzdata:\n  Candidate: 1\n", "apt-get": install_of(node, f"{ZONES}/UTC")}
    assert node.converge("UTC") is False
    node.localtime.unlink()
    assert node.converge("UTC")
    assert node.diff[0]["after"] == "tzdata\n"


def test_an_unknown_time_zone_is_one_sentence_and_changes_nothing(node: Machine) -> None:
    with pytest.raises(UserError, match=r"this node has no Europe/Berln; .* \(did you mean Europe/Berlin\?\)"):
        node.converge("Europe/Berln")
    assert str(node.localtime.readlink()) == "../usr/share/zoneinfo/UTC"


def test_a_locale_that_is_not_there_is_generated_and_a_second_run_changes_nothing(node: Machine) -> None:
    assert node.converge(locale="de_DE.UTF-8")
    assert node.text(LOCALE) == "LANG=de_DE.UTF-8\n"
    assert node.text(LOCALE_GEN) == "# comment\nde_DE.UTF-8 UTF-8\n# en_GB.UTF-8 UTF-8\n"
    assert "locale-gen --keep-existing" in node.commands
    node.commands.clear()
    assert not node.converge(locale="de_DE.UTF-8")
    assert node.commands == ["locale -a"]


def test_a_run_killed_before_the_locale_was_generated_is_repaired(node: Machine) -> None:
    node.write(LOCALE_GEN, "de_DE.UTF-8 UTF-8\n")
    assert node.converge(locale="de_DE.utf8")
    assert "de_DE.utf8" in node.locales


def test_a_node_without_locales_gets_the_package(node: Machine) -> None:
    node.path(identity_region.SUPPORTED).unlink()
    node.answers |= {
        "apt-cache policy": "locales:\n  Candidate: 1\n",
        "apt-get": install_of(node, identity_region.SUPPORTED, SUPPORTED),
    }
    assert node.converge(locale="de_DE.UTF-8")
    assert node.text(LOCALE) == "LANG=de_DE.UTF-8\n"


def test_a_locale_that_nobody_has_is_one_sentence_and_changes_nothing(node: Machine) -> None:
    with pytest.raises(UserError, match=r"this node has no de_DF.UTF-8; .* \(did you mean de_DE.UTF-8\?\)"):
        node.converge(locale="de_DF.UTF-8")
    assert node.text(LOCALE) == "LANG=C.UTF-8\n"


def test_a_locale_that_cannot_be_generated_is_one_sentence_and_not_set(node: Machine) -> None:
    node.broken = True
    with pytest.raises(UserError, match=r"locale cannot be generated: de_DE.UTF-8"):
        node.converge(locale="de_DE.UTF-8")
    assert node.text(LOCALE) == "LANG=C.UTF-8\n"


def test_check_mode_says_so_and_changes_nothing(tmp_path: Path) -> None:
    node = Machine(tmp_path, check_mode=True)
    node.converge("Europe/Berlin", "de_DE.UTF-8")
    assert len(node.diff) == 3
    assert node.text(LOCALE) == "LANG=C.UTF-8\n"
    assert "# de_DE.UTF-8" in node.text(LOCALE_GEN)
    assert str(node.localtime.readlink()) == "../usr/share/zoneinfo/UTC"


def test_a_link_to_the_locale_file_stays_one(node: Machine) -> None:
    node.path(LOCALE).rename(node.path("/etc/locale.conf"))
    node.path(LOCALE).symlink_to("../locale.conf")
    node.converge(locale="POSIX")
    assert node.path(LOCALE).is_symlink()
    assert node.text("/etc/locale.conf") == "LANG=POSIX\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "LANG=C.UTF-8\n"),
        ("# by hand\nLANG=en_GB.UTF-8\nLC_TIME=de_DE.UTF-8\n", "# by hand\nLANG=C.UTF-8\nLC_TIME=de_DE.UTF-8\n"),
        ("LANGUAGE=en\nLC_ALL=de_DE.UTF-8\n", "LANG=C.UTF-8\n"),
        ("export LANG=x\n", "LANG=C.UTF-8\n"),
    ],
)
def test_what_would_overrule_lang_goes_and_all_else_stays(before: str, after: str) -> None:
    assert identity_region.locale_text(before, "C.UTF-8") == after
    assert identity_region.locale_text(after, "C.UTF-8") == after


@pytest.mark.parametrize(
    ("name", "entry"), [("de_DE@euro", "de_DE@euro ISO-8859-15"), ("de_DE.utf8", "de_DE.UTF-8 UTF-8")]
)
def test_a_locale_s_entry_has_its_charset(name: str, entry: str) -> None:
    assert identity_region.charset_of(name, SUPPORTED) == entry


def test_an_entry_that_locale_gen_does_not_have_is_added() -> None:
    assert identity_region.locale_gen_text("# x\n", "de_DE.UTF-8 UTF-8") == "# x\nde_DE.UTF-8 UTF-8\n"


@pytest.mark.parametrize("known", [[], ["Europe/Berlin"]])
def test_a_time_zone_s_form_is_judged_even_where_none_are_known(known: list[str]) -> None:
    check_timezone("Europe/Berlin", known)
    with pytest.raises(UserError, match="expected a name of the tz database"):
        check_timezone("/etc/passwd", known)


def test_every_tree_of_the_tz_database_has_the_form() -> None:
    for zone in ("Etc/GMT+12", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "EST5EDT", "GMT0"):
        check_timezone(zone)


def test_names_of_locales_are_compared_as_glibc_does() -> None:
    pairs: dict[str, Any] = {"de_DE.UTF-8": "de_DE.utf8", "C.UTF-8": "C.utf8", "sr_RS.UTF-8@latin": "sr_RS.utf8@latin"}
    assert {name: identity_region.canonical(name) for name in pairs} == pairs
