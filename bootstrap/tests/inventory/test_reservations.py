from __future__ import annotations

import subprocess
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from cardkit import run

from picluster.inventory import known_hosts, reservations

if TYPE_CHECKING:
    from pathlib import Path

NODES = {"red5": IPv4Address("192.168.1.5"), "red6": IPv4Address("192.168.1.6")}


def test_a_reservation_is_by_client_id() -> None:
    lines = reservations.merge("", NODES, {}).splitlines()
    assert lines[-2:] == ["id:red5,red5,192.168.1.5", "id:red6,red6,192.168.1.6"]
    assert all(line.startswith("#") for line in lines[:-2])


def test_a_system_that_sends_no_client_id_is_known_by_name_alone() -> None:
    # dnsmasq uses a host name only where the entry has no client-id.
    text = reservations.merge("", NODES, {"red5": False, "red6": True})
    assert text.splitlines()[-2:] == ["red5,192.168.1.5", "id:red6,red6,192.168.1.6"]


def test_the_same_nodes_change_nothing() -> None:
    text = reservations.merge("", NODES, {"red5": False})
    assert reservations.merge(text, NODES, {}) == text


def test_edits_and_other_hosts_stay() -> None:
    mine = "# mine\nid:red5,red5,192.168.1.5,12h\nprinter,192.168.1.99\n02:00:00:00:00:01,red6,192.168.1.66\n"
    assert reservations.merge(mine, NODES, {"red6": True}).splitlines() == [
        "# mine",
        "id:red5,red5,192.168.1.5,12h",
        "printer,192.168.1.99",
        "id:red6,red6,192.168.1.6",
    ]


def test_a_new_address_replaces_the_old_line() -> None:
    text = reservations.merge("", NODES, {})
    moved = reservations.merge(text, {"red5": IPv4Address("192.168.1.50")}, {})
    assert "id:red5,red5,192.168.1.50" in moved.splitlines()
    assert "192.168.1.5\n" not in moved


def test_dnsmasq_reads_the_file(tmp_path: Path) -> None:
    hosts = tmp_path / "reservations.dnsmasq"
    hosts.write_text(reservations.merge("", NODES, {"red6": False}), encoding="utf-8")
    config = "dhcp-range=192.168.1.100,192.168.1.200\n" + "".join(
        f"dhcp-host={line}\n" for line in hosts.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    (tmp_path / "conf").write_text(config, encoding="utf-8")
    done = subprocess.run(["dnsmasq", "--test", f"--conf-file={tmp_path / 'conf'}"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def _known_hosts(tmp_path: Path, *, hashed: bool) -> str:
    path = tmp_path / "known_hosts"
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host")
    key = (tmp_path / "host.pub").read_text(encoding="utf-8").split(" root")[0].strip()
    path.write_text("".join(f"{name} {key}\n" for name in ("red5", "red50", "red6,192.168.1.6")), encoding="utf-8")
    if hashed:
        run("ssh-keygen", "-H", "-f", path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("hashed", [False, True], ids=["plain", "hashed"])
def test_only_the_burnt_nodes_host_keys_are_forgotten(tmp_path: Path, *, hashed: bool) -> None:
    before = _known_hosts(tmp_path, hashed=hashed)
    after = known_hosts.forget(before, ["red5", "blue1"])
    assert set(before.splitlines()) - set(after.splitlines()) == {before.splitlines()[0]}
    path = tmp_path / "known_hosts"
    path.write_text(after, encoding="utf-8")
    assert subprocess.run(["ssh-keygen", "-F", "red5", "-f", path], capture_output=True, check=False).returncode == 1
    run("ssh-keygen", "-F", "red50", "-f", path)
    run("ssh-keygen", "-F", "red6", "-f", path)


def test_other_lines_stay_to_the_byte() -> None:
    text = (
        "# comment\n\n@cert-authority red5 ssh-ed25519 AAAA\n|1|broken\n|1|!!|x ssh-ed25519 AAAA\nred5 ssh-rsa AAAA\r\n"
    )
    assert known_hosts.forget(text, ["red5"]) == text.replace("red5 ssh-rsa AAAA\r\n", "")
