"""Burn more nodes than there are readers: assign cards to readers, and wait for the next cards.

After each round every reader that is still needed must give up its card and get another one. Whether it did is told by
the medium's sequence number where the system has one (Linux), else by having seen the reader empty or gone. A card that
was just burnt is never taken again: who puts it back is told so. A reader that gets no card holds up the others for a
while only; its node's card comes in a later round.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from picluster.devices import identity, safety
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from picluster.devices import Device
    from picluster.devices.safety import Selection

_POLL_S = 1.0
# A reader that is just being plugged in may make a listing fail; a broken system fails for longer.
_FAILURES = 10
# Looks without another card coming in until the round goes on without it: a minute, and more where a listing is slow.
_PATIENCE = 60


@dataclass(frozen=True)
class Insertion:
    """One node's card: which name goes to which device."""

    name: str
    device: Device


@dataclass(frozen=True)
class Waiting:
    """One reader between two cards.

    Attributes:
        reader: The device as it was when its last card was burnt.
        emptied: Whether the burnt card was seen to be gone.
        ready: The next card's device, once it is in and may be overwritten.
        seen: The card that the last look showed; only two looks that agree make it ready.
        refused: A card that was put in and must not be overwritten; it need not be looked at twice.
        late: Whether a round went on without it: from then on it holds up none.
        said: What the user is to do; empty once ready.
    """

    name: str
    reader: Device
    emptied: bool = False
    ready: Device | None = None
    seen: Device | None = None
    refused: Device | None = None
    late: bool = False
    said: str = ""


class Swap:
    """What happens between two rounds, as pure steps from one listing to the next.

    The rules of the first round's selection hold for all later cards. ``is_ours`` says whether this run has burnt a
    card; it may raise OSError while a card settles.
    """

    def __init__(self, selection: Selection, *, need: int, is_ours: Callable[[Device], bool]) -> None:
        self.selection = selection
        self._need = need
        self._is_ours = is_ours

    def step(self, waits: Sequence[Waiting], before: Collection[str], listed: Sequence[Device]) -> list[Waiting]:
        """Look at a listing; return how each reader stands now.

        ``before`` are the paths of all devices when the waiting began: what is new may be a reader that moved.
        """
        taken = {wait.ready.path for wait in waits if wait.ready}
        stand = []
        for wait in waits:
            others = taken - {wait.ready.path} if wait.ready else taken
            now = self._step(wait, others, before, {device.path: device for device in listed})
            if now.ready:
                taken.add(now.ready.path)
            stand.append(now)
        return stand

    def _step(
        self, wait: Waiting, taken: Collection[str], before: Collection[str], listed: dict[str, Device]
    ) -> Waiting:
        here = listed.get(wait.reader.path)
        if wait.ready:
            # It was fine; if it was pulled again, mounted or formatted before all were ready, it is looked at anew.
            if listed.get(wait.ready.path) == wait.ready:
                return wait
            wait = replace(wait, ready=None, emptied=True)
        if here is None:
            here = self._moved(wait.reader, taken, before, listed)
        if here is None or not here.size:
            said = f"{wait.name}: put the next card in {wait.reader.path}"
            return replace(wait, emptied=True, seen=None, refused=None, said=said)
        if here.path != wait.reader.path:
            wait = replace(wait, emptied=True)
        if not wait.emptied and not _another(wait.reader, here):
            return replace(wait, said=f"{wait.name}: take the card out of {here.path} and put the next one in")
        return self._judged(wait, here)

    def _judged(self, wait: Waiting, here: Device) -> Waiting:
        """Return the state of a reader that holds another card than the burnt one."""
        if here.sequence and here == wait.refused:
            return wait
        # A system comes to know a card bit by bit: its partitions, their file systems, where it mounts them.
        if here != wait.seen:
            return replace(wait, emptied=True, seen=here)
        refused: Device | None = here
        try:
            why = self._why_not(here)
        except OSError as error:
            why, refused = f"it cannot be read ({error.strerror or error})", None
        if why:
            said = f"{wait.name}: the card in {here.path} is not taken: {why}"
            return replace(wait, emptied=True, refused=refused, said=said)
        return replace(wait, emptied=True, ready=here, said="")

    def _why_not(self, device: Device) -> str:
        """Return why a card that was put in is not overwritten; empty if it may be."""
        why = safety.refusal(device, need=self._need, forced=True)
        if why:
            return why
        if self._is_ours(device):
            return "it was just burnt; put in another one"
        if self.selection.auto:
            why = safety.auto_refusal(device, need=self._need)
            return f"{why}; take it out, or name the reader with --device" if why else ""
        # Only a reader that --force-device names may come with a mounted, fixed or huge medium; one that moved is not.
        return safety.refusal(device, need=self._need, forced=device.path in self.selection.forced)

    def _moved(
        self, reader: Device, taken: Collection[str], before: Collection[str], listed: dict[str, Device]
    ) -> Device | None:
        """Find a reader that came back under another path: same make, new, with a card, and nobody else's.

        One without a serial (on macOS all) cannot be told from another of its make, which nobody named: its next card
        is waited for at its old path.
        """
        if not reader.serial:
            return None
        for device in listed.values():
            new = device.path not in before and device.path not in taken and device.size and device.removable
            if new and not device.system and (device.model, device.serial) == (reader.model, reader.serial):
                return device
        return None


def _another(burnt: Device, now: Device) -> bool:
    """Return whether the system reports another medium."""
    if burnt.sequence and now.sequence:
        return burnt.sequence != now.sequence
    return identity(burnt) != identity(now)


@dataclass(frozen=True)
class Watch:
    """What waiting needs of the world.

    ``say`` is told a node's name and what the user is to do, once for each change, and "" when its card is in.
    """

    listing: Callable[[], Sequence[Device]]
    say: Callable[[str, str], None]
    pause: Callable[[], None] = lambda: time.sleep(_POLL_S)


def rounds(names: Sequence[str], swap: Swap, watch: Watch) -> Iterator[tuple[Insertion, ...]]:
    """Yield which name goes to which device, round by round; between two rounds wait for the cards to be swapped.

    The caller burns a round before it asks for the next. Ctrl-C while waiting ends it as anywhere else: no device is
    open then.
    """
    left = list(names)
    readers = [Waiting("", reader, ready=reader) for reader in swap.selection.devices]
    waits = _named(left, readers)
    while True:
        spare = readers[len(waits) :]
        going = {wait.name: wait.ready for wait in waits if wait.ready}
        if going:
            yield tuple(Insertion(name, device) for name, device in going.items())
        left = [name for name in left if name not in going]
        if not left:
            return
        # A reader keeps the path under which it came back. Those that were late come last, where names may run out.
        late = [replace(wait, late=True) for wait in waits if not wait.ready]
        readers = [*(Waiting("", device) for device in going.values()), *spare, *late]
        waits = _named(left, readers)
        others = any(not reader.late for reader in readers[len(waits) :])
        waits = _wait(waits, swap, watch, others=others)
        for wait in waits:
            if not wait.ready and not wait.late:
                watch.say(wait.name, f"{wait.name}: {wait.reader.path} got no card; going on without it")


def _named(names: Sequence[str], readers: Sequence[Waiting]) -> list[Waiting]:
    return [replace(reader, name=name, said="") for name, reader in zip(names, readers, strict=False)]


def _wait(waits: list[Waiting], swap: Swap, watch: Watch, *, others: bool) -> list[Waiting]:
    """Wait until the round can start, or until other readers should get a card, if there are others."""
    before: set[str] | None = None
    failures = quiet = 0
    while True:
        try:
            listed = watch.listing()
        except PiclusterError:
            failures += 1
            if failures == _FAILURES:
                raise
            watch.pause()
            continue
        failures = 0
        if before is None:
            before = {device.path for device in listed} | {wait.reader.path for wait in waits}
        stand = swap.step(waits, before, listed)
        for old, new in zip(waits, stand, strict=True):
            if old.said != new.said:
                watch.say(new.name, new.said)
        # Only cards count: a dying reader may come and go for ever.
        quiet = quiet + 1 if [wait.ready for wait in stand] == [wait.ready for wait in waits] else 0
        waits = stand
        ready = any(wait.ready for wait in waits)
        if ready and all(wait.ready or wait.late for wait in waits):
            return waits
        if quiet >= _PATIENCE and (ready or others):
            return waits
        watch.pause()
