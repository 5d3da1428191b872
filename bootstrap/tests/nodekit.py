"""For the tests: a stock-like system in a container, on which a generated first-boot script runs for real."""

from __future__ import annotations

import io
import subprocess
import tarfile
import uuid
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from lab.engine import Container, Docker
from lab.image import Builder
from lab.recipe import apt_of_host, card
from lab.report import Reporter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# One key of one kind: an RSA key would take longer than the rest of a test.
_HOST_KEY = (
    "mkdir -p /run/sshd; cd /etc/ssh; [ -e ssh_host_ed25519_key ] || "
    "ssh-keygen -q -t ed25519 -N '' -f ssh_host_ed25519_key"
)


@cache
def image(suite: str) -> str:
    """Return the engine image of the lab's stock-like card, built if it is not there."""
    recipe = card(suite, apt_of_host(suite))
    Builder(Docker.find(), Reporter()).card(recipe)
    return recipe.engine_image


@dataclass
class Node:
    """One container; its boot partition is the folder `boot` in it."""

    docker: Docker
    name: str
    boot: str = "/boot/firmware"

    @classmethod
    def start(cls, image: str, boot: str, tmpfs: Sequence[str] = ()) -> Node:
        """Start a container that does nothing yet, without a network and without the right to reboot anything.

        Its host name is the one after the first boot: a container cannot change its own.
        """
        docker = Docker.find()
        name = f"firstboot-{uuid.uuid4().hex[:12]}"
        command = ["sleep", "infinity"]
        docker.start(Container(image, command, name=name, hostname="red007", network="none", tmpfs=list(tmpfs)))
        return cls(docker, name, boot)

    def stop(self) -> None:
        """Remove the container."""
        self.docker.remove([self.name])

    def sh(self, script: str) -> tuple[int, str]:
        """Run shell lines; return the code and what was said."""
        return self.docker.execute(self.name, ["sh", "-c", script], timeout=120)

    def must(self, script: str) -> str:
        """Run shell lines that must succeed; return what they say."""
        code, said = self.sh(f"set -e\n{script}")
        if code:
            raise AssertionError(f"{script}: {said}")
        return said

    def put(self, files: Mapping[str, bytes], folder: str | None = None) -> None:
        """Write files to the boot partition, or to another folder."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for path, data in files.items():
                entry = tarfile.TarInfo(path)
                # As a mounted FAT shows them.
                entry.size, entry.mode = len(data), 0o755
                tar.addfile(entry, io.BytesIO(data))
        self.must(f"mkdir -p {folder or self.boot}")
        subprocess.run(
            [*self.docker._program, "cp", "-", f"{self.name}:{folder or self.boot}"],
            input=buffer.getvalue(),
            check=True,
            capture_output=True,
        )

    def text(self, path: str) -> str:
        """Return a file's text."""
        return self.must(f"cat '{path}'")

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return self.sh(f"[ -e '{path}' ]")[0] == 0

    def snapshot(self) -> str:
        """Return all that a first boot could change: contents, owners and modes."""
        return self.must(
            "for d in /etc /home /root /var/lib/NetworkManager /var/lib/systemd /boot; do [ ! -d $d ] || "
            "find $d -printf '%p %y %m %u %g %l\\n' -type f -exec sha256sum {} +; done | LC_ALL=C sort"
        )

    def login(self, user: str, private: bytes) -> str:
        """Log in by the key and ask sudo for root; return what is said. One sshd for one login, as inetd starts it."""
        self.put({"key": private}, "/run/login")
        return self.must(
            f"{_HOST_KEY}; chmod 600 /run/login/key; chown root /run/login/key\n"
            "ssh -i /run/login/key -o ProxyCommand='/usr/sbin/sshd -i' -o StrictHostKeyChecking=no -o BatchMode=yes"
            f" -o LogLevel=ERROR {user}@node 'sudo -n id -un && id -un'"
        )

    def sshd(self) -> dict[str, str]:
        """Return what sshd makes of its configuration."""
        said = self.must(f"{_HOST_KEY}; /usr/sbin/sshd -T")
        return dict(line.split(" ", 1) for line in said.splitlines() if " " in line)
