"""picluster devices: the list of disks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from diskkit import device

from picluster import cli
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from picluster.devices import Device

CARDS = [
    device("/dev/sda", removable=False, system=True, mounts=("/",), contents="ext4 root", model="SSD", serial=""),
    device("/dev/sdb"),
    device("/dev/sdc", contents="vfat bootfs, ext4 rootfs", size=15_931_539_456),
    device("/dev/sdd", size=0),
    device("/dev/sde", size=2_000_000_000_000),
]


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Device]:
    cards = list(CARDS)

    class Machine:
        def devices(self) -> list[Device]:
            if not cards:
                raise PiclusterError("lsblk is not installed: install util-linux")
            return cards

    monkeypatch.setattr("picluster.devices.host.platform", Machine)
    return cards


def test_each_disk_is_a_line_with_what_would_take_it(listed: list[Device], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices"]) == 0
    lines = capsys.readouterr().out.splitlines()
    columns = [[word.strip() for word in line.split("  ") if word.strip()] for line in lines]
    assert columns == [
        ["DEVICE", "SIZE", "MODEL", "SERIAL", "CONTENTS", "TAKEN BY"],
        ["/dev/sda", "32.0 GB", "SSD", "ext4 root", "nothing: it holds the running system"],
        ["/dev/sdb", "32.0 GB", "Generic SD/MMC", "058F63666485", "--device auto"],
        ["/dev/sdc", "15.9 GB", "Generic SD/MMC", "058F63666485", "vfat bootfs, ext4 rootfs", "--device /dev/sdc"],
        ["/dev/sdd", "no card", "Generic SD/MMC", "058F63666485", "nothing: there is no card in it"],
        [
            "/dev/sde",
            "2.0 TB",
            "Generic SD/MMC",
            "058F63666485",
            "only --force-device /dev/sde: it holds 2.0 TB, more than a card (256 GB)",
        ],
    ]


def test_programs_get_one_object_a_disk(listed: list[Device], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["devices", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["path"] for event in events] == [card.path for card in CARDS]
    assert [event["auto"] for event in events] == [False, True, False, False, False]
    assert [bool(event["refused"]) for event in events] == [True, False, False, True, True]
    assert events[0]["mounts"] == ["/"]


def test_a_machine_that_does_not_tell_its_disks_ends_in_a_sentence(
    listed: list[Device], capsys: pytest.CaptureFixture[str]
) -> None:
    listed.clear()
    assert cli.main(["devices"]) == 2
    assert capsys.readouterr().err == "picluster: lsblk is not installed: install util-linux\n"
