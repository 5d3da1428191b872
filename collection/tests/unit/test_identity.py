"""A node's name and its peers' names: what the texts become."""

from __future__ import annotations

import pytest

from ansible_collections.picluster.cloud.plugins.modules import identity

HOSTS = {"red1": "192.168.63.11", "red2": "192.168.63.12"}
BLOCK = f"{identity.BEGIN}\n192.168.63.11\tred1\n192.168.63.12\tred2\n{identity.END}\n"


def test_a_stock_hosts_file_gets_the_block_and_loses_the_loopback_name() -> None:
    stock = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\n127.0.1.1\tred1\n"
    assert (
        identity.desired_hosts(stock, HOSTS)
        == "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\n" + BLOCK
    )


def test_what_cloud_init_renders_loses_only_the_node_s_own_names() -> None:
    text = identity.desired_hosts("127.0.1.1 red1.local red1 keepme # by cloud-init\n127.0.0.1 localhost\n", HOSTS)
    assert text == "127.0.1.1\tkeepme # by cloud-init\n127.0.0.1 localhost\n" + BLOCK


def test_a_second_call_changes_nothing() -> None:
    once = identity.desired_hosts("127.0.0.1 localhost\n127.0.1.1 red1\n10.0.0.9 printer\n", HOSTS)
    assert identity.desired_hosts(once, HOSTS) == once


def test_the_block_stays_where_it_is_and_the_lines_after_it_too() -> None:
    text = f"127.0.0.1 localhost\n{identity.BEGIN}\n10.0.0.1\told\n{identity.END}\n10.0.0.9 printer\n"
    assert identity.desired_hosts(text, HOSTS) == "127.0.0.1 localhost\n" + BLOCK + "10.0.0.9 printer\n"


def test_a_block_without_its_end_is_mended() -> None:
    text = f"127.0.0.1 localhost\n{identity.BEGIN}\n10.0.0.1\told\n"
    assert identity.desired_hosts(text, HOSTS) == "127.0.0.1 localhost\n" + BLOCK


def test_a_node_s_former_address_no_longer_outranks_the_inventory() -> None:
    assert "192.168.1.5" not in identity.desired_hosts("127.0.0.1 localhost\n192.168.1.5 red2\n", HOSTS)


def test_ipv6_addresses_and_other_machines_are_left_alone() -> None:
    text = "127.0.0.1 localhost\nfd00::5 red1\n192.168.63.1 router red1-ilo\n# 127.0.1.1 red1\n"
    assert identity.desired_hosts(text, HOSTS) == text + BLOCK


def test_localhost_is_there_even_if_the_file_was_empty() -> None:
    assert identity.desired_hosts("", HOSTS) == "127.0.0.1\tlocalhost\n" + BLOCK


def test_the_template_says_that_nothing_is_replaced_in_it() -> None:
    assert identity.cloud_template("127.0.0.1\tlocalhost\n") == "## template:basic\n127.0.0.1\tlocalhost\n"


@pytest.mark.parametrize(("userland", "machine"), [("arm64", "aarch64"), ("amd64", "x86_64"), ("armhf", "armv7l")])
def test_a_node_that_is_what_the_inventory_says_is_fine(userland: str, machine: str) -> None:
    assert identity.arch_problem("red1", userland, userland, machine) is None


def test_a_64_bit_kernel_with_a_32_bit_userland_is_found_out() -> None:
    problem = identity.arch_problem("red3", "arm64", "armhf", "aarch64")
    assert problem is not None
    assert "built for armhf (kernel: aarch64)" in problem
    assert "node_arch: armhf for red3" in problem


def test_armv6_is_refused_whatever_dpkg_calls_it() -> None:
    problem = identity.arch_problem("red3", "armhf", "armhf", "armv6l")
    assert problem is not None
    assert "armv6l board" in problem


@pytest.mark.parametrize(
    ("hostname", "hosts", "words"),
    [
        ("Red_1", {"Red_1": "10.0.0.1"}, "RFC 1123"),
        ("red1.local", {"red1.local": "10.0.0.1"}, "RFC 1123"),
        ("red1", {"red2": "10.0.0.1"}, "no entry for red1"),
        ("red1", {"red1": "10.0.0.1", "red2": "10.0.0"}, "red2 the address '10.0.0'"),
    ],
)
def test_bad_input_is_one_sentence(hostname: str, hosts: dict[str, str], words: str) -> None:
    problem = identity.bad_input(hostname, hosts)
    assert problem is not None
    assert words in problem


def test_good_input_has_no_problem() -> None:
    assert identity.bad_input("red1", HOSTS) is None
