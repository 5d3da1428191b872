"""NetworkManager and netplan: what is asked of them, and what brings the former state back."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.network import managers
from ansible_collections.picluster.cloud.plugins.module_utils.network.plan import make_wanted

if TYPE_CHECKING:
    from pathlib import Path

WANTED = make_wanted("eth0", "10.0.0.11", 24, "10.0.0.1", [])
RELOAD = "nmcli connection reload"
REAPPLY = "nmcli device reapply eth0"
PATH = "/org/freedesktop/NetworkManager/Checkpoint/7"


class Node:
    """Answers what is asked by a part of it; `broken` fails."""

    def __init__(self, active: str = "picluster-eth0", broken: str = "nothing") -> None:
        self.asked: list[str] = []
        self.broken = broken
        self.answers = {
            "GENERAL.CONNECTION": active + "\n",
            "GENERAL.DBUS-PATH": "/org/freedesktop/NetworkManager/Devices/2\n",
            "CheckpointCreate": f'o "{PATH}"\n',
        }

    def run(self, *command: str) -> str:
        said = " ".join(command)
        self.asked.append(said)
        if self.broken in said:
            raise ValueError(f"{said} failed")
        return next((answer for part, answer in self.answers.items() if part in said), "")


def up(profile: str = "picluster-eth0") -> str:
    return f"nmcli --wait 30 connection up {profile} ifname eth0"


@pytest.mark.parametrize(
    ("node", "moving", "last"),
    [
        (Node(), False, [REAPPLY]),
        (Node(broken="reapply"), False, [REAPPLY, up()]),
        # A reapply may take the former address off the interface after it has returned.
        (Node(), True, [up()]),
        (Node(active="Wired connection 1"), False, [up()]),
    ],
)
def test_a_profile_is_reapplied_only_where_the_address_stays(node: Node, *, moving: bool, last: list[str]) -> None:
    managers.NetworkManager(WANTED, node.run).apply(moving=moving)
    assert node.asked[0] == RELOAD
    assert [said for said in node.asked[1:] if "GENERAL" not in said] == last


def test_networkmanager_remembers_the_device_and_forgets_it_when_confirmed() -> None:
    node = Node()
    manager = managers.NetworkManager(WANTED, node.run)
    assert manager.checkpoint() == PATH
    # One device, no time-out, may overlap.
    assert node.asked[-1].endswith("CheckpointCreate aouu 1 /org/freedesktop/NetworkManager/Devices/2 0 8")
    assert " ".join(manager.at_confirm(PATH)[0]).endswith(f"CheckpointDestroy o {PATH}")


def test_without_a_checkpoint_the_profile_must_do() -> None:
    manager = managers.NetworkManager(WANTED, Node(broken="busctl").run)
    assert manager.checkpoint() == ""
    assert [" ".join(command) for command in manager.back("picluster-eth0", "")] == [RELOAD, up()]
    assert manager.at_confirm("") == []


@pytest.mark.parametrize(
    ("answer", "profile_too"),
    [('echo "a{su} 1 /Devices/2 0"', False), ('echo "a{su} 1 /Devices/2 3"', True), ("exit 1", True)],
)
def test_a_checkpoint_that_does_not_work_is_followed_by_the_profile(
    tmp_path: Path, answer: str, *, profile_too: bool
) -> None:
    for name, text in (("busctl", answer), ("nmcli", f'echo "$*" >{tmp_path}/log')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command = managers.NetworkManager(WANTED, Node().run).back("Wired connection 1", PATH)[1]
    subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    assert (tmp_path / "log").exists() == profile_too
    if profile_too:
        assert (tmp_path / "log").read_text() == "--wait 30 connection up Wired connection 1 ifname eth0\n"


@pytest.mark.parametrize("kind", [managers.NetplanNM, managers.NetplanNetworkd])
def test_netplan_makes_the_former_profile_anew_before_it_is_used(
    kind: type[managers.NetplanNM | managers.NetplanNetworkd],
) -> None:
    node = Node()
    manager = kind(WANTED, node.run)
    assert manager.checkpoint() == ""
    assert manager.back("netplan-eth0", "")[0] == ["netplan", "generate"]
    manager.apply(moving=True)
    assert node.asked[0] == "netplan generate"


def test_netplan_s_generator_is_asked_itself_because_netplan_has_systemd_read_all_its_units_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node()
    manager = managers.NetplanNM(WANTED, node.run)
    generator = tmp_path / "generate"
    monkeypatch.setattr(managers, "_GENERATORS", (str(tmp_path / "none"), str(generator)))
    assert manager.at_boot() == [["netplan", "generate"]]
    generator.touch()
    assert manager.at_boot() == [[str(generator)]]
    # Nothing comes out of this generator.
    with pytest.raises(ValueError, match="netplan would not give eth0 its address"):
        manager.try_out()
    assert node.asked[-1].startswith(f"{generator} --root-dir ")
