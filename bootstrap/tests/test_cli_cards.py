"""Real cards by the command line: readers and rounds, one card again, and cards that another tool wrote."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml
from cardkit import BOOT_START, PARTITION, STOCK, Judge, run
from readerkit import SIZE, Machine, reader

from picluster import cli, devices
from picluster.devices import rounds
from picluster.fat import read_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from picluster.devices import Device


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public_key: Path, make_card: Callable[..., Path]) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(rounds.Watch, "pause", staticmethod(lambda: None), raising=False)
    assert public_key.exists()
    make_card()
    return tmp_path


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "readers").mkdir()
    made = Machine(tmp_path / "readers", [reader("/dev/sdb", "1"), reader("/dev/sdc", "2")])
    monkeypatch.setattr(devices, "platform", lambda: made)
    monkeypatch.setattr(rounds.time, "sleep", lambda _: None)
    return made


def burn(*more: str, names: str = "red[1-3]", ips: str = "192.168.63.[11-13]") -> int:
    return cli.main(["burn", "--name", names, "--key", "key.pub", "--ips", ips, "--image", "card.img", *more])


def host_name(card: Path) -> str:
    return str(yaml.safe_load(read_tree(card)["meta-data"])["local-hostname"])


VERBATIM = "cm-burn --name red[5-7] --key ~/.ssh/id_rsa.pub --ips 192.168.1.[5-7] --image 2018-06-27-raspbian-stretch"
STRETCH = {
    "cmdline.txt": b"dwc_otg.lpm_enable=0 console=serial0,115200 console=tty1 root=PARTUUID=4d3ee428-02 "
    b"rootfstype=ext4 elevator=deadline fsck.repair=yes rootwait quiet init=/usr/lib/raspi-config/init_resize.sh\n",
    "config.txt": b"dtparam=audio=on\n",
    "issue.txt": b"Raspberry Pi reference 2018-06-27\nGenerated using pi-gen, stage4\n",
    "kernel7.img": b"kernel",
}


def test_the_command_of_2018_works_as_it_stands(make_card: Callable[..., Path], here: Path, judge: Judge) -> None:
    make_card("2018-06-27-raspbian-stretch.img", files=STRETCH, mkfs=("-F", 32, "-s", 1, "-n", "boot"))
    (here / "home/.ssh").mkdir(parents=True)
    run("ssh-keygen", "-q", "-t", "rsa", "-b", 2048, "-N", "", "-f", here / "home/.ssh/id_rsa")
    # By the shell, which expands the tilde and finds no file that the brackets match.
    run("bash", "-c", f"{sys.executable} -m picluster burn {VERBATIM.removeprefix('cm-burn ')}")
    for number in (5, 6, 7):
        card = here / f"cards/red{number}.img"
        judge.is_sound(judge.partition(card))
        files = read_tree(card)
        assert f"red{number}" in "".join(data.decode(errors="replace") for data in files.values())
        assert files["config.txt"] == STRETCH["config.txt"]
    assert "id:red7,red7,192.168.1.7" in (here / "inventories/red/reservations.dnsmasq").read_text(encoding="utf-8")


def test_every_key_that_is_given_may_log_in(here: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "second")
    assert burn("-o", "out", "--key", "second.pub") == 0
    keys = yaml.safe_load(read_tree(here / "out/red1.img")["user-data"])["user"]["ssh_authorized_keys"]
    assert keys == [(here / name).read_text(encoding="utf-8").strip() for name in ("key.pub", "second.pub")]


def test_three_nodes_and_two_readers_are_two_rounds(
    machine: Machine, judge: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = machine.listed
    gone = replace(first, size=0)
    third = reader("/dev/sdb", "3")
    # The first round's own checks see the same cards; then sdb is emptied, and another card comes in.
    machine.later = [[first, second], [gone, second], [gone, second], [third, second]]
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes") == 0
    said = capsys.readouterr()
    assert "3 cards in 2 readers: 2 rounds" in said.out
    assert "red3: put the next card in /dev/sdb" in said.out
    assert "burnt and verified 3 of 3 cards" in said.out
    cards = [machine.bytes_of(device) for device in (first, second, third)]
    assert [host_name(card) for card in cards] == ["red1", "red2", "red3"]
    for card in cards:
        judge.is_sound(judge.partition(card))


def test_a_card_that_was_just_burnt_is_not_overwritten_when_it_is_put_back(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    first = machine.listed[0]
    again, other = reader("/dev/sdb", "3"), reader("/dev/sdb", "4")
    machine.listed = [first]
    gone = replace(first, size=0)

    class Back(Machine):
        def bytes_of(self, device: Device) -> Path:
            # The same card under a new sequence number.
            return super().bytes_of(first if device.sequence == "3" else device)

    machine.__class__ = Back
    machine.later = [[first], [gone], [again], [again], [gone], [other]]
    assert burn("--device", "/dev/sdb", "--yes", names="red[1-2]", ips="192.168.63.[11-12]") == 0
    assert "it was just burnt" in capsys.readouterr().out
    assert host_name(machine.bytes_of(first)) == "red1"
    assert host_name(machine.bytes_of(other)) == "red2"


@pytest.mark.parametrize("answer", ["no", "", "y", "yes"])
def test_cards_are_overwritten_only_after_yes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    machine.listed = [reader("/dev/sdb", "1", contents="vfat bootfs, ext4 rootfs"), machine.listed[1]]
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: answer + "\n", raising=False)
    code = burn("--device", "/dev/sdb", "--device", "/dev/sdc", names="red[1-2]", ips="192.168.63.[11-12]")
    said = capsys.readouterr()
    assert "/dev/sdb: 67.1 MB, USB Reader, serial 0815, holds vfat bootfs, ext4 rootfs" in said.out
    assert "/dev/sdc: 67.1 MB, USB Reader, serial 0815, empty" in said.out
    assert (code, bool(machine.opened)) == ((0, True) if answer == "yes" else (2, False))
    if answer != "yes":
        assert "not confirmed" in said.err


def test_without_anybody_to_ask_nothing_is_overwritten(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert burn("--device", "auto") == 2
    assert "--yes" in capsys.readouterr().err
    assert machine.opened == []
    assert not (here / "inventories").exists()


def test_auto_takes_the_empty_cards_and_says_what_it_left_out(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.listed += [
        reader("/dev/sda", "9", system=True, removable=False),
        reader("/dev/sdd", "7", contents="ext4 photos"),
    ]
    assert burn("--device", "auto", "--yes", names="red[1-2]", ips="192.168.63.[11-12]") == 0
    assert sorted(machine.opened) == ["/dev/sdb", "/dev/sdc"]
    said = capsys.readouterr().out
    assert "left out: /dev/sdd, it holds ext4 photos" in said
    assert "left out: /dev/sda" in said


def test_a_dry_run_names_the_readers_and_opens_none(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert burn("--device", "auto", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "would burn red3 to /dev/sdb, round 2" in said
    assert machine.opened == []
    assert not (here / "inventories").exists()


BAD = {
    "the system disk": (["--device", "/dev/sda", "--force-device", "/dev/sda"], "holds the running system"),
    "a disk that is mounted": (["--device", "/dev/sdm"], "mounted on /media/me"),
    "a disk that is not removable": (["--device", "/dev/sdn"], "--force-device /dev/sdn"),
    "a disk that is not there": (["--device", "/dev/sdz"], "no such disk"),
    "too small": (["--device", "/dev/sds"], "the image needs"),
    "twice": (["--device", "/dev/sdb,/dev/sdb"], "named already"),
    "auto and another": (["--device", "auto", "--device", "/dev/sdb"], "name no other device"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_device_that_is_not_meant_ends_in_one_sentence(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    machine.listed += [
        reader("/dev/sda", "9", system=True, removable=False),
        reader("/dev/sdm", "5", mounts=("/media/me",)),
        reader("/dev/sdn", "6", removable=False),
        reader("/dev/sds", "7", size=8 << 20),
    ]
    arguments, says = BAD[what]
    assert burn(*arguments, "--yes") == 2
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.count("\n") == 1
    assert machine.opened == []
    assert not (here / "inventories").exists()


def test_programs_are_told_of_devices_and_swaps(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = machine.listed
    machine.later = [[first, second], [replace(first, size=0), second], [reader("/dev/sdb", "3"), second]]
    assert burn("--device", "/dev/sdb", "--device", "/dev/sdc", "--yes", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["path"] for event in events if event["event"] == "device"] == ["/dev/sdb", "/dev/sdc"]
    assert [event["name"] for event in events if event["event"] == "swap"][-1] == "red3"
    assert events[-1]["burnt"] == ["red1", "red2", "red3"]


def test_one_dead_card_is_replaced_from_the_inventory_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert burn("-o", "out", "--timezone", "Europe/Berlin") == 0
    groups = (here / "inventories/red/20-roles.yml").read_bytes()
    nodes = (here / "inventories/red/10-nodes.yml").read_bytes()
    before = read_tree(here / "out/red2.img")
    (here / "key.pub").unlink()
    (here / "out/red2.img").unlink()
    known = here / "inventories/red/known_hosts"
    known.write_text("red1 ssh-ed25519 AA\nred2 ssh-ed25519 AA\n", encoding="utf-8")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    again = ["burn", "--name", "red2", "--replace", "-o", str(here / "out"), "--inventories", str(here / "inventories")]
    assert cli.main(again) == 0
    after = read_tree(here / "out/red2.img")
    old, new = (yaml.safe_load(tree["user-data"]) for tree in (before, after))
    assert new == old
    assert yaml.safe_load(after["meta-data"])["instance-id"] != yaml.safe_load(before["meta-data"])["instance-id"]
    assert (here / "inventories/red/20-roles.yml").read_bytes() == groups
    assert (here / "inventories/red/10-nodes.yml").read_bytes() == nodes
    assert known.read_text(encoding="utf-8") == "red1 ssh-ed25519 AA\n"


RECORDS = {
    "gone": (None, "nobody knows what the cards were burnt with"),
    "unknown key": ("image: card.img\nkeys: [a]\nimgae: x\n", "imgae is not known"),
    "no keys": ("image: card.img\n", "keys must be a list"),
    "no image": ("keys: [a]\n", "image must name"),
    "not text": ("image: 5\nkeys: [a]\n", "image must be text"),
    "wifi": ("image: card.img\nkeys: [a]\nwifi: Home\n", "give --wifi again"),
}


@pytest.mark.parametrize("what", RECORDS)
def test_a_record_that_cannot_be_used_ends_in_a_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    burn("-o", "out")
    record = here / "inventories/red/cards.yml"
    text, says = RECORDS[what]
    if text is None:
        record.unlink()
    else:
        record.write_text(text, encoding="utf-8")
    capsys.readouterr()
    assert cli.main(["burn", "--name", "red2", "--replace", "-o", "out"]) == 2
    assert says in capsys.readouterr().err


def test_the_wifi_passphrase_is_kept_nowhere(here: Path) -> None:
    (here / "pass").write_text("my secret passphrase\n", encoding="utf-8")
    (here / "pass").chmod(0o600)
    assert burn("-o", "out", "--wifi", "Home", "--wifi-passphrase-file", "pass", "--country", "DE") == 0
    for path in here.rglob("*"):
        if path.is_file() and path.name != "pass":
            assert b"my secret passphrase" not in path.read_bytes(), path
    assert "wifi: Home" in (here / "inventories/red/cards.yml").read_text(encoding="utf-8")


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
    """Its label is not among the files, and desktops mount it under many names."""
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


def test_an_image_that_changes_between_two_rounds_ends_the_burn(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = machine.listed[0]
    machine.listed = [first]
    machine.later = [[first], [replace(first, size=0)], [reader("/dev/sdb", "3")]]
    look = machine.devices

    def change() -> list[Device]:
        if len(machine.later) == 1:
            with (here / "card.img").open("r+b") as stream:
                stream.truncate(stream.seek(0, 2) + 512)
        return look()

    monkeypatch.setattr(machine, "devices", change)
    assert burn("--device", "/dev/sdb", "--yes", names="red[1-2]", ips="192.168.63.[11-12]") == 11
    said = capsys.readouterr()
    assert "was changed since the first round" in said.err
    assert "burnt and verified 1 of 2 cards; failed: red2" in said.out
    assert machine.opened == ["/dev/sdb"]


def test_preparing_twice_leaves_one_identity(here: Path) -> None:
    shutil.copy(here / "card.img", here / "a.img")
    shutil.copy(here / "card.img", here / "b.img")
    for _ in range(2):
        assert _prepare("--image-file", "a.img", "--image-file", "b.img") == 0
    words = read_tree(here / "a.img")["cmdline.txt"].decode().split()
    assert sum(word.startswith("ds=nocloud") for word in words) == 1


BAD_PLACES: dict[str, tuple[Sequence[str], str]] = {
    "too few": (["--image-file", "card.img"], "--name has 2 nodes but there are 1 places"),
    "no file": (["--image-file", "card.img", "--image-file", "none.img"], "there is no image file none.img"),
    "no card": (["--image-file", "card.img", "--image-file", "key.pub"], "key.pub is not a card image"),
    "no folder": (["--boot-folder", "none", "--boot-folder", "none"], "none cannot be read"),
    "no boot folder": (["--boot-folder", ".", "--boot-folder", "."], "it has no cmdline.txt"),
    "auto": (["--device", "auto", "--image-file", "card.img"], "name them"),
    "force": (["--image-file", "card.img", "--force-device", "/dev/sdb"], "give --device too"),
}


@pytest.mark.parametrize("what", BAD_PLACES)
def test_places_that_cannot_be_prepared_end_in_a_sentence(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    before = (here / "card.img").read_bytes()
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
