# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""k3s on a node: bring it to the desired role, or remove it."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.k3s import probe
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.existing import (
    RELEASE,
    SERVER_DIR,
    foreign_k3s,
    is_given_up,
    our_link,
    our_unit,
    refusal,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.plan import (
    BIN_DIR,
    CONFIG_DIR,
    DATA_DIR,
    HEADER,
    LINKS,
    OWNED,
    SERVICES,
    UNIT_DIR,
    K3sFile,
    files,
    redact,
)
from ansible_collections.picluster.cloud.plugins.module_utils.k3s.pods import Pods
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import describe_write_error
from ansible_collections.picluster.cloud.plugins.module_utils.node.machine import (
    MEMORY_CGROUP_FLAGS,
    Capabilities,
    cmdline_path,
    read_capabilities,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ansible_collections.picluster.cloud.plugins.module_utils.k3s.rules import K3sSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

APPLIED = "/var/lib/picluster/k3s-applied"
PROBE = f"{DATA_DIR}/agent/images/picluster-probe.tar"
KUBECONFIG = f"{CONFIG_DIR}/k3s.yaml"
# Where the role puts k3s's own images, and the mark that it was the role.
IMAGES = f"{DATA_DIR}/agent/images/k3s-airgap-images.tar.zst"
IMAGES_MARK = "/var/lib/picluster/k3s-images"
# Written without the header, because k3s reads the whole file.
_BARE = (f"{CONFIG_DIR}/server-token", f"{CONFIG_DIR}/agent-token")
_RELEASE_TITLE, _IMAGES_TITLE = "a release of k3s", "k3s's container images"


def fingerprint(settings: K3sSettings, capabilities: Capabilities) -> str:
    """Return one value of everything that the running service depends on."""
    inputs = {path: file.text for path, file in files(settings, capabilities).items()}
    inputs["binary"] = f"{settings.version} {settings.sha256}"
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


class K3s:
    """k3s on one node; in check mode it only records what it would do.

    Attributes:
        restarted: Whether the service was started or restarted.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self.restarted = False

    def converge(self, settings: K3sSettings, *, recorded_server: bool = False, give_up: str = "") -> None:
        """Bring the node to its desired role.

        Args:
            settings: The desired state.
            recorded_server: Whether the controller has seen the cluster's server data on this node before.
            give_up: Name of the node whose cluster the user gives up.

        Raises:
            UserError: the node cannot run k3s or a cluster would be lost, and nothing was changed; or a step failed.
        """
        if reason := refusal(self._node, settings, recorded=recorded_server, give_up=give_up):
            raise UserError(reason)
        given_up = is_given_up(self._node, settings, give_up)
        if settings.role == "none":
            self._remove()
        else:
            self._install(settings)
        # By now the server has stopped.
        if given_up:
            self._set_server_data_aside()

    def _install(self, settings: K3sSettings) -> None:
        """Make the node a server or an agent."""
        capabilities = read_capabilities(self._node.root)
        binary = f"k3s-{settings.version}"
        self._check_node(binary, capabilities)
        image = probe.build() if settings.probe else None
        service = SERVICES[settings.role]
        for other in SERVICES.values():
            if other != service and our_unit(self._node, other):
                self._remove_unit(other)
        link = self._node.path(f"{BIN_DIR}/k3s")
        before = link.readlink().name if link.is_symlink() else ""
        for name in LINKS:
            # A kubectl of the user's is left alone, as k3s's installer does.
            if our_link(self._node, name) or not self._exists(f"{BIN_DIR}/{name}"):
                self._node.files.link(f"{BIN_DIR}/{name}", binary)
        self._write_files(settings, capabilities)
        if image is None:
            self._node.files.remove(PROBE, title="an image")
        else:
            self._node.files.put_bytes(PROBE, image, title="image of this node's busybox")
        self._keep_images(desired=settings.images)
        self._remove_old_releases(binary, before)
        self._run_service(f"{service}.service", fingerprint(settings, capabilities))

    def _check_node(self, binary: str, capabilities: Capabilities) -> None:
        """Check that the node can run the release `binary`.

        Raises:
            UserError: it cannot.
        """
        if not capabilities.memory_cgroup:
            self._report_memory_cgroup()
        if foreign := foreign_k3s(self._node):
            raise UserError(
                f"{foreign} was installed by other means: it would run beside picluster's k3s; remove it "
                "(k3s-uninstall.sh or k3s-agent-uninstall.sh), or take the node out of the k3s groups"
            )
        if not self._node.check_mode and not self._node.path(f"{BIN_DIR}/{binary}").is_file():
            raise UserError(f"{BIN_DIR}/{binary} is missing; install it with picluster.cloud.artifact first")

    def _write_files(self, settings: K3sSettings, capabilities: Capabilities) -> None:
        desired = files(settings, capabilities)
        for path, file in desired.items():
            self._put(path, file)
        for path in OWNED:
            if path not in desired:
                self._remove_ours(path)
        if settings.role == "agent":
            # The administrator's keys, from the time when the node was a server; an agent has no such file of its own.
            self._remove_file(KUBECONFIG)

    def _report_memory_cgroup(self) -> None:
        """Warn in check mode, when the kernel's command line may still be changed before the real run; else fail.

        Raises:
            UserError: k3s cannot run with this kernel.
        """
        path, flags = cmdline_path(self._node.root), " ".join(MEMORY_CGROUP_FLAGS)
        words = (self._node.files.read(path) or "").split()
        if all(flag in words for flag in MEMORY_CGROUP_FLAGS):
            remedy = f"'{flags}' wait in {path} for a restart; run playbooks/reboot.yml, then this again"
        else:
            remedy = f"add '{flags}' to the line in {path} and restart the node"
        text = f"the kernel runs without the memory cgroup, which k3s needs: {remedy}"
        if not self._node.check_mode:
            raise UserError(text)
        self._node.warn(text)

    def _remove(self) -> None:
        """Remove k3s from the node; data stays. Cheap where k3s never was.

        Beside a k3s that the role did not install only the role's own unit is removed, because pods, configuration and
        programs may belong to the other.
        """
        units = [name for name in SERVICES.values() if our_unit(self._node, name)]
        if foreign_k3s(self._node):
            for name in units:
                self._remove_unit(name)
            return
        releases = self._releases()
        links = [link for link in LINKS if our_link(self._node, link)]
        if not (units or releases or links or self._exists(APPLIED)):
            return
        for name in units:
            self._remove_unit(name)
        pods = Pods(self._node)
        if pods.left():
            self._node.note("pods", "running", "")
            if not self._node.check_mode:
                pods.end()
        for path in OWNED:
            self._remove_ours(path)
        self._keep_images(desired=False)
        self._node.files.remove(PROBE, title="an image")
        # k3s writes it, with the cluster's keys; a server that returns writes it again.
        self._remove_file(KUBECONFIG)
        for name in links:
            self._node.files.remove(f"{BIN_DIR}/{name}")
        for release in releases:
            self._node.files.remove(f"{BIN_DIR}/{release.name}", title=_RELEASE_TITLE)
        # Last: until here a run that was killed is continued by the next one.
        self._node.files.remove(APPLIED)

    def _set_server_data_aside(self) -> None:
        """Keep the data of a cluster that was given up where no later server finds it."""
        number = 1
        while self._exists(aside := f"{SERVER_DIR}.given-up-{number}"):
            number += 1
        self._node.note(SERVER_DIR, "data of a cluster", f"moved to {aside}")
        if not self._node.check_mode:
            try:
                self._node.path(SERVER_DIR).rename(self._node.path(aside))
            except OSError as error:
                raise UserError(describe_write_error(error, SERVER_DIR, "moved")) from error

    def _exists(self, path: str) -> bool:
        return os.path.lexists(self._node.path(path))

    def _put(self, path: str, file: K3sFile) -> None:
        existed = self._exists(path)

        def show(text: str) -> str:
            if not file.secret:
                return redact(text)
            return "(hidden, another)\n" if existed and text == file.text else "(hidden)\n"

        self._node.files.put(path, file.text, file.mode, show=show)

    def _remove_ours(self, path: str) -> None:
        """Remove a file if the role wrote it."""
        if path in _BARE or (self._node.files.read(path) or "").startswith(HEADER):
            self._remove_file(path)

    def _remove_file(self, path: str) -> None:
        # Its text may hold secrets.
        self._node.files.remove(path, title="present")

    def _keep_images(self, *, desired: bool) -> None:
        """Remove the images that the role put there when they are no longer desired; k3s keeps what it imported."""
        if desired:
            if self._exists(IMAGES):
                self._node.files.put(IMAGES_MARK, "")
        elif self._exists(IMAGES_MARK):
            self._node.files.remove(IMAGES, title=_IMAGES_TITLE)
            self._node.files.remove(IMAGES_MARK)

    def _remove_old_releases(self, current: str, before: str) -> None:
        """Keep the release in use and one to go back to: the one linked before, or else the newest installed."""
        others = [path for path in self._releases() if path.name != current]
        others.sort(key=lambda path: (path.name == before, path.stat().st_mtime, path.name))
        for path in others[:-1]:
            self._node.files.remove(f"{BIN_DIR}/{path.name}", title=_RELEASE_TITLE)

    def _releases(self) -> list[Path]:
        found = self._node.path(BIN_DIR).glob(f"{RELEASE}*")
        return sorted(path for path in found if path.is_file() and not path.is_symlink())

    def _remove_unit(self, service: str) -> None:
        self._node.units.disable(f"{service}.service")
        self._node.files.remove(f"{UNIT_DIR}/{service}.service")
        # systemd forgets the unit's failures, too.
        self._node.units.reload_daemon()

    def _run_service(self, unit: str, applied: str) -> None:
        """Have the service enabled and running with its present inputs.

        The fingerprint is written after the restart, so that a run that was killed before it is continued by the next.
        """
        state = self._node.units.show(unit)[unit]
        active = state.get("ActiveState", "")
        # activating is right: an agent waits there for its server, for ever if need be.
        runs = active in ("active", "activating", "reloading")
        current = (self._node.files.read(APPLIED) or "").strip() == applied and state.get("NeedDaemonReload") != "yes"
        if not (current and runs):
            self._node.units.reload_daemon()
        self._node.units.enable(unit, state)
        if current and runs:
            return
        self.restarted = True
        # Type=notify without a time-out: an agent's start lasts until the server answers.
        self._node.units.restart(unit, f"{active}, with other inputs" if runs else active, wait=False)
        self._node.files.put(APPLIED, f"{applied}\n", 0o600)
