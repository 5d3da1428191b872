"""Who was first with a machine-id or a host key, and what known_hosts becomes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.identity import clones
from ansible_collections.picluster.cloud.plugins.plugin_utils.identity.clones import (
    KnownHosts,
    claim,
    foreign_keys,
    without,
)

if TYPE_CHECKING:
    from pathlib import Path

PEERS = ["red1", "red2", "red3"]
A, B = "ssh-ed25519 AAAAa", "ssh-ed25519 AAAAb"
ID, OTHER_ID = "a" * 32, "b" * 32


def hashed(name: str) -> str:
    salt = b"salt"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def test_the_first_node_claims_an_id_and_the_second_is_told_whose_it_is() -> None:
    seen: dict[str, dict[str, Any]] = {}
    assert claim(seen, "red2", PEERS, ID, "02::2") == ""
    assert claim(seen, "red1", PEERS, ID, "02::1") == "red2"
    assert seen == {"red2": {"machine_id": ID, "mac": "02::2"}}
    assert claim(seen, "red2", PEERS, ID, "02::2") == ""


def test_what_else_was_seen_of_a_node_stays() -> None:
    seen: dict[str, dict[str, Any]] = {"red1": {"addresses": ["10.0.0.1"], "machine_id": OTHER_ID}}
    claim(seen, "red1", PEERS, ID, "")
    assert seen["red1"] == {"addresses": ["10.0.0.1"], "machine_id": ID, "mac": ""}


def test_a_node_that_left_the_inventory_does_not_count() -> None:
    assert claim({"red9": {"machine_id": ID}}, "red1", PEERS, ID, "") == ""


def test_one_board_under_two_names_is_named_and_not_taken_for_a_copy() -> None:
    seen = {"red2": {"machine_id": ID, "mac": "02::2"}}
    with pytest.raises(UserError, match="red1 and red2 are the same board: both have MAC 02::2"):
        claim(seen, "red1", PEERS, ID, "02::2")
    # Where no MAC is known, it cannot be told: a new id does no harm.
    seen["red2"]["mac"] = ""
    assert claim(seen, "red1", PEERS, ID, "") == "red2"


@pytest.mark.parametrize(
    ("text", "node", "foreign"),
    [
        (f"red1 {A}\nred2 {A}\n", "red2", {A: "red1"}),
        (f"red1 {A}\nred2 {A}\n", "red1", {}),
        (f"red2 {A}\nred1 {A}\n", "red1", {A: "red2"}),
        (f"red1 {A}\nred2 {B}\n", "red2", {}),
        (f"red1,red2 {A}\n", "red2", {}),
        (f"red9 {A}\nred2 {A}\n", "red2", {}),
        (f"red1 {A}\nred2 {B}\nred2 {A}\n", "red2", {A: "red1"}),
        (f"{hashed('red1')} {A} of red1\n{hashed('red2')} {A}\n", "red2", {A: "red1"}),
        (f"# red1 {A}\n@revoked red1 {A}\nbroken\n\nred2 {A}\n", "red2", {}),
        ("", "red1", {}),
    ],
)
def test_a_key_is_whose_name_has_it_first(text: str, node: str, foreign: dict[str, str]) -> None:
    assert foreign_keys(text, node, PEERS) == foreign


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"red1 {A}\nred2 {A}\nred2 {B}\n", f"red1 {A}\nred2 {B}\n"),
        (f"red2,10.0.0.2 {A} by hand\n", f"10.0.0.2 {A} by hand\n"),
        (f"{hashed('red2')} {A}\n# red2 {A}\n", f"# red2 {A}\n"),
        (f"@revoked red2 {A}\nred2 {A}", f"@revoked red2 {A}\n"),
    ],
)
def test_only_this_key_under_this_name_is_forgotten(text: str, left: str) -> None:
    assert without(text, "red2", [A]) == left


def test_new_keys_stand_beside_the_old_one_until_that_is_forgotten(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path)
    known.path.write_text(f"red1 {A}\nred2 {A}")
    known.path.chmod(0o600)
    known.add("red2", [B])
    known.add("red2", [B])
    assert known.text() == f"red1 {A}\nred2 {A}\nred2 {B}\n"
    known.forget("red2", [A])
    assert known.text() == f"red1 {A}\nred2 {B}\n"
    assert known.path.stat().st_mode & 0o777 == 0o600


def test_where_ssh_has_met_nobody_there_is_nothing_to_know(tmp_path: Path) -> None:
    assert KnownHosts(tmp_path).text() == ""


def test_a_node_that_ssh_meets_while_a_key_is_forgotten_is_not_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = KnownHosts(tmp_path)
    known.path.write_text(f"red1 {A}\nred2 {A}\n")
    write = clones.write_atomically

    def slowly(path: Path, *arguments: Any) -> None:
        with path.open("a") as ssh:
            ssh.write(f"red3 {B}\n")
        write(path, *arguments)

    monkeypatch.setattr(clones, "write_atomically", slowly)
    known.forget("red2", [A])
    assert known.text() == f"red1 {A}\nred3 {B}\n"


def test_nodes_that_are_mended_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    known = KnownHosts(tmp_path)
    names = [f"red{number}" for number in range(12)]
    known.path.write_text("".join(f"{name} {A}\n" for name in names))

    def mend(name: str) -> None:
        KnownHosts(tmp_path).add(name, [B])
        KnownHosts(tmp_path).forget(name, [A])

    threads = [threading.Thread(target=mend, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(known.text().splitlines()) == sorted(f"{name} {B}" for name in names)
