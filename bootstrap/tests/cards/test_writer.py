"""Burning side by side: what cards hold, what becomes of bad ones, and what a burn that was cut short leaves."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import threading
import time
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import pytest
from cardkit import BOOT_START, PARTITION, STOCK, Judge

from picluster.cards import source, writer
from picluster.cards.bmap import Bmap, Range
from picluster.cards.filetarget import FileTarget
from picluster.cards.image import Image, open_image
from picluster.cards.overlay import patches
from picluster.cards.target import ALIGNMENT
from picluster.cards.writer import Card, Options, Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from picluster.cards.target import Target
    from picluster.cards.writer import Result

BLOCK = ALIGNMENT


class Log(Watcher):
    def __init__(self) -> None:
        self.states: dict[str, list[str]] = {}

    def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
        seen = self.states.setdefault(name, [])
        if seen[-1:] != [state]:
            seen.append(state)


@dataclass
class Disk:
    """A card in a reader: of a size, full of old bytes, and with the faults that a test gives it.

    Attributes:
        path: The file that holds its bytes.
        wrong: Offsets whose byte reads back changed.
        breaks_at: Writing from here on fails, as when it is pulled out.
        hangs: What is named in hangs_at (open, write, sync, read) waits for this.
    """

    path: Path
    size: int
    wrong: frozenset[int] = frozenset()
    breaks_at: int | None = None
    hangs: threading.Event | None = None
    hangs_at: str = "write"
    name: str = ""
    capacity: int | None = 0
    fresh: bool = False
    written: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = str(self.path)
        self.capacity = self.size
        self.path.write_bytes(b"\xa5" * self.size)

    def _wait(self, where: str) -> None:
        if self.hangs and self.hangs_at == where:
            self.hangs.wait(60)

    def open(self) -> Self:
        self._wait("open")
        return self

    def __enter__(self) -> Self:
        self._stream = self.path.open("r+b", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, offset: int, data: memoryview) -> None:
        assert offset % BLOCK == 0
        assert len(data) % BLOCK == 0 or offset + len(data) == self.size, "a raw disk takes whole blocks only"
        assert offset + len(data) <= self.size, "a raw disk ends"
        self._wait("write")
        if self.breaks_at is not None and offset + len(data) > self.breaks_at:
            raise OSError(5, "Input/output error")
        self.written.append((offset, len(data)))
        self._stream.seek(offset)
        self._stream.write(data)

    def read(self, offset: int, buffer: memoryview) -> int:
        assert offset % BLOCK == len(buffer) % BLOCK == 0
        self._wait("read")
        self._stream.seek(offset)
        count = self._stream.readinto(buffer)
        for position in self.wrong:
            if offset <= position < offset + count:
                buffer[position - offset] ^= 1
        return count

    def sync(self) -> None:
        self._wait("sync")

    def finish(self, length: int) -> None:
        assert length <= self.size


def _files(name: str) -> Mapping[str, bytes]:
    return {"ssh": b"", "meta-data": name.encode() * 999}


def _card(image: Image, name: str, target: Target) -> Card:
    opener = target.open if isinstance(target, Disk) else lambda: target
    return Card(name, target.name, opener, patches(image.volume(), _files(name)), target.capacity)


def _burn(
    path: Path, folder: Path, count: int, options: Options | None = None, log: Watcher | None = None
) -> list[Result]:
    folder.mkdir(exist_ok=True)
    with open_image(path) as image:
        cards = [_card(image, f"red{n}", FileTarget(folder / f"red{n}.img")) for n in range(1, count + 1)]
        return writer.burn(image, cards, options, log)


def _burn_disks(path: Path, disks: list[Disk], options: Options) -> list[Result]:
    with open_image(path) as image:
        return writer.burn(image, [_card(image, f"red{n}", disk) for n, disk in enumerate(disks, 1)], options)


DISKS = Options(sparse=False)


def _size(card: Path) -> int:
    return -(-card.stat().st_size // BLOCK) * BLOCK + 10 * BLOCK


def test_cards_differ_from_the_image_in_the_boot_partition_only(
    make_card: Callable[..., Path], tmp_path: Path, judge: Judge
) -> None:
    image = make_card()
    stock = image.read_bytes()
    log = Log()
    results = _burn(image, tmp_path / "out", 5, log=log)
    assert [(result.name, result.error) for result in results] == [(f"red{n}", "") for n in range(1, 6)]
    assert image.read_bytes() == stock
    for result in results:
        card = tmp_path / "out" / f"{result.name}.img"
        data = card.read_bytes()
        assert data[:BOOT_START] == stock[:BOOT_START]
        assert data[BOOT_START + PARTITION :] == stock[BOOT_START + PARTITION :]
        part = judge.partition(card)
        judge.is_sound(part)
        assert judge.files(part) == STOCK | dict(_files(result.name))
        assert log.states[result.name] == ["writing", "syncing", "verifying", "syncing", "done"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"red{n}.img" for n in range(1, 6)]


def test_a_disk_holds_the_same_as_an_image_file(make_card: Callable[..., Path], tmp_path: Path, judge: Judge) -> None:
    image = make_card()
    stock = image.read_bytes()
    disk = Disk(tmp_path / "sdb", _size(image))
    (result,) = _burn_disks(image, [disk], DISKS)
    assert result.error == ""
    data = disk.path.read_bytes()
    assert data[:BOOT_START] == stock[:BOOT_START]
    assert data[BOOT_START + PARTITION : len(stock)] == stock[BOOT_START + PARTITION :]
    # What lies behind the image is the card's own.
    assert set(data[-9 * BLOCK :]) == {0xA5}
    part = judge.partition(disk.path)
    judge.is_sound(part)
    assert judge.files(part) == STOCK | dict(_files("red1"))


def test_a_packed_image_gives_the_same_cards(make_card: Callable[..., Path], tmp_path: Path) -> None:
    plain = make_card()
    packed = tmp_path / "card.img.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes(), preset=0))
    made = []
    for path in (plain, packed):
        (result,) = _burn(path, tmp_path / path.name.replace(".", "-"), 1)
        assert not result.error
        data = (tmp_path / path.name.replace(".", "-") / "red1.img").read_bytes()
        made.append(data[:BOOT_START] + data[BOOT_START + PARTITION :])
    assert made[0] == made[1]


def test_holes_of_the_image_take_no_room_in_a_file(make_card: Callable[..., Path], tmp_path: Path) -> None:
    _burn(make_card(), tmp_path / "out", 1)
    status = (tmp_path / "out" / "red1.img").stat()
    assert status.st_blocks * 512 < status.st_size / 4


def test_zeros_of_the_image_are_written_to_a_disk(make_card: Callable[..., Path], tmp_path: Path) -> None:
    image = make_card()
    disk = Disk(tmp_path / "sdb", _size(image))
    _burn_disks(image, [disk], DISKS)
    assert b"\xa5" * BLOCK not in disk.path.read_bytes()[: image.stat().st_size]


def test_a_card_burnt_anew_replaces_the_old_one(make_card: Callable[..., Path], tmp_path: Path) -> None:
    image = make_card()
    old = tmp_path / "out" / "red1.img"
    old.parent.mkdir()
    old.write_bytes(b"old" * 100_000_000)
    _burn(image, old.parent, 1)
    assert old.stat().st_size == image.stat().st_size


def test_one_bad_card_does_not_stop_the_others(make_card: Callable[..., Path], tmp_path: Path) -> None:
    image = make_card()
    size = _size(image)
    disks = [
        Disk(tmp_path / "good1", size),
        Disk(tmp_path / "pulled", size, breaks_at=BOOT_START + PARTITION),
        Disk(tmp_path / "worn", size, wrong=frozenset({BOOT_START + PARTITION + 5})),
        Disk(tmp_path / "small", size=size // 2),
        Disk(tmp_path / "good2", size),
    ]
    results = _burn_disks(image, disks, DISKS)
    assert [result.name for result in results if not result.error] == ["red1", "red5"]
    assert "pulled: Input/output error" in results[1].error
    assert "reads back differently" in results[2].error
    assert "small holds" in results[3].error
    assert "larger card" in results[3].error
    # None of the bad ones would boot.
    for disk in disks[1:3]:
        assert disk.path.read_bytes()[:BLOCK] == bytes(BLOCK)
    assert disks[3].written == []


@pytest.mark.parametrize("where", ["open", "write", "sync", "read"])
def test_a_card_that_hangs_is_given_up_wherever(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The reader runs out of buffers, finds who holds them back, and goes on with the others."""
    monkeypatch.setattr(writer, "_SYNC_STALLS", 1)
    # Fewer than there are cards that hang, so that these hold them all.
    monkeypatch.setattr(source, "_BUFFERS", 2)
    monkeypatch.setattr(writer, "_READING", 2)
    image = make_card()
    gate = threading.Event()
    size = _size(image)
    disks = [Disk(tmp_path / f"hangs{n}", size, hangs=gate, hangs_at=where) for n in range(3)]
    disks.append(Disk(tmp_path / "good", size))
    try:
        results = _burn_disks(image, disks, Options(sparse=False, stall=1.0))
    finally:
        gate.set()
    assert [bool(result.error) for result in results] == [True, True, True, False]
    assert "does not respond" in results[0].error
    assert disks[3].path.read_bytes()[:BOOT_START] == image.read_bytes()[:BOOT_START]


def test_a_card_that_was_given_up_is_not_finished_later(make_card: Callable[..., Path], tmp_path: Path) -> None:
    image = make_card()
    gate = threading.Event()
    disk = Disk(tmp_path / "late", _size(image), hangs=gate, hangs_at="read")
    (result,) = _burn_disks(image, [disk], Options(sparse=False, stall=0.5))
    assert result.error
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "card-red1":
            thread.join(30)
    assert disk.path.read_bytes()[:BLOCK] == bytes(BLOCK)


def test_a_watcher_that_fails_ends_no_card(make_card: Callable[..., Path], tmp_path: Path) -> None:
    class Gone(Watcher):
        def card(self, name: str, state: str, done: int = 0, total: int = 0, detail: str = "") -> None:
            raise BrokenPipeError

    results = _burn(make_card(), tmp_path / "out", 3, log=Gone())
    assert [result.error for result in results] == ["", "", ""]


def test_a_bug_ends_one_card_and_shows_where_it_is(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", shown.append)

    def buggy() -> Target:
        raise TypeError("no such thing")

    image, good = make_card(), FileTarget(tmp_path / "red2.img")
    with open_image(image) as opened:
        cards = [Card("red1", "/dev/sdb", buggy, ()), _card(opened, "red2", good)]
        first, second = writer.burn(opened, cards, Options())
    assert first.error == "/dev/sdb: internal error (TypeError: no such thing); please report it"
    assert not second.error
    (bug,) = shown
    assert bug.exc_type is TypeError
    assert bug.exc_traceback is not None


@pytest.mark.parametrize("tail", [512, 5000 - 5000 % 512, 0])
def test_a_card_of_just_the_size_takes_an_image_with_a_tail(
    make_card: Callable[..., Path], tmp_path: Path, tail: int
) -> None:
    """What lies behind the last partition is dropped where the card ends, be it within a block."""
    image = make_card()
    with open_image(image) as opened:
        end = opened.end
    with image.open("r+b") as stream:
        stream.truncate(end)
        stream.seek(end)
        stream.write(b"t" * 5000)
    disk = Disk(tmp_path / "sdb", end + tail)
    (result,) = _burn_disks(image, [disk], DISKS)
    assert result.error == ""
    data, stock = disk.path.read_bytes(), image.read_bytes()
    assert data[BOOT_START + PARTITION :] == stock[BOOT_START + PARTITION : end + tail]


def test_the_old_first_block_goes_first_and_the_new_one_comes_last(
    make_card: Callable[..., Path], tmp_path: Path
) -> None:
    image = make_card()
    disk = Disk(tmp_path / "sdb", _size(image))
    _burn_disks(image, [disk], DISKS)
    touched = [number for number, (offset, _) in enumerate(disk.written) if offset == 0]
    assert touched[0] == 0
    assert touched[-1] == len(disk.written) - 1
    assert disk.written[0] == disk.written[-1] == (0, BLOCK)


def test_power_lost_at_any_write_leaves_no_bootable_half(make_card: Callable[..., Path], tmp_path: Path) -> None:
    image = make_card()
    whole = Disk(tmp_path / "whole", _size(image))
    _burn_disks(image, [whole], DISKS)
    count = len(whole.written)
    for number in (1, 2, count // 2, count - 2, count - 1):

        class Cut(Disk):
            def write(self, offset: int, data: memoryview, last: int = number) -> None:
                if len(self.written) == last:
                    raise OSError(19, "No such device")
                super().write(offset, data)

        disk = Cut(tmp_path / "cut", whole.size)
        (result,) = _burn_disks(image, [disk], DISKS)
        assert "No such device" in result.error
        assert disk.path.read_bytes()[:BLOCK] == bytes(BLOCK)


def test_a_source_that_breaks_off_leaves_no_card(make_card: Callable[..., Path], tmp_path: Path) -> None:
    # An .xz would be refused before it is read.
    packed = tmp_path / "card.img.gz"
    data = gzip.compress(make_card().read_bytes(), 1)
    packed.write_bytes(data[:-1_000_000])
    results = _burn(packed, tmp_path / "out", 3)
    assert all("card.img.gz" in result.error and "damaged" in result.error for result in results)
    assert all(result.broken_image for result in results)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("place", ["first block", "gap", "stock file", "our file", "root", "zeros", "last byte"])
def test_reading_back_finds_one_wrong_byte(make_card: Callable[..., Path], tmp_path: Path, place: str) -> None:
    image = make_card()
    size = _size(image)
    good = Disk(tmp_path / "good", size)
    _burn_disks(image, [good], DISKS)
    data = good.path.read_bytes()
    position = {
        "first block": 450,
        "gap": (1 << 20) + 3,
        "stock file": data.index(STOCK["kernel8.img"][:64]) + 1_234_567,
        "our file": data.index(b"red1red1") + 100,
        "root": BOOT_START + PARTITION + 12_345,
        "zeros": image.stat().st_size - 9000,
        "last byte": image.stat().st_size - 1,
    }[place]
    disks = [Disk(tmp_path / "one", size), Disk(tmp_path / "two", size, wrong=frozenset({position}))]
    results = _burn_disks(image, disks, DISKS)
    assert [bool(result.error) for result in results] == [False, True]
    assert "reads back differently" in results[1].error


def test_without_verification_nothing_is_read_back(make_card: Callable[..., Path], tmp_path: Path) -> None:
    image = make_card()
    disk = Disk(tmp_path / "sdb", _size(image), wrong=frozenset({BOOT_START}))
    (result,) = _burn_disks(image, [disk], Options(sparse=False, verify=False))
    assert result.error == ""
    assert disk.path.read_bytes()[:BOOT_START] == image.read_bytes()[:BOOT_START]


def _bmap(image: Path, kind: str = "sha256") -> Bmap:
    """Map what holds data, as the image's maker would; checksum each."""
    data = image.read_bytes()
    root = BOOT_START + PARTITION
    stretches = (
        (0, BLOCK),
        (1 << 20, (1 << 20) + BLOCK),
        (BOOT_START, BOOT_START + PARTITION // 2),
        (root, root + (3 << 20)),
    )
    for (_, end), (begin, _) in pairwise([*stretches, (len(data), 0)]):
        assert not any(data[end:begin]), "the map would leave data out"
    ranges = [Range(begin, end, kind and hashlib.new(kind, data[begin:end]).hexdigest()) for begin, end in stretches]
    return Bmap(len(data), BLOCK, tuple(ranges), kind)


@pytest.mark.parametrize("kind", ["sha256", "sha512", "sha1", ""])
def test_only_what_a_block_map_leaves_out_is_skipped(
    make_card: Callable[..., Path], tmp_path: Path, judge: Judge, kind: str
) -> None:
    image = make_card()
    stock = image.read_bytes()
    disk = Disk(tmp_path / "sdb", _size(image))
    (result,) = _burn_disks(image, [disk], Options(bmap=_bmap(image, kind), sparse=False))
    assert result.error == ""
    data = disk.path.read_bytes()
    root = BOOT_START + PARTITION
    assert data[:BLOCK] == stock[:BLOCK]
    assert data[root : root + (3 << 20)] == stock[root : root + (3 << 20)]
    assert set(data[BLOCK : 1 << 20]) == {0xA5}
    assert set(data[root + (3 << 20) : len(stock)]) == {0xA5}
    assert judge.files(judge.partition(disk.path))["meta-data"] == b"red1" * 999
    assert sum(length for _, length in disk.written) < len(stock)


def _other(what: str, bmap: Bmap) -> Bmap:
    first, *others = bmap.ranges
    return {
        "checksum": replace(bmap, ranges=(first, replace(others[0], checksum="0" * 64), *others[1:])),
        "data left out": replace(bmap, ranges=(first, *others[:-1]), kind=""),
        "larger": replace(bmap, image_size=bmap.image_size + BLOCK),
        "smaller": replace(bmap, image_size=bmap.image_size - BLOCK),
    }[what]


@pytest.mark.parametrize("what", ["checksum", "data left out", "larger", "smaller"])
def test_an_image_that_differs_from_its_block_map_makes_no_card(
    make_card: Callable[..., Path], tmp_path: Path, what: str
) -> None:
    image = make_card()
    disk = Disk(tmp_path / "sdb", _size(image))
    (result,) = _burn_disks(image, [disk], Options(bmap=_other(what, _bmap(image)), sparse=False))
    assert "differs from its block map" in result.error
    # Untouched, if the first piece of the image told already.
    assert disk.path.read_bytes()[:BLOCK] == (bytes(BLOCK) if disk.written else b"\xa5" * BLOCK)


def test_the_reader_waits_for_the_slowest_card(make_card: Callable[..., Path], tmp_path: Path) -> None:
    """Memory does not grow with the number of cards: no more chunks are under way than there are buffers."""
    image = make_card()
    large = image.with_name("large.img")
    large.write_bytes(image.read_bytes() + bytes((source._BUFFERS + 8) * source.CHUNK))
    gate = threading.Event()
    size = _size(large)
    disks = [Disk(tmp_path / "slow", size, hangs=gate), *(Disk(tmp_path / f"fast{n}", size) for n in range(3))]
    results: list[Result] = []
    thread = threading.Thread(target=lambda: results.extend(_burn_disks(large, disks, DISKS)))
    thread.start()
    want = (source._BUFFERS - 1) * source.CHUNK
    end = time.monotonic() + 20
    while not all(disk.written and disk.written[-1][0] >= want for disk in disks[1:]):
        assert time.monotonic() < end, [disk.written[-1:] for disk in disks]
        time.sleep(0.01)
    assert all(offset < source._BUFFERS * source.CHUNK for disk in disks[1:] for offset, _ in disk.written)
    gate.set()
    thread.join(30)
    assert [result.error for result in results] == [""] * 4


@pytest.mark.parametrize("kind", ["disk", "file"])
@pytest.mark.parametrize("state", ["writing", "verifying"])
def test_an_interrupt_leaves_nothing_half_done(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, kind: str
) -> None:
    """The key is pressed while the reader reads, or while who waits for the cards waits."""
    reached, told = threading.Event(), threading.Event()

    class Wait(Watcher):
        def card(self, name: str, now: str, done: int = 0, total: int = 0, detail: str = "") -> None:
            if now == state and done:
                reached.set()
                # However busy the machine is, the card does not get ready before the interrupt reaches it.
                assert told.wait(20)

    end = writer._Writer.end

    def tell(running: writer._Writer, how: object) -> None:
        end(running, how)
        if how == writer._INTERRUPTED:
            told.set()

    monkeypatch.setattr(writer._Writer, "end", tell)
    where = "_feed" if state == "writing" else "_wait"
    real = getattr(writer, where)
    pressed: list[int] = []

    def press(*arguments: object) -> object:
        if pressed:
            return real(*arguments)
        pressed.append(1)
        thread = threading.Thread(target=real, args=arguments, daemon=True)
        thread.start()
        assert reached.wait(20)
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, where, press)
    image = make_card()
    disk = Disk(tmp_path / "sdb", _size(image))
    (tmp_path / "out").mkdir()
    target = disk if kind == "disk" else FileTarget(tmp_path / "out" / "red1.img")
    options = Options(sparse=kind == "file")
    with open_image(image) as opened, pytest.raises(KeyboardInterrupt):
        writer.burn(opened, [_card(opened, "red1", target)], options, Wait())
    assert list((tmp_path / "out").iterdir()) == []
    if kind == "disk":
        assert disk.written
        assert disk.path.read_bytes()[:BLOCK] == bytes(BLOCK)


def test_an_interrupt_before_all_cards_were_begun_ends_the_burn(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    start = writer._Writer.start

    def press(running: writer._Writer) -> None:
        if begun:
            raise KeyboardInterrupt
        begun.append(running.name)
        start(running)

    monkeypatch.setattr(writer._Writer, "start", press)
    with pytest.raises(KeyboardInterrupt):
        _burn(make_card(), tmp_path / "out", 2)
    assert begun == ["card-red1"]
    assert list((tmp_path / "out").iterdir()) == []


def test_a_link_in_the_place_of_a_card_is_not_followed(make_card: Callable[..., Path], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"not a card")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".red1.img.part").symlink_to(victim)
    (result,) = _burn(make_card(), out, 1)
    assert result.error == ""
    assert victim.read_bytes() == b"not a card"
    assert not (out / "red1.img").is_symlink()


def test_a_card_image_is_for_its_owner_alone(make_card: Callable[..., Path], tmp_path: Path) -> None:
    """It can hold the key of a Wi-Fi network."""
    _burn(make_card(), tmp_path / "out", 1)
    assert (tmp_path / "out" / "red1.img").stat().st_mode & 0o777 == 0o600
