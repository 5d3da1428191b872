"""What Linux says of its disks: recorded answers of lsblk and blkid, through all layers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from diskkit import recorded
from linuxkit import disk, mount, part, swaps, told

from picluster.devices import mounts, safety
from picluster.devices.linux import Facts, parse, parse_blkid
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from picluster.devices import Device


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


# What lsblk does not show as lying on a disk: the kernel's own files do.
LAYERED = told(
    disk("sda", "8:0", part("sda1", "8:1")),
    disk("sdb", "8:16", part("sdb1", "8:17", fstype="ext4")),
    disk("sdc", "8:32"),
    disk("loop0", "7:0", type="loop"),
    disk("loop1", "7:1", type="loop", ro=True),
    disk("dm-0", "253:0", type="dm"),
    disk("md0", "9:0", type="raid1"),
)
ON_SDB = {"loop0": "/dev/sdb"}


def _stacked(**lower: str) -> dict[str, frozenset[str]]:
    return {kname: frozenset(upper.split()) for kname, upper in lower.items()}


STACKED: dict[str, tuple[Facts, dict[str, bool]]] = {
    "a loop on a disk": (
        Facts(LAYERED, mount("7:0", "/mnt/x"), loops=ON_SDB, stacked=_stacked(sdb="loop0")),
        {"/dev/sdb": False},
    ),
    "a read-only loop on a partition": (
        Facts(LAYERED, mount("7:1", "/mnt/x"), loops={"loop1": "/dev/sdb1"}, stacked=_stacked(sdb1="loop1")),
        {"/dev/sdb": False},
    ),
    "a loop on a loop on a disk": (
        Facts(
            LAYERED,
            mount("7:1", "/mnt/x"),
            loops={**ON_SDB, "loop1": "/dev/loop0"},
            stacked=_stacked(sdb="loop0", loop0="loop1"),
        ),
        {"/dev/sdb": False},
    ),
    "the system in a loop on a disk": (
        Facts(LAYERED, mount("7:0", "/"), loops=ON_SDB, stacked=_stacked(sdb="loop0")),
        {"/dev/sdb": True},
    ),
    "swap in a loop on a disk": (
        Facts(LAYERED, "", swaps("/dev/loop0"), loops=ON_SDB, stacked=_stacked(sdb="loop0")),
        {"/dev/sdb": True},
    ),
    "a swap file in a loop on a disk": (
        Facts(LAYERED, mount("7:0", "/mnt/x"), swaps("/mnt/x/swap"), loops=ON_SDB, stacked=_stacked(sdb="loop0")),
        {"/dev/sdb": True},
    ),
    "btrfs on a loop on a disk, and on another disk": (
        Facts(
            LAYERED,
            mount("0:40", "/mnt/x", "btrfs", "/dev/sdc"),
            loops=ON_SDB,
            stacked=_stacked(sdb="loop0"),
            pools=[frozenset({"loop0", "sdc"})],
        ),
        {"/dev/sdb": False, "/dev/sdc": False},
    ),
    "a mapping that only its slaves show": (
        Facts(LAYERED, mount("253:0", "/mnt/x"), stacked=_stacked(sdb1="dm-0")),
        {"/dev/sdb": False},
    ),
    "a RAID that only its holders show": (
        Facts(LAYERED, mount("9:0", "/mnt/x"), stacked=_stacked(sdb="md0", sdc="md0")),
        {"/dev/sdb": False, "/dev/sdc": False},
    ),
    "what lsblk does not know at all": (
        Facts(LAYERED, mount("8:17", "/mnt/x"), stacked=_stacked(sdb="zz9")),
        {"/dev/sdb": False},
    ),
}


@pytest.mark.parametrize("what", STACKED)
def test_a_mount_counts_for_all_that_lies_below_it(what: str) -> None:
    facts, wanted = STACKED[what]
    if "the system" not in what:
        facts = replace(facts, mountinfo=mount("8:1", "/") + facts.mountinfo)
    found = {path: one for path, one in by_path(facts).items() if path != "/dev/sda"}
    assert {path: one.system for path, one in found.items() if one.mounts or one.system} == wanted


def test_a_loop_on_a_disk_is_no_disk_of_its_own() -> None:
    listed = parse(Facts(LAYERED, loops=ON_SDB, stacked=_stacked(sdb="loop0")))
    for name, why in {
        "/dev/loop0": "it lies on /dev/sdb: name the disk itself",
        "/dev/loop1": "it is read-only",
    }.items():
        with pytest.raises(PiclusterError, match=f"^{name} is not overwritten: {why}$"):
            safety.choose([name], listed, forced=[name])
    with pytest.raises(PiclusterError, match="auto found no empty card") as caught:
        safety.choose(["auto"], listed)
    assert "loop" not in str(caught.value)
    with pytest.raises(PiclusterError, match=r"no such disk; picluster found /dev/sda, /dev/sdb, /dev/sdc$"):
        safety.choose(["/dev/sdq"], listed)


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
    assert [(each.path, each.aside) for each in parse(Facts(told(*others)))] == [("/dev/loop8", "it is read-only")]


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
    with pytest.raises(PiclusterError, match="lsblk did not answer with its JSON"):
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
