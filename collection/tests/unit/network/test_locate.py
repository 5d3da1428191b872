"""Where nodes are whose address was changed: who is who among those that answer."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from ansible_collections.picluster.cloud.plugins.plugin_utils.network.locate import (
    REMEMBERED,
    KnownNode,
    describe_missing,
    find,
    places,
    taken_problems,
)
from ansible_collections.picluster.cloud.plugins.plugin_utils.node.known_hosts import host_keys, parse_scan

A, B, C = ("ssh-ed25519 AAAA", "ssh-ed25519 BBBB", "ssh-ed25519 CCCC")


def node(name: str, desired: str, *seen: str, key: str = "", own: str = "") -> KnownNode:
    return KnownNode(name, desired, own=own, seen=seen, keys=frozenset([key] if key else []))


def answers(**keys: str) -> dict[tuple[str, int], frozenset[str]]:
    """Keys by address, whose dots are underscores, as in ``a10_0_0_1=A``."""
    return {(name[1:].replace("_", "."), 22): frozenset([key]) for name, key in keys.items()}


class TestCandidates:
    def test_a_node_that_is_where_it_should_be_is_not_asked_for(self) -> None:
        assert not node("red1", "10.0.0.1").is_doubtful
        assert not node("red1", "10.0.0.1", "10.0.0.1").is_doubtful

    def test_the_desired_address_comes_first_then_the_inventorys_own_then_where_it_was_seen(self) -> None:
        one = node("red1", "10.0.0.1", "10.0.0.9", "10.0.0.1", own="10.0.0.7")
        assert one.candidates == ("10.0.0.1", "10.0.0.7", "10.0.0.9")
        assert one.is_doubtful

    def test_a_name_of_the_users_own_is_left_to_ssh(self) -> None:
        one = node("red1", "10.0.0.1", "10.0.0.9", own="red1.example.org")
        assert one.candidates == ("red1.example.org",)
        assert not one.is_doubtful

    def test_each_place_is_asked_once(self) -> None:
        pair = [node("red1", "10.0.0.1", "10.0.0.2"), node("red2", "10.0.0.2", "10.0.0.1")]
        assert places(pair) == [("10.0.0.1", 22), ("10.0.0.2", 22)]


class TestFind:
    def test_another_machine_at_the_desired_address_is_not_the_node(self) -> None:
        one = node("red1", "10.0.0.1", "10.0.0.9", key=A)
        said = answers(a10_0_0_1=C)
        assert find([one], said) == {}
        assert describe_missing(one, said) == (
            "red1 does not answer at 10.0.0.1 or 10.0.0.9 (by its host key, another machine answers at 10.0.0.1)"
        )

    def test_without_a_known_key_the_first_that_answers_is_taken(self) -> None:
        assert find([node("red1", "10.0.0.1", "10.0.0.8", "10.0.0.9")], answers(a10_0_0_9=A, a10_0_0_8=B)) == {
            "red1": "10.0.0.8"
        }

    def test_what_is_another_nodes_by_its_key_is_not_taken_by_one_without(self) -> None:
        pair = [node("red1", "10.0.0.1", "10.0.0.2"), node("red2", "10.0.0.2", "10.0.0.1", key=B)]
        assert find(pair, answers(a10_0_0_1=B, a10_0_0_2=A)) == {"red1": "10.0.0.2", "red2": "10.0.0.1"}

    def test_the_port_counts(self) -> None:
        one = KnownNode("red1", "10.0.0.1", port=2222, seen=("10.0.0.9",), keys=frozenset([A]))
        assert find([one], answers(a10_0_0_9=A)) == {}
        assert find([one], {("10.0.0.9", 2222): frozenset([A])}) == {"red1": "10.0.0.9"}


class TestRecord:
    def test_where_it_is_comes_first_and_what_was_known_stays(self) -> None:
        one = node("red1", "10.0.0.1", "10.0.0.9", "10.0.0.8")
        assert one.recorded("10.0.0.8", "10.0.0.1") == ("10.0.0.8", "10.0.0.1", "10.0.0.9")

    def test_it_does_not_grow_without_end(self) -> None:
        one = node("red1", "10.0.0.1", *(f"10.0.1.{last}" for last in range(20)))
        assert len(one.recorded("10.0.0.1")) == REMEMBERED


class TestTaken:
    def test_a_silent_node_in_nobodys_way_is_no_problem(self) -> None:
        pair = [node("red1", "10.0.0.3", "10.0.0.1", key=A), node("red2", "10.0.0.4", "10.0.0.2", key=B)]
        assert not taken_problems(pair, {"red1": "10.0.0.1"})

    def test_who_already_has_it_takes_nothing(self) -> None:
        pair = [node("red1", "10.0.0.2", "10.0.0.1", key=A), node("red2", "10.0.0.5", "10.0.0.2", key=B)]
        assert not taken_problems(pair, {"red1": "10.0.0.2"})


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


class TestKnownHosts:
    def test_the_nodes_keys_are_found_by_name(self) -> None:
        text = f"# mine\nred1 {A} comment\nred2,10.0.0.2 {B}\n{hashed('red3')} {C}\n\nred1 ssh-rsa RRRR\n"
        assert host_keys(text, ["red1", "red2", "red3", "red4"]) == {
            "red1": {A, "ssh-rsa RRRR"},
            "red2": {B},
            "red3": {C},
            "red4": frozenset(),
        }

    @pytest.mark.parametrize(
        "line", [f"@revoked red1 {A}", f"* {A}", "red1 ssh-ed25519", "|1|x|y ssh-ed25519 A", "|1|"]
    )
    def test_what_is_nobodys_key_is_none(self, line: str) -> None:
        assert host_keys(line, ["red1"]) == {"red1": frozenset()}

    def test_answers_are_read_with_and_without_a_port(self) -> None:
        text = f"# 10.0.0.1:22 SSH-2.0-OpenSSH_9.2\n10.0.0.1 {A}\n[10.0.0.2]:2222 {B}\nbroken\n"
        assert list(parse_scan(text)) == [("10.0.0.1", A), ("10.0.0.2", B)]
