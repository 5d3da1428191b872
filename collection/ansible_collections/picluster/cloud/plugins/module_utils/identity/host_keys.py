# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""New host keys for a node that was copied from another: made aside, put in force once the controller knows them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.node.files import read_text, sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible.module_utils.basic import AnsibleModule

    from ansible_collections.picluster.cloud.plugins.module_utils.node.connection import Connection
    from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import TextFiles

FOLDER = Path("/etc/ssh")
KEYS = "ssh_host_*_key"
# A key that is complete and not in force yet, and one that is being made: sshd reads neither.
NEXT, HALF = ".picluster-next", ".picluster-half"
# A unit that does not run (socket activation) reads its keys when it starts.
RELOAD = ["systemctl", "try-reload-or-restart", "ssh.service"]
PATIENCE = 20  # seconds for sshd to take its new keys; it does within one
_PAUSE = 0.3
_MAKE = {"ssh-ed25519": ["-t", "ed25519"], "ssh-rsa": ["-t", "rsa"], "ecdsa-sha2-nistp256": ["-t", "ecdsa"]}


def plain_key(line: str) -> str:
    """Return type and base64 text of a public key's line, empty if it is none."""
    return " ".join(line.split()[:2]) if len(line.split()) > 1 else ""


def recipe(name: str, public: str) -> list[str] | None:
    """Return ssh-keygen's options for a key like a present one, or None if nobody makes such keys any more.

    Args:
        name: the file's name.
        public: the present public key.
    """
    made = _MAKE.get(public.partition(" ")[0])
    # The role ssh's own, as ssh-audit's policy for OpenSSH 9 wants it.
    return [*made, "-b", "4096"] if made and "4096" in name else made


def parse_offered(output: str) -> set[str]:
    """Return the keys that ssh-keyscan was shown."""
    return {plain_key(line.partition(" ")[2]) for line in output.splitlines() if line and not line.startswith("#")}


class HostKeys:
    """The node's host keys."""

    def __init__(self, module: AnsibleModule, files: TextFiles, folder: Path = FOLDER) -> None:
        self._module = module
        self._files = files
        self._folder = folder

    def prepare(self, foreign: Iterable[str]) -> list[str]:
        """Make new keys aside if one of the present ones is another node's; return those that count from then on.

        Args:
            foreign: public keys of other nodes, as type and base64 text.

        Raises:
            ValueError: a key cannot be made; the message has ssh-keygen's words.
        """
        keys = sorted(self._folder.glob(KEYS))
        copied = set(foreign) & {self._public(key) for key in keys}
        # Whoever copied one has copied all of them, but for kinds that nobody makes any more.
        kinds = [key for key in keys if recipe(key.name, self._public(key))] if copied else []
        made = [key for key in kinds if self._aside(key).exists()]
        # Made and put in force in the same order: where the first is in force already, all have been made.
        if not made or made[0] == kinds[0]:
            for key in kinds:
                if key not in made:
                    self._make(key)
        return [known for key in keys if (known := self._coming(key))]

    def _aside(self, key: Path) -> Path:
        return key.with_name(key.name + NEXT)

    def _public(self, key: Path) -> str:
        return plain_key(read_text(f"{key}.pub") or "")

    def _coming(self, key: Path) -> str:
        """Return the public key that counts once all that is aside is in force."""
        # Of the two files the public one is put in force first.
        return self._public(self._aside(key)) or self._public(key)

    def _make(self, key: Path) -> None:
        headers = {"before_header": str(key), "after_header": str(key)}
        self._files.diff.append({**headers, "before": f"{self._public(key)}\n", "after": "a new one\n"})
        if self._module.check_mode:
            return
        half = key.with_name(key.name + HALF)
        half.unlink(missing_ok=True)
        self._run("ssh-keygen", "-q", "-N", "", "-C", "", "-f", str(half), *(recipe(key.name, self._public(key)) or []))
        # ssh-keygen leaves that to chance, and a node whose key is empty after a power cut lets nobody in.
        for made in (Path(f"{half}.pub"), half):
            sync(made)
        Path(f"{half}.pub").replace(f"{self._aside(key)}.pub")
        half.replace(self._aside(key))
        sync(self._folder)

    def put_in_force(self, connection: Connection | None) -> None:
        """Have sshd show what is aside, if anything is; sessions that are open stay.

        Args:
            connection: by which sshd is asked what it shows.

        Raises:
            ValueError: sshd does not show the new keys; the message is one sentence.
        """
        for aside in sorted(self._folder.glob(KEYS + NEXT)):
            key = aside.with_name(aside.name.removesuffix(NEXT))
            beside = Path(f"{aside}.pub")
            if beside.exists():
                beside.replace(f"{key}.pub")
            aside.replace(key)
            sync(self._folder)
        wanted = {public for key in self._folder.glob(KEYS) if (public := self._public(key))}
        if self._shown(connection) <= wanted:
            return
        self._run(*RELOAD)
        end = time.monotonic() + PATIENCE
        while not self._shown(connection) <= wanted:
            if time.monotonic() > end:
                raise ValueError(
                    "this node has host keys of its own now, but sshd still shows the former ones: restart sshd on it "
                    "(systemctl restart ssh), then run again"
                )
            time.sleep(_PAUSE)

    def _shown(self, connection: Connection | None) -> set[str]:
        """Return the keys that sshd shows; one that does not answer is counted as showing a wrong one."""
        where, port = (connection.server, connection.port) if connection else ("127.0.0.1", "22")
        _rc, out, _err = self._module.run_command(["ssh-keyscan", "-T", "5", "-p", port, where])
        return parse_offered(out) or {""}

    def _run(self, *command: str) -> None:
        rc, out, err = self._module.run_command(list(command))
        if rc != 0:
            raise ValueError(f"{' '.join(command[:2])} failed: {' '.join((err or out).split())}")
