"""picluster burn with card readers: devices, confirmation and rounds."""

from __future__ import annotations

import errno
import json
import shlex
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml
from cardkit import Judge, run
from clikit import burn, host_name
from readerkit import Machine, reader

from picluster.cards.filetarget import FileTarget
from picluster.cards.image import read_tree
from picluster.commands import places

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from picluster.devices import Device


@pytest.fixture(autouse=True)
def here(bench: Path) -> Path:
    return bench


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
    run("ssh-keygen", "-q", "-t", "rsa", "-b", 3072, "-N", "", "-f", here / "home/.ssh/id_rsa")
    # Through a shell, which expands the tilde, and leaves the brackets because no file matches them.
    run("bash", "-c", f"{shlex.quote(sys.executable)} -m picluster burn {VERBATIM.removeprefix('cm-burn ')}")
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
    # The checks of the first round see the same cards; then sdb is emptied, and another card is inserted.
    machine.later = [[first, second], [gone, second], [gone, second], [third, second]]
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes") == 0
    said = capsys.readouterr()
    assert (
        "3 cards in 2 readers: 2 rounds; every card that is inserted later is overwritten too, whatever it holds"
        in said.out
    )
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
    said = capsys.readouterr().out
    assert "it was just burnt" in said
    assert "2 cards in 1 reader: 2 rounds" in said
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
    machine.listed.append(reader("/dev/sdd", "7", contents="ext4 photos"))
    assert burn("--device", "auto", "--dry-run") == 0
    said = capsys.readouterr().out
    assert "would burn red3 to /dev/sdb, round 2" in said
    assert "would be overwritten: /dev/sdc: 67.1 MB, USB Reader, serial 0815, empty" in said
    assert "left out: /dev/sdd, it holds ext4 photos" in said
    assert "whatever it holds" not in said  # auto takes empty cards alone
    assert machine.opened == []
    assert not (here / "inventories").exists()


BAD = {
    "the system disk": (["--device", "/dev/sda", "--force-device", "/dev/sda"], "holds the running system"),
    "a disk that is mounted": (["--device", "/dev/sdm"], "mounted on /media/me"),
    "a disk that is not removable": (["--device", "/dev/sdn"], "--force-device /dev/sdn"),
    "a disk that is not there": (["--device", "/dev/sdz"], "no such disk"),
    "too small": (["--device", "/dev/sds"], "the image needs"),
    "twice": (["--device", "/dev/sdb,/dev/sdb"], "named already"),
    "an unset variable": (["--device", ""], "--device was given an empty name"),
    "commas alone": (["--device", ","], "--device was given an empty name"),
    "a comma too many": (["--device", "/dev/sdb,"], "--device was given an empty name"),
    "force an unset variable": (["--device", "/dev/sdb", "--force-device", ""], "--force-device was given an empty"),
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
    told = [event for event in events if event["event"] == "device"]
    assert [event["path"] for event in told] == ["/dev/sdb", "/dev/sdc"]
    assert {"size": 64 << 20, "model": "USB Reader", "serial": "0815", "contents": ""}.items() <= told[0].items()
    assert [event["name"] for event in events if event["event"] == "swap"][-1] == "red3"
    assert events[-1]["burnt"] == ["red1", "red2", "red3"]


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


def test_a_card_of_just_the_image_s_size_is_large_enough(machine: Machine, here: Path, judge: Judge) -> None:
    size = -(-(here / "card.img").stat().st_size // 4096) * 4096
    machine.listed = [reader("/dev/sdb", "1", size=size)]
    assert burn("--device", "/dev/sdb", "--yes", names="red1", ips="192.168.63.11") == 0
    card = machine.bytes_of(machine.listed[0])
    assert card.stat().st_size == size
    judge.is_sound(judge.partition(card))


def test_a_system_error_between_two_rounds_fails_the_cards_that_are_left(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.listed = machine.listed[:1]
    look = machine.devices

    def fail() -> list[Device]:
        if machine.looks:
            raise OSError(errno.EIO, "Input/output error", "/sys/block")
        return look()

    monkeypatch.setattr(machine, "devices", fail)
    given = ["--device", "/dev/sdb", "--yes", "--json"]
    assert burn(*given, names="red[1-2]", ips="192.168.63.[11-12]") == 11
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"event": "error", "text": "/sys/block: Input/output error"} in events
    assert (events[-1]["event"], events[-1]["burnt"], events[-1]["failed"]) == ("done", ["red1"], ["red2"])


def test_after_an_interrupt_the_line_to_go_on_with_is_told(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.listed = machine.listed[:1]
    look = machine.devices

    def interrupt() -> list[Device]:
        if machine.looks:
            raise KeyboardInterrupt
        return look()

    monkeypatch.setattr(machine, "devices", interrupt)
    assert burn("--device", "/dev/sdb", "--yes", names="red[1-2]", ips="192.168.63.[11-12]") == 130
    # The reader still holds the card of red1, which is good.
    again = "all readers hold good cards: insert empty ones, then run: picluster burn --name red2 --replace"
    said = f"picluster burn: interrupted; not burnt: red2; {again} --device auto\n"
    assert capsys.readouterr().err.endswith(said)


def test_two_burns_do_not_write_to_one_folder(bench: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = threading.Event()
    started = threading.Event()

    class Waiting(FileTarget):
        def sync(self) -> None:
            started.set()
            lock.wait(30)
            super().sync()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "FileTarget", Waiting)
        first = threading.Thread(target=lambda: burn("-o", "out"))
        first.start()
        assert started.wait(30)
        assert burn("-o", "out", names="green[1-2]", ips="192.168.64.[11-12]") == 2
        lock.set()
        first.join(30)
    assert "another burn writes to out" in capsys.readouterr().err
    assert sorted(path.name for path in (bench / "out").iterdir()) == ["red1.img", "red2.img", "red3.img"]
    assert not (bench / "inventories/green").exists()
