"""The shell script of a first boot: the node's values, and below them what the image's sh does with them."""

from __future__ import annotations

import shlex
from importlib import resources
from typing import TYPE_CHECKING, ClassVar

from picluster.firstboot import cmdline

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from picluster.cards.bootfiles import BootFiles
    from picluster.firstboot import NodeIdentity
    from picluster.firstboot.settings import Wifi


class ScriptBoot:
    """A script on the boot partition, started by ``words`` on the kernel's command line, which it takes away again.

    ``start`` are shell lines that set ``boot`` and make the system ready, ``end`` those after all is done.
    """

    client_id = True
    script: ClassVar[str]
    words: ClassVar[str]
    start: ClassVar[str]
    end: ClassVar[str]

    def render(self, boot: BootFiles, node: NodeIdentity) -> Mapping[str, bytes]:
        """Return the first-boot files of one node.

        The FAT file `ssh` is left out: if the script fails, it would open a board with its stock password.
        """
        lines = cmdline.extend(boot, self.words, node.settings)
        text = _script(self, node, lines)
        return {self.script: text, **lines}


def _script(way: ScriptBoot, node: NodeIdentity, cmdlines: Iterable[str]) -> bytes:
    # What no image needs to know is left out: some of them look for words in a script of this name (init_resize.sh of
    # Bullseye takes one that speaks of wpa_supplicant for a reason to switch NetworkManager off).
    settings = node.settings
    values = {
        "script": way.script,
        "cmdlines": " ".join(cmdlines),
        "words": f" {way.words}",
        "instance": node.instance,
        "name": node.name,
        "user": node.user,
        "keys": "\n".join(node.keys),
    }
    pieces, steps = ["login", "hosts", "node"], ["set_node"]
    if settings.timezone or settings.locale:
        values |= {"timezone": settings.timezone, "locale": settings.locale}
        pieces.append("region")
        steps += ["step set_timezone", "step set_locale"]
    if settings.country:
        values |= {"regdomain": settings.country, "keyfile": "", "supplicant": ""}
        if settings.wifi is not None:
            values |= {"keyfile": keyfile(settings.wifi), "supplicant": supplicant(settings.wifi, settings.country)}
        pieces += ["radio", "wifi"]
        steps += ["step unblock_wifi", "step set_wifi"]
    return "\n".join(
        [
            f"#!/bin/sh\n# Written by picluster for {node.name}. It runs on the first boot only, and removes itself.\n",
            _assign(values),
            f"{way.start}\n",
            _read(pieces),
            # A function is read to its end before it runs, so that the script may remove its own file.
            "\n".join(["main() {", *(f"  {line}" for line in ["begin || return", *steps, "finish"]), "}\n"]),
            f"{way.end}\n",
        ]
    ).encode("utf-8")


def lines(values: Mapping[str, str], pieces: Iterable[str], steps: Iterable[str]) -> str:
    """Return shell lines that take some steps, one after the other, and fail if one of them did.

    The steps are functions of the pieces, files in ``shell``, or other commands.
    """
    calls = [f"{step} || failed=yes" for step in steps]
    return "\n".join([_assign(values), _read(pieces), "\n".join(["failed=", *calls, '[ -z "$failed" ]', ""])])


def _assign(values: Mapping[str, str]) -> str:
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _read(pieces: Iterable[str]) -> str:
    folder = resources.files("picluster.firstboot") / "shell"
    texts = ((folder / f"{piece}.sh").read_text(encoding="utf-8") for piece in pieces)
    # Git may check the pieces out with the line ends of Windows.
    return "\n".join(text.strip("\n") + "\n" for text in texts).replace("\r\n", "\n")


def keyfile(wifi: Wifi) -> str:
    """Make a connection of NetworkManager; the name as bytes, which need no quoting (nm-settings-keyfile)."""
    ssid = "".join(f"{byte};" for byte in wifi.ssid.encode())
    hidden = ["hidden=true"] if wifi.hidden else []
    lines = ["[connection]", "id=picluster-wifi", "type=wifi", "interface-name=wlan0", ""]
    lines += ["[wifi]", "mode=infrastructure", f"ssid={ssid}", *hidden, ""]
    lines += ["[wifi-security]", "key-mgmt=wpa-psk", f"psk={wifi.psk}", ""]
    return "\n".join([*lines, "[ipv4]", "method=auto", "", "[ipv6]", "method=auto"])


def supplicant(wifi: Wifi, country: str) -> str:
    """Make a wpa_supplicant.conf; the name in hex, which needs no quoting."""
    hidden = ["\tscan_ssid=1"] if wifi.hidden else []
    lines = ["ctrl_interface=DIR=/var/run/wpa_supplicant GROUP=netdev", "update_config=1", f"country={country}", ""]
    lines += ["network={", f"\tssid={wifi.ssid.encode().hex()}", *hidden, "\tkey_mgmt=WPA-PSK", f"\tpsk={wifi.psk}"]
    return "\n".join([*lines, "}"])
