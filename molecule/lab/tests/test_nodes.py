from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from lab import nodes
from lab.errors import LabError
from lab.nodes import Boards, Node, speaks_ssh

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from lab.tests.fakes import FakeEngine

RED1 = Node("red1", "192.168.63.11", "trixie")


@pytest.fixture
def boards(engine: FakeEngine) -> Boards:
    return Boards(engine, "red")


def test_neither_name_nor_key_reaches_a_node_but_by_its_card(
    boards: Boards, engine: FakeEngine, tmp_path: Path
) -> None:
    assert boards.power_on("red1", "picluster/card-trixie:1", tmp_path)
    started = engine.containers["red-red1"]
    assert started.hostname == "raspberrypi"
    assert started.network == "none"
    assert "red1" not in " ".join(started.command)
    assert [target for _, target, _ in started.binds] == ["/boot/firmware", "/etc/fstab"]


def test_a_node_that_is_on_is_left_alone_and_one_that_is_off_goes_on(
    boards: Boards, engine: FakeEngine, tmp_path: Path
) -> None:
    boards.power_on("red1", "image", tmp_path)
    assert not boards.power_on("red1", "image", tmp_path)
    engine.off.add("red-red1")
    assert not boards.power_on("red1", "image", tmp_path)
    assert not engine.off


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "speaks_ssh", lambda _address: True)


def test_a_first_boot_that_failed_is_told_with_its_journal(
    boards: Boards, engine: FakeEngine, tmp_path: Path, ready: None
) -> None:
    def answer(_name: str, words: Sequence[str]) -> tuple[int, str]:
        return (1, "status: error\n") if words[0] == "cloud-init" else (0, "cc_locale failed")

    engine.answer = answer
    boards.power_on("red1", "image", tmp_path)
    with pytest.raises(LabError, match=r"first boot of red1 failed: status: error\ncc_locale failed"):
        boards.wait(RED1, lambda _: None)


def test_complaints_of_cloud_init_are_told_and_no_failure(
    boards: Boards, engine: FakeEngine, tmp_path: Path, ready: None
) -> None:
    engine.answer = lambda _name, _words: (2, "status: done\ndegraded\n")
    boards.power_on("red1", "image", tmp_path)
    said: list[str] = []
    boards.wait(RED1, said.append)
    assert any("degraded" in line for line in said)
    assert said[-1] == "red1: ready"


def test_a_node_that_never_answers_ends_the_wait(
    boards: Boards, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "speaks_ssh", lambda _address: False)
    engine.answer = lambda _name, _words: (0, "no lease")
    boards.power_on("red1", "image", tmp_path)
    with pytest.raises(LabError, match=r"red1 does not answer .* 192\.168\.63\.11 .*\nno lease"):
        boards.wait(RED1, lambda _: None, within=0)


def test_a_node_that_went_off_is_noticed_at_once(
    boards: Boards, engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "speaks_ssh", lambda _address: False)
    boards.power_on("red1", "image", tmp_path)
    engine.off.add("red-red1")
    with pytest.raises(LabError, match="red1 went off"):
        boards.wait(RED1, lambda _: None)


def test_the_address_is_read_from_the_nodes_own_interface(boards: Boards, engine: FakeEngine, tmp_path: Path) -> None:
    boards.power_on("red1", "image", tmp_path)
    said = iter(["", "Device does not exist", "eth0@if5  UP  192.168.63.219/24 \n"])
    engine.answer = lambda _name, _words: (0, next(said))
    assert boards.wait_for_address("red1", within=30) == "192.168.63.219"


@pytest.fixture
def server() -> Iterator[tuple[int, list[bytes]]]:
    """A server on this machine that greets with what is in the list."""
    greeting: list[bytes] = [b"SSH-2.0-test\r\n"]
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(greeting[0])

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        yield listening.getsockname()[1], greeting
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)


def test_an_ssh_server_is_told_from_others_and_from_none(server: tuple[int, list[bytes]]) -> None:
    port, greeting = server
    assert speaks_ssh("127.0.0.1", port)
    greeting[0] = b"HTTP/1.1 400\r\n"
    assert not speaks_ssh("127.0.0.1", port)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert not speaks_ssh("127.0.0.1", unused.getsockname()[1])
