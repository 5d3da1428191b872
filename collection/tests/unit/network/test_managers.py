"""Which manager an interface has, and what NetworkManager and netplan are made to do and to undo."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakenode import RUNNING, STOPPED, FakeNode

from ansible_collections.picluster.cloud.plugins.module_utils.network import managers
from ansible_collections.picluster.cloud.plugins.module_utils.network.rules import read_settings
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Outcome

SETTINGS = read_settings(interface="eth0", address="10.0.0.11", prefix=24, gateway="10.0.0.1")
RELOAD = "nmcli connection reload"
REAPPLY = "nmcli device reapply eth0"
PATH = "/org/freedesktop/NetworkManager/Checkpoint/7"


class Machine(FakeNode):
    """A node whose NetworkManager has a device with a profile, and makes checkpoints."""

    def __init__(self, root: Path, active: str = "picluster-eth0") -> None:
        answers = {
            **dict.fromkeys([RELOAD, REAPPLY, "nmcli --wait", "netplan generate", "networkctl"], ""),
            "nmcli -g GENERAL.CONNECTION": active + "\n",
            "nmcli -g GENERAL.DBUS-PATH": "/org/freedesktop/NetworkManager/Devices/2\n",
            "busctl call": f'o "{PATH}"\n',
        }
        super().__init__(root, answers)

    def breaks(self, command: str) -> Machine:
        self.answers[command] = Outcome(1, "", "broken")
        return self


@pytest.fixture
def node(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def up(profile: str = "picluster-eth0") -> str:
    return f"nmcli --wait 30 connection up {profile} ifname eth0"


@pytest.mark.parametrize(
    ("active", "broken", "moving", "last"),
    [
        ("picluster-eth0", "", False, [REAPPLY]),
        ("picluster-eth0", REAPPLY, False, [REAPPLY, up()]),
        # A reapply may take the former address off the interface after it has returned.
        ("picluster-eth0", "", True, [up()]),
        ("Wired connection 1", "", False, [up()]),
    ],
)
def test_a_profile_is_reapplied_only_where_the_address_stays(
    tmp_path: Path, active: str, broken: str, *, moving: bool, last: list[str]
) -> None:
    node = Machine(tmp_path, active)
    managers.NetworkManager(SETTINGS, node.breaks(broken) if broken else node).apply(moving=moving)
    assert node.commands[0] == RELOAD
    assert [command for command in node.commands[1:] if "GENERAL" not in command] == last


def test_networkmanager_remembers_the_device_and_forgets_it_when_confirmed(node: Machine) -> None:
    manager = managers.NetworkManager(SETTINGS, node)
    assert manager.checkpoint() == PATH
    # One device, no time-out, may overlap.
    assert node.commands[-1].endswith("CheckpointCreate aouu 1 /org/freedesktop/NetworkManager/Devices/2 0 8")
    assert " ".join(manager.at_confirm(PATH)[0]).endswith(f"CheckpointDestroy o {PATH}")


def test_without_a_checkpoint_the_profile_must_do(node: Machine) -> None:
    manager = managers.NetworkManager(SETTINGS, node.breaks("busctl call"))
    assert manager.checkpoint() == ""
    assert [" ".join(command) for command in manager.back("picluster-eth0", "")] == [RELOAD, up()]
    assert manager.at_confirm("") == []


@pytest.mark.parametrize(
    ("answer", "profile_too"),
    [('echo "a{su} 1 /Devices/2 0"', False), ('echo "a{su} 1 /Devices/2 3"', True), ("exit 1", True)],
)
def test_a_checkpoint_that_does_not_work_is_followed_by_the_profile(
    node: Machine, tmp_path: Path, answer: str, *, profile_too: bool
) -> None:
    for name, text in (("busctl", answer), ("nmcli", f'echo "$*" >{tmp_path}/log')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command = managers.NetworkManager(SETTINGS, node).back("Wired connection 1", PATH)[1]
    subprocess.run(command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=True)
    assert (tmp_path / "log").exists() == profile_too
    if profile_too:
        assert (tmp_path / "log").read_text() == "--wait 30 connection up Wired connection 1 ifname eth0\n"


@pytest.mark.parametrize("kind", [managers.NetplanNM, managers.NetplanNetworkd])
def test_netplan_makes_the_former_profile_anew_before_it_is_used(
    node: Machine, kind: type[managers.NetplanNM | managers.NetplanNetworkd]
) -> None:
    manager = kind(SETTINGS, node)
    assert manager.checkpoint() == ""
    assert manager.back("netplan-eth0", "")[0] == ["netplan", "generate"]
    manager.apply(moving=True)
    assert node.commands[0] == "netplan generate"


GENERATOR = "/lib/netplan/generate"
RENDERED = "run/NetworkManager/system-connections/netplan-eth0.nmconnection"


def generator(node: Machine, text: str) -> managers.NetplanNM:
    """Return a manager whose generator, not to be called by way of netplan, makes this of its files."""

    def generate(*command: str) -> Outcome:
        root = Path(command[-1])
        assert (root / "etc/netplan/60-picluster.yaml").stat().st_mode & 0o777 == 0o600
        if not (root / "etc/netplan/50-cloud-init.yaml").exists():
            return Outcome(1, "", f"{root}/etc/netplan/50-cloud-init.yaml: Invalid YAML")
        (root / RENDERED).parent.mkdir(parents=True)
        (root / RENDERED).write_text(text)
        return Outcome(0)

    node.write(GENERATOR, "")
    node.answers[f"{GENERATOR} --root-dir"] = generate
    node.write("/etc/netplan/50-cloud-init.yaml", "network: {}\n")
    return managers.NetplanNM(SETTINGS, node)


def test_the_drop_in_is_tried_out_beside_all_other_files_without_a_reload_of_systemd(node: Machine) -> None:
    manager = generator(node, "address1=10.0.0.11/24,10.0.0.1\n")
    manager.try_out()
    assert not any(command.startswith("netplan") for command in node.commands)
    assert manager.at_boot() == [[GENERATOR]]
    assert not node.path("/etc/netplan/60-picluster.yaml").exists()


def test_an_address_that_another_file_overrides_is_refused(node: Machine) -> None:
    with pytest.raises(UserError, match="netplan would not configure the address of eth0 through NetworkManager"):
        generator(node, "address1=10.0.0.99/24\n").try_out()


def test_what_netplan_rejects_is_named_by_its_real_path(node: Machine) -> None:
    manager = generator(node, "")
    node.path("/etc/netplan/50-cloud-init.yaml").unlink()
    with pytest.raises(UserError, match=r"other files: /etc/netplan/50-cloud-init\.yaml: Invalid YAML; correct"):
        manager.try_out()


def test_a_release_without_the_generator_uses_the_command(node: Machine) -> None:
    assert managers.NetplanNM(SETTINGS, node).at_boot() == [["netplan", "generate"]]


def test_what_a_node_has_is_found(node: Machine) -> None:
    node.unit_states = {"dhcpcd.service": RUNNING, "systemd-networkd.service": STOPPED}
    node.answers["nmcli -t"] = Outcome(127)
    node.write("/etc/netplan/50-cloud-init.yaml", "")
    # netplan itself is missing, and a dhcpcd without a configuration manages nothing.
    assert managers.known_managers(node, "eth0") == managers.Found()
    node.write("/etc/dhcpcd.conf", "")
    node.write("/usr/sbin/netplan", "")
    node.answers["nmcli -t"] = "lo:connected (externally)\neth0:unmanaged\neth01:connected\n"
    there = managers.Found(netplan=True, nm_state="unmanaged", dhcpcd=True)
    assert managers.known_managers(node, "eth0") == there
    assert managers.known_managers(node, "wlan0").nm_state == ""


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (managers.Found(netplan=True, nm_state="connected"), managers.NetplanNM),
        (managers.Found(nm_state="connecting (getting IP)", dhcpcd=True), managers.NetworkManager),
        (managers.Found(netplan=True, nm_state="unmanaged", networkd=True), managers.NetplanNetworkd),
        (managers.Found(netplan=True, networkd=True), managers.NetplanNetworkd),
        (managers.Found(dhcpcd=True), managers.Dhcpcd),
        (managers.Found(netplan=True, nm_state="unmanaged", dhcpcd=True), managers.Dhcpcd),
    ],
)
def test_whoever_has_the_interface_is_found(found: managers.Found, kind: type[managers.Manager]) -> None:
    assert managers.choose(found, "eth0") is kind


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (managers.Found(networkd=True, dhcpcd=True), "dhcpcd runs too"),
        (managers.Found(nm_state="connected (externally)"), "connected (externally)"),
        (managers.Found(networkd=True), "systemd-networkd runs without netplan"),
        (managers.Found(netplan=True), "no known manager runs"),
    ],
)
def test_an_unknown_manager_is_refused_with_what_was_found(found: managers.Found, words: str) -> None:
    with pytest.raises(UserError, match="eth0 is not managed by NetworkManager, netplan or dhcpcd") as caught:
        managers.choose(found, "eth0")
    assert words in str(caught.value)


def test_dhcpcd_keeps_its_file_s_mode_and_is_restarted_for_a_change_and_for_its_way_back(node: Machine) -> None:
    node.answers["ip -4 address flush"] = ""
    node.write("/etc/dhcpcd.conf", "persistent\n", 0o664)
    manager = managers.Dhcpcd(SETTINGS, node)
    assert manager.mode == 0o664
    assert "persistent\n" in manager.text
    manager.apply(moving=True)
    assert node.commands == [
        "systemctl stop dhcpcd.service",
        "ip -4 address flush dev eth0",
        "systemctl start dhcpcd.service",
    ]
    assert [" ".join(command) for command in manager.back(manager.active(), manager.checkpoint())] == node.commands
