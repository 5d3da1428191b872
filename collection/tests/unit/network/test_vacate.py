"""Which nodes leave their addresses first, and where they go."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.plugin_utils.network.vacate import (
    Move,
    Net,
    first_moves,
)

NET = Net(24, "10.0.0.1", dns=("10.0.0.253",))


def moves(
    desired: dict[str, str], found: dict[str, str], *avoid: str, net: Net = NET, nets: dict[str, Net] | None = None
) -> dict[str, Move]:
    full = {name: f"10.0.0.{last}" for name, last in desired.items()}
    return first_moves(
        full, {name: f"10.0.0.{last}" for name, last in found.items()}, avoid, lambda name: (nets or {}).get(name, net)
    )


def places(made: dict[str, Move]) -> dict[str, tuple[str, bool]]:
    return {name: (move.address.removeprefix("10.0.0."), move.parked) for name, move in made.items()}


def test_a_node_in_nobodys_way_stays_until_its_turn() -> None:
    assert moves({"red1": "21", "red2": "12"}, {"red1": "11"}) == {}


def test_both_nodes_of_a_swap_are_parked_from_the_top_downwards() -> None:
    made = moves({"red1": "12", "red2": "11"}, {"red1": "11", "red2": "12"})
    # .253 is the name server's.
    assert places(made) == {"red1": ("254", True), "red2": ("252", True)}


def test_a_ring_is_parked() -> None:
    made = moves({"red1": "12", "red2": "13", "red3": "11"}, {"red1": "11", "red2": "12", "red3": "13"})
    assert places(made) == {"red1": ("254", True), "red2": ("252", True), "red3": ("251", True)}


def test_the_free_end_of_a_chain_goes_where_it_belongs() -> None:
    made = moves({"red1": "12", "red2": "13", "red3": "14"}, {"red1": "11", "red2": "12", "red3": "13"})
    assert places(made) == {"red2": ("254", True), "red3": ("14", False)}


def test_a_node_leaves_for_one_that_was_never_seen() -> None:
    made = moves({"red1": "21", "red2": "11"}, {"red1": "11"})
    assert places(made) == {"red1": ("21", False)}


def test_nobody_is_parked_where_somebody_was_seen_or_is_to_be() -> None:
    made = moves({"red1": "12", "red2": "11", "red3": "254"}, {"red1": "11", "red2": "12"}, "10.0.0.252", "10.0.0.251")
    assert places(made) == {"red1": ("250", True), "red2": ("249", True)}


def test_a_node_is_parked_in_the_net_that_it_is_in() -> None:
    nets = {"red1": Net(24, "10.0.9.1"), "red2": Net(24, "10.0.0.1")}
    made = first_moves(
        {"red1": "10.0.9.11", "red2": "10.0.0.11"},
        {"red1": "10.0.0.11", "red2": "10.0.9.11"},
        (),
        nets.__getitem__,
    )
    assert made == {
        "red1": Move("10.0.0.254", nets["red2"], parked=True),
        "red2": Move("10.0.9.254", nets["red1"], parked=True),
    }


def test_the_users_range_is_used() -> None:
    made = moves(
        {"red1": "12", "red2": "11"},
        {"red1": "11", "red2": "12"},
        net=Net(24, "10.0.0.1", parking="10.0.0.100-10.0.0.101"),
    )
    assert places(made) == {"red1": ("101", True), "red2": ("100", True)}


@pytest.mark.parametrize(
    ("net", "where"),
    [
        (Net(24, "10.0.0.1", parking="10.0.0.100-10.0.0.100"), "network_parking (10.0.0.100-10.0.0.100)"),
        (Net(24, "10.0.0.1", parking="10.1.0.1-10.1.0.9"), "network_parking (10.1.0.1-10.1.0.9)"),
        (Net(30, "10.0.0.1"), "10.0.0.0/30"),
    ],
)
def test_no_room_to_park_is_one_sentence(net: Net, where: str) -> None:
    with pytest.raises(UserError) as caught:
        moves({"red1": "3", "red2": "2"}, {"red1": "2", "red2": "3"}, net=net)
    assert f"no address of {where} is free" in str(caught.value)
    assert "set network_parking" in str(caught.value)
