from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from lab import recipe
from lab.errors import LabError
from lab.recipe import Apt, proxies_of, sources_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.recipe import Recipe

TARGETS = """\
http://mirror.test/debian/ bookworm main
http://mirror.test/debian/ bookworm contrib
http://mirror.test/debian/ bookworm-updates main
http://mirror.test/debian-security/ bookworm-security main
http://packages.test nodistro main
"""


def test_the_machines_own_mirrors_serve_another_suite() -> None:
    lines = sources_for("trixie", "bookworm", TARGETS)
    assert [line.split("] ")[1] for line in lines] == [
        "http://mirror.test/debian/ trixie main",
        "http://mirror.test/debian/ trixie-updates main",
        "http://mirror.test/debian-security/ trixie-security main",
    ]
    assert all("debian-archive-keyring" in line for line in lines)


def test_a_machine_without_its_own_main_archive_leaves_the_choice_to_mmdebstrap() -> None:
    assert sources_for("trixie", "bookworm", "http://mirror.test/x bookworm-updates main\n") == ()
    assert sources_for("trixie", "bookworm", "") == ()


def test_a_proxy_of_the_environment_serves_where_apt_names_none() -> None:
    environment = {"http_proxy": "http://proxy.test:3128", "https_proxy": ""}
    assert proxies_of(environment, []) == ['Acquire::http::Proxy "http://proxy.test:3128";']
    assert proxies_of(environment, ['Acquire::http::Proxy "http://other.test";']) == []
    assert proxies_of({}, []) == []


def test_the_same_recipe_has_the_same_name(make_recipe: Callable[..., Recipe]) -> None:
    assert make_recipe().name == make_recipe().name


@pytest.mark.parametrize(
    "change",
    [{"script": "false"}, {"apt": Apt(sources=("deb x y z",))}, {"apt": Apt(options=("a;",))}, {"extra": "two"}],
)
def test_whatever_changes_in_a_recipe_changes_its_name(
    make_recipe: Callable[..., Recipe], change: dict[str, Any]
) -> None:
    assert make_recipe().name != make_recipe(**change).name


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(LabError, match="stretch"):
        recipe.card("stretch", Apt())


@pytest.mark.parametrize("suite", recipe.SUITES)
def test_the_card_ships_what_the_stock_image_ships(suite: str) -> None:
    card = recipe.card(suite, Apt())
    files = card.boot_files()
    assert set(files) == {"issue.txt", "cmdline.txt", "config.txt", "user-data", "meta-data", "network-config"}
    assert files["issue.txt"].startswith(b"Raspberry Pi reference 20")
    # As delivered, cloud-init is asked for nothing at all.
    assert yaml.safe_load(files["user-data"]) is None
    assert yaml.safe_load(files["network-config"]) is None
    assert yaml.safe_load(files["meta-data"]) == {"dsmode": "local", "instance_id": "rpios-image"}
    line = files["cmdline.txt"].decode()
    assert line.count("\n") == 1
    assert f"root=PARTUUID={card.disk_id}-02" in line


@pytest.mark.parametrize("suite", recipe.SUITES)
def test_the_overlay_is_roots_and_the_suites_own_files_win(suite: str) -> None:
    card = recipe.card(suite, Apt())
    with tarfile.open(fileobj=io.BytesIO(card.overlay())) as tar:
        assert {(entry.uid, entry.gid) for entry in tar} == {(0, 0)}
        names = tar.getnames()
        assert len(names) == len(set(names))
        found = tar.extractfile("./etc/cloud/cloud.cfg.d/99_raspberry-pi.cfg")
        assert found is not None
        said = yaml.safe_load(found.read())
    assert said["datasource_list"] == ["NoCloud", "None"]
    slash = "/" if suite == "bookworm" else ""
    assert said["datasource"]["NoCloud"]["seedfrom"] == f"file:///boot/firmware{slash}"


def test_a_link_of_the_overlay_stays_a_link_and_counts(tmp_path: Path) -> None:
    digests = set()
    for target in ("/nowhere/a", "/nowhere/b"):
        (tmp_path / "wants").unlink(missing_ok=True)
        (tmp_path / "wants").symlink_to(target)
        made = recipe.Recipe("card", "", (), "", (tmp_path,), None, Apt())
        digests.add(made.digest)
        with tarfile.open(fileobj=io.BytesIO(made.overlay())) as tar:
            assert tar.getmember("./wants").linkname == target
    assert len(digests) == 2


def test_no_template_mark_is_left() -> None:
    card = recipe.card("trixie", Apt())
    assert "@DISKID@" not in card.filled(card.script)
    assert all(b"@DISKID@" not in content for content in card.boot_files().values())
