"""The disks of a Linux machine: recorded answers for all layers, and real loop devices."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from diskkit import ROOT, aligned, blank, loop, mounted, recorded
from fakedisks import Faults, FileControl, FileOs

from picluster.devices import mounts, safety
from picluster.devices.linux import Facts, Linux, parse, parse_blkid
from picluster.devices.linuxdisk import LinuxHandle, open_disk
from picluster.devices.raw import RawDisk
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from picluster.devices import Device

# Not beside tests that start containers: see test_firstboot_nodes.py.
pytestmark = pytest.mark.xdist_group("mounts")
needs_root = pytest.mark.skipif(not ROOT, reason="only root may attach loop devices")
MIB = 1 << 20


def disk(name: str, number: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "kname": name,
        "maj:min": number,
        "type": "disk",
        "size": 32_000_000_000,
        "ro": False,
        "rm": False,
        "hotplug": False,
        "children": list(children),
        **fields,
    }


def part(name: str, number: str, *children: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return disk(name, number, *children, **{"type": "part", "size": 1 << 30, **fields})


def told(*entries: dict[str, Any]) -> str:
    return json.dumps({"blockdevices": entries})


def mount(number: str, point: str, kind: str = "ext4", source: str = "none", root: str = "/") -> str:
    return f"36 35 {number} {root} {point} rw,noatime shared:1 master:2 - {kind} {source} rw\n"


def swaps(*paths: str) -> str:
    return "Filename\t\t\tType\t\tSize\tUsed\tPriority\n" + "".join(f"{path}  partition\t1\t0\t-2\n" for path in paths)


def by_path(facts: Facts) -> dict[str, Device]:
    return {found.path: found for found in parse(facts)}


def system_disks(facts: Facts) -> set[str]:
    return {found.path for found in parse(facts) if found.system}


def unprefixed(entry: dict[str, Any]) -> dict[str, Any]:
    """Undo --paths, which the recording was made with."""
    names = {key: entry[key].removeprefix("/dev/mapper/").removeprefix("/dev/") for key in ("name", "kname")}
    return {**entry, **names, "children": [unprefixed(child) for child in entry.get("children", ())]}


LVM = Facts(lsblk=json.dumps(recorded("lsblk-lvm-root.json")))
LIVE = Facts(lsblk=told(*map(unprefixed, recorded("lsblk-live-raid.json")["blockdevices"])))
TWO = told(
    disk("sda", "8:0", part("sda1", "8:1", uuid="1234-5678"), part("sda2", "8:2", fstype="btrfs", uuid="b")),
    disk("sdb", "8:16", part("sdb1", "8:17", fstype="btrfs", uuid="b", label="rpool")),
)


def test_what_lsblk_said_of_a_disk_with_lvm_is_read() -> None:
    (found,) = parse(LVM)
    assert (found.path, found.size, found.model, found.serial) == (
        "/dev/sda",
        12_884_901_888,
        "QEMU QEMU HARDDISK",
        "drive-scsi0",
    )
    assert found.contents == "unknown, ext4, LVM2_member"
    assert not found.removable


def test_answers_of_old_versions_are_read_the_same() -> None:
    def as_text(entry: dict[str, Any]) -> dict[str, Any]:
        texts = {key: str(int(value)) for key, value in entry.items() if isinstance(value, bool | int)}
        return {**entry, **texts, "children": [as_text(child) for child in entry.get("children", ())]}

    old = told(*map(as_text, recorded("lsblk-lvm-root.json")["blockdevices"]))
    assert '"hotplug": "0"' in old
    assert parse(replace(LVM, lsblk=old)) == parse(LVM)


BOOT = told(
    disk("sda", "8:0", part("sda2", "8:2", label="writable"), part("sda3", "8:3", label="system-boot", uuid="ab-1")),
    disk("sdb", "8:16", part("sdb1", "8:17", uuid="1a2b-3c4d", partuuid="AB-01", label="my boot", partlabel="ESP")),
    disk("sdc", "8:32", part("sdc1", "8:33", label="system-boot", uuid="ab-1")),
)
LINKS = {"/dev/disk/by-id/usb-Stick-part1": "/dev/sdb1"}
AUTOFS = mount("0:40", "/boot", "autofs", "systemd-1")
A, AB = {"/dev/sda"}, {"/dev/sda", "/dev/sdb"}
# A line of /etc/fstab, what is mounted beside /, what is swapped to, and the system's disks.
FSTAB = [
    ("UUID=1A2B-3C4D /boot vfat noauto 0 2", "", "", AB),
    ('UUID="1a2b-3c4d" /boot/firmware vfat', "", "", AB),
    ("PARTUUID=ab-01 /efi vfat defaults", "", "", AB),
    ("PARTLABEL=ESP /boot/efi vfat", AUTOFS, "", AB),
    ("LABEL=my\\040boot /boot ext4", AUTOFS, "", AB),
    ("/dev/sdb1 /boot ext4", "", "", AB),
    ("/dev/disk/by-id/usb-Stick-part1 /boot ext4", "", "", AB),
    ("\tUUID=1a2b-3c4d\tnone swap sw,noauto", "", "", AB),
    ("/mnt/usb/swapfile none swap sw", mount("8:17", "/mnt/usb"), "", AB),
    # Neither boots nor swaps.
    ("UUID=1a2b-3c4d /mnt/usb vfat noauto", "", "", A),
    ("UUID=1a2b-3c4d /bootleg vfat noauto", "", "", A),
    ("#UUID=1a2b-3c4d /boot vfat", "", "", A),
    ("LABEL=MY\\040BOOT /boot ext4", "", "", A),
    ("UUID=1a2b-3c4d /boot", "", "", A),
    # A card of the same stock image has the same names and numbers as the system's own.
    ("LABEL=system-boot /boot/firmware vfat", mount("8:3", "/boot/firmware"), "", A),
    ("LABEL=system-boot /boot/firmware vfat noauto", "", "", A),
    ("UUID=ab-1 none swap", "", swaps("/dev/sda3"), A),
]
SYSTEMS: dict[str, tuple[Facts, set[str]]] = {
    "root": (Facts(TWO, mount("8:2", "/")), {"/dev/sda"}),
    "root below lvm": (replace(LVM, mountinfo=mount("253:0", "/")), {"/dev/sda"}),
    "boot": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/boot")), {"/dev/sda", "/dev/sdb"}),
    "boot/firmware": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/boot/firmware")), {"/dev/sda", "/dev/sdb"}),
    "boot/efi": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/boot/efi")), {"/dev/sda", "/dev/sdb"}),
    "usr": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/usr")), {"/dev/sda", "/dev/sdb"}),
    "var": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/var")), {"/dev/sda", "/dev/sdb"}),
    "var/lib/docker": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/var/lib/docker")), {"/dev/sda", "/dev/sdb"}),
    "home": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/home")), {"/dev/sda", "/dev/sdb"}),
    "a card in a home": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/home/me/card")), {"/dev/sda"}),
    "a card in media": (Facts(TWO, mount("8:2", "/") + mount("8:17", "/media/me/card")), {"/dev/sda"}),
    "swap partition": (Facts(TWO, mount("8:2", "/"), swaps("/dev/sdb1")), {"/dev/sda", "/dev/sdb"}),
    "swap file": (
        Facts(TWO, mount("8:2", "/") + mount("8:17", "/mnt/big\\040disk"), swaps("/mnt/big\\040disk/swap\\040file")),
        {"/dev/sda", "/dev/sdb"},
    ),
    "compressed swap in memory": (Facts(TWO, mount("8:2", "/"), swaps("/dev/zram0")), {"/dev/sda"}),
    # A file system on several disks has no block device of its own, and names only one of them.
    "btrfs on two disks": (
        Facts(
            TWO,
            mount("0:26", "/", "btrfs", "/dev/sda2", root="/@"),
            pools=[frozenset({"sda2", "sdb1"}), frozenset({"sdz9"})],
        ),
        {"/dev/sda", "/dev/sdb"},
    ),
    "bcachefs on two disks": (
        Facts(TWO, mount("0:26", "/", "bcachefs", "/dev/sda2:/dev/sdb1")),
        {"/dev/sda", "/dev/sdb"},
    ),
    "zfs": (
        Facts(TWO.replace('"btrfs"', '"zfs_member"'), mount("0:26", "/", "zfs", "rpool/ROOT/debian")),
        {"/dev/sdb"},
    ),
    # md127 stands below both disks of the recording.
    "RAID 1": (replace(LIVE, mountinfo=mount("0:9", "/", "ext4", "/dev/md127")), {"/dev/sdk", "/dev/sdl"}),
    # lsblk shows what lies on a RAID below one of its disks only.
    "a partition of a RAID 1": (
        Facts(
            told(
                disk("sda", "8:0", part("sda1", "8:1", part("md0", "9:0", part("md0p1", "259:0")))),
                disk("sdb", "8:16", part("sdb1", "8:17", part("md0", "9:0"))),
            ),
            mount("259:0", "/"),
        ),
        {"/dev/sda", "/dev/sdb"},
    ),
    "LVM on a whole disk": (
        replace(LIVE, mountinfo=mount("0:9", "/", "ext4", "/dev/mapper/vgtest-lvtest")),
        {"/dev/sdb"},
    ),
    "LUKS": (
        Facts(
            told(disk("sda", "8:0", part("sda2", "8:2", part("root", "253:0", kname="dm-0", type="crypt")))),
            mount("253:0", "/"),
        ),
        {"/dev/sda"},
    ),
    "a system in a loop on a stick": (
        Facts(
            told(
                disk("sda", "8:0", part("sda1", "8:1")),
                disk("sdb", "8:16"),
                disk("loop0", "7:0", type="loop", ro=True),
            ),
            mount("0:30", "/", "overlay", "overlay") + mount("8:1", "/medium") + mount("7:0", "/rootfs", "squashfs"),
            loops={"loop0": "/medium/live/filesystem.squashfs"},
        ),
        {"/dev/sda"},
    ),
    "root in a loop on another disk": (
        Facts(
            told(disk("sda", "8:0", part("sda1", "8:1")), disk("loop0", "7:0", type="loop")),
            mount("7:0", "/") + mount("8:1", "/host"),
            loops={"loop0": "/host/ubuntu/root.disk"},
        ),
        {"/dev/sda", "/dev/loop0"},
    ),
    "a live system's medium": (
        Facts(TWO, mount("0:30", "/", "overlay", "overlay") + mount("8:17", "/run/live/medium")),
        {"/dev/sdb"},
    ),
    "a container, by what is bound into it": (
        Facts(
            TWO,
            mount("0:50", "/", "overlay", "overlay")
            + mount("8:2", "/etc/hosts", root="/var/lib/docker/containers/1/hosts")
            + mount("8:17", "/data"),
        ),
        {"/dev/sda"},
    ),
    "a container, by the kernel's root": (
        Facts(TWO, mount("0:50", "/", "overlay", "overlay"), cmdline="quiet root=UUID=1234-5678 rw\n"),
        {"/dev/sda"},
    ),
    "a container, by the kernel's root as a path": (
        Facts(TWO, mount("0:50", "/", "overlay", "overlay"), cmdline="root=/dev/sdb1"),
        {"/dev/sdb"},
    ),
    "the kernel's root in other letters": (
        Facts(
            TWO.replace("1234-5678", "abcd-ef01"),
            mount("0:50", "/", "overlay", "overlay"),
            cmdline="root=UUID=ABCD-EF01",
        ),
        {"/dev/sda"},
    ),
    "a name in other letters": (
        Facts(TWO, mount("0:50", "/", "overlay", "overlay") + mount("8:2", "/data"), cmdline="root=LABEL=RPOOL"),
        set(),
    ),
    **{
        f"fstab: {line}": (
            Facts(BOOT, mount("8:2", "/") + more, used, fstab=f"# x\n\nhalf line\n{line}\n", links=LINKS),
            free,
        )
        for line, more, used, free in FSTAB
    },
    # A stock image's root= fits each of its copies; where / is known, the command line says nothing more.
    "a card like the running one": (Facts(TWO, mount("8:2", "/"), cmdline="root=LABEL=rpool"), {"/dev/sda"}),
}


@pytest.mark.parametrize(("facts", "wanted"), SYSTEMS.values(), ids=SYSTEMS)
def test_the_disks_of_the_running_system_are_known_through_all_layers(facts: Facts, wanted: set[str]) -> None:
    assert system_disks(facts) == wanted


def test_the_disks_of_a_live_system_are_free_but_its_mounts_are_told() -> None:
    live = mount("0:30", "/", "overlay", "/cow") + mount("0:9", "/mnt/backup", "fuseblk", "/dev/sda1")
    found = by_path(replace(LIVE, mountinfo=live))
    assert "/dev/sr0" not in found
    assert found["/dev/sda"].mounts == ("/mnt/backup",)
    assert found["/dev/sdg"].mounts == ()
    assert found["/dev/sdg"].contents == ""
    assert found["/dev/sdo"].contents == "ext4"
    assert found["/dev/sdk"].contents == "linux_raid_member"


def test_a_raspberry_pi_shows_its_card_and_a_stick() -> None:
    def numbered(entry: dict[str, Any]) -> dict[str, Any]:
        fields = {"kname": entry["name"], "subsystems": "block:mmc:mmc_host:platform" if "mmc" in entry["name"] else ""}
        return {**entry, **fields, "children": [numbered(child) for child in entry.get("children", ())]}

    pi = recorded("lsblk-pi-usb-stick.json")["blockdevices"]
    facts = Facts(
        told(*map(numbered, pi)),
        mount("0:1", "/", source="/dev/mmcblk0p2"),
        sequences={"sda": "7"},
        names={"mmcblk0": "SC32G"},
    )
    found = by_path(facts)
    assert found["/dev/mmcblk0"].system
    assert found["/dev/mmcblk0"].removable
    assert found["/dev/mmcblk0"].model == "SC32G"
    stick = found["/dev/sda"]
    assert (stick.model, stick.removable, stick.system, stick.sequence) == ("SanDisk' Cruzer_Fit", True, False, "7")


def test_a_reader_with_ten_slots_shows_all_of_them() -> None:
    slots = [disk(f"sd{letter}", f"8:{16 * n}", size=0, rm=True) for n, letter in enumerate("bcdefghijk", 1)]
    slots[3] |= {"size": 15_931_539_456}
    found = parse(Facts(told(disk("sda", "8:0"), *slots), mount("8:0", "/")))
    assert [each.size for each in found[1:]] == [0, 0, 0, 15_931_539_456, 0, 0, 0, 0, 0, 0]
    assert all(each.removable for each in found[1:])


def test_what_is_no_disk_is_not_listed() -> None:
    others = [
        disk("zram0", "253:0"),
        disk("ram0", "1:0"),
        disk("mmcblk0boot0", "179:8"),
        disk("sr0", "11:0", type="rom", rm=True),
        disk("loop7", "7:7", type="loop", size=0),
        disk("loop8", "7:8", type="loop", ro=True),
        disk("nbd0", "43:0", size=0),
    ]
    assert parse(Facts(told(*others))) == []


def test_a_soldered_chip_is_no_card() -> None:
    chip = disk("mmcblk1", "179:0", subsystems="block:mmc:mmc_host:platform")
    assert [each.removable for each in parse(Facts(told(chip)))] == [True]
    assert [each.removable for each in parse(Facts(told(chip), soldered=frozenset({"mmcblk1"})))] == [False]


def test_names_from_a_device_cannot_write_to_the_terminal() -> None:
    bad = disk("sdb", "8:16", part("sdb1", "8:17", fstype="vfat", label="\x1b[2Jx"), model="a\u202eb\x07\u200bc  d\n")
    (found,) = parse(Facts(told(bad)))
    assert found.model == "abc d"
    assert found.contents == "vfat [2Jx"


def test_an_empty_partition_table_is_not_empty() -> None:
    (found,) = parse(Facts(told(disk("sdb", "8:16", pttype="gpt"))))
    assert found.contents == "an empty partition table (gpt)"


@pytest.mark.parametrize("answer", ["", "no JSON", "{}", '{"blockdevices": [{}]}', '{"blockdevices": 5}', "[]"])
def test_what_is_not_lsblks_json_ends_in_a_sentence(answer: str) -> None:
    with pytest.raises(PiclusterError, match="lsblk answered what is not its JSON"):
        parse(Facts(answer))


def test_mounts_with_odd_names_are_read() -> None:
    lines = mount("8:1", "/mnt/a\\040b\\134c", source="/dev/disk\\040x") + "half a line\n" + mount("8:2", "/\u2028x")
    read = mounts.parse_mountinfo(lines)
    assert [each.point for each in read] == ["/mnt/a b\\c", "/\u2028x"]
    assert read[0].source == "/dev/disk x"


def test_the_uppermost_of_several_mounts_holds_a_file() -> None:
    read = mounts.parse_mountinfo(mount("8:1", "/") + mount("8:2", "/a") + mount("8:3", "/a") + mount("8:4", "/ab"))
    for path, number in {"/x": "8:1", "/a/f": "8:3", "/a": "8:3", "/ab/f": "8:4", "/abc": "8:1"}.items():
        holder = mounts.mount_of(read, path)
        assert holder
        assert holder.number == number


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        ("DEVNAME=/dev/x\nPTTYPE=dos\n", "a partition table (dos)"),
        ("LABEL=root fs\nTYPE=ext4\n", "ext4 root fs"),
        ("USAGE=crypto\n", "something that blkid cannot name"),
    ],
)
def test_what_blkid_found_is_told(answer: str, wanted: str) -> None:
    assert parse_blkid(answer) == wanted


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


def find(path: str) -> Device:
    return next(each for each in Linux().devices() if each.path == path)


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    file = tmp_path / "card.img"
    with file.open("wb") as stream:
        stream.truncate(64 * MIB)
    return file


@pytest.fixture
def card(backing: Path) -> Iterator[str]:
    with loop(backing) as path:
        yield path


@needs_root
def test_this_machines_disk_is_the_systems() -> None:
    listed = Linux().devices()
    root = os.stat("/").st_dev  # noqa: PTH116 - of all paths this one
    held = [each for each in listed if "/" in each.mounts]
    if os.major(root):
        assert held
    assert all(each.system for each in held)
    if listed:
        assert any(each.system for each in listed)


@needs_root
def test_a_real_loop_device_is_listed(card: str, backing: Path) -> None:
    found = find(card)
    assert found.size == 64 * MIB
    assert found.model == f"file {backing}"
    assert (found.system, found.removable, found.read_only, found.mounts, found.contents) == (
        False,
        False,
        False,
        (),
        "",
    )
    subprocess.run(["mkfs.ext4", "-q", "-L", "rootfs", card], check=True)
    assert find(card).contents == "ext4 rootfs"


@needs_root
def test_a_new_medium_has_a_new_sequence(card: str, backing: Path) -> None:
    before = find(card)
    assert before.sequence
    subprocess.run(["losetup", "--detach", card], check=True)
    subprocess.run(["losetup", card, str(backing)], check=True)
    assert replace(find(card), sequence="") == replace(before, sequence="")
    with pytest.raises(PiclusterError, match="another card is in"):
        Linux().open(before, unmount=False)


@needs_root
def test_what_is_written_is_on_the_medium(card: str, backing: Path) -> None:
    data = os.urandom(3 * MIB)
    with Linux().open(find(card), unmount=False) as target:
        assert target.name == card
        assert target.capacity == 64 * MIB
        assert not target.fresh
        target.write(4096, aligned(data))
        target.sync()
        back = blank(len(data))
        assert target.read(4096, back) == len(data)
        assert back == data
        target.finish(4096 + len(data))
    assert backing.read_bytes()[4096 : 4096 + len(data)] == data


@needs_root
def test_a_card_can_be_looked_at_while_it_is_mounted(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with mounted(card, tmp_path / "point"):
        linux = Linux()
        chosen = find(card)
        assert linux.peek(chosen, 0, 4096)[1080:1082] == b"\x53\xef"
        assert linux.peek(chosen, chosen.size - 4096, 8192) == bytes(4096)
    with pytest.raises(OSError, match="the card was taken out") as caught:
        linux.peek(replace(chosen, path="/dev/nothing"), 0, 4096)
    assert caught.value.filename == "/dev/nothing"


@needs_root
def test_a_mounted_device_is_busy_and_is_unmounted_only_when_told(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with mounted(card, tmp_path / "one") as one, mounted(card, tmp_path / "two words"):
        chosen = find(card)
        assert chosen.mounts == (str(one), str(tmp_path / "two words"))
        assert not chosen.system
        with pytest.raises(PiclusterError, match="is mounted on"):
            Linux().open(chosen, unmount=False)
        # The kernel has the last word, whoever calls.
        with pytest.raises(OSError, match="something else uses it") as caught:
            open_disk(card)
        assert caught.value.errno == errno.EBUSY
        with (one / "open").open("w"), pytest.raises(PiclusterError, match="cannot be unmounted"):
            Linux().open(find(card), unmount=True)
        with Linux().open(chosen, unmount=True):
            assert not one.is_mount()


@needs_root
def test_two_mounts_at_one_place_are_both_unmounted(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    point = tmp_path / "point"
    with mounted(card, point), mounted(str(point), point, "--bind"), Linux().open(find(card), unmount=True):
        assert not point.is_mount()


@needs_root
def test_a_mount_of_another_namespace_is_busy_too(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    point = tmp_path / "hidden"
    point.mkdir()
    script = f'mount {card} "{point}" && echo ready && read wait'
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "ready\n"
        found = find(card)
        assert found.mounts == ()
        with pytest.raises(OSError, match="something else uses it"):
            Linux().open(found, unmount=True)
        other.communicate("\n")


@needs_root
def test_real_swap_makes_a_disk_the_systems(card: str) -> None:
    subprocess.run(["mkswap", card], check=True, capture_output=True)
    chosen = find(card)
    if subprocess.run(["swapon", card], check=False, capture_output=True).returncode:
        pytest.skip("this kernel or container allows no swap")
    try:
        assert find(card).system
        with pytest.raises(PiclusterError, match="never overwritten"):
            Linux().open(chosen, unmount=True)
    finally:
        subprocess.run(["swapoff", card], check=True)


@needs_root
def test_a_swap_file_makes_the_disk_below_it_the_systems(card: str, tmp_path: Path) -> None:
    subprocess.run(["mkfs.ext4", "-q", card], check=True)
    with mounted(card, tmp_path / "point") as point:
        file = point / "swap file"
        with file.open("wb") as stream:
            stream.write(bytes(2 * MIB))
        file.chmod(0o600)
        subprocess.run(["mkswap", str(file)], check=True, capture_output=True)
        assert not find(card).system
        if subprocess.run(["swapon", str(file)], check=False, capture_output=True).returncode:
            pytest.skip("this kernel or container allows no swap")
        try:
            assert find(card).system
        finally:
            subprocess.run(["swapoff", str(file)], check=True)


@needs_root
def test_a_real_btrfs_on_two_disks_counts_for_both(tmp_path: Path) -> None:
    files = [tmp_path / "a.img", tmp_path / "b.img"]
    for file in files:
        with file.open("wb") as stream:
            stream.truncate(128 * MIB)
    with loop(files[0]) as one, loop(files[1]) as two:
        subprocess.run(["mkfs.btrfs", "-q", "-f", one, two], check=True)
        # Modules are loaded by the first mount.
        tried = subprocess.run(["mount", "-t", "btrfs", one, "/nowhere"], check=False, capture_output=True, text=True)
        if "unknown filesystem" in tried.stderr:
            pytest.skip("this kernel has no btrfs")
        with mounted(one, tmp_path / "point", "-o", f"device={two}"):
            assert find(one).mounts == find(two).mounts == (str(tmp_path / "point"),)


@needs_root
def test_a_card_pulled_while_it_is_read_back_says_so(card: str, backing: Path) -> None:
    data = aligned(os.urandom(MIB))
    with Linux().open(find(card), unmount=False) as target:
        target.write(32 * MIB, data)
        target.sync()
        os.truncate(backing, 16 * MIB)
        with pytest.raises(OSError, match="the card or its reader failed, or it was taken out") as caught:
            target.read(32 * MIB, blank(MIB))
    assert caught.value.errno == errno.EIO
    assert caught.value.filename == card


@needs_root
def test_a_medium_that_fails_in_the_middle_says_so(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "small", "-t", "tmpfs", "-o", "size=8m") as small:
        with (small / "card.img").open("wb") as stream:
            stream.truncate(64 * MIB)
        with loop(small / "card.img") as path, Linux().open(find(path), unmount=False) as target:
            with pytest.raises(OSError, match="the card") as caught:
                target.write(0, aligned(os.urandom(16 * MIB)))
            # Which one a loop passes on is the kernel's.
            assert caught.value.errno in {errno.EIO, errno.ENOSPC}
            assert caught.value.filename == path


@needs_root
def test_a_write_protected_device_says_so(backing: Path) -> None:
    # Opening it is allowed to root; the first write is not.
    with loop(backing, "--read-only") as path, open_disk(path) as target:
        with pytest.raises(OSError, match="write-protected") as caught:
            target.write(0, aligned(bytes(4096)))
        assert caught.value.filename == path


@needs_root
def test_without_the_right_the_sentence_says_who_has_it(card: str) -> None:
    # All is imported before the rights are gone: the sources may be where only root can read.
    script = (
        "import fcntl, os, sys\n"
        "from picluster.devices.linuxdisk import open_disk\n"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: open_disk(sys.argv[1])\n"
        "except OSError as error: print(error.strerror)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script, card],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    ).stdout
    assert "run this as root, or as a member of the group disk" in said


@needs_root
def test_a_partition_table_that_was_written_is_seen_at_once(backing: Path) -> None:
    subprocess.run(["sfdisk", "--quiet", str(backing)], check=True, input="2048,20480,c\n", text=True)
    first = backing.read_bytes()[:4096]
    backing.write_bytes(bytes(64 * MIB))
    with loop(backing, "--partscan") as path:
        with Linux().open(find(path), unmount=False) as target:
            target.write(0, aligned(first))
            target.finish(4096)
        assert find(path).contents
        # Some kernels, of virtual machines above all, know no partitions.
        parts = subprocess.run(
            ["lsblk", "-nro", "NAME", path], check=True, capture_output=True, text=True
        ).stdout.split()
        assert parts[1:] in ([], [f"{Path(path).name}p1"])
