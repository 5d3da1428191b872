from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cardkit import CMDLINE, STOCK

from picluster.cards.bootfiles import BootFiles
from picluster.errors import PiclusterError
from picluster.firstboot import NodeIdentity
from picluster.firstboot.generations import recognise

if TYPE_CHECKING:
    from pathlib import Path

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKeCfPttkA2CvZsFmGyn9NvxwlTC34G1KrV8xl+9I6/W"
HARD_COMMENTS = ['it\'s "me": #1', "- a: {b} [c] & *d !e | > % @ `", "\u00fc\U0001f600 ", "x" * 500, "yes", "a\tb"]


def _boot(label: str = "bootfs", **texts: bytes) -> BootFiles:
    stock = {name: data for name, data in STOCK.items() if len(data) < 1000} | {
        name.replace("_", "."): data for name, data in texts.items()
    }
    return BootFiles(label, frozenset(stock), stock)


def _render(boot: BootFiles, **changes: Any) -> dict[str, bytes]:
    settings = {"name": "red007", "keys": (KEY,), "user": "pi", "instance": "picluster-red007-1"} | changes
    return dict(recognise(boot, "card.img").render(NodeIdentity(**settings)))


def test_the_key_is_the_only_way_in_and_leads_to_root() -> None:
    text = _render(_boot())["user-data"]
    assert text.startswith(b"#cloud-config\n")
    data = yaml.safe_load(text)
    assert data["user"] == {
        "name": "pi",
        "shell": "/bin/bash",
        "lock_passwd": True,
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [KEY],
    }
    assert data["ssh_pwauth"] is False
    assert data["hostname"] == "red007"
    assert data["write_files"] == [
        {
            "path": "/etc/sudoers.d/010_pi-nopasswd",
            "owner": "root:root",
            "permissions": "0440",
            "content": "pi ALL=(ALL) NOPASSWD: ALL\n",
        }
    ]
    assert ["systemctl", "enable", "--now", "ssh"] in data["runcmd"]
    # Each of these would undo something: see the facts on cards.
    assert not {"manage_etc_hosts", "preserve_hostname", "users", "enable_ssh", "chpasswd"} & set(data)


@pytest.mark.parametrize("comment", HARD_COMMENTS)
@pytest.mark.parametrize("label", ["bootfs", "system-boot"])
def test_keys_survive_yaml_whatever_their_comment(comment: str, label: str) -> None:
    keys = (f"{KEY} {comment}".strip(), KEY)
    assert yaml.safe_load(_render(_boot(label), keys=keys)["user-data"])["user"]["ssh_authorized_keys"] == list(keys)


def _early(**changes: Any) -> list[str]:
    """Return what cloud-init runs before everything else."""
    (command,) = yaml.safe_load(_render(_boot(), **changes)["user-data"])["bootcmd"]
    assert command[:3] == ["cloud-init-per", "instance", "picluster"]
    return list(command[3:])


def _run(command: list[str], folder: Path, **stubs: str) -> str:
    for name, body in stubs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    path = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run(command, env=path, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("shell", "changed"), [("/usr/sbin/nologin", True), ("/bin/false", True), ("/bin/zsh", False)])
def test_only_a_user_who_cannot_log_in_gets_another_shell(tmp_path: Path, shell: str, changed: bool) -> None:  # noqa: FBT001 - the case says what is expected
    # All of its commands, but not the steps that write.
    defined = _early()[2].partition("failed=")[0]
    getent, usermod = f"echo pi:x:1000:1000::/home/pi:{shell}", 'echo usermod "$@"'
    said = _run(["sh", "-c", f"{defined}\nmend_shell"], tmp_path, getent=getent, usermod=usermod)
    assert said == ("usermod --shell /bin/bash pi\n" if changed else "")


@pytest.mark.parametrize("user", ["pi", "alice"])
def test_the_login_does_not_wait_for_the_images_own_wizard(user: str) -> None:
    # The wizard holds multi-user.target back, and runcmd comes after that.
    steps = _early(user=user)[2].partition("failed=")[2]
    assert [line.partition(" ||")[0] for line in steps.splitlines() if "||" in line] == [
        "mend_shell",
        "set_hosts",
        "no_wizard",
        "systemctl --quiet enable ssh",
    ]
    assert "bootcmd" not in yaml.safe_load(_render(_boot("system-boot"), user=user)["user-data"])


def test_the_first_request_goes_out_under_the_nodes_name() -> None:
    assert yaml.safe_load(_render(_boot())["meta-data"]) == {
        "instance-id": "picluster-red007-1",
        "dsmode": "local",
        "local-hostname": "red007",
    }


def test_raspberry_pi_os_sends_the_name_as_client_id() -> None:
    data = yaml.safe_load(_render(_boot())["network-config"])
    assert data["network"]["version"] == 2
    assert "renderer" not in data["network"]
    eth0 = data["network"]["ethernets"]["eth0"]
    assert eth0["renderer"] == "NetworkManager"
    assert eth0["networkmanager"] == {"passthrough": {"ipv4.dhcp-client-id": "red007"}}
    assert eth0["dhcp4"] is True


def test_ubuntu_sends_the_name_as_host_name_without_passthrough() -> None:
    boot = _boot("system-boot")
    eth0 = yaml.safe_load(_render(boot)["network-config"])["network"]["ethernets"]["eth0"]
    assert eth0 == {
        "dhcp4": True,
        "optional": True,
        "dhcp4-overrides": {"hostname": "red007", "send-hostname": True},
    }
    assert not recognise(boot, "x").adapter.client_id
    assert recognise(_boot(), "x").adapter.client_id


@pytest.mark.parametrize("name", ["5a", "1e5", "a-b", "x" * 63])
def test_a_name_stays_a_text_in_every_file(name: str) -> None:
    files = _render(_boot(), name=name)
    assert yaml.safe_load(files["user-data"])["hostname"] == name
    assert yaml.safe_load(files["meta-data"])["local-hostname"] == name


def test_stock_words_of_the_command_line_stay_in_one_line() -> None:
    line = _render(_boot())["cmdline.txt"].decode()
    assert line == f"{CMDLINE} ds=nocloud;i=picluster-red007-1;h=red007\n"


def test_a_card_burnt_from_a_burnt_card_has_one_identity() -> None:
    once = _render(_boot())["cmdline.txt"]
    twice = _render(_boot(cmdline_txt=once), name="red8", instance="i2")["cmdline.txt"].decode()
    assert twice == f"{CMDLINE} ds=nocloud;i=i2;h=red8\n"


@pytest.mark.parametrize("line", [b"", b"\n"])
def test_an_empty_command_line_is_damage(line: bytes) -> None:
    with pytest.raises(PiclusterError, match=r"cmdline\.txt"):
        _render(_boot(cmdline_txt=line))


def test_windows_line_ends_do_not_reach_the_kernel() -> None:
    assert b"\r" not in _render(_boot(cmdline_txt=b"root=x rootwait\r\n"))["cmdline.txt"]
