"""A node of FakeNode's kind with a package system: what is installed, what the mirror has, what apt did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakenode import FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

if TYPE_CHECKING:
    from pathlib import Path


class FakeDebian(FakeNode):
    """A node with apt and dpkg.

    Attributes:
        packages: What is installed.
        absent: What the mirror lacks.
    """

    def __init__(self, root: Path, *packages: str, **options: Any) -> None:
        super().__init__(root, **options)
        self.packages = set(packages)
        self.absent: set[str] = set()
        self.answers |= {
            # dpkg-query fails if it does not know one of the names.
            "dpkg-query": lambda *names: Outcome(1, self._lines(names, "{} installed\n", self.packages)),
            "apt-cache policy": lambda *names: self._lines(names[2:], "{}:\n  Candidate: 1\n", {*names} - self.absent),
            "apt-get": self.apt_get,
        }

    @staticmethod
    def _lines(names: tuple[str, ...], line: str, known: set[str]) -> str:
        return "".join(line.format(name) for name in names if name in known)

    def apt_get(self, *command: str) -> Outcome:
        """Install or remove; the words of the option are not names."""
        names = {word for word in command[1:] if not word.startswith("-") and "::" not in word}
        if "install" in names:
            if lacking := sorted(names & self.absent):
                return Outcome(100, err=f"E: Unable to locate package {lacking[0]}")
            self.packages |= names - {"install"}
        elif "remove" in names:
            self.packages -= names
        return Outcome(0)

    @property
    def actions(self) -> list[str]:
        """What was run to change the node, without queries and the options of apt."""
        queries = ("systemctl show", "dpkg-query", "apt-cache", "apt-mark")
        return [
            " ".join(word for word in command.split() if "::" not in word and not word.startswith("--"))
            if command.startswith("apt-get")
            else command
            for command in self.commands
            if not command.startswith(queries)
        ]
