"""Fixtures: a bench with a gateway and boards, and the story of each generation's card, told by it once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from boots.board import Bench, Reservations
from boots.generations import Generation, board, build, generations
from boots.journey import Story, Traveller
from lab import recipe
from lab.addresses import LabNet
from lab.engine import Docker
from lab.image import Builder
from lab.network import Network
from lab.report import Reporter
from lab.state import lab_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Two checkouts on one machine need two names and two nets.
CLUSTER = os.environ.get("BOOTS_CLUSTER", "boots")
# Beside the demo's and the scenarios'.
NET = os.environ.get("BOOTS_NET", "192.168.166.0/24")
# One that YAML, a shell, sed, the kernel and a script made of strings would each read in their own way.
COMMENT = """it's "me": #1 $(reboot) `id` $HOME \\n %s & | ; <a> {b} [c] * ? ! ~ é"""
AT_ONCE = max(2, min(4, os.cpu_count() or 2))

STORIES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[STORIES] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # What needs no story runs first, while the stories are on their way.
    items.sort(key=lambda item: "story" in getattr(item, "fixturenames", ()))
    if platform.machine() != "x86_64":
        reason = "Debian has user-mode Linux, which plays the boards, for 64-bit PCs only"
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what ran on what, and how long it took."""
    for line in config.stash[STORIES]:
        terminalreporter.write_line(line)


@dataclass(frozen=True)
class Workshop:
    """What everything is made with.

    Attributes:
        key: of the nodes' owner.
    """

    engine: Docker
    builder: Builder
    report: Reporter
    folder: Path
    key: Path


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    engine, report = Docker.find(), Reporter()
    folder = tmp_path_factory.mktemp("boots")
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", COMMENT, "-f", str(key)], check=True)
    engine.remove(engine.names(CLUSTER))
    yield Workshop(engine, Builder(engine, report), report, folder, key)
    engine.remove(engine.names(CLUSTER))
    # Cards are large.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def network(workshop: Workshop) -> Network:
    image = workshop.builder.system(recipe.gateway(recipe.apt_of_host(recipe.GATEWAY_SUITE)))
    return Network(workshop.engine, CLUSTER, LabNet.parse(NET), image)


@pytest.fixture(scope="session")
def reservations(workshop: Workshop, network: Network) -> Iterator[Reservations]:
    """A gateway with dnsmasq, whom nobody has asked yet."""
    served = Reservations(workshop.folder / "gateway", network)
    network.start_gateway(served.folder)
    yield served
    network.forget()


@pytest.fixture(scope="session")
def bench(workshop: Workshop, network: Network) -> Bench:
    return Bench(workshop.engine, network, workshop.builder.system(board()), CLUSTER)


def wanted(session: pytest.Session) -> list[Generation]:
    """The generations that the chosen tests are about."""
    cases = [item.callspec.params for item in session.items if hasattr(item, "callspec")]
    names = {case["story"] for case in cases if "story" in case}
    return [found for found in generations() if found.name in names]


@pytest.fixture(scope="session")
def stories(
    request: pytest.FixtureRequest, workshop: Workshop, bench: Bench, reservations: Reservations
) -> Iterator[dict[str, Future[Story]]]:
    """All generations' cards on their way, as many at once as the machine has room for."""
    chosen = wanted(request.session)
    kernel = workshop.builder.rootfs(board())
    systems: dict[str, Future[tuple[recipe.Recipe, Path]]] = {}

    def go(number: int, generation: Generation) -> Story:
        place = workshop.folder / generation.name
        place.mkdir()
        return Traveller(
            generation=generation,
            address=bench.network.net.node(number),
            bench=bench,
            system=systems[generation.system].result(),
            kernel=kernel,
            key=workshop.key,
            folder=place,
            notes=lab_folder() / CLUSTER,
            reserve=reservations.add,
        ).go()

    with ThreadPoolExecutor(AT_ONCE) as building, ThreadPoolExecutor(AT_ONCE) as boards:
        for name in dict.fromkeys(found.system for found in chosen):
            systems[name] = building.submit(build, name, workshop.builder, workshop.report)
        yield {found.name: boards.submit(go, number, found) for number, found in enumerate(chosen, 1)}
        boards.shutdown(cancel_futures=True)


@pytest.fixture(scope="session", autouse=True)
def _on_their_way(request: pytest.FixtureRequest) -> None:
    """Send the cards off before the first test, not only when one asks what became of them."""
    if wanted(request.session):
        request.getfixturevalue("stories")


@pytest.fixture(scope="session", params=[found.name for found in generations()])
def story(request: pytest.FixtureRequest, stories: dict[str, Future[Story]]) -> Story:
    """What was seen of a generation's card."""
    told = stories[request.param].result()
    versions = ", ".join(" ".join(line.split()) for line in told.first.said["versions"].splitlines())
    sent = told.first.lease.client_id if told.first.lease else b""
    line = (
        f"{told.generation.name}: first login after {told.first.seconds:.0f} s and {len(told.first.starts)} starts, "
        f"in another board after {told.second.seconds:.0f} s; sent {sent!r} as client-id ({versions})"
    )
    if line not in request.config.stash[STORIES]:
        request.config.stash[STORIES].append(line)
    return told
