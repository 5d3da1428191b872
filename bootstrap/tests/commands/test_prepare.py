"""picluster prepare: cards and images that another tool wrote."""

from __future__ import annotations

import lzma
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml
from cardkit import BOOT_START, PARTITION, STOCK, Judge
from clikit import host_name
from readerkit import SIZE, Machine, reader

from picluster import cli
from picluster.cards.image import read_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@pytest.fixture(autouse=True)
def here(bench: Path) -> Path:
    return bench


def _prepare(*arguments: str) -> int:
    return cli.main(["prepare", "--key", "key.pub", "--ips", "192.168.63.[11-12]", "--name", "red[1-2]", *arguments])


def test_what_another_tool_wrote_is_prepared_in_place(machine: Machine, here: Path, judge: Judge) -> None:
    device = reader("/dev/sdb", "1", contents="vfat bootfs, ext4 rootfs")
    machine.listed = [device]
    shutil.copy(here / "card.img", machine.bytes_of(device))
    with machine.bytes_of(device).open("r+b") as stream:
        stream.truncate(SIZE)
    shutil.copy(here / "card.img", here / "other.img")
    assert _prepare("--image-file", "other.img", "--device", "/dev/sdb") == 0
    stock = (here / "card.img").read_bytes()
    for name, card in {"red1": here / "other.img", "red2": machine.bytes_of(device)}.items():
        assert host_name(card) == name
        judge.is_sound(judge.partition(card))
        data = card.read_bytes()
        assert data[:BOOT_START] == stock[:BOOT_START]
        assert data[BOOT_START + PARTITION : len(stock)] == stock[BOOT_START + PARTITION :]
    assert "id:red2,red2,192.168.63.12" in (here / "inventories/red/reservations.dnsmasq").read_text(encoding="utf-8")


def _folder(here: Path, name: str) -> Path:
    folder = here / name
    for path, data in STOCK.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def test_a_mounted_boot_folder_is_prepared_like_a_card(here: Path) -> None:
    one, two = _folder(here, "bootfs"), _folder(here, "bootfs1")
    assert _prepare("--boot-folder", str(one), "--boot-folder", str(two)) == 0
    for name, folder in {"red1": one, "red2": two}.items():
        assert yaml.safe_load((folder / "meta-data").read_bytes())["local-hostname"] == name
        assert (folder / "config.txt").read_bytes() == STOCK["config.txt"]
        assert f"h={name}\n" in (folder / "cmdline.txt").read_text(encoding="utf-8")
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())


def test_a_folder_of_ubuntu_is_told_by_what_is_in_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The label is not one of the files, and desktops mount the partition under many names."""
    folders = [_folder(here, name) for name in ("mnt1", "mnt2")]
    for folder in folders:
        (folder / "issue.txt").unlink()
    both = [word for folder in folders for word in ("--boot-folder", str(folder))]
    assert _prepare(*both) == 2
    assert "an image of unknown kind" in capsys.readouterr().err
    for folder in folders:
        (folder / "cmdline.txt").write_text("console=tty1 root=LABEL=writable rootfstype=ext4 rootwait fixrtc\n")
    assert _prepare(*both) == 0
    assert "Ubuntu" in capsys.readouterr().out
    assert b"networkmanager" not in (folders[0] / "network-config").read_bytes()


def test_preparing_twice_leaves_one_identity(here: Path) -> None:
    shutil.copy(here / "card.img", here / "a.img")
    shutil.copy(here / "card.img", here / "b.img")
    for _ in range(2):
        assert _prepare("--image-file", "a.img", "--image-file", "b.img") == 0
    words = read_tree(here / "a.img")["cmdline.txt"].decode().split()
    assert sum(word.startswith("ds=nocloud") for word in words) == 1


BAD_PLACES: dict[str, tuple[Sequence[str], str]] = {
    "none": ([], "2 nodes, but no place is given; pass --device, --image-file or --boot-folder once for each node"),
    "too few": (["--image-file", "card.img"], "2 nodes, but 1 place is given; pass --device"),
    "no file": (["--image-file", "card.img", "--image-file", "none.img"], "--image-file none.img does not exist"),
    "no card": (["--image-file", "card.img", "--image-file", "key.pub"], "key.pub is not a card image"),
    "no folder": (["--boot-folder", "none", "--boot-folder", "none"], "none cannot be read"),
    "no boot folder": (["--boot-folder", ".", "--boot-folder", "readers"], "it has no cmdline.txt"),
    "one file twice": (["--image-file", "card.img", "--image-file", "./x/../card.img"], "was named already"),
    "one folder twice": (["--boot-folder", "readers", "--boot-folder", "link"], "link is readers, which was named"),
    "cut short": (["--image-file", "card.img", "--image-file", "short.img"], "short.img is cut short"),
    "packed": (["--image-file", "card.img", "--image-file", "packed.img.xz"], "packed.img.xz is packed: unpack it"),
    "an unset variable": (["--image-file", "card.img", "--boot-folder", ""], "--boot-folder: the name is empty"),
    "no device": (["--image-file", "card.img", "--device", ""], "--device was given an empty name"),
    "auto": (["--device", "auto", "--image-file", "card.img"], "name them"),
    "force": (["--image-file", "card.img", "--force-device", "/dev/sdb"], "given without --device"),
}


@pytest.mark.parametrize("what", BAD_PLACES)
def test_places_that_cannot_be_prepared_end_in_a_sentence(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    before = (here / "card.img").read_bytes()
    (here / "x").mkdir()
    (here / "link").symlink_to("readers")
    (here / "short.img").write_bytes(before[: 42 << 20])
    (here / "packed.img.xz").write_bytes(lzma.compress(before[: 1 << 20], preset=0))
    arguments, says = BAD_PLACES[what]
    assert _prepare(*arguments) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert (here / "card.img").read_bytes() == before
    assert not (here / "inventories").exists()


def test_a_dry_run_prepares_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (here / "card.img").read_bytes()
    shutil.copy(here / "card.img", here / "b.img")
    assert _prepare("--image-file", "card.img", "--image-file", "b.img", "--dry-run") == 0
    assert "would prepare card.img" in capsys.readouterr().out
    assert (here / "card.img").read_bytes() == before
    assert not (here / "inventories").exists()
