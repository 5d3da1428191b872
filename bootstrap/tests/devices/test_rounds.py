"""Fewer readers than nodes: which card goes where, and waiting for the next ones."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from diskkit import ROOT, aligned, device, loop

from picluster.devices import safety
from picluster.devices.linux import Linux
from picluster.devices.rounds import Swap, Watch, rounds
from picluster.devices.safety import Selection
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from picluster.devices import Device

B = device("/dev/sdb", sequence="1")
C = device("/dev/sdc", sequence="2")
OURS = "vfat bootfs, ext4 rootfs"
NEED = 8_000_000_000


class World:
    """Readers whose cards change from one listing to the next.

    Args:
        looks: What each listing shows; an error is raised. The last one stays, until a test's patience ends.
        patience: Pauses until then.
    """

    def __init__(self, *looks: Sequence[Device] | PiclusterError, patience: int = 20) -> None:
        self.looks = list(looks)
        self.patience = patience
        self.said: list[str] = []
        self.pauses = 0

    def listing(self) -> Sequence[Device]:
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, PiclusterError):
            raise look
        return look

    def pause(self) -> None:
        self.pauses += 1
        if self.pauses > self.patience:
            raise KeyboardInterrupt

    def watch(self) -> Watch:
        return Watch(self.listing, lambda name, text: self.said.append(text or f"{name}: ready"), self.pause)


def is_ours(card: Device) -> bool:
    return card.contents == OURS


def swap(
    *devices: Device, auto: bool = False, forced: Sequence[str] = (), ours: Callable[[Device], bool] = is_ours
) -> Swap:
    return Swap(Selection(devices, auto=auto, forced=frozenset(forced)), need=NEED, is_ours=ours)


def gone(card: Device) -> Device:
    """Return the reader without its card."""
    return replace(card, size=0, sequence=f"{card.sequence}x" if card.sequence else "", contents="")


def burnt(card: Device) -> Device:
    return replace(card, contents=OURS)


def following(card: Device, number: int = 9) -> Device:
    """Return the reader with the next card, of the same make."""
    return replace(card, sequence=f"{card.sequence}{number}" if card.sequence else "", contents="")


def second_round(world: World, swapping: Swap, names: Sequence[str] = ("red5", "red6")) -> list[tuple[str, Device]]:
    going = rounds(names, swapping, world.watch())
    next(going)
    return [(slot.name, slot.device) for slot in next(going)]


def never(world: World, swapping: Swap, names: Sequence[str] = ("red5", "red6")) -> str:
    """Return what the user reads at last, where no card is ever taken."""
    with pytest.raises(KeyboardInterrupt):
        second_round(world, swapping, names)
    return world.said[-1]


def test_enough_readers_are_one_round_without_waiting() -> None:
    world = World([])
    (only,) = rounds(["red5", "red6"], swap(B, C), world.watch())
    assert [(slot.name, slot.device) for slot in only] == [("red5", B), ("red6", C)]
    assert world.pauses == 0


def test_the_last_round_needs_only_as_many_readers_as_there_are_names() -> None:
    world = World([burnt(B), burnt(C)], [gone(B), burnt(C)], [following(B), burnt(C)])
    going = rounds(["red5", "red6", "red7"], swap(B, C), world.watch())
    next(going)
    assert [(slot.name, slot.device) for slot in next(going)] == [("red7", following(B))]
    assert list(going) == []


def test_the_user_is_told_once_what_to_do_with_which_card() -> None:
    world = World([burnt(B)], [burnt(B)], [gone(B)], [gone(B)], [following(B)])
    assert second_round(world, swap(B)) == [("red6", following(B))]
    assert world.said == [
        "red6: take the card out of /dev/sdb and put the next one in",
        "red6: put the next card in /dev/sdb",
        "red6: ready",
    ]
    # A card is taken once two looks agree on it.
    assert world.pauses == 5


def test_a_swap_between_two_looks_is_seen_by_the_sequence() -> None:
    world = World([burnt(B)], [following(B)])
    assert second_round(world, swap(B)) == [("red6", following(B))]


def test_without_sequences_a_card_of_the_same_make_is_taken_once_the_reader_was_seen_empty() -> None:
    card = replace(B, sequence="")
    assert never(World([burnt(card)], [replace(card, contents="")]), swap(card)).endswith("put the next one in")
    world = World([burnt(card)], [gone(card)], [card])
    assert second_round(world, swap(card)) == [("red6", card)]


@pytest.mark.parametrize("change", [{"size": 16_000_000_000}, {"serial": "0xcafe"}], ids=["size", "serial"])
def test_without_sequences_a_card_of_another_make_is_seen_at_once(change: dict[str, object]) -> None:
    card = replace(B, sequence="")
    other = device(card.path, **change)
    world = World([burnt(card)], [other])
    assert second_round(world, swap(card)) == [("red6", other)]


def test_a_reader_that_vanishes_with_its_card_is_waited_for() -> None:
    world = World([burnt(B)], [], [], [following(B)])
    assert second_round(world, swap(B)) == [("red6", following(B))]


def test_a_reader_that_comes_back_under_another_path_is_followed_from_then_on() -> None:
    moved, next_card = replace(B, path="/dev/sdd", sequence="7"), replace(B, path="/dev/sdd", sequence="8")
    world = World([burnt(B)], [], [moved], [moved], [burnt(moved)], [next_card])
    going = rounds(["red5", "red6", "red7"], swap(B), world.watch())
    next(going)
    assert [slot.device for slot in next(going)] == [moved]
    assert [slot.device for slot in next(going)] == [next_card]
    assert "red7: take the card out of /dev/sdd and put the next one in" in world.said


STRANGERS = {
    "was there before": ([burnt(B), replace(B, path="/dev/sdd")], replace(B, path="/dev/sdd")),
    "another make": ([burnt(B)], replace(B, path="/dev/sdd", model="My backups")),
    "another serial": ([burnt(B)], replace(B, path="/dev/sdd", serial="other")),
    "no reader": ([burnt(B)], replace(B, path="/dev/sdd", removable=False)),
    "the system's": ([burnt(B)], replace(B, path="/dev/sdd", system=True)),
    "no card in it": ([burnt(B)], replace(B, path="/dev/sdd", size=0)),
}


@pytest.mark.parametrize(("before", "stranger"), STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("auto", [False, True])
def test_a_device_that_is_not_the_reader_come_back_is_never_taken(
    before: list[Device], stranger: Device, *, auto: bool
) -> None:
    assert never(World(before, [stranger]), swap(B, auto=auto)) == "red6: put the next card in /dev/sdb"


@pytest.mark.parametrize("auto", [False, True])
def test_a_reader_without_a_serial_is_waited_for_where_it_was(*, auto: bool) -> None:
    nameless = replace(B, serial="", sequence="")
    stick = replace(nameless, path="/dev/sdd")
    waiting = never(World([burnt(nameless)], [stick]), swap(nameless, auto=auto))
    assert waiting == "red6: put the next card in /dev/sdb"
    world = World([burnt(nameless)], [stick], [stick, nameless])
    assert second_round(world, swap(nameless, auto=auto)) == [("red6", nameless)]


def test_two_readers_that_moved_are_not_taken_for_one() -> None:
    one, two = replace(B, path="/dev/sdd"), replace(B, path="/dev/sde")
    other = replace(B, path="/dev/sdc", sequence="3")
    world = World([burnt(B), burnt(other)], [], [one], [one, two])
    going = rounds(["red5", "red6", "red7", "red8"], swap(B, other), world.watch())
    next(going)
    assert {slot.device.path for slot in next(going)} == {"/dev/sdd", "/dev/sde"}


@pytest.mark.parametrize("auto", [False, True])
def test_the_card_that_was_just_burnt_is_not_taken_when_it_is_put_in_again(*, auto: bool) -> None:
    again = burnt(following(B))
    world = World([burnt(B)], [gone(B)], [again], [again], [gone(B)], [following(B, 7)])
    assert second_round(world, swap(B, auto=auto)) == [("red6", following(B, 7))]
    assert "red6: the card in /dev/sdb is not taken: it was just burnt; put in another one" in world.said


def test_a_reader_that_restarts_by_itself_does_not_lose_the_card_that_was_burnt() -> None:
    # A USB reset after the last write: the sequence changes though no hand touched the card.
    assert "it was just burnt" in never(World([burnt(following(B))]), swap(B))


def test_a_card_is_asked_for_whose_it_is_whatever_is_known_of_its_contents() -> None:
    asked: list[Device] = []

    def ours(card: Device) -> bool:
        asked.append(card)
        return True

    assert "it was just burnt" in never(World([gone(B)], [following(B)]), swap(B, ours=ours))
    assert asked


def test_a_card_that_was_refused_is_not_read_again_and_again() -> None:
    asked: list[Device] = []

    def ours(card: Device) -> bool:
        asked.append(card)
        return card.contents == OURS

    again = burnt(following(B))
    world = World([burnt(B)], *[[again]] * 5, [gone(B)], *[[again]] * 3, [following(B, 7)])
    assert second_round(world, swap(B, ours=ours)) == [("red6", following(B, 7))]
    assert asked == [again, again, following(B, 7)]


UNFIT = {
    "too small": ({"size": 4_000_000_000}, "it holds 4.0 GB, and the image needs 8.0 GB"),
    "write-protected": ({"read_only": True}, "it is write-protected"),
    "mounted": ({"mounts": ("/media/x",), "contents": "vfat"}, "it is mounted on /media/x"),
    "huge": ({"size": 2_000_000_000_000}, "more than a card"),
    "the system's": ({"system": True}, "the running system"),
}


@pytest.mark.parametrize(("change", "reason"), UNFIT.values(), ids=UNFIT)
@pytest.mark.parametrize("auto", [False, True])
def test_a_card_that_must_not_be_overwritten_is_refused_and_the_next_one_taken(
    change: dict[str, object], reason: str, *, auto: bool
) -> None:
    unfit = device(B.path, **{"sequence": "5", **change})
    world = World([burnt(B)], [unfit], [unfit], [following(B)])
    assert second_round(world, swap(B, auto=auto)) == [("red6", following(B))]
    (told,) = [line for line in world.said if reason in line]
    assert told.startswith("red6: the card in /dev/sdb is not taken: ")
    assert "force" not in told


def test_a_card_that_holds_something_is_refused_by_auto_and_taken_by_name() -> None:
    full = replace(following(B), contents="exfat HOLIDAY")
    told = never(World([burnt(B)], [full]), swap(B, auto=True))
    assert "it holds exfat HOLIDAY; take it out, or name the reader with --device" in told
    assert second_round(World([burnt(B)], [full]), swap(B)) == [("red6", full)]


def test_force_holds_for_the_reader_it_names_and_no_other_path() -> None:
    fixed = replace(B, removable=False)
    after = following(fixed)
    assert "neither a card reader nor a USB stick" in never(World([burnt(fixed)], [after]), swap(fixed))
    assert second_round(World([burnt(fixed)], [after]), swap(fixed, forced=["/dev/sdb"])) == [("red6", after)]
    moved = replace(B, path="/dev/sdd", mounts=("/media/x",))
    assert "mounted on /media/x" in never(World([burnt(B)], [moved]), swap(B, forced=["/dev/sdb"]))


def test_a_card_that_cannot_be_read_yet_is_asked_again() -> None:
    answers: list[bool | OSError] = [OSError(5, "Input/output error"), False]

    def ours(card: Device) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    world = World([burnt(B)], [following(B)])
    assert second_round(world, swap(B, ours=ours)) == [("red6", following(B))]
    assert "it cannot be read (Input/output error)" in world.said[-2]


def test_a_card_that_is_pulled_while_others_are_waited_for_is_waited_for_anew() -> None:
    world = World(
        [burnt(B), burnt(C)],
        [following(B), burnt(C)],
        [following(B), burnt(C)],
        [gone(B), burnt(C)],
        [following(B, 7), burnt(C)],
        [following(B, 7), burnt(C)],
        [following(B, 7), following(C)],
    )
    going = rounds(["red5", "red6", "red7", "red8"], swap(B, C), world.watch())
    next(going)
    assert [slot.device for slot in next(going)] == [following(B, 7), following(C)]
    assert world.said.count("red7: ready") == 2


def test_a_burnt_card_put_in_again_while_others_are_waited_for_is_not_taken() -> None:
    again = burnt(following(B, 8))
    new = following(B)
    looks = [[new, burnt(C)], [new, burnt(C)], [again, burnt(C)], [again, burnt(C)], [again, following(C)]]
    world = World([burnt(B), burnt(C)], *looks)
    going = rounds(["red5", "red6", "red7", "red8"], swap(B, C), world.watch())
    next(going)
    with pytest.raises(KeyboardInterrupt):
        next(going)
    assert "red7: ready" in world.said
    assert any("red7: the card in /dev/sdb is not taken: it was just burnt" in line for line in world.said)


def test_a_card_is_taken_as_it_is_when_the_system_has_come_to_know_it() -> None:
    known = replace(following(B), contents="vfat BOOT")
    world = World([burnt(B)], [following(B)], [replace(known, contents="unknown")], [known])
    assert second_round(world, swap(B)) == [("red6", known)]
    assert "it holds vfat BOOT" in never(World([burnt(B)], [following(B)], [known]), swap(B, auto=True))


CHANGED = {
    "mounted": ({"mounts": ("/media/x",)}, "it is mounted on /media/x"),
    "formatted": ({"contents": "vfat PHOTOS"}, "it holds vfat PHOTOS"),
}


@pytest.mark.parametrize(("change", "reason"), CHANGED.values(), ids=CHANGED)
def test_a_card_that_changes_while_others_are_waited_for_is_looked_at_anew(change: dict[str, Any], reason: str) -> None:
    new = following(B)
    looks = [[new, burnt(C)]] * 2 + [[replace(new, **change), burnt(C)]] * 3
    world = World([burnt(B), burnt(C)], *looks)
    with pytest.raises(KeyboardInterrupt):
        list(rounds(["red5", "red6", "red7", "red8"], swap(B, C, auto=True), world.watch()))
    assert "red7: ready" in world.said
    assert any(f"red7: the card in /dev/sdb is not taken: {reason}" in line for line in world.said)


DYING: dict[str, list[list[Device]]] = {
    "gone": [[]],
    "without a card": [[gone(B)]],
    "with the burnt card": [[burnt(B)]],
    "coming and going": [[burnt(following(B, 1))], [], [burnt(following(B, 2))], [gone(B)]],
}


@pytest.mark.parametrize("dying", DYING.values(), ids=DYING)
def test_a_reader_that_died_does_not_keep_the_others_from_their_names(dying: list[list[Device]]) -> None:
    looks = [[*dying[look % len(dying)], following(C)] for look in range(65)]
    looks += [[*dying[0], following(C, number)] for number in (7, 7, 8, 8)]
    world = World([burnt(B), burnt(C)], *looks, patience=80)
    names = ["red5", "red6", "red7", "red8", "red9"]
    done = [[(slot.name, slot.device) for slot in slots] for slots in rounds(names, swap(B, C), world.watch())]
    assert done == [
        [("red5", B), ("red6", C)],
        [("red8", following(C))],
        [("red7", following(C, 7))],
        [("red9", following(C, 8))],
    ]
    assert world.said.count("red7: /dev/sdb got no card; going on without it") == 1


def test_a_reader_that_was_late_joins_the_others_again() -> None:
    late = [[burnt(B), following(C)]] * 65
    world = World([burnt(B), burnt(C)], *late, [following(B), following(C)], patience=80)
    going = rounds(["red5", "red6", "red7", "red8", "red9"], swap(B, C), world.watch())
    assert [slot.name for slot in next(going)] == ["red5", "red6"]
    assert [slot.device for slot in next(going)] == [following(C)]
    world.looks = [[following(B), burnt(following(C))]] * 2 + [[following(B), following(C, 7)]]
    assert [(slot.name, slot.device) for slot in next(going)] == [("red7", following(C, 7)), ("red9", following(B))]
    assert list(going) == []


def test_the_last_name_goes_to_a_reader_that_works() -> None:
    dead = [[burnt(C)]] * 65
    world = World([burnt(C)], *dead, [following(C)], patience=80)
    assert second_round(world, swap(B, C), ["red5", "red6", "red7"]) == [("red7", following(C))]
    assert "red7: take the card out of /dev/sdc and put the next one in" in world.said


def test_nobody_is_told_to_and_fro_while_no_card_comes() -> None:
    world = World([burnt(B), burnt(C)], patience=500)
    never(world, swap(B, C), ["red5", "red6", "red7"])
    assert world.said == [
        "red7: take the card out of /dev/sdb and put the next one in",
        "red7: /dev/sdb got no card; going on without it",
        "red7: take the card out of /dev/sdc and put the next one in",
    ]
    alone = World([burnt(B)], patience=500)
    never(alone, swap(B))
    assert alone.said == ["red6: take the card out of /dev/sdb and put the next one in"]


def test_a_listing_that_fails_for_a_moment_ends_nothing() -> None:
    failing = PiclusterError("lsblk did not answer")
    world = World(failing, [burnt(B)], failing, failing, [following(B)])
    assert second_round(world, swap(B)) == [("red6", following(B))]


def test_a_listing_that_fails_now_and_then_for_hours_ends_nothing() -> None:
    failing = PiclusterError("lsblk did not answer")
    world = World([burnt(B)], *[failing] * 9, [burnt(B)], *[failing] * 9, [following(B)], patience=30)
    assert second_round(world, swap(B)) == [("red6", following(B))]


def test_a_listing_that_keeps_failing_ends_the_waiting() -> None:
    with pytest.raises(PiclusterError, match="lsblk did not answer"):
        second_round(World(PiclusterError("lsblk did not answer")), swap(B))


def test_ctrl_c_ends_the_waiting() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    world = World([burnt(B)])
    going = rounds(["red5", "red6"], swap(B), Watch(world.listing, lambda name, text: None, interrupted))
    next(going)
    with pytest.raises(KeyboardInterrupt):
        next(going)
    assert list(going) == []


@pytest.mark.skipif(not ROOT, reason="only root may attach loop devices")
def test_real_media_are_swapped_in_a_real_device(tmp_path: Path) -> None:
    files = [tmp_path / f"{name}.img" for name in ("red5", "red6", "red7")]
    for file in files:
        with file.open("wb") as stream:
            stream.truncate(8 << 20)
    linux = Linux()
    mark = b"written by us".ljust(4096, b"\0")

    def ours(card: Device) -> bool:
        return linux.peek(card, 0, 4096) == mark

    with loop(files[0]) as path:
        # The burnt card is put in again before the right one is.
        hand = [files[0], files[1], files[1], files[2]]

        said: list[str] = []
        heard: list[str] = []

        def pause() -> None:
            if heard == said:
                return
            heard[:] = said
            subprocess.run(["losetup", "--detach", path], check=True)
            subprocess.run(["losetup", path, str(hand.pop(0))], check=True)

        listed = linux.devices()
        selection = safety.choose([path], listed, forced=[path], need=1 << 20)
        swapping = Swap(selection, need=1 << 20, is_ours=ours)
        for (slot,) in rounds(
            ["red5", "red6", "red7"], swapping, Watch(linux.devices, lambda _, text: said.append(text), pause)
        ):
            with linux.open(slot.device, unmount=False) as target:
                target.write(0, aligned(mark))
                target.write(4096, aligned(slot.name.encode().ljust(4096, b"\0")))
                target.finish(8192)
    assert [file.read_bytes()[4096:8192].rstrip(b"\0") for file in files] == [b"red5", b"red6", b"red7"]
    assert sum("just burnt" in text for text in said) == 2
