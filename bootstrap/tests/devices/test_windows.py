"""The disks of Windows: recorded answers of PowerShell, and opening by faked calls of kernel32."""

from __future__ import annotations

import errno
import json
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from diskkit import CASES, aligned, recorded
from fakedisks import Faults, kernel32

from picluster.devices import windows
from picluster.devices.host import platform
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from picluster.devices import Device

STICK = r"\\.\PhysicalDrive3"
CARD = r"\\.\PhysicalDrive4"
VOLUME = r"\\?\Volume{cccccccc-0000-0000-0000-000000000000}"


def text(name: str) -> str:
    return (CASES / name).read_text(encoding="utf-8")


def parse(told: str) -> dict[int, Device]:
    return {int(device.path.removeprefix(r"\\.\PhysicalDrive")): device for device in windows.parse(told)}


def test_a_recorded_machine_is_read() -> None:
    found = parse(text("windows-runner.json"))
    assert [(number, device.size, device.system, device.removable) for number, device in found.items()] == [
        (0, 161_061_273_600, True, False),
        (1, 161_061_273_600, False, False),
        (2, 23_622_320_128, False, False),
    ]
    assert found[0].mounts == ("C:\\",)
    assert found[0].contents == "unknown, NTFS Recovery, FAT32, NTFS Windows"
    assert found[1].contents == "NTFS Temporary Storage"
    assert found[2].contents == ""
    assert found[2].model == "Msft Virtual Disk"


def test_the_system_disk_and_the_page_files_disk_are_the_systems() -> None:
    found = parse(text("windows-cards.json"))
    assert [number for number, device in found.items() if device.system] == [0, 1]


def test_the_system_drive_counts_even_where_no_disk_says_it_boots() -> None:
    told = recorded("windows-cards.json")
    told["Disks"][0] |= {"IsBoot": False, "IsSystem": False}
    assert parse(json.dumps(told))[0].system


def test_cards_and_empty_readers_are_listed() -> None:
    found = parse(text("windows-cards.json"))
    assert (found[2].size, found[2].model, found[2].removable) == (0, "Generic STORAGE DEVICE USB Device", True)
    assert (found[3].size, found[3].serial, found[3].removable) == (15_682_240_512, "00022622120421003520", True)
    assert found[3].mounts == ("E:\\",)
    assert found[3].contents == "FAT32 bootfs, unknown"
    assert (found[4].removable, found[4].contents) == (True, "")


def test_answers_of_old_versions_are_read() -> None:
    told = recorded("windows-cards.json")
    for disk in told["Disks"]:
        disk["BusType"] = {"NVMe": 17, "SATA": 11, "USB": 7, "SD": 12}[disk["BusType"]]
    told["Partitions"] = [None]
    found = parse("\ufeff" + json.dumps(told))
    assert [device.removable for device in found.values()] == [False, False, True, True, True]
    assert found[3].contents == "an empty partition table (MBR)"


def test_a_locked_card_is_read_only() -> None:
    told = recorded("windows-cards.json")
    told["Disks"][3]["IsReadOnly"] = True
    assert parse(json.dumps(told))[4].read_only


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", "{}", '{"Disks": null}', "5"])
def test_what_is_no_list_of_disks_ends_in_a_sentence(answer: str) -> None:
    with pytest.raises(PiclusterError, match="PowerShell did not answer with a list of disks"):
        windows.parse(answer)


def test_each_volume_of_a_disk_is_known_with_or_without_a_letter() -> None:
    told = recorded("windows-cards.json")
    told["Partitions"].append({"DiskNumber": 3, "AccessPaths": ["F:\\"]})
    told["Partitions"].append({"DiskNumber": 3, "AccessPaths": [None]})
    assert windows.volumes(json.dumps(told), STICK) == [VOLUME, r"\\.\F:"]
    assert windows.volumes(json.dumps(told), CARD) == []


class PowerShell:
    """Answers as PowerShell on a machine with a stick and an empty card."""

    def __init__(self) -> None:
        self.told = recorded("windows-cards.json")
        self.code = 0

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
        assert command[0] == "powershell.exe"
        return subprocess.CompletedProcess(command, self.code, json.dumps(self.told).encode(), b"no\r\n luck\r\n")


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def powershell() -> PowerShell:
    return PowerShell()


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    file = tmp_path / "medium"
    file.write_bytes(bytes(1 << 20))
    return file


@pytest.fixture
def system(powershell: PowerShell, faults: Faults, medium: Path) -> windows.Windows:
    calls = kernel32(faults, {STICK: str(medium), CARD: str(medium)})
    return windows.Windows(powershell, calls, lambda: faults.log.append("pause"))


def find(system: windows.Windows, path: str) -> Device:
    return next(device for device in system.devices() if device.path == path)


def test_volumes_are_locked_and_dismounted_before_the_disk_is_opened_and_until_it_is_closed(
    system: windows.Windows, faults: Faults
) -> None:
    chosen = find(system, STICK)
    faults.log.clear()
    with system.open(chosen, unmount=True) as target:
        assert target.capacity == 1 << 20
        target.write(0, aligned(b"x" * 4096))
        target.finish(4096)
    wanted = [
        f"open {VOLUME}",
        f"control 0x90018 {VOLUME}",
        f"control 0x90020 {VOLUME}",
        f"open {STICK}",
        f"control 0x7405c {STICK}",
        "write",
        "sync",
        f"control 0x70140 {STICK}",
        f"close {STICK}",
        f"close {VOLUME}",
    ]
    assert [entry for entry in faults.log if CARD not in entry and entry != "read"] == wanted


def test_a_mounted_stick_is_not_touched_unless_told(system: windows.Windows, faults: Faults) -> None:
    chosen = find(system, STICK)
    faults.log.clear()
    with pytest.raises(PiclusterError, match=r"is mounted on E:\\: unmount it first"):
        system.open(chosen, unmount=False)
    assert not any("control" in entry for entry in faults.log)


def test_a_volume_that_is_held_for_a_moment_is_tried_again(
    powershell: PowerShell, faults: Faults, medium: Path
) -> None:
    def scanned() -> None:
        faults.log.append("pause")
        if faults.log.count("pause") == 3:
            faults.errors.clear()

    system = windows.Windows(powershell, kernel32(faults, {STICK: str(medium), CARD: str(medium)}), scanned)
    chosen = find(system, STICK)
    faults.errors["control"] = errno.EACCES
    with system.open(chosen, unmount=True) as target:
        assert target.name == STICK


def test_a_volume_that_stays_in_use_is_named_and_let_go(system: windows.Windows, faults: Faults) -> None:
    chosen = find(system, STICK)
    faults.errors["control"] = errno.EBUSY
    with pytest.raises(PiclusterError, match=r"a program has something open on E:\\"):
        system.open(chosen, unmount=True)
    assert faults.log[-1] == f"close {VOLUME}"


def test_a_mount_points_name_cannot_write_to_the_terminal(
    system: windows.Windows, powershell: PowerShell, faults: Faults
) -> None:
    part = next(part for part in powershell.told["Partitions"] if "E:\\" in (part.get("AccessPaths") or ()))
    part["AccessPaths"].append("E:\\a\u202eb\\")
    chosen = find(system, STICK)
    with pytest.raises(PiclusterError, match=r"is mounted on E:\\, E:\\ab\\: unmount it first"):
        system.open(chosen, unmount=False)
    faults.errors["control"] = errno.EBUSY
    with pytest.raises(PiclusterError, match=r"a program has something open on E:\\, E:\\ab\\"):
        system.open(chosen, unmount=True)


def test_without_the_right_administrator_is_named(system: windows.Windows, faults: Faults) -> None:
    faults.errors["open"] = errno.EACCES
    chosen = find(system, CARD)
    with pytest.raises(OSError, match="run this as administrator") as caught:
        system.open(chosen, unmount=False)
    assert caught.value.filename == CARD


CHANGES: dict[str, tuple[Callable[[Any], object], str]] = {
    "another serial": (lambda told: told["Disks"][2].update(SerialNumber="1"), "another card is in"),
    "another size": (lambda told: told["Disks"][2].update(Size=1), "another card is in"),
    "no card": (lambda told: told["Disks"].pop(2), "no card in"),
    "gone": (lambda told: (told["Disks"].pop(2), told["Drives"].pop(3)), "is gone"),
    "the system's": (lambda told: told.update(PageFiles=["E:\\pagefile.sys"]), "never overwritten"),
    "formatted": (lambda told: told["Partitions"].clear(), "holds an empty partition table .MBR. now, and held FAT32"),
    "locked": (lambda told: told["Disks"][2].update(IsReadOnly=True), "write-protected"),
}


@pytest.mark.parametrize(("change", "sentence"), CHANGES.values(), ids=CHANGES)
def test_a_device_that_changed_since_it_was_chosen_is_not_opened(
    system: windows.Windows,
    powershell: PowerShell,
    faults: Faults,
    change: Callable[[Any], object],
    sentence: str,
) -> None:
    chosen = find(system, STICK)
    change(powershell.told)
    with pytest.raises(PiclusterError, match=sentence):
        system.open(chosen, unmount=True)
    assert f"open {VOLUME}" not in faults.log


def test_what_windows_does_not_know_is_not_taken_for_empty(
    system: windows.Windows, medium: Path, faults: Faults
) -> None:
    assert find(system, CARD).contents == ""
    medium.write_bytes((b"\0" * 1080 + b"\x53\xef").ljust(1 << 20, b"\0"))
    assert find(system, CARD).contents == "data of an unknown kind"
    faults.errors["open"] = errno.EACCES
    assert find(system, CARD).contents == "what cannot be read (no right to use it: run this as administrator)"


def test_a_card_is_looked_at_without_being_held(system: windows.Windows, medium: Path, faults: Faults) -> None:
    medium.write_bytes(b"a" * 4096 + b"b" * 4096)
    card = replace(find(system, CARD), size=8192)
    assert system.peek(card, 4096, 8192) == b"b" * 4096
    faults.errors["open"] = errno.EACCES
    with pytest.raises(OSError, match="run this as administrator"):
        system.peek(card, 0, 4096)


def test_powershell_that_fails_or_is_missing_ends_in_a_sentence(
    system: windows.Windows, powershell: PowerShell, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    powershell.code = 1
    with pytest.raises(PiclusterError, match=r"PowerShell cannot list the disks \(no luck\)"):
        system.devices()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PiclusterError, match="is this Windows"):
        windows.Windows(calls=kernel32(faults, {})).devices()


def test_the_script_can_be_one_argument_of_a_command_line() -> None:
    assert '"' not in windows.SCRIPT


def test_each_system_has_its_module_and_another_a_sentence() -> None:
    assert type(platform("linux")).__name__ == "Linux"
    assert type(platform("darwin")).__name__ == "MacOS"
    with pytest.raises(PiclusterError, match=r"disks of haiku are not supported.*; write image files with -o"):
        platform("haiku")
