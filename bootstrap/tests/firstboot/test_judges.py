"""What the first boot's real readers make of the cards: cloud-init, netplan, NetworkManager and FAT's own tools."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from bootkit import BOOKWORM, HARD_COMMENTS, KEY, STRETCH, render, stock
from cardkit import STOCK
from nodekit import Node, image

import boots
from picluster.cards.fat import FatVolume
from picluster.cards.image import open_image
from picluster.firstboot.settings import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cardkit import Judge

linux = pytest.mark.skipif(sys.platform != "linux", reason="the lab's containers need Linux")
SSID = "caf\u00e9 \"1\"; \\ $x 'y'"
ALL = parse(
    wifi=SSID, passphrase="correct horse", hidden=True, country="DE", timezone="Europe/Berlin", locale="de_DE.UTF-8"
)
KEYS = tuple(f"{KEY} {comment}".strip() for comment in HARD_COMMENTS)
WIZARD = Path(boots.__file__).parent / "systems" / "wizard" / "root"
KINDS = {"Trixie": "NetworkManager", "Ubuntu": "networkd"}


@pytest.fixture(scope="module")
def trixie() -> Iterator[Node]:
    """A system with the versions of Raspberry Pi OS Trixie."""
    node = Node.start(image("trixie"), "/cards")
    try:
        yield node
    finally:
        node.stop()


def _generated(node: Node, what: str, **changes: Any) -> dict[str, str]:
    """Return what netplan makes of the network-config, which cloud-init hands to it unchanged."""
    files = render(stock(what), **changes)
    node.must("rm -rf /root-of-netplan; mkdir -p /root-of-netplan/etc/netplan")
    node.put({"50-cloud-init.yaml": files["network-config"]}, "/root-of-netplan/etc/netplan")
    # It also asks systemd, which does not run here, to read its units anew.
    said = node.sh("chmod 600 /root-of-netplan/etc/netplan/*; netplan generate --root-dir /root-of-netplan 2>&1")[1]
    assert "rror in network definition" not in said
    listed = node.must("cd /root-of-netplan/run; find . -type f -print0 | xargs -0 grep -H '' /dev/null || true")
    found: dict[str, str] = {}
    for row in listed.splitlines():
        path, _, text = row.partition(":")
        found[path.removeprefix("./")] = found.get(path.removeprefix("./"), "") + text + "\n"
    return found


@linux
@pytest.mark.parametrize("settings", [parse(), ALL, parse(country="DE")], ids=["nothing", "all", "country"])
@pytest.mark.parametrize("what", KINDS)
def test_cloud_init_takes_every_file(trixie: Node, what: str, settings: Any) -> None:
    trixie.put(render(stock(what), keys=KEYS, user="alice", settings=settings))
    for name, kind in {"user-data": "cloud-config", "network-config": "network-config"}.items():
        said = trixie.must(f"cloud-init schema --schema-type {kind} -c /cards/{name} 2>&1")
        assert "Valid schema" in said
        assert "eprecat" not in said


@linux
def test_the_older_cloud_init_of_bookworm_takes_the_user_data_too() -> None:
    node = Node.start(image("bookworm"), "/cards")
    try:
        node.put(render(stock("Ubuntu"), keys=KEYS, settings=ALL))
        assert "Valid" in node.must("cloud-init schema -c /cards/user-data 2>&1")
    finally:
        node.stop()


@linux
@pytest.mark.parametrize("key", ["enable_ssh: true", "hostnam: x"])
def test_the_judge_would_notice_a_key_that_does_not_exist(trixie: Node, key: str) -> None:
    text = render(stock("Trixie"))["user-data"] + key.encode() + b"\n"
    trixie.put({"bad": text})
    assert trixie.sh("cloud-init schema -c /cards/bad")[0] != 0


@linux
@pytest.mark.parametrize("settings", [parse(), ALL], ids=["nothing", "all"])
def test_netplan_gives_the_cable_to_networkmanager_with_the_hint(trixie: Node, settings: Any) -> None:
    files = _generated(trixie, "Trixie", settings=settings)
    cable = files["NetworkManager/system-connections/netplan-eth0.nmconnection"]
    assert "interface-name=eth0\n" in cable
    assert "dhcp-client-id=red007\n" in cable
    assert not [path for path in files if path.startswith("systemd/network/")]
    radio = [path for path in files if "netplan-wlan0" in path]
    assert len(radio) == (1 if settings.wifi else 0)
    for path in radio:
        # One client-id on two interfaces of a net makes a server give both the same address.
        assert "dhcp-client-id" not in files[path]
        name = shlex.quote(f"/root-of-netplan/run/{path}")
        read = trixie.must(f"nmcli --offline connection modify connection.autoconnect yes <{name}")
        assert f"psk={settings.wifi.psk}\n" in read
        assert "hidden=true\n" in read
        # NetworkManager writes the name as the bytes that it read.
        assert f"ssid={''.join(f'{byte};' for byte in SSID.encode())}\n" in read


@linux
@pytest.mark.parametrize("settings", [parse(), ALL], ids=["nothing", "all"])
def test_netplan_gives_the_cable_to_networkd_on_ubuntu(trixie: Node, settings: Any) -> None:
    files = _generated(trixie, "Ubuntu", settings=settings)
    assert "Hostname=red007\n" in files["systemd/network/10-netplan-eth0.network"]
    assert "DHCP=ipv4\n" in files["systemd/network/10-netplan-eth0.network"]
    assert not [path for path in files if path.endswith(".nmconnection")]
    supplicant = files.get("netplan/wpa-wlan0.conf", "")
    assert bool(supplicant) == bool(settings.wifi)
    if settings.wifi:
        assert f"psk={settings.wifi.psk}\n" in supplicant
        assert "country=DE\n" in supplicant


@pytest.mark.parametrize("what", KINDS)
def test_wifi_never_costs_the_cable(what: str) -> None:
    plain = yaml.safe_load(render(stock(what))["network-config"])["network"]
    full = yaml.safe_load(render(stock(what), settings=ALL)["network-config"])["network"]
    assert full["ethernets"] == plain["ethernets"]
    assert list(full["wifis"]) == ["wlan0"]
    # Nothing waits for a radio that is not there.
    assert full["wifis"]["wlan0"]["optional"] is True


@pytest.mark.parametrize("what", KINDS)
def test_region_and_radio_are_cloud_inits_too(what: str) -> None:
    plain, full = (yaml.safe_load(render(stock(what), settings=given)["user-data"]) for given in (parse(), ALL))
    assert (full["timezone"], full["locale"]) == ("Europe/Berlin", "de_DE.UTF-8")
    assert not {"timezone", "locale", "rpi", "write_files_deferred"} & set(plain)
    assert len(full["runcmd"]) == len(plain["runcmd"]) + 1
    assert "rfkill unblock wifi" in full["runcmd"][-1][2]


@linux
@pytest.mark.parametrize("user", ["pi", "alice"])
def test_what_some_builds_of_cloud_init_leave_for_the_wizard_is_taken_away(trixie: Node, user: str) -> None:
    # They call rename-user once they have made a user (distros/raspberry_pi_os.py of cloud-init).
    rename = (WIZARD / "usr/bin/rename-user", "/usr/bin")
    cancel = (WIZARD / "usr/bin/cancel-rename", "/usr/bin")
    unit = (WIZARD / "usr/lib/systemd/system/userconfig.service", "/usr/lib/systemd/system")
    for path, folder in (rename, cancel, unit):
        trixie.put({path.name: path.read_bytes()}, folder)
    trixie.must(
        "systemctl mask userconfig; getent passwd alice || useradd --shell /usr/sbin/nologin alice; rename-user -f -s"
    )
    assert "disabled" in trixie.sh("systemctl is-enabled getty@tty1")[1]
    (mended,) = [
        row for row in yaml.safe_load(render(stock("Trixie"), user=user)["user-data"])["runcmd"] if "sh" in row
    ]
    trixie.must(shlex.join(mended))
    assert not trixie.has("/etc/ssh/sshd_config.d/rename_user.conf")
    assert trixie.sh("systemctl is-enabled getty@tty1")[1].strip() == "enabled"
    assert trixie.sh("systemctl is-enabled userconfig")[1].strip() == "masked"
    assert trixie.must(f"getent passwd {user} | cut -d: -f7").strip() == "/bin/bash"


@linux
@pytest.mark.parametrize("what", KINDS)
def test_the_key_of_the_wifi_leaves_the_partition_that_everybody_may_read(trixie: Node, what: str) -> None:
    files, plain = (render(stock(what), settings=given) for given in (ALL, parse(country="DE")))
    trixie.put(files, "/boot/firmware")
    command = shlex.join(yaml.safe_load(files["user-data"])["runcmd"][-1])
    trixie.must("rm -f /etc/netplan/*")
    # Not before netplan has it.
    assert trixie.sh(command)[0] != 0
    assert "wifis:" in trixie.text("/boot/firmware/network-config")
    trixie.put({"50-cloud-init.yaml": files["network-config"]}, "/etc/netplan")
    trixie.must(command)
    assert trixie.text("/boot/firmware/network-config").encode() == plain["network-config"]
    assert trixie.must("ls /boot/firmware | grep network").split() == ["network-config"]
    trixie.must("rm /etc/netplan/*")


@pytest.mark.parametrize("what", KINDS)
def test_every_place_that_sets_the_name_at_every_boot_says_the_same(what: str) -> None:
    files = render(stock(what))
    # cloud-init applies it again at each boot (cc_update_hostname), from any of these.
    assert yaml.safe_load(files["user-data"])["hostname"] == "red007"
    assert yaml.safe_load(files["meta-data"])["local-hostname"] == "red007"
    assert b";h=red007\n" in files["cmdline.txt"]


CARDS = {
    "stretch": (STRETCH, ("-F", 32, "-s", 1, "-n", "boot")),
    "bookworm": (BOOKWORM, ("-F", 32, "-s", 1, "-n", "bootfs")),
    "bookworm, FAT16": (BOOKWORM, ("-F", 16, "-n", "bootfs")),
    "trixie": ("Trixie", ("-F", 32, "-s", 1, "-n", "bootfs")),
    "ubuntu": ("Ubuntu", ("-F", 32, "-s", 1, "-n", "system-boot")),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_boot_partition_stays_sound_and_stock_files_stay_byte_for_byte(
    make_card: Callable[..., Path], judge: Judge, name: str
) -> None:
    what, mkfs = CARDS[name]
    files = {key: data for key, data in STOCK.items() if key not in {"user-data", "meta-data"}} | dict(
        stock(what).texts
    )
    path = make_card("card.img", files, mkfs)
    with open_image(path) as opened:
        made = render(opened.boot_files(), settings=ALL, keys=KEYS)
        offset, size = opened.boot.offset, opened.boot.size
    with path.open("r+b") as stream:
        volume = FatVolume(stream, offset, size)
        for written, data in made.items():
            volume.write(written, data)
    part = judge.partition(path, offset, size)
    judge.is_sound(part)
    assert judge.files(part) == files | made
    assert {"config.txt", "issue.txt", "kernel8.img"} <= set(files) - set(made)
