"""Card images as a stream of bytes, whatever their packing."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tempfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast

from picluster.cards import mbr, packed
from picluster.cards.bootfiles import BootFiles
from picluster.cards.fat import FatVolume
from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# How packed images begin: xz, gzip, bzip2, zstd, zip.
PACKED = (packed.XZ, packed.GZIP, packed.BZIP2, packed.ZSTD, packed.ZIP)
_SUFFIXES = (".img", ".img.xz", ".img.gz", ".img.zst", ".zip", ".img.zip")
# What the unpackers raise for damaged data.
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)


class _ByteStream(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...

    def readinto(self, buffer: memoryview, /) -> int: ...


class Image:
    """A card image, open for being read once from its first byte to its last.

    ``head`` is its beginning, at least to the end of the boot partition, for looking around before start(); ``end`` is
    the byte after its last partition, and ``length`` all its bytes, None if only reading to its end tells. One that is
    known to end before its last partition is refused.
    """

    def __init__(self, path: Path, head: BinaryIO, rest: _ByteStream | None, length: int | None) -> None:
        self.path = path
        self.head = head
        self._rest = rest
        self._sources: list[_ByteStream] = []
        self._read = 0
        head.seek(0)
        table = mbr.parse(head.read(mbr.SECTOR), path.name)
        self.boot = table.boot
        self.end = table.end
        self.length = length
        if length is not None and length < self.end:
            raise self._cut_short(length)

    def _cut_short(self, length: int) -> PiclusterError:
        return PiclusterError(
            f"{self.path.name} is cut short: it has {length} bytes, its partitions need {self.end}; fetch it again"
        )

    def volume(self) -> FatVolume:
        """Return the file system of the boot partition, for reading."""
        return FatVolume(self.head, self.boot.offset, self.boot.size)

    def boot_files(self) -> BootFiles:
        """Read what adapters need to know of the boot partition."""
        return BootFiles.of_volume(self.volume())

    def start(self) -> None:
        """Begin to read from the first byte, once: what a packed image had to be unpacked for is not unpacked again."""
        self.head.seek(0)
        self._sources = [cast("_ByteStream", source) for source in (self.head, self._rest) if source is not None]
        self._read = 0

    def read_into(self, view: memoryview) -> int:
        """Fill the view with what follows, unpacked on the way; return how many bytes: fewer only at the end.

        Refuses an image that is damaged or ends before its last partition.
        """
        filled = 0
        try:
            while filled < len(view) and self._sources:
                count = self._sources[0].readinto(view[filled:])
                if not count:
                    self._sources.pop(0)
                filled += count
        except _BROKEN as error:
            raise PiclusterError(f"{self.path.name} cannot be read to its end, it is damaged: {error}") from error
        self._read += filled
        if filled < len(view) and self._read < self.end:
            raise self._cut_short(self._read)
        return filled


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """Open a card image: plain, or packed as .xz, .gz, .bz2, .zst or .zip (told by its first bytes, not its name).

    Of a packed image the part up to the end of the boot partition is unpacked to a temporary file, so that it can be
    looked at before anything is written; the rest is unpacked when it is copied. Nothing is unpacked twice.
    """
    path = find_image(path)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
            magic = stream.read(6)
            length = packed.unpacked_size(stream, magic, path.name)
            stream.seek(0)
            unpacker: _ByteStream | None
            if magic.startswith(packed.ZIP):
                unpacker, length = _open_zip(path, stream, stack)
            else:
                unpacker = _unpacker(stream, magic, stack)
        except OSError as error:
            raise PiclusterError(f"the image {path} cannot be read: {error.strerror or error}") from error
        if unpacker is None:
            yield Image(path, stream, None, path.stat().st_size)
            return
        with _temporary(path):
            head = stack.enter_context(tempfile.TemporaryFile())
        try:
            first = unpacker.read(mbr.SECTOR)
            boot = mbr.parse(first, path.name).boot
            # Changes to a card are made of whole blocks, and the partition may end within one.
            pieces = _pieces(unpacker, boot.end - len(first), -boot.end % ALIGNMENT)
            for piece in chain([first], pieces):
                with _temporary(path):
                    _append(head, piece)
        except _BROKEN as error:
            raise PiclusterError(f"{path.name} cannot be unpacked, it is damaged: {error}") from error
        yield Image(path, cast("BinaryIO", head), unpacker, length)


def read_tree(path: Path) -> dict[str, bytes]:
    """Return all files of the boot partition of a card image, by path with / between directories."""
    with open_image(path) as image:
        return image.volume().tree()


def find_image(path: Path) -> Path:
    """Return the image's path; the suffix may be left out."""
    try:
        return _find_image(path)
    except OSError as error:  # before Python 3.14 a name that is too long, or a directory that is closed
        raise PiclusterError(
            f"the image {path} cannot be looked up: {error.strerror or error}; correct the name"
        ) from error


def _find_image(path: Path) -> Path:
    if path.is_file():
        return path
    if path.is_dir():
        raise PiclusterError(f"the image {path} is a directory: name the .img, .xz, .gz, .zst or .zip file")
    if path.exists():
        raise PiclusterError(f"the image {path} is not a file")
    found = [other for suffix in _SUFFIXES if (other := path.with_name(path.name + suffix)).is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise PiclusterError(f"the image {path} could be {' or '.join(map(str, found))}: name it in full")
    raise PiclusterError(f"there is no file {path}; picluster images list shows the images that --image can name")


@contextmanager
def _temporary(path: Path) -> Iterator[None]:
    """Blame what goes wrong with the temporary file on it, not on the image."""
    try:
        yield
    except OSError as error:
        raise PiclusterError(
            f"the boot partition of {path.name} cannot be unpacked to a temporary file: {error.strerror or error};"
            " set TMPDIR to a directory with room for it"
        ) from error


def _pieces(source: _ByteStream, length: int, more: int) -> Iterator[bytes]:
    """Yield the next bytes of a source, and some more if there are any."""
    while length > 0:
        data = source.read(min(1 << 20, length))
        if not data:
            raise EOFError("it ends within the boot partition")
        yield data
        length -= len(data)
    yield source.read(more)


def _append(target: IO[bytes], data: bytes) -> None:
    """Append to a file; runs of zeros become holes, since a boot partition is mostly empty."""
    # One memcmp; any() goes byte by byte.
    if data == bytes(len(data)):
        target.seek(len(data), os.SEEK_CUR)
        target.truncate()
    else:
        target.write(data)
    target.flush()


def _unpacker(stream: IO[bytes], magic: bytes, stack: ExitStack) -> _ByteStream | None:
    openers: dict[bytes, Callable[[], _ByteStream]] = {
        packed.XZ: lambda: stack.enter_context(lzma.LZMAFile(stream)),  # noqa: SIM115 - the stack closes it
        packed.GZIP: lambda: stack.enter_context(gzip.GzipFile(fileobj=stream)),
        packed.BZIP2: lambda: stack.enter_context(bz2.BZ2File(stream)),
        packed.ZSTD: lambda: _Zstd(stream),
    }
    return next((opener() for start, opener in openers.items() if magic.startswith(start)), None)


def _open_zip(path: Path, stream: IO[bytes], stack: ExitStack) -> tuple[_ByteStream, int]:
    """Return the image in a .zip and its size."""
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
        # macOS adds a shadow of each file.
        members = [member for member in archive.infolist() if not member.filename.startswith("__MACOSX/")]
        images = [member for member in members if member.filename.lower().endswith(".img")]
        if len(images) != 1:
            raise PiclusterError(f"{path.name} contains {len(images)} .img files; unpack it and name one of them")
        packed.check_member(stream, archive, images[0])
        return cast("_ByteStream", stack.enter_context(archive.open(images[0]))), images[0].file_size
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise PiclusterError(f"{path.name} cannot be unpacked, it is damaged: {error}; fetch it again") from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown method, a password
        raise PiclusterError(f"{path.name} cannot be unpacked here: {error}; unpack it and name the .img") from error


class _Zstd:
    """A reader of zstd, whose own kind of error becomes an OSError, as with the other packings."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._reader: _ByteStream
        self._error: type[Exception]
        try:
            from compression import zstd  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - Python 3.14
        except ImportError:
            import zstandard  # noqa: PLC0415 - the standard library has it from 3.14 on

            self._error = zstandard.ZstdError
            reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)
            self._reader = cast("_ByteStream", reader)
        else:
            self._error = zstd.ZstdError
            self._reader = cast("_ByteStream", zstd.ZstdFile(stream))

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise OSError(str(error)) from error

    def readinto(self, buffer: memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
