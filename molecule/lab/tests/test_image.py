from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from lab import image
from lab.cards import unpack_boot
from lab.errors import LabError
from lab.image import BOOT_SIZE, BOOT_START, Builder, Layout, build_rootfs, run, write_card
from lab.recipe import Apt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lab.recipe import Recipe
    from lab.tests.fakes import FakeEngine, Silent

ROOT_START = BOOT_START + BOOT_SIZE
TOOLS = [
    "mcopy",
    "mkfs.vfat",
    "fsck.vfat",
    "mke2fs",
    "e2fsck",
    "debugfs",
    "sfdisk",
    *([] if os.geteuid() == 0 else ["fakeroot"]),
]
SBIN = os.environ["PATH"] + ":/usr/sbin:/sbin"


def judge(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": SBIN})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """A root file system of three entries, one of them another user's."""
    path = tmp_path / "rootfs.tar"
    with tarfile.open(path, "w") as tar:
        for name, owner in (("./etc/hostname", 0), ("./home/pi/hello", 1000)):
            entry = tarfile.TarInfo(name)
            content = f"this is {name}\n".encode()
            entry.size, entry.uid, entry.gid, entry.mode = len(content), owner, owner, 0o640
            tar.addfile(entry, io.BytesIO(content))
    return path


@pytest.fixture
def card(tmp_path: Path, rootfs: Path, make_recipe: Callable[..., Recipe]) -> Path:
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SBIN) is None]
    assert not missing, f"molecule/lab/host-setup installs {missing}"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = tmp_path / "card.img"
    recipe = make_recipe()
    write_card(path, Layout(recipe.disk_id, "bootfs", recipe.boot_files(), [(rootfs, ())]), scratch)
    return path


def test_a_card_is_clean_to_those_who_know(card: Path, tmp_path: Path) -> None:
    boot = tmp_path / "boot.fat"
    with card.open("rb") as stream, boot.open("wb") as copy:
        stream.seek(BOOT_START)
        copy.write(stream.read(BOOT_SIZE))
    judge("fsck.vfat", "-n", str(boot))
    judge("e2fsck", "-fn", f"{card}?offset={ROOT_START}")


def test_a_card_is_partitioned_like_a_stock_one(card: Path, make_recipe: Callable[..., Recipe]) -> None:
    table = judge("sfdisk", "--dump", str(card))
    assert "label: dos" in table
    assert f"label-id: 0x{make_recipe().disk_id}" in table
    assert [line.split("type=")[1] for line in table.splitlines() if "type=" in line] == ["c", "83"]


def test_the_root_partition_has_the_root_file_systems_bytes_and_owners(card: Path) -> None:
    inside = f"{card}?offset={ROOT_START}"
    assert judge("debugfs", "-R", "cat /home/pi/hello", inside) == "this is ./home/pi/hello\n"
    stat = judge("debugfs", "-R", "stat /home/pi/hello", inside)
    assert "User:  1000" in stat
    assert "0640" in stat
    assert "User:     0" in judge("debugfs", "-R", "stat /etc/hostname", inside)


def test_the_bootstrap_reads_the_boot_partition(card: Path, tmp_path: Path, make_recipe: Callable[..., Recipe]) -> None:
    folder = tmp_path / "unpacked"
    unpack_boot(card, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == make_recipe().boot_files()


def test_a_card_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "no.img").write_bytes(b"no card" * 200)
    with pytest.raises(LabError, match=r"no\.img cannot be read"):
        unpack_boot(tmp_path / "no.img", tmp_path / "boot")
    with pytest.raises(LabError, match=r"none\.img cannot be read"):
        unpack_boot(tmp_path / "none.img", tmp_path / "boot")
    assert not (tmp_path / "boot").exists()


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, rootfs: Path) -> list[str]:
    """Root file systems come from a copy; the list says what was built."""
    built: list[str] = []

    def fake(target: Path, recipe: Recipe, overlay: Path) -> None:
        built.append(recipe.name)
        shutil.copyfile(rootfs, target)
        assert overlay.stat().st_size > 0

    monkeypatch.setattr(image, "build_rootfs", fake)
    return built


@pytest.fixture
def builder(tmp_path: Path, engine: FakeEngine, report: Silent) -> Builder:
    return Builder(engine, report, tmp_path / "cache")


def test_an_image_is_built_once(
    builder: Builder, engine: FakeEngine, builds: list[str], make_recipe: Callable[..., Recipe]
) -> None:
    first = builder.card(make_recipe())
    when = first.stat().st_mtime_ns
    assert builder.card(make_recipe()) == first
    assert (builds, engine.loaded) == ([make_recipe().name], [make_recipe().engine_image])
    assert first.stat().st_mtime_ns == when


def test_an_engine_that_lost_its_image_gets_the_same_bytes_again(
    builder: Builder, engine: FakeEngine, builds: list[str], make_recipe: Callable[..., Recipe]
) -> None:
    builder.card(make_recipe())
    engine.images.clear()
    builder.card(make_recipe())
    assert (len(builds), len(engine.loaded)) == (1, 2)


def test_a_build_that_dies_half_way_leaves_nothing_and_the_next_one_works(
    tmp_path: Path,
    builder: Builder,
    builds: list[str],
    make_recipe: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache = tmp_path / "cache"

    def dies(target: Path, *_: object) -> None:
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(image, "write_card", dies)
        with pytest.raises(KeyboardInterrupt):
            builder.card(make_recipe())
    assert not list(cache.glob("*.img"))
    assert not list(cache.glob(".unfinished-*"))
    assert builder.card(make_recipe()).stat().st_size > ROOT_START
    assert len(builds) == 1


def test_what_a_killed_builder_left_is_cleared_away(
    tmp_path: Path, builder: Builder, builds: list[str], make_recipe: Callable[..., Recipe]
) -> None:
    left = tmp_path / "cache" / f".unfinished-{make_recipe().kind}-{make_recipe().suite}-abc"
    left.mkdir(parents=True)
    (left / "card.img").write_bytes(b"half")
    builder.card(make_recipe())
    assert builds
    assert not left.exists()


def test_mmdebstrap_is_told_all_that_the_recipe_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_recipe: Callable[..., Recipe]
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(image, "run", lambda command, *_, **__: asked.append(command))
    source = "deb http://mirror.test trixie main"
    recipe = make_recipe(script='echo "it\'s @DISKID@"', apt=Apt(sources=(source,), options=('Acquire::Retries "3";',)))
    build_rootfs(tmp_path / "out.tar", recipe, tmp_path / "overlay.tar")
    words = asked[0]
    assert "--include=nothing" in words
    assert '--aptopt=Acquire::Retries "3";' in words
    assert words[-3:] == ["trixie", str(tmp_path / "out.tar"), source]
    # The script survives two shells' quoting.
    hook = (
        next(word for word in words if "chroot" in word).removeprefix("--customize-hook=").replace('chroot "$1" ', "")
    )
    assert judge("sh", "-c", hook) == f"it's {recipe.disk_id}\n"


def test_a_builders_failure_is_one_sentence_with_its_reason() -> None:
    with pytest.raises(LabError, match=r"^It failed: E: no network$"):
        run(["sh", "-c", "echo noise >&2; echo 'E: no network' >&2; echo more >&2; exit 3"], "It failed")
    with pytest.raises(LabError, match="there is no no-such-program"):
        run(["no-such-program"], "It failed")
