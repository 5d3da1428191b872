"""Time zone and locale of a node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from unittest.mock import MagicMock

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.identity import region as identity_region
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

if TYPE_CHECKING:
    from pathlib import Path

SUPPORTED = "de_DE.UTF-8 UTF-8\nde_DE ISO-8859-1\nde_DE@euro ISO-8859-15\nen_GB.UTF-8 UTF-8\nC.UTF-8 UTF-8\n"


class Node:
    """A node's files below a folder, and a locale-gen that generates what locale.gen lists."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        self.calls: list[list[str]] = []
        self.locales = {"C", "C.utf8", "POSIX"}
        self.broken = False
        self.module = MagicMock(check_mode=False, run_command=self.run)
        (root / "zoneinfo/Europe").mkdir(parents=True)
        for zone in ("UTC", "Europe/Berlin", "Europe/Bern"):
            (root / "zoneinfo" / zone).write_text(zone)
        (root / "SUPPORTED").write_text(SUPPORTED)
        (root / "locale.gen").write_text("# comment\n# de_DE.UTF-8 UTF-8\n# en_GB.UTF-8 UTF-8\n")
        (root / "locale").write_text("LANG=C.UTF-8\n")
        (root / "localtime").symlink_to(root / "zoneinfo/UTC")
        for name in ("ZONES", "LOCALTIME", "TIMEZONE", "LOCALE_GEN", "SUPPORTED"):
            file = {"ZONES": "zoneinfo", "LOCALE_GEN": "locale.gen", "SUPPORTED": "SUPPORTED"}.get(name, name.lower())
            monkeypatch.setattr(identity_region, name, str(root / file))
        monkeypatch.setattr(identity_region, "LOCALE_FILES", (str(root / "locale"), str(root / "locale.conf")))

    def run(self, command: list[str]) -> tuple[int, str, str]:
        self.calls.append(command)
        if command[0] == "locale-gen" and not self.broken:
            lines = (self.root / "locale.gen").read_text().splitlines()
            self.locales |= {identity_region.canonical(line.split()[0]) for line in lines if not line.startswith("#")}
        return 0, "\n".join(sorted(self.locales)) if command[0] == "locale" else "", ""

    def converge(self, zone: str = "UTC", locale: str = "C.UTF-8") -> TextFiles:
        files = TextFiles(self.module)
        region = identity_region.Region(self.module, files, 1)
        region.set_timezone(zone)
        region.set_locale(locale)
        return files

    def text(self, name: str) -> str:
        return (self.root / name).read_text()


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Node:
    return Node(monkeypatch, tmp_path)


def test_a_node_that_has_both_is_not_asked_anything(node: Node) -> None:
    assert not node.converge().changed
    assert node.calls == []


def test_a_time_zone_is_a_link_and_a_second_run_changes_nothing(node: Node) -> None:
    (node.root / "timezone").write_text("Etc/UTC\n")
    assert node.converge("Europe/Berlin").changed
    assert (node.root / "localtime").readlink() == node.root / "zoneinfo/Europe/Berlin"
    assert node.text("timezone") == "Europe/Berlin\n"
    assert not node.converge("Europe/Berlin").changed


def test_where_the_release_has_no_etc_timezone_none_is_made(node: Node) -> None:
    node.converge("Europe/Berlin")
    assert not (node.root / "timezone").exists()


def test_a_copied_file_in_place_of_the_link_is_replaced(node: Node) -> None:
    (node.root / "localtime").unlink()
    (node.root / "localtime").write_text("Berlin")
    assert node.converge("UTC").changed
    assert (node.root / "localtime").is_symlink()


def test_what_a_killed_run_left_behind_is_no_trouble(node: Node) -> None:
    (node.root / "localtime.picluster-new").symlink_to("x")
    assert node.converge("Europe/Berlin").changed
    assert not (node.root / "localtime.picluster-new").is_symlink()


def test_an_unknown_time_zone_is_one_sentence_and_changes_nothing(node: Node) -> None:
    with pytest.raises(ValueError, match=r"no time zone Europe/Berln on this node \(did you mean Europe/Berlin\?\)"):
        node.converge("Europe/Berln")
    assert (node.root / "localtime").readlink() == node.root / "zoneinfo/UTC"


def test_a_locale_that_is_not_there_is_generated_and_a_second_run_changes_nothing(node: Node) -> None:
    assert node.converge(locale="de_DE.UTF-8").changed
    assert node.text("locale") == "LANG=de_DE.UTF-8\n"
    assert node.text("locale.gen") == "# comment\nde_DE.UTF-8 UTF-8\n# en_GB.UTF-8 UTF-8\n"
    assert ["locale-gen", "--keep-existing"] in node.calls
    node.calls.clear()
    assert not node.converge(locale="de_DE.UTF-8").changed
    assert node.calls == [["locale", "-a"]]


def test_a_run_killed_before_the_locale_was_generated_is_mended(node: Node) -> None:
    (node.root / "locale.gen").write_text("de_DE.UTF-8 UTF-8\n")
    assert node.converge(locale="de_DE.utf8").changed
    assert "de_DE.utf8" in node.locales


def test_a_locale_that_nobody_has_is_one_sentence_and_changes_nothing(node: Node) -> None:
    with pytest.raises(
        ValueError, match=r"no locale de_DF.UTF-8 to be had on this node \(did you mean de_DE.UTF-8\?\)"
    ):
        node.converge(locale="de_DF.UTF-8")
    assert node.text("locale") == "LANG=C.UTF-8\n"


def test_a_locale_that_cannot_be_generated_is_one_sentence_and_not_set(node: Node) -> None:
    node.broken = True
    with pytest.raises(ValueError, match="could not be generated"):
        node.converge(locale="de_DE.UTF-8")
    assert node.text("locale") == "LANG=C.UTF-8\n"


def test_check_mode_says_so_and_changes_nothing(node: Node) -> None:
    node.module.check_mode = True
    files = node.converge("Europe/Berlin", "de_DE.UTF-8")
    assert len(files.diff) == 3
    assert node.text("locale") == "LANG=C.UTF-8\n"
    assert "# de_DE.UTF-8" in node.text("locale.gen")
    assert (node.root / "localtime").readlink() == node.root / "zoneinfo/UTC"


def test_a_link_to_the_locale_file_stays_one(node: Node) -> None:
    (node.root / "locale").rename(node.root / "locale.conf")
    (node.root / "locale").symlink_to("locale.conf")
    node.converge(locale="POSIX")
    assert (node.root / "locale").is_symlink()
    assert node.text("locale.conf") == "LANG=POSIX\n"


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
    identity_region.check_timezone("Europe/Berlin", known)
    with pytest.raises(ValueError, match="wanted is a name of the tz database"):
        identity_region.check_timezone("/etc/passwd", known)


def test_every_tree_of_the_tz_database_has_the_form() -> None:
    for zone in ("Etc/GMT+12", "America/Argentina/Buenos_Aires", "America/Port-au-Prince", "EST5EDT", "GMT0"):
        identity_region.check_timezone(zone)


def test_names_of_locales_are_compared_as_glibc_does() -> None:
    pairs: dict[str, Any] = {"de_DE.UTF-8": "de_DE.utf8", "C.UTF-8": "C.utf8", "sr_RS.UTF-8@latin": "sr_RS.utf8@latin"}
    assert {name: identity_region.canonical(name) for name in pairs} == pairs
