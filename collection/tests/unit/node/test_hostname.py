"""Names of nodes and domains, and addresses."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.node.hostname import (
    is_address,
    is_domain,
    is_hostname,
    is_interface,
    is_user,
)


@pytest.mark.parametrize("name", ["a", "red1", "red-1", "a" * 63])
def test_a_label_is_a_host_name(name: str) -> None:
    assert is_hostname(name)
    assert is_domain(name)


@pytest.mark.parametrize("name", ["", "-red", "red-", "red_1", "red 1", "red1\n", "réd", "a" * 64])
def test_other_text_is_neither_host_name_nor_domain(name: str) -> None:
    assert not is_hostname(name)
    assert not is_domain(name)


@pytest.mark.parametrize("name", ["pi", "_apt", "ada.lovelace", "A-1", "a" * 32])
def test_a_user_s_name_may_be_that_of_a_directory_service(name: str) -> None:
    assert is_user(name)


@pytest.mark.parametrize("name", ["", "1a", "-a", "a b", "a:b", "a/b", "a\n", "a" * 33])
def test_other_text_is_no_user_s_name(name: str) -> None:
    assert not is_user(name)


@pytest.mark.parametrize("name", ["eth0", "enx001122334455", "eth0.12", "wlan0"])
def test_an_interface_has_a_name_as_the_kernel_gives_it(name: str) -> None:
    assert is_interface(name)


@pytest.mark.parametrize("name", ["", ".", "..", "eth 0", "eth0\n", "eth/0", "eth0:1", "a" * 16])
def test_other_text_is_no_interface_s_name(name: str) -> None:
    assert not is_interface(name)


@pytest.mark.parametrize("name", ["home.arpa", "Red1", "0.debian.pool.ntp.org"])
def test_a_domain_has_several_labels_and_capitals_and_a_host_name_has_not(name: str) -> None:
    assert is_domain(name)
    assert not is_hostname(name)


@pytest.mark.parametrize("name", [".", "home.", ".arpa", "home..arpa", "home.-arpa"])
def test_each_label_of_a_domain_is_checked(name: str) -> None:
    assert not is_domain(name)


def test_addresses_are_of_both_families_and_complete() -> None:
    texts = ["10.0.0.1", "fd00::1", "10.0.0", "10.0.0.1/24", "red1", ""]
    assert [is_address(text) for text in texts] == [True, True, False, False, False, False]
