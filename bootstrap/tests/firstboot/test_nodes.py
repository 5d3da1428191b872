"""The scripts of the first boot, run for real on stock-like systems in containers.

The systems are Debian's, laid out as an image of the generation is: its files, users and services. Their programs are
those of the release that a layout names, so "bullseye", "buster" and "stretch" run with later ones. What starts the
script is taken from where the board takes it: from the unit that systemd's own generator makes of the command line, or
from the words that the kernel makes process 1 of.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bootkit import (
    BOOKWORM,
    BULLSEYE,
    BUSTER,
    GENERATIONS,
    HARD_COMMENTS,
    STRETCH,
    TRIXIE_2025_10,
    kernel,
    render,
    stock,
)
from cardkit import run
from nodekit import Node, image

from picluster.firstboot.settings import Settings, parse

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the lab's containers need Linux"),
    # A container that starts holds a copy of all mounts for a moment, and a disk just unmounted is busy for that long.
    pytest.mark.xdist_group("mounts"),
]

DHCPCD = (Path(__file__).parents[1] / "cases" / "dhcpcd.conf").read_text(encoding="utf-8")
# Beside the lab's card, which is Trixie's. Before Bookworm: dhcpcd, FAT at /boot, pi with a known password.
OLD = f"""
rm -rf /etc/cloud /etc/NetworkManager /etc/systemd/system/multi-user.target.wants/NetworkManager.service
printf '%s' {shlex.quote(DHCPCD)} >/etc/dhcpcd.conf
echo pi:raspberry | chpasswd; usermod -s /bin/bash pi
echo 'pi ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/010_pi-nopasswd
mkdir -p /etc/wpa_supplicant /var/lib/systemd/rfkill; echo 1 >/var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan
"""
# As pi-gen writes them; without a line's end at the end, which no editor guarantees.
COMMON = """
mkdir -p /run/systemd; echo raspberrypi >/etc/hostname
printf '127.0.0.1\\tlocalhost\\n::1\\tlocalhost ip6-localhost\\n\\n127.0.1.1\\t\\traspberrypi' >/etc/hosts
echo 'PasswordAuthentication yes' >/etc/ssh/sshd_config.d/50-cloud-init.conf
sed -i 's/^KbdInteractiveAuthentication.*/KbdInteractiveAuthentication yes/' /etc/ssh/sshd_config
"""
# OpenSSH's Include came with Bullseye, and so did nothing before it have drop-ins.
NO_INCLUDE = """
rm -rf /etc/ssh/sshd_config.d
sed -i -e '/^Include/d' -e 's/^#PasswordAuthentication/PasswordAuthentication/' /etc/ssh/sshd_config
"""
# What the image's own userconf does for an empty password: it renames the first user and, by cancel-rename, calls the
# wizard of the first boot off, which would hold the boot back for ever.
USERCONF_PATH = "/usr/lib/userconf-pi/userconf"
USERCONF = r"""
mkdir -p /usr/lib/userconf-pi; cat >/usr/lib/userconf-pi/userconf <<'END'
#!/bin/sh
old=$(getent passwd 1000 | cut -d: -f1)
if [ "$old" != "$1" ]; then
  usermod -l "$1" "$old"
  usermod -m -d "/home/$1" "$1"
  groupmod -n "$1" "$old"
  [ ! -f /etc/sudoers.d/010_pi-nopasswd ] || sed -i "s/^$old /$1 /" /etc/sudoers.d/010_pi-nopasswd
fi
[ -z "$2" ] || exit 9
exec /usr/bin/cancel-rename "$1"
END
cat >/usr/bin/cancel-rename <<'END'
#!/bin/sh
rm -f /etc/ssh/sshd_config.d/rename_user.conf
systemctl --quiet disable userconfig
systemctl --quiet enable getty@tty1
END
chmod 755 /usr/lib/userconf-pi/userconf /usr/bin/cancel-rename
mkdir -p /etc/ssh/sshd_config.d; echo 'Banner /etc/issue.net' >/etc/ssh/sshd_config.d/rename_user.conf
printf '[Service]\nType=oneshot\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n' \
  >/lib/systemd/system/userconfig.service
systemctl --quiet enable userconfig; systemctl --quiet disable getty@tty1
"""
RADIO_OFF = """
cd /var/lib/NetworkManager; printf '[main]\\nWirelessEnabled=false\\n' >NetworkManager.state
"""
# The script runs as process 1 there, with rights that a container does not have; the order of its last words counts.
STUBS = """
for word in mount umount reboot sync; do
  printf '#!/bin/sh\\necho "%s $*" >>/run/said\\n' $word >/usr/local/sbin/$word; chmod 755 /usr/local/sbin/$word
done
"""
RADIO = parse(wifi='caf\u00e9 "1"; $x', passphrase="correct horse", country="DE", timezone="Europe/Berlin")
ALL = replace(RADIO, locale="de_DE.UTF-8")


@dataclass(frozen=True)
class Layout:
    """A stock-like system."""

    what: str
    suite: str
    boot: str
    prepare: str
    user: str
    settings: Settings = field(default_factory=Settings)

    @property
    def dhcpcd(self) -> bool:
        """Whether dhcpcd is the DHCP client. Newer images have its configuration, too, but do not run it."""
        return OLD in self.prepare


LAYOUTS = {
    "trixie-2025-10": Layout(TRIXIE_2025_10, "trixie", "/boot/firmware", USERCONF, "alice"),
    "bookworm": Layout(BOOKWORM, "bookworm", "/boot/firmware", "rm -rf /etc/cloud\n" + USERCONF + RADIO_OFF, "pi", ALL),
    "bullseye": Layout(BULLSEYE, "bookworm", "/boot", OLD + USERCONF, "alice"),
    "buster": Layout(BUSTER, "bookworm", "/boot", OLD + NO_INCLUDE, "pi"),
    "stretch": Layout(STRETCH, "bookworm", "/boot", OLD + NO_INCLUDE + STUBS, "alice", RADIO),
    "no userconf": Layout(BUSTER, "bookworm", "/boot", OLD + NO_INCLUDE, "alice"),
    "no first user": Layout(BUSTER, "bookworm", "/boot", OLD + NO_INCLUDE + "userdel -r pi\n", "bob_2"),
}


@dataclass
class Booted:
    """A node after its first boot."""

    node: Node
    layout: Layout
    keys: tuple[str, ...]
    private: bytes
    files: dict[str, bytes]

    def start(self) -> tuple[int, str]:
        """Start what the command line on the card says."""
        line = self.node.text(f"{self.node.boot}/cmdline.txt")
        process = kernel(line)[1]
        if process[:1] == ["/bin/bash"]:
            return self.node.docker.execute(self.node.name, process, timeout=120)
        unit = self.unit()
        command = next(row for row in unit if row.startswith("ExecStart=")).removeprefix("ExecStart=")
        return self.node.docker.execute(self.node.name, shlex.split(command), timeout=120)

    def unit(self) -> list[str]:
        """Return what systemd's generator makes of the command line, nothing if it has nothing to run."""
        return self.node.must(
            "rm -rf /run/g; mkdir -p /run/g/n /run/g/e /run/g/l\n"
            f'SYSTEMD_PROC_CMDLINE="$(cat {self.node.boot}/cmdline.txt)"'
            " /usr/lib/systemd/system-generators/systemd-run-generator /run/g/n /run/g/e /run/g/l\n"
            "cat /run/g/*/kernel-command-line.service 2>/dev/null || true"
        ).splitlines()


def _make(layout: Layout, folder: Path, tmpfs: str = "") -> Booted:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", folder / "key")
    public = (folder / "key.pub").read_text(encoding="utf-8").strip()
    keys = tuple(f"{public} {comment}".strip() for comment in HARD_COMMENTS)
    files = render(stock(layout.what), keys=keys, user=layout.user, settings=layout.settings)
    node = Node.start(image(layout.suite), layout.boot, [f"{layout.boot}:size={tmpfs}"] if tmpfs else [])
    node.must(COMMON + layout.prepare)
    # The engine does not copy into a tmpfs.
    node.put(files, "/cards")
    node.must(f"mkdir -p {layout.boot}; cp /cards/* {layout.boot}")
    return Booted(node, layout, keys, (folder / "key").read_bytes(), files)


@pytest.fixture(scope="module", params=["trixie-2025-10", "bookworm", "bullseye", "buster", "stretch"])
def booted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    made = _make(LAYOUTS[request.param], tmp_path_factory.mktemp("keys"))
    try:
        if made.layout.what != STRETCH:
            unit = made.unit()
            assert {"SuccessAction=reboot", "FailureAction=reboot", "Type=oneshot"} <= set(unit)
        code, said = made.start()
        assert code == 0, said
        yield made
    finally:
        made.node.stop()


def test_the_key_logs_in_and_leads_to_root(booted: Booted) -> None:
    user = booted.layout.user
    assert booted.node.login(user, booted.private).split() == ["root", user]


def test_no_other_key_and_no_word_of_a_comment_got_through(booted: Booted) -> None:
    node, user = booted.node, booted.layout.user
    assert node.text(f"/home/{user}/.ssh/authorized_keys") == "\n".join(booted.keys) + "\n"
    assert not node.has("/pwned")
    assert node.must(f"stat -c '%a %U' /home/{user}/.ssh /home/{user}/.ssh/authorized_keys").split() == [
        "700",
        user,
        "600",
        user,
    ]


def test_no_password_opens_the_node(booted: Booted) -> None:
    node, user = booted.node, booted.layout.user
    sshd = node.sshd()
    assert (sshd["passwordauthentication"], sshd["kbdinteractiveauthentication"]) == ("no", "no")
    shadow = {row.split(":")[0]: row.split(":")[1:3] for row in node.text("/etc/shadow").splitlines()}
    # The day of change is empty: with 0, which a clock at 1970 gives, sshd would ask for a new password.
    assert shadow[user] == ["*", ""]
    assert all(fields[0] in {"*", "!", "!*", "!!"} for fields in shadow.values())


def test_the_stock_user_is_gone_with_his_rights_if_another_was_wanted(booted: Booted) -> None:
    node, user = booted.node, booted.layout.user
    accounts = [row.split(":") for row in node.text("/etc/passwd").splitlines()]
    assert [row[0] for row in accounts if 1000 <= int(row[2]) < 60000] == [user]
    assert node.has("/etc/sudoers.d/010_pi-nopasswd") == (user == "pi")
    node.must("visudo -cq")
    assert node.must(f"stat -c '%a %U:%G' /etc/sudoers.d/010_{user}-nopasswd").split() == ["440", "root:root"]
    assert "sudo" in node.must(f"id -Gn {user}").split()


def test_the_node_has_its_name_and_still_knows_localhost(booted: Booted) -> None:
    node = booted.node
    assert node.text("/etc/hostname") == "red007\n"
    hosts = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost", "", "127.0.1.1\tred007"]
    assert node.text("/etc/hosts").splitlines() == hosts
    assert node.must("getent hosts red007").split() == ["127.0.1.1", "red007"]
    assert "localhost" in node.must("getent hosts localhost").split()


def test_the_first_lease_asks_with_the_name_as_client_id(booted: Booted) -> None:
    node = booted.node
    if booted.layout.dhcpcd:
        stock_lines, lines = DHCPCD.splitlines(), node.text("/etc/dhcpcd.conf").splitlines()
        assert lines[: len(stock_lines)] == [
            line if line != "clientid" else 'clientid "red007"' for line in stock_lines
        ]
        assert lines[len(stock_lines) :] == (["", "interface wlan0", "clientid"] if booted.layout.settings.wifi else [])
    else:
        assert node.text("/etc/NetworkManager/conf.d/90-picluster-hint.conf").splitlines() == [
            "[connection-eth0]",
            "match-device=interface-name:eth0",
            "ipv4.dhcp-client-id=red007",
        ]
        printed = node.must("NetworkManager --print-config")
        assert "[connection-eth0]" in printed
        assert "ipv4.dhcp-client-id=red007" in printed


def test_sshd_starts_and_no_wizard_does(booted: Booted) -> None:
    node = booted.node
    assert node.must("systemctl is-enabled ssh").strip() == "enabled"
    assert node.sh("systemctl is-enabled userconfig")[0] != 0
    if "userconf" in booted.layout.prepare:
        assert node.must("systemctl is-enabled getty@tty1").strip() == "enabled"
        assert "banner" not in node.sshd() or node.sshd()["banner"] == "none"
    # Where cloud-init is installed without its files, it would make the image's own user anew.
    assert node.has("/etc/cloud/cloud-init.disabled") == node.has("/etc/cloud")


def test_the_card_cleans_itself(booted: Booted) -> None:
    node, layout = booted.node, booted.layout
    line = GENERATIONS[layout.what]["cmdline"]
    country = f" cfg80211.ieee80211_regdom={layout.settings.country}" if layout.settings.country else ""
    assert node.text(f"{node.boot}/cmdline.txt") == f"{line}{country}\n"
    assert node.must(f"ls {node.boot}").split() == ["cmdline.txt"] + (["firmware"] if node.boot == "/boot" else [])


def test_a_second_boot_has_nothing_left_to_run(booted: Booted) -> None:
    assert booted.unit() == []
    assert (
        kernel(booted.node.text(f"{booted.node.boot}/cmdline.txt"))[1]
        == kernel(GENERATIONS[booted.layout.what]["cmdline"])[1]
    )


def test_a_second_run_changes_nothing(booted: Booted) -> None:
    before = booted.node.snapshot()
    assert len(before.splitlines()) > 100
    booted.node.put(booted.files)
    code, said = booted.start()
    assert code == 0, said
    assert booted.node.snapshot() == before


def test_what_was_asked_for_in_settings_is_there(booted: Booted) -> None:
    node, settings = booted.node, booted.layout.settings
    if not settings.country:
        assert not node.sh("ls /etc/NetworkManager/system-connections/*")[1].endswith(".nmconnection")
        assert not node.has("/etc/wpa_supplicant/wpa_supplicant.conf")
        return
    assert node.text("/etc/timezone") == "Europe/Berlin\n"
    assert node.must("readlink /etc/localtime").strip() == "/usr/share/zoneinfo/Europe/Berlin"
    if settings.locale:
        assert "de_DE.utf8" in node.must("locale -a").split()
        assert "LANG=de_DE.UTF-8" in node.text("/etc/default/locale")


@pytest.mark.parametrize("booted", [name for name, layout in LAYOUTS.items() if layout.settings.wifi], indirect=True)
def test_the_wifi_file_is_roots_alone_and_its_reader_understands_it(booted: Booted, tmp_path: Path) -> None:
    node, wifi = booted.node, booted.layout.settings.wifi
    assert wifi is not None
    if not booted.layout.dhcpcd:
        path = "/etc/NetworkManager/system-connections/picluster-wifi.nmconnection"
        read = node.must(f"nmcli --offline connection modify connection.autoconnect yes <{path}")
        ssid = bytes(map(int, read.split("\nssid=")[1].split("\n")[0].strip(";").split(";")))
        assert (ssid.decode(), f"psk={wifi.psk}" in read) == (wifi.ssid, True)
        assert "WirelessEnabled=true" in node.text("/var/lib/NetworkManager/NetworkManager.state")
    else:
        path = "/etc/wpa_supplicant/wpa_supplicant.conf"
        assert f"ssid={wifi.ssid.encode().hex()}\n" in node.text(path)
        config = tmp_path / "wpa_supplicant.conf"
        # The file alone is judged: without a radio the program ends after it read it.
        config.write_text(node.text(path).replace("DIR=/var/run/wpa_supplicant GROUP=netdev", str(tmp_path)), "utf-8")
        said = _supplicant(config)
        assert "Failed to read or parse" not in said
        assert f"ssid - hexdump_ascii(len={len(wifi.ssid.encode())})" in said
        assert f"country='{booted.layout.settings.country}'" in said
        assert node.text("/var/lib/systemd/rfkill/platform-fe300000.mmcnr:wlan") == "0\n"
    assert node.must(f"stat -c '%a %U' {path}").split() == ["600", "root"]


def _supplicant(config: Path) -> str:
    command = ["wpa_supplicant", "-dd", "-c", str(config), "-i", "nonesuch0", "-D", "nl80211"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout


@pytest.mark.parametrize("booted", ["stretch"], indirect=True)
def test_stretch_ends_in_the_order_that_keeps_the_card_whole(booted: Booted) -> None:
    said = booted.node.text("/run/said").splitlines()
    assert said[:5] == [
        "mount -t proc proc /proc",
        "mount -t sysfs sys /sys",
        "mount /boot",
        "mount -t tmpfs tmp /run",
        "mount -o remount,rw /",
    ]
    end = ["sync ", "umount /boot", "mount -o remount,ro /", "sync ", "reboot -f"]
    assert said[-5:] == end


# Where the power fails, by the line of the script before which it does.
CUTS = {
    "with half a user": '  usermod --login "$user" "$1"',
    "before the last steps": "  step set_sudo",
    "when all is done": "  # While the words are there",
    "in the middle of the clean-up": '  rm -f "$boot/$script" "$tried" "$boot/cmdline.new"',
}


@pytest.fixture(params=["no userconf"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Booted]:
    made = _make(LAYOUTS[request.param], tmp_path)
    try:
        yield made
    finally:
        made.node.stop()


@pytest.mark.parametrize("cut", CUTS)
def test_a_power_cut_is_mended_by_the_next_boot(fresh: Booted, cut: str) -> None:
    node, name = fresh.node, "firstrun.sh"
    script = fresh.files[name].decode()
    assert script.count(CUTS[cut]) == 1
    node.put({name: script.replace(CUTS[cut], f"  kill -9 $$\n{CUTS[cut]}").encode()})
    assert fresh.start()[0] != 0
    if node.has(f"{node.boot}/firstrun.sh"):
        node.put({name: fresh.files[name]})
    if fresh.unit():
        assert fresh.start()[0] == 0
    assert fresh.unit() == []
    assert fresh.node.login("alice", fresh.private).split() == ["root", "alice"]
    assert node.text(f"{node.boot}/cmdline.txt") == GENERATIONS[BUSTER]["cmdline"] + "\n"


def test_a_power_cut_while_the_home_is_moved_leaves_the_user_his_home(fresh: Booted) -> None:
    node, name = fresh.node, "firstrun.sh"
    move = b'  usermod --home "/home/$user" --move-home "$1"'
    assert fresh.files[name].count(move) == 1
    node.must("touch /home/pi/mine; chown pi: /home/pi/mine; chmod 700 /home/pi")
    # The new home is written down first, and made then.
    node.put({name: fresh.files[name].replace(move, move.replace(b" --move-home", b"") + b"; kill -9 $$")})
    assert fresh.start()[0] != 0
    assert (node.has("/home/pi"), node.has("/home/alice")) == (True, False)
    node.put({name: fresh.files[name]})
    assert fresh.start()[0] == 0
    assert node.must("stat -c '%U:%G %a' /home/alice").split() == ["alice:alice", "700"]
    assert node.has("/home/alice/mine")
    assert not node.has("/home/pi")
    assert node.sh("getent group pi")[0] != 0
    assert fresh.node.login("alice", fresh.private).split() == ["root", "alice"]


@pytest.mark.parametrize("fresh", ["bullseye"], indirect=True)
def test_a_power_cut_inside_the_images_own_renaming_is_mended_too(fresh: Booted) -> None:
    node = fresh.node
    node.must(f"touch /home/pi/mine; sed -i 's/usermod -m \\(.*\\)/usermod \\1; kill -9 $PPID; exit/' {USERCONF_PATH}")
    assert fresh.start()[0] != 0
    assert (node.has("/home/pi"), node.has("/home/alice")) == (True, False)
    assert fresh.start()[0] == 0
    assert node.has("/home/alice/mine")
    assert fresh.node.login("alice", fresh.private).split() == ["root", "alice"]


def test_a_user_without_a_home_gets_one_that_is_his(fresh: Booted) -> None:
    fresh.node.must("rm -rf /home/pi")
    assert fresh.start()[0] == 0
    assert fresh.node.must("stat -c '%U:%G %a' /home/alice").split() == ["alice:alice", "700"]


def test_a_card_prepared_anew_has_two_tries_whatever_the_last_one_left(fresh: Booted) -> None:
    node, name = fresh.node, "firstrun.sh"
    node.put({f"{name}.try": b"picluster-red007-0\n", f"{name}.failed": b"These steps failed: set_node\n"})
    node.put({name: fresh.files[name].replace(b"  step set_user\n", b"  kill -9 $$\n")})
    assert fresh.start()[0] != 0
    assert fresh.unit() != []
    node.put({name: fresh.files[name]})
    assert fresh.start()[0] == 0
    assert node.must(f"ls {node.boot}").split() == ["cmdline.txt", "firmware"]
    assert fresh.node.login("alice", fresh.private).split() == ["root", "alice"]


def test_a_step_that_never_works_ends_after_two_tries_and_is_named_on_the_card(fresh: Booted) -> None:
    node = fresh.node
    node.must("rm /etc/ssh/sshd_config")
    assert fresh.start()[0] != 0
    assert fresh.unit() != []
    assert fresh.start()[0] == 0
    assert fresh.unit() == []
    assert node.text(f"{node.boot}/firstrun.sh.failed") == "These steps failed: set_sshd\n"
    # The others worked.
    assert node.text("/etc/hostname") == "red007\n"


def test_a_second_try_that_hangs_is_the_last(fresh: Booted) -> None:
    node, name = fresh.node, "firstrun.sh"
    node.put({name: fresh.files[name].replace(b"  step set_user\n", b"  kill -9 $$\n")})
    for left in (True, False):
        assert fresh.start()[0] != 0
        assert (fresh.unit() != []) == left


def test_a_full_boot_partition_neither_loops_nor_costs_the_command_line(fresh: Booted) -> None:
    node = fresh.node
    # The new file cannot be written: a directory is in its place.
    node.must(f"mkdir {node.boot}/cmdline.new")
    assert fresh.start()[0] == 0
    assert fresh.unit() == []
    assert node.text(f"{node.boot}/cmdline.txt") == GENERATIONS[BUSTER]["cmdline"] + "\n"


def test_the_script_stays_while_its_words_cannot_be_taken_away(fresh: Booted) -> None:
    node, name = fresh.node, "firstrun.sh"
    broken = (
        fresh.files[name].replace(b'>"$boot/cmdline.new"', b">/dev/full").replace(b'>"$boot/$cmdline"', b">/dev/full")
    )
    assert broken.count(b">/dev/full") == 2
    # A first try, and a second that does nothing, because a third could not be kept from coming.
    for again in (False, True):
        node.put({name: broken.replace(b"  step set_user", b"  touch /run/steps; step set_user")})
        node.must("rm -f /run/steps")
        assert fresh.start()[0] != 0
        assert node.has(f"{node.boot}/{name}")
        assert fresh.unit() != []
        assert node.has("/run/steps") != again
    node.put({name: fresh.files[name]})
    assert fresh.start()[0] == 0
    assert node.must(f"ls {node.boot}").split() == ["cmdline.txt", "firmware"]
    assert fresh.node.login("alice", fresh.private).split() == ["root", "alice"]


def test_a_partition_without_a_free_byte_is_enough(tmp_path: Path) -> None:
    made = _make(LAYOUTS["no userconf"], tmp_path, tmpfs="64k")
    try:
        node = made.node
        assert node.sh("cat /dev/zero >/boot/full")[0] != 0
        assert made.start()[0] == 0
        assert made.unit() == []
        assert node.must("ls /boot").split() == ["cmdline.txt", "full"]
        assert node.text("/boot/cmdline.txt") == GENERATIONS[BUSTER]["cmdline"] + "\n"
        assert node.login("alice", made.private).split() == ["root", "alice"]
        # A try that is cut off is known as such, too.
        node.must("sed -i 's/^  step set_user$/  kill -9 $$/' /cards/firstrun.sh; rm /boot/full")
        node.must("cp /cards/* /boot/; cat /dev/zero >/boot/full || :")
        for left in (True, False):
            assert made.start()[0] != 0
            assert (made.unit() != []) == left
    finally:
        made.node.stop()


@pytest.mark.parametrize("fresh", ["no first user"], indirect=True)
def test_an_image_without_a_first_user_gets_one(fresh: Booted) -> None:
    assert fresh.start()[0] == 0
    assert fresh.node.login("bob_2", fresh.private).split() == ["root", "bob_2"]
    assert "sudo" in fresh.node.must("id -Gn bob_2").split()
