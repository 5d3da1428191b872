"""The disks of macOS: recorded answers of diskutil, and opening by faked calls."""

from __future__ import annotations

import errno
import plistlib
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from diskkit import CASES, aligned
from fakedisks import Faults, FileControl, FileOs

from picluster.devices import macos
from picluster.devices.host import platform
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from picluster.devices import Device

STICK = {"disk0": "disk0", "disk1": "disk1", "disk2": "usb-stick"}
ADAPTER = {**STICK, "disk2": "usb-disk"}


def listing(name: str) -> bytes:
    return (CASES / f"diskutil-list-{name}.plist").read_bytes()


def infos(names: dict[str, str]) -> dict[str, bytes]:
    return {disk: (CASES / f"diskutil-info-{name}.plist").read_bytes() for disk, name in names.items()}


def changed(told: bytes, change: Callable[[Any], object]) -> bytes:
    """Return a recorded answer with one thing otherwise."""
    read = plistlib.loads(told)
    change(read)
    return plistlib.dumps(read)


def parse(list_: bytes, told: dict[str, bytes]) -> dict[str, Device]:
    return {device.path: device for device in macos.parse(list_, told)}


def test_the_disk_below_the_running_systems_container_is_the_systems() -> None:
    found = parse(listing("usb-stick"), infos(STICK))
    assert list(found) == ["/dev/disk0", "/dev/disk2"]
    internal = found["/dev/disk0"]
    assert internal.system
    assert not internal.removable
    assert internal.model == "INTEL SSDPEKNW512G8"
    assert "/" in internal.mounts
    assert "/System/Volumes/VM" in internal.mounts


def test_a_stick_is_listed_as_it_is() -> None:
    stick = parse(listing("usb-stick"), infos(STICK))["/dev/disk2"]
    # diskutil gives this size as a floating-point number.
    assert stick.size == 15_682_240_512
    assert stick.model == "Cruzer Fit"
    assert (stick.removable, stick.system, stick.read_only) == (True, False, False)
    assert stick.mounts == ("/Volumes/NO NAME",)
    assert stick.contents == "msdos NO NAME"


def test_an_external_disk_is_listed_with_its_partition() -> None:
    found = parse(listing("usb-disk"), infos(ADAPTER))["/dev/disk2"]
    assert found.size == 128_035_676_160
    assert not found.system
    assert found.contents


def test_a_system_that_runs_from_an_external_disk_is_the_systems() -> None:
    def move(read: Any) -> None:
        container = read["AllDisksAndPartitions"][1]
        container["APFSPhysicalStores"][0]["DeviceIdentifier"] = "disk2s2"

    found = parse(changed(listing("usb-stick"), move), infos(STICK))
    assert found["/dev/disk2"].system
    assert not found["/dev/disk0"].system


@pytest.mark.parametrize("order", [1, -1], ids=["flash first", "disk first"])
def test_both_disks_below_a_fusion_drive_are_the_systems(order: int) -> None:
    def fuse(read: Any) -> None:
        stores = [{"DeviceIdentifier": "disk0s2"}, {"DeviceIdentifier": "disk2s2"}]
        read["AllDisksAndPartitions"][1]["APFSPhysicalStores"] = stores[::order]

    found = parse(changed(listing("usb-disk"), fuse), infos(ADAPTER))
    assert {path: device.system for path, device in found.items()} == {"/dev/disk0": True, "/dev/disk2": True}


@pytest.mark.parametrize("kind", ["Apple_CoreStorage", "Apple_RAID"])
def test_where_the_system_cannot_be_traced_no_disk_that_could_hold_it_is_free(kind: str) -> None:
    def hide(read: Any) -> None:
        disks = read["AllDisksAndPartitions"]
        disks[0]["Partitions"][1]["Content"] = kind
        del disks[1]["APFSPhysicalStores"]

    told = infos(STICK)
    told["disk1"] = changed(told["disk1"], lambda read: read.pop("APFSPhysicalStores"))
    found = parse(changed(listing("usb-stick"), hide), told)
    assert found["/dev/disk0"].system
    assert found["/dev/disk1"].system
    assert not found["/dev/disk2"].system


def test_a_card_without_anything_is_empty_and_a_bare_table_is_not() -> None:
    def empty(read: Any) -> None:
        for key in ("MountPoint", "VolumeName"):
            read["AllDisksAndPartitions"][2].pop(key)

    def table(read: Any) -> None:
        empty(read)
        read["AllDisksAndPartitions"][2]["Content"] = "FDisk_partition_scheme"

    told = infos(STICK)
    told["disk2"] = changed(told["disk2"], lambda read: read.update(FilesystemType="", VolumeName="", MountPoint=""))
    assert parse(changed(listing("usb-stick"), empty), told)["/dev/disk2"].contents == ""
    contents = parse(changed(listing("usb-stick"), table), told)["/dev/disk2"].contents
    assert contents == "an empty partition table (FDisk_partition_scheme)"


def test_a_locked_card_is_read_only() -> None:
    told = infos(STICK)
    told["disk2"] = changed(told["disk2"], lambda read: read.update(WritableMedia=False))
    assert parse(listing("usb-stick"), told)["/dev/disk2"].read_only


def test_a_card_that_was_pulled_between_two_questions_is_not_listed() -> None:
    told = infos(STICK)
    del told["disk2"]
    assert list(parse(listing("usb-stick"), told)) == ["/dev/disk0"]


@pytest.mark.parametrize("answer", [b"", b"no list", b"<plist><array/></plist>", b"<plist><dict>"])
def test_what_is_no_property_list_ends_in_a_sentence(answer: bytes) -> None:
    with pytest.raises(PiclusterError, match=r"diskutil list (did not answer with|answered) a"):
        macos.parse(answer, {})


class Diskutil:
    """Answers as diskutil, with an empty card in disk2."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.unmounting = (0, b"", b"")
        self.list = listing("usb-stick")
        self.infos = infos(STICK)

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        self.asked.append(list(command))
        answers = {
            "list": (0, self.list, b""),
            "info": (0, self.infos[command[-1]], b"") if command[-1] in self.infos else (1, b"", b"gone"),
            "unmountDisk": self.unmounting,
        }
        code, out, err = answers[command[1]]
        return subprocess.CompletedProcess(command, code, out, err)


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    file = tmp_path / "medium"
    file.write_bytes(bytes(1 << 20))
    return file


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def diskutil() -> Diskutil:
    return Diskutil()


@pytest.fixture
def mac(diskutil: Diskutil, medium: Path, faults: Faults) -> macos.MacOS:
    return macos.MacOS(diskutil, FileOs(faults, {"/dev/rdisk2": str(medium)}), FileControl(faults))


def test_a_mounted_card_is_unmounted_only_when_told(mac: macos.MacOS, diskutil: Diskutil, faults: Faults) -> None:
    chosen = mac.devices()[1]
    with pytest.raises(PiclusterError, match="/dev/disk2 is mounted on /Volumes/NO NAME: unmount it first"):
        mac.open(chosen, unmount=False)
    assert "open /dev/rdisk2" not in faults.log
    with mac.open(chosen, unmount=True) as target:
        target.write(0, aligned(b"x" * 4096))
    assert ["diskutil", "unmountDisk", "/dev/disk2"] in diskutil.asked
    # Raw, and not cached.
    assert faults.log[:3] == ["open /dev/rdisk2", "fcntl 48", "write"]


def test_a_mount_points_name_cannot_write_to_the_terminal(mac: macos.MacOS, diskutil: Diskutil) -> None:
    name = "/Volumes/a\u202eb"
    diskutil.list = changed(diskutil.list, lambda read: read["AllDisksAndPartitions"][2].update(MountPoint=name))
    diskutil.unmounting = (1, b"", f"{name} is busy".encode())
    chosen = mac.devices()[1]
    with pytest.raises(PiclusterError, match="is mounted on /Volumes/ab: unmount it first"):
        mac.open(chosen, unmount=False)
    with pytest.raises(PiclusterError, match=r"cannot be unmounted \(/Volumes/ab is busy\)"):
        mac.open(chosen, unmount=True)


def test_a_busy_card_says_who_holds_it(mac: macos.MacOS, diskutil: Diskutil) -> None:
    diskutil.unmounting = (1, b"", b"Unmount of disk2 failed:\nDissented by PID 5 (mds)\n")
    with pytest.raises(PiclusterError, match=r"cannot be unmounted \(Unmount of disk2 failed: Dissented by PID 5"):
        mac.open(mac.devices()[1], unmount=True)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_without_the_right_full_disk_access_is_named(mac: macos.MacOS, faults: Faults, number: int) -> None:
    chosen = mac.devices()[1]
    faults.errors["open"] = number
    with pytest.raises(OSError, match="sudo, and give the terminal Full Disk Access"):
        mac.open(chosen, unmount=True)


def test_another_card_is_not_opened(mac: macos.MacOS, diskutil: Diskutil) -> None:
    chosen = mac.devices()[1]
    diskutil.infos["disk2"] = changed(diskutil.infos["disk2"], lambda read: read.update(Size=8_000_000_000))
    with pytest.raises(PiclusterError, match="another card is in /dev/disk2 now"):
        mac.open(chosen, unmount=True)
    diskutil.infos = infos(STICK)
    diskutil.list = changed(diskutil.list, lambda read: read["AllDisksAndPartitions"][2].update(VolumeName="PHOTOS"))
    diskutil.infos["disk2"] = changed(diskutil.infos["disk2"], lambda read: read.update(VolumeName="PHOTOS"))
    with pytest.raises(PiclusterError, match="holds msdos PHOTOS now, and held msdos NO NAME when it was chosen"):
        mac.open(chosen, unmount=True)
    diskutil.list, diskutil.infos = listing("usb-stick"), infos(STICK)
    diskutil.infos["disk2"] = changed(
        diskutil.infos["disk2"], lambda read: read.update(DeviceTreePath="IODeviceTree:/PCI0@0/XHC2@15")
    )
    with pytest.raises(PiclusterError, match="another card is in /dev/disk2 now"):
        mac.open(chosen, unmount=True)
    del diskutil.infos["disk2"]
    with pytest.raises(PiclusterError, match="/dev/disk2 is gone"):
        mac.open(chosen, unmount=True)


def erase(diskutil: Diskutil) -> None:
    """Let diskutil know of nothing on the card."""

    def empty(read: Any) -> None:
        for key in ("MountPoint", "VolumeName"):
            read["AllDisksAndPartitions"][2].pop(key)

    diskutil.list = changed(diskutil.list, empty)
    diskutil.infos["disk2"] = changed(
        diskutil.infos["disk2"], lambda read: read.update(FilesystemType="", VolumeName="", MountPoint="")
    )


def test_what_macos_does_not_know_is_not_taken_for_empty(
    mac: macos.MacOS, diskutil: Diskutil, medium: Path, faults: Faults
) -> None:
    erase(diskutil)
    assert mac.devices()[1].contents == ""
    medium.write_bytes((b"\0" * 1080 + b"\x53\xef").ljust(1 << 20, b"\0"))
    assert mac.devices()[1].contents == "data of an unknown kind"
    faults.errors["open"] = errno.EPERM
    assert mac.devices()[1].contents.startswith("what cannot be read (no right to use it: run this with sudo")


def test_a_card_is_looked_at_without_being_held(mac: macos.MacOS, medium: Path, faults: Faults) -> None:
    medium.write_bytes(b"a" * 4096 + b"b" * 100)
    card = mac.devices()[1]
    assert mac.peek(card, 4096, 8192) == b"b" * 100
    faults.errors["open"] = errno.EPERM
    with pytest.raises(OSError, match="Full Disk Access"):
        mac.peek(card, 0, 4096)


def test_a_raw_disk_that_knows_no_fsync_is_synced_all_the_same(mac: macos.MacOS, faults: Faults) -> None:
    with mac.open(mac.devices()[1], unmount=True) as target:
        faults.errors |= {"sync": errno.ENOTTY, "ioctl": errno.ENOTTY}
        target.sync()
    assert faults.log[-3:] == ["sync", "ioctl 0x20006416", "close"]


def test_diskutil_that_fails_or_is_missing_ends_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    failing = macos.MacOS(lambda command: subprocess.CompletedProcess(command, 1, b"", b"no luck\n"))
    with pytest.raises(PiclusterError, match=r"diskutil list failed \(no luck\)"):
        failing.devices()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PiclusterError, match="is this macOS"):
        platform("darwin").devices()
