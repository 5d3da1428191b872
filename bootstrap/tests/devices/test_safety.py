"""No disk is overwritten by a slip: each rule, and no way around them."""

from __future__ import annotations

from typing import Any

import pytest
from diskkit import device
from hypothesis import given
from hypothesis import strategies as st

from picluster.devices import Device, safety
from picluster.errors import PiclusterError

CARD = device("/dev/sdb")
OTHER = device("/dev/sdc")
SYSTEM = device("/dev/sda", removable=False, system=True, mounts=("/",), contents="ext4 root")
HUGE = 300_000_000_000


def same(path: str) -> str:
    return path


def choose(*wanted: str, devices: tuple[Device, ...] = (SYSTEM, CARD, OTHER), **options: Any) -> safety.Selection:
    return safety.choose(wanted, devices, **{"resolve": same, **options})


def refused(*wanted: str, **options: Any) -> str:
    with pytest.raises(PiclusterError) as caught:
        choose(*wanted, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_named_cards_are_taken_in_the_order_they_were_named() -> None:
    assert choose("/dev/sdc", "/dev/sdb").devices == (OTHER, CARD)


def test_a_named_card_may_hold_something() -> None:
    full = device(contents="vfat bootfs")
    assert choose("/dev/sdb", devices=(full,)).devices == (full,)


@pytest.mark.parametrize("forced", [(), ("/dev/sda",)])
def test_the_system_disk_is_never_taken_even_by_force(forced: tuple[str, ...]) -> None:
    sentence = refused("/dev/sda", forced=forced)
    assert "holds the running system" in sentence
    assert "force" not in sentence


LIFTABLE = {
    "mounted": ({"mounts": ("/mnt/card", "/mnt/card2")}, "mounted on /mnt/card, /mnt/card2; unmount it"),
    "not removable": ({"removable": False}, "neither a card reader nor a USB stick"),
    "huge": ({"size": HUGE}, "300.0 GB, more than a card"),
}


@pytest.mark.parametrize(("change", "reason"), LIFTABLE.values(), ids=LIFTABLE)
def test_what_looks_like_no_card_needs_force_that_names_it(change: dict[str, Any], reason: str) -> None:
    odd = device(**change)
    sentence = refused("/dev/sdb", devices=(odd, OTHER))
    assert reason in sentence
    assert "add --force-device /dev/sdb" in sentence
    # Force for another one does not help.
    assert reason in refused("/dev/sdb", "/dev/sdc", devices=(odd, OTHER), forced=["/dev/sdc"])
    taken = choose("/dev/sdb", devices=(odd, OTHER), forced=["/dev/sdb"])
    assert taken.devices == (odd,)
    assert taken.forced == {"/dev/sdb"}


def test_a_mount_points_name_cannot_write_to_the_terminal() -> None:
    sentence = refused("/dev/sdb", devices=(device(mounts=("/media/a\x1b[2J\u202eb\nc",)),))
    assert "it is mounted on /media/a[2Jb c;" in sentence


FIRM = {
    "write-protected": ({"read_only": True}, "write-protected"),
    "no card": ({"size": 0}, "no card in it"),
    "too small": ({"size": 4_000_000_000}, "holds 4.0 GB, and the image needs 8.0 GB"),
}


@pytest.mark.parametrize(("change", "reason"), FIRM.values(), ids=FIRM)
@pytest.mark.parametrize("forced", [(), ("/dev/sdb",)])
def test_what_cannot_work_is_not_lifted_by_force(change: dict[str, Any], reason: str, forced: tuple[str, ...]) -> None:
    sentence = refused("/dev/sdb", devices=(device(**change),), need=8_000_000_000, forced=forced)
    assert reason in sentence
    assert "add --force-device" not in sentence


@pytest.mark.parametrize(
    ("size", "taken"), [(safety.LARGEST_CARD, True), (safety.LARGEST_CARD + 512, False), (256_000_000_000, True)]
)
def test_a_card_of_256_gb_is_a_card(size: int, taken: bool) -> None:  # noqa: FBT001 - a test's case
    assert (not safety.refusal(device(size=size))) is taken


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("/dev/sdz", "no such disk; picluster found /dev/sdb, /dev/sdc"),
        ("/dev/sdb1", "a part of /dev/sdb"),
        ("/dev/SDB", "no such disk; picluster found /dev/sdb, /dev/sdc"),
        ("/media/card", "where /dev/sdb is mounted"),
        ("/media/card/", "where /dev/sdb is mounted"),
        ("", "empty name"),
    ],
)
def test_a_name_that_is_no_disk_is_told_what_it_is(name: str, hint: str) -> None:
    sentence = refused(name, devices=(SYSTEM, device(mounts=("/media/card",)), OTHER))
    assert hint in sentence
    assert hint in refused("/dev/sdc", devices=(SYSTEM, device(mounts=("/media/card",)), OTHER), forced=[name])


def test_the_same_device_twice_is_refused_also_by_a_link() -> None:
    links = {"/dev/disk/by-id/usb-Generic": "/dev/sdb"}
    assert choose("/dev/disk/by-id/usb-Generic", resolve=lambda path: links.get(path, path)).devices == (CARD,)
    sentence = refused("/dev/sdb", "/dev/disk/by-id/usb-Generic", resolve=lambda path: links.get(path, path))
    assert "named already" in sentence


@pytest.mark.parametrize(
    ("typed", "listed"), [("/dev/rdisk4", "/dev/disk4"), (r"\\.\PHYSICALDRIVE3", r"\\.\PhysicalDrive3")]
)
def test_other_spellings_of_a_device_are_known(typed: str, listed: str) -> None:
    card = device(listed)
    assert safety.choose([typed], [card]).devices == (card,)


def test_force_without_device_is_refused() -> None:
    assert "give --device /dev/sdc too" in refused("/dev/sdb", forced=["/dev/sdc"])


def test_nothing_wanted_is_refused() -> None:
    assert "no device was named" in refused()


def test_auto_takes_all_empty_cards_and_says_why_not_the_others() -> None:
    others = {
        SYSTEM: "running system",
        device("/dev/sdd", contents="vfat bootfs, ext4 rootfs"): "it holds vfat bootfs, ext4 rootfs",
        device("/dev/sde", mounts=("/media/x",), contents="vfat"): "mounted on /media/x",
        device("/dev/sdf", removable=False): "neither a card reader nor a USB stick",
        device("/dev/sdg", size=HUGE): "more than a card",
        device("/dev/sdh", size=0): "no card in it",
        device("/dev/sdi", size=1000): "the image needs",
        device("/dev/sdj", read_only=True): "write-protected",
    }
    taken = choose("auto", devices=(CARD, *others, OTHER), need=2000)
    assert taken.auto
    assert taken.devices == (CARD, OTHER)
    assert [left.device for left in taken.left_out] == list(others)
    for left in taken.left_out:
        assert others[left.device] in left.reason
        assert "force" not in left.reason


def test_auto_without_an_empty_card_says_why() -> None:
    sentence = refused("auto", devices=(SYSTEM, device(contents="exfat")))
    assert "/dev/sda: it holds the running system; /dev/sdb: it holds exfat" in sentence
    assert "this machine shows no disk" in refused("auto", devices=())


def test_auto_goes_with_no_name_and_no_force() -> None:
    assert "name no other device" in refused("auto", "/dev/sdb")
    assert "only what is safe" in refused("auto", forced=["/dev/sdb"])


PATHS = ("/dev/sda", "/dev/sdb", "/dev/sdc", "/dev/mmcblk0")
SIZES = (0, 512, 8_000_000_000, safety.LARGEST_CARD, safety.LARGEST_CARD + 1, 2_000_000_000_000)


@st.composite
def machines(draw: st.DrawFn) -> list[Device]:
    return [
        device(
            path,
            size=draw(st.sampled_from(SIZES)),
            removable=draw(st.booleans()),
            system=draw(st.booleans()),
            read_only=draw(st.booleans()),
            mounts=draw(st.sampled_from([(), ("/mnt",)])),
            contents=draw(st.sampled_from(["", "vfat"])),
        )
        for path in draw(st.lists(st.sampled_from(PATHS), unique=True))
    ]


@given(
    devices=machines(),
    wanted=st.lists(st.sampled_from([*PATHS, "auto", "/dev/none"]), max_size=4),
    forced=st.lists(st.sampled_from([*PATHS, "/dev/none"]), max_size=3),
    need=st.sampled_from([0, 4_000_000_000]),
)
def test_no_combination_of_options_takes_what_was_not_meant(
    devices: list[Device], wanted: list[str], forced: list[str], need: int
) -> None:
    try:
        selection = safety.choose(wanted, devices, forced=forced, need=need, resolve=same)
    except PiclusterError:
        return
    assert selection.devices
    assert len({taken.path for taken in selection.devices}) == len(selection.devices)
    for taken in selection.devices:
        assert not taken.system
        assert not taken.read_only
        assert taken.size >= max(need, 1)
        if taken.mounts or not taken.removable or taken.size > safety.LARGEST_CARD:
            assert taken.path in wanted
            assert taken.path in forced
        if taken.path not in wanted:
            assert wanted == ["auto"]
            assert not taken.contents
