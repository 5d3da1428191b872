"""The command that is suggested after a card failed: it overwrites no good card and confirms nothing by itself."""

from __future__ import annotations

import errno
import json
import shlex
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from clikit import burn, host_name
from readerkit import Card, Machine, reader

from picluster import cli
from picluster.commands import burnjob
from picluster.inventory import plan

if TYPE_CHECKING:
    from pathlib import Path

    from picluster.devices import Device

TWO = {"names": "red[1-2]", "ips": "192.168.63.[11-12]"}


@pytest.fixture(autouse=True)
def here(bench: Path) -> Path:
    return bench


@pytest.fixture(autouse=True)
def person(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what a person at the terminal types: yes, whenever the program reads a line."""
    typed: list[str] = []

    def line() -> str:
        typed.append("yes")
        return "yes\n"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdin.readline", line, raising=False)
    return typed


def again(text: str) -> list[str]:
    """Return the arguments of the last suggested command, as a shell reads them."""
    told = [line.partition("run: ")[2] for line in text.splitlines() if "run: " in line]
    program, *words = shlex.split(told[-1])
    assert program == "picluster"
    return words


DEVICES = {
    "repeated": ["--device", "/dev/sdb", "--device", "/dev/sdc"],
    "with commas": ["--device", "/dev/sdb,/dev/sdc"],
    "forced": ["--device", "/dev/sdb,/dev/sdc", "--force-device", "/dev/sdb,/dev/sdc"],
    "auto": ["--device", "auto"],
}


@pytest.mark.parametrize("given", DEVICES.values(), ids=DEVICES)
def test_burning_a_failed_card_again_leaves_the_good_one_alone(
    machine: Machine, capsys: pytest.CaptureFixture[str], person: list[str], given: list[str]
) -> None:
    good, bad = machine.listed
    machine.looking = True
    machine.worn = {bad.path}
    assert burn(*given, "--yes", **TWO) == 11
    before = machine.bytes_of(good).read_bytes()
    words = again(capsys.readouterr().out)
    assert "--yes" not in words
    machine.worn.clear()
    machine.opened.clear()
    assert cli.main(words) == 0
    assert person == ["yes"]
    assert machine.opened == [bad.path]
    assert machine.bytes_of(good).read_bytes() == before
    assert host_name(machine.bytes_of(bad)) == "red2"


def test_the_reader_keeps_the_name_that_was_typed(
    machine: Machine, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = here / "by id [2]"
    link.symlink_to("/dev/sdc")
    machine.worn = {"/dev/sdc"}
    assert burn("--device", "/dev/sdb", "--device", str(link), "--force-device", str(link), "--yes", **TWO) == 11
    said = capsys.readouterr().out
    assert said.endswith(f" --replace --device '{link}' --force-device '{link}'\n")
    machine.worn.clear()
    assert cli.main(again(said)) == 0


def test_programs_get_a_command_that_confirms_nothing(
    machine: Machine, capsys: pytest.CaptureFixture[str], person: list[str]
) -> None:
    machine.worn = {"/dev/sdc"}
    assert burn("--device", "/dev/sdb,/dev/sdc", "-y", "--json", **TWO) == 11
    done = json.loads(capsys.readouterr().out.splitlines()[-1])
    _, *words = shlex.split(done["again"])
    machine.opened.clear()
    assert cli.main(words) == 2
    assert (machine.opened, person) == ([], [])
    machine.worn.clear()
    assert cli.main([*words, "--yes"]) == 0
    assert machine.opened == ["/dev/sdc"]


def test_a_reader_that_holds_a_good_card_by_now_is_not_named(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """red1 failed in it, and then red3 succeeded."""
    first, second = machine.listed
    machine.looking = True
    machine.worn = {first.path}
    third = reader("/dev/sdb", "3")

    class Mended(Machine):
        def bytes_of(self, device: Device) -> Path:
            if device.sequence == "3":
                self.worn.clear()
            return super().bytes_of(device)

    machine.__class__ = Mended
    machine.later = [[first, second], [third, second]]
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes") == 11
    said = capsys.readouterr().out
    assert "failed: red1; all readers hold good cards: insert empty ones, then run: " in said
    before = [machine.bytes_of(device).read_bytes() for device in (third, second)]
    assert cli.main(again(said)) == 2
    assert "found no empty card" in capsys.readouterr().err
    blank = reader("/dev/sdb", "4")
    machine.listed = [blank, second]
    assert cli.main(again(said)) == 0
    assert host_name(machine.bytes_of(blank)) == "red1"
    assert [machine.bytes_of(device).read_bytes() for device in (third, second)] == before


def test_only_the_reader_of_the_failed_card_goes_on_where_others_were_not_begun(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.worn = {"/dev/sdc"}
    look = machine.devices

    def interrupt() -> list[Device]:
        if machine.looks:
            raise KeyboardInterrupt
        return look()

    monkeypatch.setattr(machine, "devices", interrupt)
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes") == 130
    said = capsys.readouterr().err
    assert "interrupted; not burnt: red2, red3; run: " in said
    assert again(said) == ["burn", "--name", "red2,red3", "--replace", "--device", "/dev/sdc"]


def test_the_path_that_a_reader_has_left_is_not_named(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    """It may be the path of another disk when the command is pasted."""
    first = replace(machine.listed[0], serial="1")
    machine.listed = [first]
    machine.worn = {"/dev/sdb"}
    moved = replace(first, path="/dev/sdd", sequence="3")
    machine.later = [[first], [], [moved]]
    assert burn("--device", "/dev/sdb", "--yes", **TWO) == 11
    said = capsys.readouterr().out
    assert "failed: red1; " in said
    assert again(said)[-2:] == ["--device", "auto"]


def test_a_card_that_was_good_when_the_round_was_interrupted_is_not_burnt_again(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    good, slow = machine.listed
    finished = threading.Event()

    class Last(Card):
        def finish(self, length: int) -> None:
            super().finish(length)
            finished.set()

    class Interrupting(Card):
        def sync(self) -> None:
            assert finished.wait(30)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            raise OSError(errno.EIO, "Input/output error")

    class Interrupted(Machine):
        def open(self, device: Device, *, unmount: bool) -> Card:
            super().open(device, unmount=unmount)
            return (Last if device == good else Interrupting)(self.bytes_of(device))

    machine.__class__ = Interrupted
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes", **TWO) == 130
    assert again(capsys.readouterr().err) == ["burn", "--name", "red2", "--replace", "--device", slow.path]
    assert host_name(machine.bytes_of(good)) == "red1"


def test_trouble_with_the_host_keys_makes_no_good_card_a_bad_one(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(errno.EACCES, "Permission denied", "known_hosts")

    monkeypatch.setattr(plan, "forget_host_keys", refuse)
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes", **TWO) == 1
    said = capsys.readouterr()
    assert "known_hosts: Permission denied" in said.err
    assert "burnt and verified 2 of 2 cards\n" in said.out
    assert "again" not in said.out + said.err


@pytest.mark.parametrize("where", ["forget_host_keys", "exit_cards"])
def test_an_interrupt_after_the_last_card_suggests_no_command(
    machine: Machine, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The same command again would overwrite every card."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(plan if where == "forget_host_keys" else burnjob, where, interrupt)
    assert burn("--device", "/dev/sdb,/dev/sdc", "--yes", **TWO) == 130
    assert capsys.readouterr().err.endswith("picluster burn: interrupted; all cards are burnt\n")


def test_image_files_that_are_good_stay_as_they_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = "my 'cards' [1-2]; $(touch ran) *"
    block = here / folder / ".red2.img.part/in the way"
    block.mkdir(parents=True)
    assert burn("-o", folder, "--yes", "--inventories", "=my [inv]", **TWO) == 11
    before = (here / folder / "red1.img").read_bytes()
    words = again(capsys.readouterr().out)
    assert "--yes" not in words
    block.rmdir()
    block.parent.rmdir()
    assert cli.main(words) == 0
    assert (here / folder / "red1.img").read_bytes() == before
    assert host_name(here / folder / "red2.img") == "red2"
