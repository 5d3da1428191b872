from __future__ import annotations

import pytest

from lab.errors import LabError
from lab.login import judge


def test_the_node_that_its_card_made_is_accepted() -> None:
    judge("red1", ["red1", "root"], "")


def test_another_node_at_the_address_is_named() -> None:
    with pytest.raises(LabError, match="red1's address calls itself raspberrypi"):
        judge("red1", ["raspberrypi", "root"], "")


def test_a_sudo_that_asks_is_named() -> None:
    with pytest.raises(LabError, match="sudo does not make the card's user root: sudo: a password is required"):
        judge("red1", ["red1"], "sudo: a password is required\n")
