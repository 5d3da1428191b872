from __future__ import annotations

import lzma
import threading
from typing import IO, TYPE_CHECKING, Any

import pytest
from cardkit import BOOT_START, PARTITION, STOCK, Judge

from picluster import burn
from picluster.burn import Card, Watcher
from picluster.errors import PiclusterError
from picluster.fat import FatVolume
from picluster.image import open_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Log(Watcher):
    def __init__(self) -> None:
        self.states: dict[str, list[str]] = {}
        self.fractions: list[float] = []

    def read(self, fraction: float) -> None:
        self.fractions.append(fraction)

    def card(self, name: str, state: str, detail: str = "") -> None:
        self.states.setdefault(name, []).append(state)


def _cards(folder: Path, count: int) -> list[Card]:
    folder.mkdir(exist_ok=True)
    return [
        Card(f"red{number}", folder / f"red{number}.img", {"ssh": b"", "meta-data": f"red{number}".encode() * 999})
        for number in range(1, count + 1)
    ]


def test_cards_differ_from_the_image_in_the_boot_partition_only(
    make_card: Callable[..., Path], tmp_path: Path, judge: Judge
) -> None:
    source = make_card()
    stock = source.read_bytes()
    cards = _cards(tmp_path / "out", 5)
    log = Log()
    with open_image(source) as image:
        results = burn.burn(image, cards, log)
    assert [(result.name, result.error) for result in results] == [(card.name, "") for card in cards]
    assert source.read_bytes() == stock
    for card in cards:
        data = card.path.read_bytes()
        assert data[:BOOT_START] == stock[:BOOT_START]
        assert data[BOOT_START + PARTITION :] == stock[BOOT_START + PARTITION :]
        part = judge.partition(card.path)
        judge.is_sound(part)
        assert judge.files(part) == STOCK | dict(card.files)
        assert log.states[card.name] == ["writing", "verifying", "done"]
    assert log.fractions[-1] == 1.0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [card.path.name for card in cards]


def test_a_packed_image_gives_the_same_cards(make_card: Callable[..., Path], tmp_path: Path) -> None:
    source = make_card()
    packed = tmp_path / "card.img.xz"
    packed.write_bytes(lzma.compress(source.read_bytes(), preset=0))
    made = []
    for name, path in {"plain": source, "packed": packed}.items():
        with open_image(path) as image:
            (result,) = burn.burn(image, _cards(tmp_path / name, 1))
        assert not result.error
        data = result.path.read_bytes()
        made.append(data[:BOOT_START] + data[BOOT_START + PARTITION :])
    assert made[0] == made[1]


def test_holes_of_the_image_take_no_room(make_card: Callable[..., Path], tmp_path: Path) -> None:
    with open_image(make_card()) as image:
        (result,) = burn.burn(image, _cards(tmp_path / "out", 1))
    status = result.path.stat()
    assert status.st_blocks * 512 < status.st_size / 4


def test_a_card_burnt_anew_replaces_the_old_one(make_card: Callable[..., Path], tmp_path: Path) -> None:
    cards = _cards(tmp_path / "out", 1)
    cards[0].path.write_bytes(b"old" * 100_000_000)
    with open_image(make_card()) as image:
        burn.burn(image, cards)
        assert cards[0].path.stat().st_size == image.path.stat().st_size


def test_one_bad_card_does_not_stop_the_others(make_card: Callable[..., Path], tmp_path: Path) -> None:
    cards = _cards(tmp_path / "out", 3)
    bad = Card("red2", tmp_path / "gone" / "red2.img", cards[1].files)
    full = Card("red4", tmp_path / "out" / "red4.img", {"big": bytes(PARTITION)})
    with open_image(make_card()) as image:
        results = burn.burn(image, [cards[0], bad, cards[2], full])
    assert [bool(result.error) for result in results] == [False, True, False, True]
    assert "red2.img" in results[1].error
    assert "full" in results[3].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["red1.img", "red3.img"]


def test_the_first_block_comes_last(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    verify = burn._Writer._verify

    def look(self: burn._Writer, stream: IO[bytes]) -> None:
        verify(self, stream)
        seen.append(self._part.read_bytes()[:512])
        assert not self.card.path.exists()

    monkeypatch.setattr(burn._Writer, "_verify", look)
    with open_image(make_card()) as image:
        results = burn.burn(image, _cards(tmp_path / "out", 2))
    assert [result.error for result in results] == ["", ""]
    assert seen == [bytes(512)] * 2


def test_a_source_that_breaks_off_leaves_no_card(make_card: Callable[..., Path], tmp_path: Path) -> None:
    packed = tmp_path / "card.img.xz"
    data = lzma.compress(make_card().read_bytes(), preset=0)
    packed.write_bytes(data[:-1_000_000])
    with open_image(packed) as image:
        results = burn.burn(image, _cards(tmp_path / "out", 3))
    assert all("card.img.xz" in result.error and "damaged" in result.error for result in results)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("place", ["root", "hole", "gap", "file", "stock file"])
def test_reading_back_finds_one_wrong_byte(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    source = make_card()
    data = source.read_bytes()
    positions = {
        "root": BOOT_START + PARTITION + 12_345,
        "hole": len(data) - 900,
        "gap": (1 << 20) + 3,
        "stock file": data.index(STOCK["kernel8.img"][:64]) + 1_234_567,
    }
    verify = burn._Writer._verify

    def harm(self: burn._Writer, stream: IO[bytes]) -> None:
        if self.card.name == "red2":
            position = positions.get(place) or self._part.read_bytes().index(b"red2red2") + 100
            stream.seek(position)
            byte = stream.read(1)
            stream.seek(position)
            stream.write(bytes([byte[0] ^ 1]))
            stream.flush()
        verify(self, stream)

    monkeypatch.setattr(burn._Writer, "_verify", harm)
    with open_image(source) as image:
        results = burn.burn(image, _cards(tmp_path / "out", 3))
    assert [bool(result.error) for result in results] == [False, True, False]
    assert "reads back differently" in results[1].error
    assert not (tmp_path / "out" / "red2.img").exists()


def test_a_file_that_is_lost_or_added_is_found(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = FatVolume.write

    def wrong(self: FatVolume, path: str, data: bytes, when: Any = None) -> None:
        write(self, "another" if path == "ssh" else path, data, when)

    monkeypatch.setattr(FatVolume, "write", wrong)
    with open_image(make_card()) as image:
        (result,) = burn.burn(image, _cards(tmp_path / "out", 1))
    assert "another on the boot partition reads back differently" in result.error


def test_memory_does_not_grow_with_the_number_of_cards(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is never further ahead of the slowest writer than the queue is long."""
    ahead: list[int] = []
    gate = threading.Event()
    write = burn._Writer._write

    def slow(self: burn._Writer, stream: IO[bytes]) -> None:
        gate.wait(20)
        write(self, stream)

    monkeypatch.setattr(burn._Writer, "_write", slow)

    class Count(Watcher):
        def read(self, fraction: float) -> None:
            ahead.append(1)
            if len(ahead) == burn._QUEUE:
                # Room for no further piece: the reader must now wait for the writers.
                threading.Timer(0.2, gate.set).start()
            assert gate.is_set() or len(ahead) <= burn._QUEUE

    with open_image(make_card()) as image:
        results = burn.burn(image, _cards(tmp_path / "out", 6), Count())
    assert not any(result.error for result in results)
    assert len(ahead) > burn._QUEUE


def test_an_interrupt_leaves_nothing_half_done(make_card: Callable[..., Path], tmp_path: Path) -> None:
    class Interrupt(Watcher):
        def read(self, fraction: float) -> None:
            raise KeyboardInterrupt

    with open_image(make_card()) as image, pytest.raises(KeyboardInterrupt):
        burn.burn(image, _cards(tmp_path / "out", 3), Interrupt())
    assert list((tmp_path / "out").iterdir()) == []


def test_an_unexpected_error_of_one_card_is_kept_to_it(
    make_card: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = burn._Writer._finish

    def fail(self: burn._Writer, stream: IO[bytes]) -> None:
        if self.card.name == "red1":
            raise PiclusterError("pulled out")
        finish(self, stream)

    monkeypatch.setattr(burn._Writer, "_finish", fail)
    with open_image(make_card()) as image:
        results = burn.burn(image, _cards(tmp_path / "out", 2))
    assert [result.error for result in results] == ["pulled out", ""]
