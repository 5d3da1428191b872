"""The hosts file: what its text becomes, and the template that cloud-init makes it from."""

from __future__ import annotations

from ansible_collections.picluster.cloud.plugins.module_utils.identity import names

HOSTS = {"red1": "192.168.63.11", "red2": "192.168.63.12"}
BLOCK = f"{names.BEGIN}\n192.168.63.11\tred1\n192.168.63.12\tred2\n{names.END}\n"


def test_a_stock_hosts_file_gets_the_block_and_loses_the_loopback_name() -> None:
    stock = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\n127.0.1.1\tred1\n"
    assert (
        names.desired_hosts(stock, HOSTS)
        == "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\n" + BLOCK
    )


def test_what_cloud_init_renders_loses_only_the_node_s_own_names() -> None:
    text = names.desired_hosts("127.0.1.1 red1.local red1 keepme # by cloud-init\n127.0.0.1 localhost\n", HOSTS)
    assert text == "127.0.1.1\tkeepme # by cloud-init\n127.0.0.1 localhost\n" + BLOCK


def test_a_second_call_changes_nothing() -> None:
    once = names.desired_hosts("127.0.0.1 localhost\n127.0.1.1 red1\n10.0.0.9 printer\n", HOSTS)
    assert names.desired_hosts(once, HOSTS) == once


def test_the_block_stays_where_it_is_and_the_lines_after_it_too() -> None:
    text = f"127.0.0.1 localhost\n{names.BEGIN}\n10.0.0.1\told\n{names.END}\n10.0.0.9 printer\n"
    assert names.desired_hosts(text, HOSTS) == "127.0.0.1 localhost\n" + BLOCK + "10.0.0.9 printer\n"


def test_a_block_without_its_end_is_repaired() -> None:
    text = f"127.0.0.1 localhost\n{names.BEGIN}\n10.0.0.1\told\n"
    assert names.desired_hosts(text, HOSTS) == "127.0.0.1 localhost\n" + BLOCK


def test_a_block_without_its_end_takes_nobody_s_lines_with_it() -> None:
    text = f"127.0.0.1 localhost\n{names.BEGIN}\n10.0.0.1\told\n# mine\n10.0.0.9 printer\n"
    repaired = names.desired_hosts(text, HOSTS)
    assert repaired == "127.0.0.1 localhost\n" + BLOCK + "# mine\n10.0.0.9 printer\n"
    assert names.desired_hosts(repaired, HOSTS) == repaired


def test_of_two_blocks_one_is_left_and_what_is_between() -> None:
    text = f"127.0.0.1 localhost\n{names.BEGIN}\n10.0.0.1\told\n10.0.0.9 printer\n{BLOCK}"
    assert names.desired_hosts(text, HOSTS) == "127.0.0.1 localhost\n" + BLOCK + "10.0.0.9 printer\n"


def test_a_node_s_former_address_no_longer_outranks_the_inventory() -> None:
    assert "192.168.1.5" not in names.desired_hosts("127.0.0.1 localhost\n192.168.1.5 red2\n", HOSTS)


def test_ipv6_addresses_and_other_machines_are_left_alone() -> None:
    text = "127.0.0.1 localhost\nfd00::5 red1\n192.168.63.1 router red1-ilo\n# 127.0.1.1 red1\n"
    assert names.desired_hosts(text, HOSTS) == text + BLOCK


def test_localhost_is_there_even_if_the_file_was_empty() -> None:
    assert names.desired_hosts("", HOSTS) == "127.0.0.1\tlocalhost\n" + BLOCK


def test_the_template_says_that_nothing_is_replaced_in_it() -> None:
    assert names.cloud_template("127.0.0.1\tlocalhost\n") == "## template:basic\n127.0.0.1\tlocalhost\n"
