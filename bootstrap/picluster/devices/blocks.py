"""The block devices of a Linux machine, and what lies on what: by lsblk, and by the kernel's own files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

# An eMMC's hardware partitions look like disks of their own.
_NO_CARD = re.compile(r"(zram|ram|fd|sr|mtdblock|mmcblk\d+(boot|rpmb|gp))\d*")


def _spelt(key: str, value: str) -> str:
    # Numbers are written with large and small letters; names differ where their letters do.
    return value.casefold() if key.upper() in {"UUID", "PARTUUID"} else value


@dataclass
class BlockNode:
    """A block device as lsblk tells it, with all that lies on it."""

    kname: str
    name: str
    fields: Mapping[str, Any]
    children: set[str] = field(default_factory=set)

    def text(self, key: str) -> str:
        """Return a field, empty if there is none."""
        return str(self.fields.get(key) or "")

    def flag(self, key: str) -> bool:
        """Return a yes or no, which older versions write as "1" or "0"."""
        return self.text(key) in {"True", "1"}

    @property
    def size(self) -> int:
        """Bytes; 0 without a medium."""
        return int(self.text("size") or 0)

    @property
    def path(self) -> str:
        """Its device file."""
        return "/dev/" + self.kname.replace("!", "/")


class Tree:
    """The block devices of a machine and what lies on what, from the JSON of lsblk.

    ``stacked`` adds what lsblk does not know: kernel names of what lies on a device, by its kernel name.
    """

    def __init__(self, text: str, stacked: Mapping[str, Iterable[str]] | None = None) -> None:
        self.nodes: dict[str, BlockNode] = {}
        self.disks: list[BlockNode] = []
        try:
            tops = [self._add(entry) for entry in json.loads(text)["blockdevices"]]
        except (ValueError, KeyError, TypeError) as error:
            raise PiclusterError(f"lsblk did not answer with its JSON ({error}): is util-linux installed?") from error
        for lower, upper in (stacked or {}).items():
            if lower in self.nodes:
                self.nodes[lower].children |= set(upper) & self.nodes.keys()
        seen = {child for node in self.nodes.values() for child in node.children}
        self.disks = [node for node in tops if node.kname not in seen and self._is_disk(node)]
        self.asides = dict(self._aside())
        self._by_number = {node.text("maj:min").strip(): node.kname for node in self.nodes.values()}
        self._by_path = {node.path: node.kname for node in self.nodes.values()}
        self._by_path |= {f"/dev/mapper/{node.name}": node.kname for node in self.nodes.values()}

    def _add(self, entry: Mapping[str, Any]) -> BlockNode:
        # A device on two others (RAID, LVM) comes twice, and not always with its children both times.
        node = self.nodes.setdefault(entry["kname"], BlockNode(entry["kname"], entry["name"], entry))
        for child in entry.get("children", ()):
            node.children.add(self._add(child).kname)
        return node

    def _aside(self) -> Iterator[tuple[str, str]]:
        """Yield loop devices that are no disks, and why: packages attached read-only, and parts of real disks."""
        for node in self.nodes.values():
            lower = next((other for other in self.nodes.values() if node.kname in other.children), None)
            if node.text("type") != "loop" or not node.size:
                continue
            if lower:
                yield node.kname, f"it lies on {lower.path}: name the disk itself"
            elif node.flag("ro"):
                yield node.kname, "it is read-only"

    @staticmethod
    def _is_disk(node: BlockNode) -> bool:
        if node.text("type") not in {"disk", "loop"} or _NO_CARD.match(node.kname):
            return False
        # Dozens of packages and images may be attached read-only.
        return not (node.text("type") == "loop" and (node.flag("ro") or not node.size))

    def on(self, kname: str) -> set[str]:
        """Return a device and all that lies on it, through all layers."""
        found: set[str] = set()
        more = {kname}
        while more:
            here = more.pop()
            found.add(here)
            more |= self.nodes[here].children - found
        return found

    def at(self, path: str) -> set[str]:
        """Return the device with this device file."""
        return {self._by_path[path]} if path in self._by_path else set()

    def numbered(self, number: str) -> set[str]:
        """Return the device with this major:minor."""
        return {self._by_number[number]} if number in self._by_number else set()

    def tagged(self, tag: str) -> set[str]:
        """Return the devices that root= on the kernel's command line, or a line of /etc/fstab, may mean."""
        key, _, value = tag.partition("=")
        if tag.startswith("/dev/"):
            return self.at(tag)
        if tag.lower().startswith("zfs"):
            return self.pool(re.split("[:=]", tag, maxsplit=1)[-1])
        field_name, value = key.lower(), _spelt(key, value.strip('"'))
        return {node.kname for node in self.nodes.values() if value and _spelt(key, node.text(field_name)) == value}

    def pool(self, dataset: str) -> set[str]:
        """Return the members of the zfs pool with this dataset."""
        name = dataset.split("/", 1)[0]
        members = (node for node in self.nodes.values() if node.text("fstype") == "zfs_member")
        return {node.kname for node in members if node.text("label") == name}
