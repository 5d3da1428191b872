"""Fixtures: a bench with a gateway and boards, and the story of each generation's card, told by it once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from boots.board import Bench
from boots.generations import Generation, board, build, generations
from boots.journey import Story, Traveller
from lab import recipe
from lab.addresses import LabNet
from lab.engine import Docker
from lab.image import Builder
from lab.network import RESERVATIONS, Network
from lab.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Iterator

CLUSTER = "boots"
# Beside the demo's and the scenario's.
NET = os.environ.get("BOOTS_NET", "192.168.165.0/24")
# One that YAML, a shell, sed, the kernel and a script made of strings would each read in their own way.
COMMENT = """it's "me": #1 $(reboot) `id` $HOME \\n %s & | ; <a> {b} [c] * ? ! ~ é"""
AT_ONCE = max(2, min(4, os.cpu_count() or 2))

STORIES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STORIES] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if platform.machine() != "x86_64":
        reason = "Debian has user-mode Linux, which plays the boards, for 64-bit PCs only"
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what ran on what, and how long it took."""
    for line in config.stash[STORIES]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def report() -> Reporter:
    return Reporter()


@pytest.fixture(scope="session")
def engine() -> Docker:
    return Docker.find()


@pytest.fixture(scope="session")
def builder(engine: Docker, report: Reporter) -> Builder:
    return Builder(engine, report)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("boots")


class Reservations:
    """What the gateway serves: the files that the bootstrap wrote, one after the other."""

    def __init__(self, folder: Path, network: Network) -> None:
        self._folder = folder
        self._network = network
        self._lock = threading.Lock()
        self._folder.mkdir()
        (self._folder / RESERVATIONS).touch()

    @property
    def folder(self) -> Path:
        return self._folder

    def add(self, written: Path) -> None:
        """Take over a file as it is."""
        with self._lock:
            with (self._folder / RESERVATIONS).open("a", encoding="utf-8") as served:
                served.write(written.read_text("utf-8"))
            # Also makes dnsmasq read it again.
            self._network.start_gateway(self._folder)


@pytest.fixture(scope="session")
def network(engine: Docker, builder: Builder) -> Network:
    image = builder.system(recipe.gateway(recipe.apt_of_host(recipe.GATEWAY_SUITE)))
    return Network(engine, CLUSTER, LabNet.parse(NET), image)


@pytest.fixture(scope="session")
def reservations(engine: Docker, network: Network, folder: Path) -> Iterator[Reservations]:
    """A gateway with dnsmasq, which nobody has asked yet."""
    engine.remove(engine.names(CLUSTER))
    served = Reservations(folder / "gateway", network)
    network.start_gateway(served.folder)
    yield served
    engine.remove(engine.names(CLUSTER))
    network.forget()


@pytest.fixture(scope="session")
def bench(engine: Docker, builder: Builder, network: Network) -> Bench:
    return Bench(engine, network, builder.system(board()), CLUSTER)


@pytest.fixture(scope="session")
def key(folder: Path) -> Path:
    """A key whose comment nobody's shell should see."""
    path = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", str(path)], check=True)
    return path


def wanted(session: pytest.Session) -> list[str]:
    """Names of the generations that the chosen tests are about, the slowest first."""
    names = {item.callspec.params["story"] for item in session.items if "story" in getattr(item, "fixturenames", ())}
    return [found.name for found in generations() if found.name in names]


@pytest.fixture(scope="session")
def stories(
    request: pytest.FixtureRequest,
    builder: Builder,
    bench: Bench,
    reservations: Reservations,
    key: Path,
    folder: Path,
    report: Reporter,
) -> Iterator[dict[str, Future[Story]]]:
    """All generations' cards on their way, as many at once as the machine has room for."""
    chosen = [found for found in generations() if found.name in wanted(request.session)]
    kernel = builder.rootfs(board())
    net = LabNet.parse(NET)
    systems: dict[str, Future[tuple[recipe.Recipe, Path]]] = {}

    def go(number: int, generation: Generation) -> Story:
        place = folder / generation.name
        place.mkdir()
        return Traveller(
            generation=generation,
            address=net.node(number),
            bench=bench,
            system=systems[generation.system].result(),
            kernel=kernel,
            key=key,
            folder=place,
            reserve=reservations.add,
        ).go()

    with ThreadPoolExecutor(AT_ONCE) as building, ThreadPoolExecutor(AT_ONCE) as boards:
        for name in dict.fromkeys(found.system for found in chosen):
            systems[name] = building.submit(build, name, builder, report)
        yield {found.name: boards.submit(go, number, found) for number, found in enumerate(chosen, 1)}
        boards.shutdown(cancel_futures=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", params=[found.name for found in generations()])
def story(request: pytest.FixtureRequest, stories: dict[str, Future[Story]], report: Reporter) -> Story:
    """What was seen of a generation's card."""
    told = stories[request.param].result()
    versions = ", ".join(" ".join(line.split()) for line in told.first.said["versions"].splitlines())
    line = (
        f"{told.generation.name}: first login after {told.first.seconds:.0f} s and {len(told.first.starts)} starts, "
        f"in another board after {told.second.seconds:.0f} s ({versions})"
    )
    if line not in request.config.stash[STORIES]:
        request.config.stash[STORIES].append(line)
    return told
