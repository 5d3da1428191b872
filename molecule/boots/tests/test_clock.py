"""A board whose clock is two years back: a real kernel with a clock of its own, which TLS goes by.

The lab's containers share the clock of their host, which nothing may set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ansible_collections.picluster.cloud.plugins.module_utils.identity.clock import TOLERANCE
from boots.generations import board as board_recipe
from boots.journey import PATIENCE
from boots.login import Client
from lab import recipe
from lab.addresses import hardware_address
from lab.cards import host_architecture
from lab.image import Layout, write_card
from lab.state import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boots.board import Bench, Reservations
    from boots.tests.conftest import Workshop

NODE = "clock1"
# Nobody waits for a cloud: the owner's key is on the card, and sshd is on, with the one key that is quick to make. Only
# the network's devices are asked for: udev's round of all of them is half of such a board's start.
FILES = {
    "etc/fstab": "",
    "etc/systemd/system/systemd-udev-trigger.service.d/net.conf": (
        "[Service]\nExecStart=\nExecStart=udevadm trigger --action=add --subsystem-match=net\n"
    ),
    "etc/cloud/cloud-init.disabled": "",
    "etc/ssh/sshd_config.d/00-board.conf": "AuthorizedKeysFile /etc/ssh/owner\n",
    "etc/systemd/system/regenerate_ssh_host_keys.service": (
        "[Unit]\nBefore=ssh.service\n[Service]\nType=oneshot\n"
        "ExecStart=ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
}
LINKS = {
    "etc/systemd/system/multi-user.target.wants/ssh.service": "/usr/lib/systemd/system/ssh.service",
    **{
        f"etc/systemd/system/{unit}.service": "/dev/null"
        for unit in ("e2scrub_reap", "modprobe@", "systemd-binfmt", "systemd-modules-load", "user@")
    },
}
CMDLINE = "root=PARTUUID={}-02 rootfstype=ext4 rootwait rw quiet systemd.condition-needs-update=no\n"
# In one session: a login takes a while on such a board.
QUESTIONS = {
    "clock": "date +%s",
    "tls": "openssl verify -CAfile /srv/ca.pem /srv/ca.pem",
    "keeper": "systemctl is-active systemd-timesyncd; timedatectl show-timesync --property=SystemNTPServers --value",
    "zone": "date +%Z",
}


@dataclass
class Board:
    """A board that is on, and how its owner reaches it."""

    client: Client
    folder: Path

    def ask(self) -> tuple[dict[str, str], float]:
        """Ask it all QUESTIONS; return the answers, and how many seconds its clock was off at least."""
        start = time.time()
        said = self.client.ask("root", QUESTIONS)
        clock = int(said["clock"])
        # Some time between the question and the answers, and date cuts the fraction off.
        return said, min(0.0, clock + 1 - start) + max(0.0, clock - time.time())

    def run(self) -> tuple[str, dict[str, int]]:
        """Run the role on it; return what Ansible said, and the numbers of its summary."""
        summary = self.folder / "summary.json"
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", f"{self.folder}/inventory", "play.yml"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            timeout=300,
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PICLUSTER_SUMMARY": str(summary),
                "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
                "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collection"),
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.folder / "cp"),
            },
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr, json.loads(summary.read_text("utf-8"))["nodes"][NODE]


def lay_out(workshop: Workshop, bench: Bench, folder: Path) -> Path:
    """Make a card that starts without a first boot's detours."""
    found = recipe.card("trixie", recipe.apt_of_host("trixie"))
    overlay = folder / "overlay"
    for name, text in {**FILES, "etc/ssh/owner": workshop.key.with_suffix(".pub").read_text("utf-8")}.items():
        (overlay / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay / name).write_text(text, "utf-8")
    for name, target in LINKS.items():
        (overlay / name).parent.mkdir(parents=True, exist_ok=True)
        (overlay / name).symlink_to(target)
    extra = folder / "overlay.tar"
    extra.write_bytes(recipe.Recipe("overlay", "", (), "", (overlay,), None, recipe.Apt()).overlay())
    card = folder / "cards" / f"{NODE}.img"
    card.parent.mkdir()
    kernel = workshop.builder.rootfs(board_recipe())
    root = [(workshop.builder.rootfs(found), ()), (kernel, ("./usr/lib/modules",)), (extra, ())]
    boot = {"cmdline.txt": CMDLINE.format(found.disk_id).encode()}
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        write_card(card, Layout(found.disk_id, "bootfs", boot, root), Path(scratch))
    return card


@pytest.fixture(scope="module")
def board(workshop: Workshop, bench: Bench, reservations: Reservations) -> Iterator[Board]:
    folder = workshop.folder / "clock"
    folder.mkdir()
    card = lay_out(workshop, bench, folder)
    mac = hardware_address(bench.cluster, NODE)
    bench.power_on(NODE, card, mac, limit=1)
    end = time.monotonic() + PATIENCE
    known = folder / "inventory/known_hosts"
    known.parent.mkdir()
    while True:
        address = bench.network.leases().get(mac, "")
        client = Client(workshop.key, known, address, NODE)
        if address and client.by_key("root", "true").returncode == 0:
            break
        assert time.monotonic() < end, bench.console(NODE)[-3000:]
        assert bench.is_on(NODE), bench.console(NODE)[-3000:]
        time.sleep(0.5)
    inventory(folder, workshop.key, address, bench.network.net.gateway)
    yield Board(client, folder)
    bench.pull_the_plug(NODE)
    card.unlink()


def inventory(folder: Path, key: Path, address: str, gateway: str) -> None:
    """Write what Ansible needs to reach the board and to run the role on it."""
    arguments = f"-o UserKnownHostsFile={folder}/inventory/known_hosts -o HostKeyAlias={NODE} -o IdentitiesOnly=yes"
    host = {
        "ansible_host": address,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": arguments,
        "identity_hosts": {NODE: address},
        "identity_arch": host_architecture(),
        "identity_timezone": "Europe/Berlin",
        "identity_ntp_servers": [gateway],
    }
    (folder / "inventory/hosts.yml").write_text(yaml.safe_dump({"nodes": {"hosts": {NODE: host}}}), "utf-8")
    play = [{"hosts": "all", "gather_facts": False, "roles": ["picluster.cloud.identity"]}]
    (folder / "play.yml").write_text(yaml.safe_dump(play), "utf-8")


def authority() -> bytes:
    """Return the certificate of somebody who was founded yesterday."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "board")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=365))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def spoil(board: Board) -> None:
    """Put a certificate on the board, then its clock two years back."""
    words = f"cat >/srv/ca.pem <<'END' && date --set '2 years ago'\n{authority().decode()}END\n"
    done = board.client.by_key("root", words)
    assert done.returncode == 0, done.stderr


def test_a_clock_two_years_back_is_mended_by_one_run_and_a_second_changes_nothing(board: Board) -> None:
    spoil(board)
    before, off = board.ask()
    assert off < -700 * 86400
    assert "certificate is not yet valid" in before["tls"]

    said, first = board.run()
    assert first["changed"] == 1
    assert "this node's clock was 2 years behind the controller's and has been set by it" in " ".join(said.split())
    after, off = board.ask()
    # It is set by the time at which the controller started the module, and a busy machine takes a while to bring that.
    assert abs(off) < TOLERANCE
    assert after["tls"].endswith("OK")
    assert after["keeper"].split() == ["active", board.client.address.rsplit(".", 1)[0] + ".1"]
    assert after["zone"] in {"CET", "CEST"}

    said, second = board.run()
    assert second["changed"] == 0, said
    assert "WARNING" not in said
