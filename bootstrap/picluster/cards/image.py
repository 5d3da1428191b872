"""Card images: opened as a stream whatever their packing, and told apart by what is on their boot partition."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tempfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast

from picluster.cards import mbr
from picluster.cards.fat import FatVolume
from picluster.cards.target import ALIGNMENT
from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# Files at the top of a boot partition that an adapter may want to read are small; kernels are not.
TEXT_MAX = 1 << 20
_SUFFIXES = (".img", ".img.xz", ".img.gz", ".img.zst", ".zip", ".img.zip")
_BROKEN = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, ValueError)


@dataclass(frozen=True)
class BootFiles:
    """What the boot partition of a stock image holds at its top.

    Attributes:
        label: Volume label.
        names: Names of all files and directories.
        texts: Contents of the small files, by name.
    """

    label: str
    names: frozenset[str]
    texts: Mapping[str, bytes]

    def text(self, name: str) -> str:
        """Return a small file's text, empty if there is none."""
        return self.texts.get(name, b"").decode("utf-8", errors="replace")

    def has(self, name: str) -> bool:
        """Whether this file is there."""
        return name in self.names


@dataclass(frozen=True)
class Generation:
    """Which family of images this is.

    Attributes:
        name: One word: stretch, buster, bullseye, bookworm, trixie, cloud-init, ubuntu, dietpi or unknown.
        released: The date in issue.txt, empty if there is none.
        title: For people.
    """

    name: str
    released: str
    title: str


_TITLES = {
    "stretch": "Raspbian Stretch",
    "buster": "Raspberry Pi OS Buster",
    "bullseye": "Raspberry Pi OS Bullseye",
    "bookworm": "Raspberry Pi OS Bookworm",
    "trixie": "Raspberry Pi OS Trixie without cloud-init files",
    "cloud-init": "Raspberry Pi OS with cloud-init",
    "ubuntu": "Ubuntu for Raspberry Pi",
    "dietpi": "DietPi",
    "unknown": "an image of unknown kind",
}
GENERATIONS = tuple(_TITLES)
# First release of each, newest first (pi-gen's tags and release notes).
_BOOKWORM = "2023-10-10"
# From then on an image with the older token is a Buster, which was built beside Bullseye until 2023.
_BULLSEYE_SECOND = "2022-09-06"
_FIRST_RELEASE = (
    ("2025-10-01", "trixie"),
    (_BOOKWORM, "bookworm"),
    ("2021-10-30", "bullseye"),
    ("2019-06-20", "buster"),
    ("2017-08-16", "stretch"),
)


def identify(boot: BootFiles) -> Generation:
    """Tell the generation: by the files first, then the date in issue.txt, then the token in cmdline.txt."""
    match = re.search(r"Raspberry Pi reference (\d{4}-\d{2}-\d{2})", boot.text("issue.txt"))
    released = match[1] if match else ""
    tokens = boot.text("cmdline.txt").split()
    if boot.has("dietpi.txt"):
        name = "dietpi"
    elif boot.has("user-data"):
        # Safer than the date: images of 2025-10-01 are Trixie but came without the files. The label is not always
        # known (a mounted folder has none), so what is in the files counts, too.
        if boot.label.lower() == "system-boot" or "root=LABEL=writable" in tokens:
            name = "ubuntu"
        else:
            name = "cloud-init" if released or boot.label == "bootfs" else "unknown"
    elif "init=/usr/lib/raspberrypi-sys-mods/firstboot" in tokens:
        # Both were still built beside their successors, so that a late date says nothing; the initramfs came with
        # Bookworm (pi-gen, config.txt).
        late = "auto_initramfs=1" in boot.text("config.txt").split() or not boot.has("config.txt")
        early = "" < released < _BOOKWORM or (not released and boot.label == "boot")
        name = "bookworm" if late and not early else "bullseye"
    elif "init=/usr/lib/raspi-config/init_resize.sh" in tokens and released >= _BULLSEYE_SECOND:
        name = "buster"
    elif released:
        name = next((name for first, name in _FIRST_RELEASE if released >= first), "unknown")
    elif "init=/usr/lib/raspi-config/init_resize.sh" in tokens:
        name = "buster"
    elif "resize" in tokens and boot.label == "bootfs":
        name = "trixie"
    else:
        name = "unknown"
    return Generation(name, released, _TITLES[name] + (f" of {released}" if released else ""))


def guess_arch(boot: BootFiles) -> str:
    """Guess the userland's architecture from the boot partition: arm64 or armhf.

    The 64-bit images set arm_64bit=1 in config.txt. The 32-bit ones do not, though newer ones carry a 64-bit kernel
    too, so a kernel8.img counts only where there is no kernel for 32 bits.
    """
    for line in boot.text("config.txt").splitlines():
        if re.fullmatch(r"arm_64bit=1", line.split("#", 1)[0].replace(" ", "").strip()):
            return "arm64"
    if boot.has("kernel8.img") and not boot.has("kernel7.img"):
        return "arm64"
    return "armhf" if boot.has("kernel7.img") or boot.has("kernel.img") else "arm64"


def boot_files(volume: FatVolume) -> BootFiles:
    """Read what adapters need to know of a boot partition."""
    names = volume.names()
    texts = {name: data for name in names if (data := volume.read_small(name, TEXT_MAX)) is not None}
    return BootFiles(volume.label, frozenset(names), texts)


class _Reader(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...

    def readinto(self, buffer: memoryview, /) -> int: ...


class Image:
    """A card image, open for being read once from its first byte to its last.

    Attributes:
        path: Where it is.
        head: Its beginning, at least to the end of the boot partition, for looking around in before start().
        boot: Its FAT boot partition.
        end: Byte after its last partition.
    """

    def __init__(self, path: Path, head: BinaryIO, rest: _Reader | None) -> None:
        self.path = path
        self.head = head
        self._rest = rest
        self._sources: list[_Reader] = []
        self._read = 0
        head.seek(0)
        table = mbr.parse(head.read(mbr.SECTOR), path.name)
        self.boot = table.boot
        self.end = table.end

    def volume(self) -> FatVolume:
        """Return the file system of the boot partition, for reading."""
        return FatVolume(self.head, self.boot.offset, self.boot.size)

    def boot_files(self) -> BootFiles:
        """Read what adapters need to know of the boot partition."""
        return boot_files(self.volume())

    def start(self) -> None:
        """Begin to read from the first byte, once: what a packed image had to be unpacked for is not unpacked again."""
        self.head.seek(0)
        self._sources = [cast("_Reader", source) for source in (self.head, self._rest) if source is not None]
        self._read = 0

    def read_into(self, view: memoryview) -> int:
        """Go on reading, from start() to the image's last byte; a packed image is unpacked on the way.

        Args:
            view: Filled as far as the image goes.

        Returns:
            Bytes read; fewer than the view has only at the end.

        Raises:
            PiclusterError: if the image is damaged or ends before its last partition.
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
            raise PiclusterError(
                f"{self.path.name} is cut short: it has {self._read} bytes, its partitions need {self.end}; "
                "fetch it again"
            )
        return filled


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """Open a card image: plain, or packed as .xz, .gz, .bz2, .zst or .zip (told by its first bytes, not its name).

    Of a packed image the part up to the end of the boot partition is unpacked to a temporary file, so that it can be
    looked at before anything is written; the rest is unpacked when it is copied. Nothing is unpacked twice.

    Raises:
        PiclusterError: if it is not there or no card image.
    """
    path = find_image(path)
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
            magic = stream.read(6)
            stream.seek(0)
            unpacker = _unpacker(path, stream, magic, stack)
        except OSError as error:
            raise PiclusterError(f"the image {path} cannot be read: {error.strerror or error}") from error
        if unpacker is None:
            image = Image(path, stream, None)
            size = path.stat().st_size
            if size < image.end:
                raise PiclusterError(
                    f"{path.name} is cut short: it has {size} bytes, its partitions need {image.end}; fetch it again"
                )
            yield image
            return
        head = stack.enter_context(tempfile.TemporaryFile())
        try:
            first = unpacker.read(mbr.SECTOR)
            boot = mbr.parse(first, path.name).boot
            head.write(first)
            _copy(unpacker, head, boot.end - len(first))
            # Changes to a card are made of whole blocks, and the partition may end within one.
            head.write(unpacker.read(-boot.end % ALIGNMENT))
        except _BROKEN as error:
            raise PiclusterError(f"{path.name} cannot be unpacked, it is damaged: {error}") from error
        yield Image(path, cast("BinaryIO", head), unpacker)


def find_image(path: Path) -> Path:
    """Return the image's path; the suffix may be left out.

    Raises:
        PiclusterError: if there is no such file, or the name cannot be any file's.
    """
    try:
        return _find_image(path)
    except OSError as error:  # before Python 3.14 a name that is too long, or a directory that is closed
        raise PiclusterError(
            f"the image {path} cannot be looked for ({error.strerror or error}): mend the name"
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
    raise PiclusterError(f"there is no image {path}: fetch it first, or mend the name")


def _copy(source: _Reader, target: IO[bytes], length: int) -> None:
    """Copy bytes; runs of zeros become holes, since a boot partition is mostly empty."""
    zeros = bytes(1 << 20)
    while length > 0:
        data = source.read(min(1 << 20, length))
        if not data:
            raise EOFError("it ends within the boot partition")
        if data == zeros[: len(data)]:
            target.seek(len(data), 1)
        else:
            target.write(data)
        length -= len(data)
    target.truncate()


def _unpacker(path: Path, stream: IO[bytes], magic: bytes, stack: ExitStack) -> _Reader | None:
    openers: dict[bytes, Callable[[], _Reader]] = {
        b"\xfd7zXZ\0": lambda: stack.enter_context(lzma.LZMAFile(stream)),  # noqa: SIM115 - the stack closes it
        b"\x1f\x8b": lambda: stack.enter_context(gzip.GzipFile(fileobj=stream)),
        b"BZh": lambda: stack.enter_context(bz2.BZ2File(stream)),
        b"\x28\xb5\x2f\xfd": lambda: _open_zstd(stream),
        b"PK\x03\x04": lambda: cast("_Reader", stack.enter_context(_open_zip(path, stream, stack))),
    }
    return next((opener() for start, opener in openers.items() if magic.startswith(start)), None)


def _open_zip(path: Path, stream: IO[bytes], stack: ExitStack) -> IO[bytes]:
    try:
        archive = stack.enter_context(zipfile.ZipFile(stream))
    except zipfile.BadZipFile as error:
        raise PiclusterError(f"{path.name} cannot be unpacked, it is damaged: {error}") from error
    # macOS adds a shadow of each file.
    members = [member for member in archive.infolist() if not member.filename.startswith("__MACOSX/")]
    images = [member for member in members if member.filename.lower().endswith(".img")]
    if len(images) != 1:
        raise PiclusterError(f"{path.name} holds {len(images)} .img files: unpack it and name the one you mean")
    try:
        return archive.open(images[0])
    except (NotImplementedError, RuntimeError) as error:  # a method that zipfile does not know, a password
        raise PiclusterError(f"{path.name} cannot be unpacked here: {error}; unpack it and name the .img") from error


def _open_zstd(stream: IO[bytes]) -> _Reader:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - Python 3.14
    except ImportError:
        return _OldZstd(stream)
    return cast("_Reader", zstd.ZstdFile(stream))


class _OldZstd:
    """zstd before Python 3.14; what the package complains of becomes an OSError, as with the other packings."""

    def __init__(self, stream: IO[bytes]) -> None:
        import zstandard  # noqa: PLC0415 - from 3.14 on the standard library does it

        self._error = zstandard.ZstdError
        self._reader = zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True)

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise OSError(str(error)) from error

    def readinto(self, buffer: memoryview, /) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
