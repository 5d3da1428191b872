"""An engine that remembers what it was asked, and a reporter that keeps its lines."""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from lab.engine import LABEL, Status
from lab.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lab.engine import Container


class FakeEngine:
    """Containers in memory; commands answered by a function of (container, words)."""

    def __init__(self) -> None:
        self.containers: dict[str, Container] = {}
        self.off: set[str] = set()
        self.helpers: list[str] = []
        self.executed: list[tuple[str, tuple[str, ...]]] = []
        self.images: set[str] = set()
        self.loaded: list[str] = []
        self.answer: Callable[[str, Sequence[str]], tuple[int, str]] = lambda _name, _words: (0, "")

    def start(self, container: Container) -> None:
        assert container.name not in self.containers, f"{container.name} runs already"
        self.containers[container.name] = container

    def once(self, container: Container) -> str:
        self.helpers.append(container.command[-1])
        return ""

    def execute(self, name: str, command: Sequence[str], *, timeout: float | None = None) -> tuple[int, str]:
        self.executed.append((name, tuple(command)))
        return self.answer(name, command)

    def logs(self, name: str) -> str:
        return ""

    def status(self, name: str) -> Status | None:
        container = self.containers.get(name)
        if container is None:
            return None
        number = 1000 + list(self.containers).index(name)
        return Status(name, name not in self.off, number, "172.17.0.9", container.image, container.labels)

    def names(self, cluster: str) -> list[str]:
        return [name for name, found in self.containers.items() if cluster in {"", found.labels.get(LABEL)}]

    def again(self, name: str, *, kill: bool) -> None:
        self.off.discard(name)

    def remove(self, names: Sequence[str]) -> None:
        for name in names:
            del self.containers[name]

    def has_image(self, image: str) -> bool:
        return image in self.images

    def load(self, rootfs: IO[bytes], image: str, command: Sequence[str]) -> None:
        self.loaded.append(image)
        self.images.add(image)


class Silent(Reporter):
    """A reporter that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def block(self, text: str) -> None:
        self.lines.append(text)

    @contextmanager
    def step(self, doing: str, done: str = "") -> Iterator[None]:
        self.lines.append(doing)
        yield
