# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The one place that touches a node for k3s: files, links, systemd."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.k3s.cluster import SERVER_DIR
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.owner import RELEASE, foreign_k3s, our_link, our_unit
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import (
    BIN_DIR,
    CONFIG_DIR,
    DATA_DIR,
    HEADER,
    LINKS,
    OWNED,
    SERVICES,
    UNIT_DIR,
    File,
    Machine,
    SettingsError,
    Wish,
    files,
    redact,
)
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

APPLIED = "var/lib/picluster/k3s-applied"
PROBE = f"{DATA_DIR}/agent/images/picluster-probe.tar"
KUBECONFIG = f"{CONFIG_DIR}/k3s.yaml"
# Where tasks/main.yml puts k3s's own images, and what tells that it was the role.
IMAGES = f"{DATA_DIR}/agent/images/k3s-airgap-images.tar.zst"
IMAGES_MARK = "var/lib/picluster/k3s-images"
# Written without the header, because k3s reads the whole file.
_BARE = ("server-token", "agent-token")


def fingerprint(wish: Wish, machine: Machine, sha256: str) -> str:
    """Compute one value out of all that the running service depends on."""
    inputs = {path: file.text for path, file in files(wish, machine).items()} | {"binary": f"{wish.version} {sha256}"}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class Host:
    """Converges one node; in check mode it only notes what it would do."""

    def __init__(
        self,
        root: Path,
        run: Callable[..., str],
        *,
        check_mode: bool = False,
    ) -> None:
        self.root = root
        self._run = run
        self._check_mode = check_mode
        self.changed = False
        self.restarted = False
        self.diff: list[dict[str, str]] = []

    def install(self, wish: Wish, machine: Machine, sha256: str, image: bytes | None, *, images: bool = False) -> None:
        """Make the node a server or an agent.

        Args:
            wish: What the node shall be.
            machine: What the node's kernel and init allow.
            sha256: Of the release.
            image: The pod check's image, None for no such check.
            images: Whether k3s's own container images are kept on the node.

        Raises:
            SettingsError: When something is in the way that is not ours to remove; nothing is changed then.
        """
        if foreign := foreign_k3s(self.root):
            raise SettingsError(
                f"{foreign} was installed by other means; remove that k3s (k3s-uninstall.sh or k3s-agent-uninstall.sh) "
                "or take the node out of the k3s groups"
            )
        service = SERVICES[wish.role]
        other = next(name for name in SERVICES.values() if name != service)
        binary = self.root / BIN_DIR / f"k3s-{wish.version}"
        if not self._check_mode and not binary.is_file():
            raise SettingsError(
                f"/{BIN_DIR}/{binary.name} is missing; put it there with picluster.cloud.artifact first"
            )
        wanted = files(wish, machine)
        if our_unit(self.root, other):
            self._stop(other)
        link = self.root / BIN_DIR / "k3s"
        before = link.readlink().name if link.is_symlink() else ""
        for name in LINKS:
            self._link(name, binary.name)
        for path in OWNED:
            self._file(path, wanted.get(path))
        if wish.role == "agent":
            # The admin's keys, from the time when the node was a server; an agent has no such file of its own.
            self._drop(KUBECONFIG)
        self._image(image)
        self._airgap_images(wanted=images)
        self._old_releases(binary.name, before)
        self._service(service, fingerprint(wish, machine, sha256))

    def remove(self, pods_left: Callable[[], bool], end_pods: Callable[[], None]) -> None:
        """Take k3s off the node; data stays. Cheap where k3s never was.

        A k3s that somebody else installed is not ours to remove: beside one only our own unit goes, because pods,
        configuration and programs may be the other's.
        """
        units = [name for name in SERVICES.values() if our_unit(self.root, name)]
        if foreign_k3s(self.root):
            for name in units:
                self._stop(name)
            return
        binaries = self._releases()
        links = [link for link in LINKS if our_link(self.root, link)]
        ours = units or binaries or links or self._exists(APPLIED)
        if not ours:
            return
        for name in units:
            self._stop(name)
        if pods_left():
            self._note("pods", "running\n", "")
            if not self._check_mode:
                end_pods()
        for path in OWNED:
            self._file(path, None)
        self._airgap_images(wanted=False)
        # k3s.yaml is k3s's own, with the cluster's keys in it; the server makes it anew if it comes back.
        for path in [
            PROBE,
            KUBECONFIG,
            *(f"{BIN_DIR}/{link}" for link in links),
            *(f"{BIN_DIR}/{path.name}" for path in binaries),
        ]:
            self._drop(path)
        if units and not self._check_mode:
            self._run("systemctl", "daemon-reload")
        # Last: until here a killed run is taken up again.
        self._drop(APPLIED)

    def set_server_data_aside(self) -> None:
        """Keep the data of a cluster that was given up where no later server finds it; its service has ended."""
        number = 1
        while self._exists(aside := f"{SERVER_DIR}.given-up-{number}"):
            number += 1
        self._note(SERVER_DIR, "data of a cluster\n", f"moved to /{aside}\n")
        if not self._check_mode:
            (self.root / SERVER_DIR).rename(self.root / aside)

    def _exists(self, path: str) -> bool:
        return os.path.lexists(self.root / path)

    def _note(self, path: str, before: str, after: str) -> None:
        self.changed = True
        name = path if path == "pods" else f"/{path}"
        self.diff.append({"before": before, "after": after, "before_header": name, "after_header": name})

    def _link(self, name: str, target: str) -> None:
        path = self.root / BIN_DIR / name
        if os.path.lexists(path) and not our_link(self.root, name):
            return  # as k3s's installer: somebody's own kubectl is left alone
        before = str(path.readlink()) if path.is_symlink() else ""
        if before == target:
            return
        self._note(f"{BIN_DIR}/{name}", f"-> {before}\n" if before else "", f"-> {target}\n")
        if self._check_mode:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{name}.picluster-new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(path)

    def _file(self, path: str, wanted: File | None) -> None:
        place = self.root / path
        try:
            before: str | None = place.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            before = None
        if wanted is None:
            # A registries.yaml or a unit that somebody else wrote is not ours to remove.
            if before is not None and (before.startswith(HEADER) or place.name in _BARE):
                self._drop(path)
            return
        mode = None if before is None else place.stat().st_mode & 0o777
        if before == wanted.text and mode == wanted.mode:
            return
        if wanted.secret:
            shown = ("(hidden)\n" if before is not None else "", "(hidden, another)\n" if before else "(hidden)\n")
        else:
            shown = (redact(before or ""), redact(wanted.text))
        if before == wanted.text:
            shown = (f"mode {mode:04o}\n", f"mode {wanted.mode:04o}\n")
        self._note(path, *shown)
        if not self._check_mode:
            self._write(place, wanted.text.encode(), wanted.mode)

    def _write(self, place: Path, data: bytes, mode: int) -> None:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        write_atomically(place, data, mode)

    def _drop(self, path: str) -> None:
        place = self.root / path
        if not os.path.lexists(place):
            return
        if path not in (APPLIED, IMAGES_MARK):
            self._note(path, "present\n", "")
        if not self._check_mode:
            place.unlink()

    def _image(self, image: bytes | None) -> None:
        place = self.root / PROBE
        if image is None:
            self._drop(PROBE)
        elif not place.is_file() or place.read_bytes() != image:
            self._note(PROBE, "another image\n" if place.is_file() else "", "image of this node's busybox\n")
            if not self._check_mode:
                self._write(place, image, 0o644)

    def _airgap_images(self, *, wanted: bool) -> None:
        """Drop the images that the role put there and that are not wanted any more; k3s keeps what it imported."""
        marked = self._exists(IMAGES_MARK)
        if wanted:
            if self._exists(IMAGES) and not marked and not self._check_mode:
                self._write(self.root / IMAGES_MARK, b"", 0o644)
        elif marked:
            self._drop(IMAGES)
            self._drop(IMAGES_MARK)

    def _old_releases(self, current: str, before: str) -> None:
        """Keep the release in use and the one before it, for a way back: linked so far, else the last installed."""
        others = [path for path in self._releases() if path.name != current]
        others.sort(key=lambda path: (path.name == before, path.stat().st_mtime, path.name))
        for path in others[:-1]:
            self._drop(f"{BIN_DIR}/{path.name}")

    def _releases(self) -> list[Path]:
        found = (self.root / BIN_DIR).glob(f"{RELEASE}*")
        return sorted(path for path in found if path.is_file() and not path.is_symlink())

    def _show(self, service: str) -> dict[str, str]:
        names = "ActiveState,UnitFileState,NeedDaemonReload"
        text = self._run("systemctl", "show", "--property", names, f"{service}.service")
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def _stop(self, service: str) -> None:
        self._note(f"{UNIT_DIR}/{service}.service", "enabled and running\n", "")
        if self._check_mode:
            return
        self._run("systemctl", "disable", "--now", f"{service}.service")
        (self.root / UNIT_DIR / f"{service}.service").unlink(missing_ok=True)
        # Its failures must not outlive it.
        self._run("systemctl", "daemon-reload")

    def _service(self, service: str, wanted: str) -> None:
        applied = self.root / APPLIED
        try:
            before = applied.read_text(encoding="utf-8").strip()
        except OSError:
            before = ""
        state = self._show(service)
        enabled = state.get("UnitFileState") == "enabled"
        # activating is right: an agent waits there for its server, for ever if need be.
        runs = state.get("ActiveState") in ("active", "activating", "reloading")
        if before == wanted and enabled and runs and state.get("NeedDaemonReload") != "yes":
            return
        self._note(
            f"{UNIT_DIR}/{service}.service state",
            f"{'enabled' if enabled else 'not enabled'}, {state.get('ActiveState', 'unknown')}\n",
            f"enabled, {'restarted' if runs else 'started'}\n",
        )
        self.restarted = True
        if self._check_mode:
            return
        self._run("systemctl", "daemon-reload")
        if not enabled:
            self._run("systemctl", "enable", f"{service}.service")
        # Type=notify without a time-out: an agent's start lasts until the server answers, so nobody waits for it here.
        self._run("systemctl", "--no-block", "restart", f"{service}.service")
        self._write(applied, f"{wanted}\n".encode(), 0o600)
