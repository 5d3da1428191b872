"""Each generation's burnt card, started by a real kernel with a real system; judged by what was seen from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from boots.journey import words

if TYPE_CHECKING:
    from boots.journey import Story

# What the stock first start takes out of cmdline.txt itself.
STOCK_ONCE = re.compile(r" init=\S+| quiet")


def test_the_owner_logs_in_by_the_key_and_becomes_root(story: Story) -> None:
    said = story.first.said
    assert said["root"] == "root"
    assert said["shell"] == "/bin/bash"
    assert said["keys"].splitlines() == [story.key]
    assert "sudo" in said["groups"].split()


def test_nobody_gets_in_by_the_password_that_everybody_knows(story: Story) -> None:
    assert story.password.returncode == 255
    # The server names what it takes.
    assert "Permission denied (publickey)." in story.password.stderr
    assert story.first.said["password"] == "L"


def test_root_does_not_get_in_by_the_key(story: Story) -> None:
    assert story.root.returncode == 255
    assert "Permission denied" in story.root.stderr


def test_the_node_has_its_name_and_nothing_failed(story: Story) -> None:
    said = story.first.said
    assert said["hostname"] == story.generation.node
    assert (said["state"], said["failed"]) == ("running", "")
    assert "parsed OK" in said["sudoers"]


def test_the_node_knows_its_own_name_without_asking_anybody(story: Story) -> None:
    if story.generation.system == "ubuntu":
        # Its resolver knows it (libnss-myhostname).
        return
    assert story.first.said["own name"].split() == ["127.0.1.1", story.generation.node]


def test_the_system_itself_mounts_the_partition_that_was_burnt(story: Story) -> None:
    folder = "/boot" if story.generation.system == "old" else "/boot/firmware"
    assert story.first.said["fat"].split() == ["vfat", folder]


def test_the_first_request_carries_the_name_and_gets_the_reserved_address(story: Story) -> None:
    first = story.first.asked[0]
    assert first.kind == "DHCPDISCOVER"
    assert first.name == story.generation.node
    assert [(kind, address) for kind, address, _ in first.answers] == [("DHCPOFFER", story.address)]
    # No request, at no start, went out under another name or was told another address.
    assert {exchange.name for exchange in story.first.asked} == {story.generation.node}
    told = {address for exchange in story.first.asked for kind, address, _ in exchange.answers}
    assert told == {story.address}
    assert f" {story.address}/24" in story.first.said["address"]


def test_the_client_id_is_the_name(story: Story) -> None:
    assert story.first.lease is not None
    sent = story.first.lease.client_id
    name = story.generation.node.encode()
    if story.generation.id:
        # NetworkManager puts the type byte 0 before a text; dnsmasq takes both for the same.
        assert sent in {name, b"\0" + name}
    else:
        assert name not in sent


def test_another_board_gets_the_nodes_address_while_the_old_lease_lives(story: Story) -> None:
    lease = story.second.lease
    assert lease is not None
    assert story.second.asked[0].name == story.generation.node
    if story.generation.id:
        assert lease.address == story.address
        return
    # Known by its name alone: dnsmasq keeps the address for the old board until its lease ends.
    assert lease.address != story.address
    assert story.second.refused


def test_the_card_starts_as_often_as_it_must_and_never_again(story: Story) -> None:
    assert len(story.first.starts) == story.generation.starts
    assert len(story.second.starts) == 1


def test_the_kernels_words_are_the_stock_ones_in_the_end(story: Story) -> None:
    stock = STOCK_ONCE.sub("", story.stock["cmdline.txt"].decode()) if " init=" in story.generation.cmdline else ""
    stock = (stock or story.stock["cmdline.txt"].decode()).strip()
    now = words(story.first.boot["cmdline.txt"])
    # The stock first start gives the card another signature.
    now = [re.sub(rf"PARTUUID={story.signature}-", "PARTUUID=X-", word) for word in now]
    kept = [word for word in now if not word.startswith("ds=nocloud;")]
    assert kept == re.sub("PARTUUID=[0-9a-f]{8}-", "PARTUUID=X-", stock).split()
    assert story.first.starts[-1].split() == words(story.first.boot["cmdline.txt"])


def test_stock_files_stay_byte_for_byte_and_nothing_of_the_first_boot_is_left(story: Story) -> None:
    ours = {"cmdline.txt", "user-data", "meta-data", "network-config"}
    others = {name: data for name, data in story.stock.items() if name not in ours}
    assert others.items() <= story.burnt.items()
    assert {name: data for name, data in story.first.boot.items() if name not in ours} == others


def test_a_second_boot_changes_nothing(story: Story) -> None:
    assert story.second.boot == story.first.boot
    before, after = (visit.said["files"].splitlines() for visit in (story.first, story.second))
    assert len(before) > 100
    assert set(before) ^ set(after) == set()
    assert story.second.said["hostname"] == story.generation.node
    assert story.second.said["state"] == "running"


def test_cloud_init_is_content(story: Story) -> None:
    if "user-data" not in story.generation.files:
        return
    said = story.first.said["cloud-init"]
    assert "status: done" in said
    assert re.search(r"^errors: \[\]$", said, re.MULTILINE)
    assert "Valid schema user-data" in said
