"""What every raw disk must do, on all three systems: Linux on a real loop device too, the others by faked calls."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import pytest
from diskkit import ROOT, aligned, blank, loop
from fakedisks import Faults, FileControl, FileOs, kernel32

from picluster.devices.linuxdisk import open_disk
from picluster.devices.macos import MacHandle
from picluster.devices.raw import RawDisk
from picluster.devices.windows import WindowsHandle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE = 4 << 20
BLOCK = 4096
DISK = r"\\.\PhysicalDrive3"


@pytest.fixture
def medium(tmp_path: Path) -> Path:
    file = tmp_path / "medium"
    file.write_bytes(bytes(SIZE))
    return file


@pytest.fixture
def faults() -> Faults:
    return Faults()


def on_linux(medium: Path, faults: Faults) -> RawDisk:
    return open_disk(str(medium), FileOs(faults), FileControl(faults))


def on_macos(medium: Path, faults: Faults) -> RawDisk:
    calls = FileOs(faults)
    return RawDisk("/dev/disk4", SIZE, MacHandle(calls.open(str(medium), os.O_RDWR), calls, FileControl(faults)))


def on_windows(medium: Path, faults: Faults) -> RawDisk:
    calls = kernel32(faults, {DISK: str(medium)})
    disk = calls.open(DISK, write=True, direct=True)
    held = contextlib.ExitStack()
    held.callback(calls.close, disk)
    return RawDisk(DISK, calls.length(disk), WindowsHandle(disk, held, calls))


FAKED = {"linux": on_linux, "macos": on_macos, "windows": on_windows}


@pytest.fixture(params=FAKED)
def faked(request: pytest.FixtureRequest, medium: Path, faults: Faults) -> RawDisk:
    make: Callable[[Path, Faults], RawDisk] = FAKED[request.param]
    return make(medium, faults)


@pytest.fixture(params=[*FAKED, "a real loop device"])
def target(request: pytest.FixtureRequest, medium: Path, faults: Faults) -> Iterator[RawDisk]:
    if request.param in FAKED:
        yield FAKED[request.param](medium, faults)
        return
    if not ROOT:
        pytest.skip("only root may attach loop devices")
    with loop(medium) as path:
        yield open_disk(path)


def test_what_was_written_is_read_back(target: RawDisk, medium: Path) -> None:
    data = os.urandom(20 * BLOCK)
    with target:
        assert target.capacity == SIZE
        assert not target.fresh
        target.write(3 * BLOCK, aligned(data))
        # As an engine has it that hands one piece to several writers.
        target.write(0, aligned(data[:BLOCK]).toreadonly())
        target.sync()
        back = blank(len(data))
        assert target.read(3 * BLOCK, back) == len(data)
        assert back == data
        target.finish(23 * BLOCK)
    assert medium.read_bytes() == data[:BLOCK] + bytes(2 * BLOCK) + data + bytes(SIZE - 23 * BLOCK)


def test_reading_stops_at_the_end(target: RawDisk) -> None:
    with target:
        assert target.read(SIZE - 2 * BLOCK, blank(5 * BLOCK)) == 2 * BLOCK
        assert target.read(SIZE, blank(BLOCK)) == 0


def test_writing_past_the_end_writes_nothing(target: RawDisk, medium: Path) -> None:
    with target, pytest.raises(OSError, match="smaller than what is to be written") as caught:
        target.write(SIZE - BLOCK, aligned(b"x" * 2 * BLOCK))
    assert caught.value.errno == errno.ENOSPC
    assert not any(medium.read_bytes())


@pytest.mark.parametrize("limit", [BLOCK, 3 * BLOCK, 3 * BLOCK + 512, 5 * BLOCK - 1])
def test_short_writes_are_completed(faked: RawDisk, faults: Faults, medium: Path, limit: int) -> None:
    data = os.urandom(16 * BLOCK)
    faults.limit = limit
    with faked:
        faked.write(BLOCK, aligned(data))
    assert medium.read_bytes()[BLOCK : 17 * BLOCK] == data
    assert faults.log.count("write") > 1


@pytest.mark.parametrize("limit", [BLOCK, 3 * BLOCK])
def test_short_reads_are_completed(faked: RawDisk, faults: Faults, medium: Path, limit: int) -> None:
    data = os.urandom(SIZE)
    medium.write_bytes(data)
    faults.limit = limit
    back = blank(16 * BLOCK)
    with faked:
        assert faked.read(BLOCK, back) == len(back)
    assert back == data[BLOCK : 17 * BLOCK]


def test_a_disk_that_takes_less_than_a_block_fails_instead_of_trying_for_ever(faked: RawDisk, faults: Faults) -> None:
    faults.limit = 100
    with faked, pytest.raises(OSError, match="the card or its reader failed"):
        faked.write(0, aligned(bytes(2 * BLOCK)))


SENTENCES = {
    errno.EIO: "the card or its reader failed",
    errno.ENODEV: "the card was taken out",
    errno.ENXIO: "the card was taken out",
    errno.EROFS: "write-protected",
    errno.ENOSPC: "smaller than",
}


@pytest.mark.parametrize("call", ["write", "read", "sync"])
@pytest.mark.parametrize(("number", "sentence"), SENTENCES.items(), ids=errno.errorcode.get)
def test_an_error_is_a_sentence_with_the_devices_name(
    faked: RawDisk, faults: Faults, call: str, number: int, sentence: str
) -> None:
    steps = {
        "write": lambda: faked.write(0, aligned(bytes(BLOCK))),
        "read": lambda: faked.read(0, blank(BLOCK)),
        "sync": lambda: faked.finish(BLOCK),
    }
    with faked:
        faults.errors[call] = number
        with pytest.raises(OSError, match=sentence) as caught:
            steps[call]()
    assert caught.value.filename == faked.name
    assert faults.log[-1].startswith("close")


def test_a_disk_is_let_go_whatever_happens(faked: RawDisk, faults: Faults) -> None:
    with pytest.raises(KeyboardInterrupt), faked:
        raise KeyboardInterrupt
    assert faults.log[-1].startswith("close")


def test_good_is_said_only_after_all_is_on_the_medium(faked: RawDisk, faults: Faults) -> None:
    with faked:
        faked.write(0, aligned(bytes(BLOCK)))
        faked.finish(BLOCK)
    assert faults.log.index("sync") > faults.log.index("write")


def test_a_linux_disk_without_o_direct_is_written_through_the_cache_and_read_past_it(
    medium: Path, faults: Faults
) -> None:
    class Undirected(FileOs):
        """Refuses direct access as some drivers do: at the first transfer."""

        def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
            if control.flags & self.O_DIRECT:
                raise OSError(errno.EINVAL, "no direct access")
            return super().pwrite(fd, data, offset)

    control = FileControl(faults)
    with open_disk(str(medium), Undirected(faults), control) as target:
        target.write(0, aligned(b"x" * BLOCK))
        target.sync()
    assert medium.read_bytes()[:BLOCK] == b"x" * BLOCK
    assert control.flags == FileOs.O_RDWR
    assert faults.log[-4:] == ["sync", "ioctl 0x1261", "fadvise", "close"]


def test_a_linux_disk_that_cannot_be_opened_directly_is_opened_all_the_same(medium: Path, faults: Faults) -> None:
    class Undirected(FileOs):
        def open(self, path: str, flags: int) -> int:
            if flags & self.O_DIRECT:
                raise OSError(errno.EINVAL, "no direct access")
            return super().open(path, flags)

    with open_disk(str(medium), Undirected(faults), FileControl(faults)) as target:
        assert target.capacity == SIZE


OPENING = {
    errno.EACCES: "run this as root, or as a member of the group disk",
    errno.EPERM: "run this as root, or as a member of the group disk",
    errno.EBUSY: "something else uses it",
    errno.EROFS: "write-protected",
    errno.ENXIO: "the card was taken out",
    errno.ENOMEDIUM: "the card was taken out",
    errno.ENOENT: "the card was taken out",
    errno.EMFILE: "Too many open files",
}


@pytest.mark.parametrize(("number", "sentence"), OPENING.items(), ids=errno.errorcode.get)
def test_a_linux_disk_that_cannot_be_opened_says_what_to_do(
    medium: Path, faults: Faults, number: int, sentence: str
) -> None:
    faults.errors["open"] = number
    with pytest.raises(OSError, match=sentence) as caught:
        on_linux(medium, faults)
    assert caught.value.filename == str(medium)


def test_a_real_disk_that_ignores_partition_tables_is_finished_all_the_same(medium: Path, faults: Faults) -> None:
    with on_linux(medium, faults) as target:
        faults.errors["ioctl"] = errno.EINVAL
        target.finish(BLOCK)
    assert "ioctl 0x125f" in faults.log
