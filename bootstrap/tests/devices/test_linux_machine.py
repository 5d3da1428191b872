"""A Linux machine whose programs and files are stand-ins: what is opened, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakedisks import Faults, FileControl, FileOs
from linuxkit import MIB, disk, mount, part, swaps, told

from picluster.devices import safety
from picluster.devices.linux import Linux
from picluster.devices.linuxdisk import LinuxHandle
from picluster.devices.raw import RawDisk
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Sequence


class Shell:
    """Answers as programs would, by their name."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers
        self.asked: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        self.asked.append(list(command))
        code, out, err = self.answers[Path(command[0]).name]
        return subprocess.CompletedProcess(command, code, out, err)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Return a root with /proc and /sys of a machine with a card in /dev/sdb."""
    for name, text in {
        "proc/self/mountinfo": mount("8:1", "/"),
        "sys/class/block/sdb/diskseq": "7\n",
        "sys/class/block/sdb/device/type": "0\n",
        "dev/sdb": "\0" * 4096,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


CARDS = told(disk("sda", "8:0", part("sda1", "8:1")), disk("sdb", "8:16", rm=True, serial="S1", model="Reader"))


NOTHING = (2, "", "")


def test_the_machines_own_fstab_is_read_and_its_links_followed(machine: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("/dev/sdb")
    for source in ("/dev/sdb", f"/dev/..{link}"):
        (machine / "etc").mkdir(exist_ok=True)
        (machine / "etc/fstab").write_text(f"{source} /boot ext4 noauto 0 0\n")
        assert Linux(Shell(lsblk=(0, CARDS, ""), blkid=NOTHING), machine).devices()[1].system, source


def test_the_kernel_is_asked_in_both_directions_what_lies_on_a_disk(machine: Path) -> None:
    loops = [disk(f"loop{number}", f"7:{number}", type="loop") for number in range(2)]
    lsblk = json.dumps({"blockdevices": [*json.loads(CARDS)["blockdevices"], *loops, disk("dm-0", "253:0", type="dm")]})
    block = machine / "sys/class/block"
    for folder in ("sdb/holders/md0", "dm-0/slaves/sdb"):
        (block / folder).mkdir(parents=True)
    for loop, file in {"loop0": "/dev/sdb", "loop1": "/dev/loop0 (deleted)"}.items():
        (block / loop / "loop").mkdir(parents=True)
        (block / loop / "loop/backing_file").write_text(f"{file}\n")
    facts = Linux(Shell(lsblk=(0, lsblk, ""), blkid=NOTHING), machine).facts()
    assert facts.stacked == {"sdb": {"md0", "dm-0", "loop0"}, "loop0": {"loop1"}}


def test_a_card_that_lsblk_does_not_know_yet_is_looked_at(machine: Path) -> None:
    shell = Shell(lsblk=(0, CARDS, ""), blkid=(0, "DEVNAME=/dev/sdb\nTYPE=ext4\n", ""))
    assert Linux(shell, machine).devices()[1].contents == "ext4"
    shell.answers["blkid"] = (8, "", "ambivalent")
    assert Linux(shell, machine).devices()[1].contents == "more than one file system"
    shell.answers["blkid"] = NOTHING
    assert Linux(shell, machine).devices()[1].contents == ""
    # Only what lsblk knows nothing of is opened.
    assert [words[-1] for words in shell.asked if "blkid" in words[0]] == ["/dev/sdb"] * 3


@pytest.mark.parametrize("head", [os.urandom(MIB), bytes(4096) + b"x"], ids=["VeraCrypt", "a raw dump"])
def test_auto_leaves_what_blkid_cannot_name(machine: Path, head: bytes) -> None:
    linux = Linux(Shell(lsblk=(0, CARDS, ""), blkid=NOTHING), machine)
    assert safety.choose(["auto"], linux.devices()).devices[0].path == "/dev/sdb"
    (machine / "dev/sdb").write_bytes(head)
    with pytest.raises(PiclusterError, match="/dev/sdb: it holds data of an unknown kind"):
        safety.choose(["auto"], linux.devices())


def test_auto_leaves_what_cannot_be_read(machine: Path) -> None:
    (machine / "dev/sdb").unlink()
    # As blkid ends without the right to read.
    shell = Shell(lsblk=(0, CARDS, ""), blkid=(2, "", "blkid: error: /dev/sdb: Permission denied"))
    with pytest.raises(PiclusterError, match="/dev/sdb: it holds what cannot be read"):
        safety.choose(["auto"], Linux(shell, machine).devices())


CHANGES = {
    "serial": ({"serial": "S2"}, "another card is in /dev/sdb now"),
    "size": ({"size": 64_000_000_000}, "another card is in /dev/sdb now"),
    "model": ({"model": "Other"}, "another card is in /dev/sdb now"),
    "no card": ({"size": 0}, "no card in /dev/sdb any more"),
    "locked": ({"ro": True}, "write-protected"),
    "gone": ({"name": "sdc", "kname": "sdc"}, "/dev/sdb is gone"),
    "formatted": ({"fstype": "vfat", "label": "PHOTOS"}, "/dev/sdb holds vfat PHOTOS now, and held nothing"),
}


@pytest.mark.parametrize(("change", "sentence"), CHANGES.values(), ids=CHANGES)
def test_a_device_that_changed_since_it_was_chosen_is_not_opened(
    machine: Path, change: dict[str, Any], sentence: str
) -> None:
    shell = Shell(lsblk=(0, CARDS, ""), blkid=NOTHING)
    linux = Linux(shell, machine)
    chosen = linux.devices()[1]
    card = disk("sdb", "8:16", rm=True, serial="S1", model="Reader")
    shell.answers["lsblk"] = (0, told({**card, **change}), "")
    with pytest.raises(PiclusterError, match=sentence):
        linux.open(chosen, unmount=True)


def test_the_same_card_put_in_again_is_another_one(machine: Path) -> None:
    linux = Linux(Shell(lsblk=(0, CARDS, ""), blkid=NOTHING), machine)
    chosen = linux.devices()[1]
    (machine / "sys/class/block/sdb/diskseq").write_text("8\n")
    with pytest.raises(PiclusterError, match="another card is in /dev/sdb now"):
        linux.open(chosen, unmount=False)


@pytest.mark.parametrize(("sequence", "size"), [("8", 32_000_000_000), ("7", 16_000_000_000)])
def test_a_card_that_is_swapped_at_the_last_moment_is_let_go_untouched(
    machine: Path, monkeypatch: pytest.MonkeyPatch, sequence: str, size: int
) -> None:
    faults = Faults()
    medium = machine / "medium"
    medium.write_bytes(bytes(4096))

    def open_late(path: str) -> RawDisk:
        (machine / "sys/class/block/sdb/diskseq").write_text(sequence)
        calls = FileOs(faults)
        return RawDisk(path, size, LinuxHandle(calls.open(str(medium), os.O_RDWR), calls, FileControl(faults)))

    monkeypatch.setattr("picluster.devices.linux.open_disk", open_late)
    linux = Linux(Shell(lsblk=(0, CARDS, ""), blkid=NOTHING), machine)
    with pytest.raises(PiclusterError, match="another card is in /dev/sdb now"):
        linux.open(linux.devices()[1], unmount=False)
    assert faults.log == [f"open {medium}", "close"]


def test_what_only_the_mount_told_of_a_card_may_go_with_it(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo = machine / "proc/self/mountinfo"
    mountinfo.write_text(mount("8:1", "/") + mount("8:16", "/mnt/a", "bcachefs"))
    shell = Shell(lsblk=(0, CARDS, ""), blkid=NOTHING)
    opened: list[str] = []

    def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if command[0] != "umount":
            return shell(command)
        mountinfo.write_text(mount("8:1", "/"))
        return subprocess.CompletedProcess(command, 0, "", "")

    def open_disk(path: str) -> RawDisk:
        opened.append(path)
        calls = FileOs(Faults())
        fd = calls.open(str(machine / "dev/sdb"), os.O_RDWR)
        return RawDisk(path, 32_000_000_000, LinuxHandle(fd, calls, FileControl(Faults())))

    monkeypatch.setattr("picluster.devices.linux.open_disk", open_disk)
    linux = Linux(run, machine)
    chosen = linux.devices()[1]
    assert chosen.contents == "bcachefs"
    with linux.open(chosen, unmount=True):
        assert opened == ["/dev/sdb"]


def test_a_disk_that_became_the_systems_is_not_opened(machine: Path) -> None:
    linux = Linux(Shell(lsblk=(0, CARDS, ""), blkid=NOTHING), machine)
    chosen = linux.devices()[1]
    (machine / "proc/swaps").write_text(swaps("/dev/sdb"))
    with pytest.raises(PiclusterError, match="never overwritten"):
        linux.open(chosen, unmount=True)


def test_what_cannot_be_unmounted_is_told_with_the_reason(machine: Path) -> None:
    (machine / "proc/self/mountinfo").write_text(
        mount("8:1", "/") + mount("8:16", "/mnt/a") + mount("8:16", "/mnt/a/b")
    )
    shell = Shell(lsblk=(0, CARDS, ""), blkid=NOTHING, umount=(32, "", "umount: /mnt/a/b: target is busy.\n"))
    linux = Linux(shell, machine)
    chosen = linux.devices()[1]
    assert chosen.mounts == ("/mnt/a", "/mnt/a/b")
    with pytest.raises(PiclusterError, match="mounted on /mnt/a, /mnt/a/b: unmount it first"):
        linux.open(chosen, unmount=False)
    assert "umount" not in {words[0] for words in shell.asked}
    with pytest.raises(PiclusterError, match=r"cannot be unmounted \(/mnt/a/b: target is busy.\)"):
        linux.open(chosen, unmount=True)
    assert shell.asked[-1] == ["umount", "--", "/mnt/a/b"]


def test_a_mount_points_name_is_unmounted_as_it_is_and_printed_without_what_moves_the_cursor(machine: Path) -> None:
    point = "/media/a\x1b[2J b"
    (machine / "proc/self/mountinfo").write_text(mount("8:1", "/") + mount("8:16", "/media/a\x1b[2J\\040b"))
    shell = Shell(lsblk=(0, CARDS, ""), blkid=NOTHING, umount=(32, "", f"umount: {point}: target is busy.\n"))
    linux = Linux(shell, machine)
    chosen = linux.devices()[1]
    with pytest.raises(PiclusterError, match=r"mounted on /media/a\[2J b: unmount it first"):
        linux.open(chosen, unmount=False)
    with pytest.raises(PiclusterError, match=r"cannot be unmounted \(/media/a\[2J b: target is busy"):
        linux.open(chosen, unmount=True)
    assert shell.asked[-1] == ["umount", "--", point]


def test_lsblk_that_fails_ends_in_a_sentence(machine: Path) -> None:
    with pytest.raises(PiclusterError, match=r"lsblk failed \(no luck\)"):
        Linux(Shell(lsblk=(1, "", "no luck\n")), machine).devices()


@pytest.mark.parametrize(
    ("script", "sentence"),
    [("exec sleep 60", "did not answer in"), (None, "is not installed")],
    ids=["hangs", "missing"],
)
def test_a_hanging_or_missing_lsblk_ends_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, sentence: str
) -> None:
    if script:
        (tmp_path / "lsblk").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "lsblk").chmod(0o755)
    monkeypatch.setattr(
        "picluster.devices.linux._PATH", f"{tmp_path}:/nowhere" if not script else f"{tmp_path}:/usr/bin:/bin"
    )
    monkeypatch.setattr("picluster.devices.linux._TIMEOUT_S", 0.2)
    with pytest.raises(PiclusterError, match=sentence):
        Linux().devices()
