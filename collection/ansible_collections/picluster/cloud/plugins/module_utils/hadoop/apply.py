# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The one class that touches a Hadoop node. What shall be is computed elsewhere (_hadoop_plan)."""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import image
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import (
    CONF,
    DATA,
    LINK,
    NAME_DIR,
    Settings,
    sites,
)
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.owner import STAMP, foreign, ours
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import (
    ALL_UNITS,
    DAEMONS,
    DIRS_UNIT,
    GROUP,
    INPUTS,
    READS_WORKERS,
    UNITS,
    USERS,
    File,
    Folder,
    Plan,
    Unit,
    software,
)
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.secrets import hide_in_texts
from ansible_collections.picluster.cloud.plugins.module_utils.node.old_files import card_trouble, sync, write_atomically

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from ansible.module_utils.basic import AnsibleModule

NOTE = Path("/run/hadoop-hdfs-dirs/done")  # written by hdfs_dirs.py when all folders are there


class NodeError(Exception):
    """The node cannot be brought there; the message is one sentence for the user."""


def parse_show(text: str) -> dict[str, dict[str, str]]:
    """Reads the output of `systemctl show`: one block for each unit, keyed by Id."""
    blocks = [dict(line.partition("=")[::2] for line in block.splitlines()) for block in text.split("\n\n")]
    return {block["Id"]: block for block in blocks if "Id" in block}


def inputs_of(environ: bytes) -> str:
    """The fingerprint in a process' environment (/proc/PID/environ), empty if it has none."""
    prefix = f"{INPUTS}=".encode()
    return next((v.removeprefix(prefix).decode() for v in environ.split(b"\0") if v.startswith(prefix)), "")


class Node:
    """Brings one node to a plan. In check mode it only tells what it would do.

    Attributes:
        hdfs: cluster id of the NameNode's image on this node, empty where there is none.
    """

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.check: bool = module.check_mode
        self.actions: list[str] = []
        self.diffs: list[dict[str, str]] = []
        self.hdfs = ""

    def converge(
        self,
        plan: Plan,
        settings: Settings,
        cluster_id: str,
        *,
        formatted_on: Collection[str] = (),
        give_up_data: str = "",
    ) -> None:
        """Brings the node to the plan.

        Args:
            plan: the node as it shall be.
            settings: what the plan was made of.
            cluster_id: id of the HDFS cluster, for a format.
            formatted_on: the nodes on which the controller saw this cluster's image.
            give_up_data: the name of this node if HDFS may be formatted although it was before.

        Raises:
            NodeError: something outside of Hadoop is in the way.
            FormatRefusedError: the name folder holds something that is no image, or its image is gone.
        """
        self._refuse_foreign(settings.home)
        if "namenode" in settings.daemons:
            data_dirs = sites(settings)["hdfs-site"]["dfs.datanode.data.dir"]
            if image.is_new(NAME_DIR) and give_up_data != settings.node:
                image.refuse_lost(settings.node, NAME_DIR, data_dirs, formatted_on)
        self._accounts()
        for folder in plan.folders:
            self._folder(folder)
        self._link(settings.home)
        reload = self._stop_units(plan.surplus_units)
        for file in plan.files:
            written = self._file(file)
            reload = reload or (written and file.path.startswith(UNITS))
        self._drop(path for path in software() if path.startswith(UNITS) and Path(path).name in plan.surplus_units)
        if "namenode" in settings.daemons:
            self._format(cluster_id)
        if reload and not self.check:
            self._run(["systemctl", "daemon-reload"])
        self._units(plan.units, settings)

    def remove(self) -> None:
        """Takes picluster's Hadoop off the node: units, configuration and software, never data or accounts.

        What somebody else installed stays, be it by the same names.
        """
        link = Path(LINK)
        mine = ours(software(), link, _anchor())
        trees = [tree for tree in sorted(link.parent.glob(f"{link.name}-*")) if (tree / STAMP).is_file()]
        trees += sorted(link.parent.glob(f".{link.name}-*.picluster-old"))  # of a killed run
        if not mine and not trees:
            return
        self._stop_units(tuple(name for name in ALL_UNITS if f"{UNITS}/{name}" in mine))
        self._drop(mine)
        for tree in trees:
            self._do(f"removed {tree}")
            if not self.check:
                gone = tree if tree.name.startswith(".") else tree.with_name(f".{tree.name}.picluster-old")
                tree.rename(gone)  # nobody sees half a tree under its name
                shutil.rmtree(gone)
        if Path(CONF).is_dir() and not self.check and not any(Path(CONF).iterdir()):
            Path(CONF).rmdir()
        if not self.check:
            self._run(["systemctl", "daemon-reload"])

    def _refuse_foreign(self, home: str) -> None:
        """Refuses a node with another's Hadoop, before anything is changed."""
        found = foreign(software(), Path(LINK), _anchor(), home)
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""  # noqa: PLR2004 - enough to find the rest
            raise NodeError(
                f"{', '.join(found[:3])}{more} on this node {'are' if len(found) > 1 else 'is'} not picluster's, so "
                "another Hadoop lives here and nothing was changed; move it away, or take the node out of the Hadoop "
                "groups"
            )

    def _do(self, action: str) -> None:
        self.actions.append(action)

    def _run(self, command: list[str], *, user: str = "", timeout: int = 120) -> tuple[int, str]:
        """Runs a command, as another user if told. Returns exit code and output."""
        if user:
            command = ["runuser", "-u", user, "--", "timeout", str(timeout), *command]
        code, out, err = self.module.run_command(command, environ_update={"LC_ALL": "C.UTF-8"})
        return code, f"{out}{err}"

    def _accounts(self) -> None:
        wanted = [("group", GROUP, ["groupadd", "--system", GROUP])]
        for user in USERS:
            home = f"{DATA}/{user}"
            add = ["useradd", "--system", "--gid", GROUP, "--home-dir", home, "--no-create-home"]
            wanted.append(("user", user, [*add, "--shell", "/usr/sbin/nologin", user]))
        for kind, name, command in wanted:
            try:
                grp.getgrnam(name) if kind == "group" else pwd.getpwnam(name)
            except KeyError:
                self._do(f"added {kind} {name}")
                if not self.check:
                    code, output = self._run(command)
                    if code:
                        raise NodeError(f"{kind} {name} cannot be added: {output.strip()}") from None

    def _folder(self, folder: Folder) -> None:
        path = Path(folder.path)
        found = f"{_describe(path)}\n" if path.is_dir() else "absent\n"
        wanted = f"{folder.owner}:{folder.group} {folder.mode:04o}\n"
        if found == wanted:
            return
        if os.path.lexists(path) and not path.is_dir():
            raise NodeError(f"{path} is no folder; move it away")
        self._do(f"set {path} to {wanted.strip()}")
        self._diff(folder.path, found, wanted)
        if not self.check:
            path.mkdir(mode=0o700, exist_ok=True, parents=True)
            os.chown(path, pwd.getpwnam(folder.owner).pw_uid, grp.getgrnam(folder.group).gr_gid)
            path.chmod(folder.mode)

    def _link(self, home: str) -> None:
        link = Path(LINK)
        found = str(link.readlink()) if link.is_symlink() else ""
        if found == home:
            return
        if not self.check and not (Path(home) / "bin/hdfs").is_file():
            raise NodeError(f"{home} holds no bin/hdfs; unpack Hadoop's archive there first")
        self._do(f"linked {LINK} to {home}")
        self._diff(LINK, f"{found}\n" if found else "absent\n", f"{home}\n")
        if not self.check:
            fresh = link.with_name(f".{link.name}.picluster-new")
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(home)
            fresh.replace(link)

    def _file(self, file: File) -> bool:
        """Writes a file if it differs. Returns whether it did."""
        path = Path(file.path)
        before = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        wanted = f"root:{file.group} {file.mode:04o}"
        if before == file.content and _describe(path) == wanted:
            return False
        self._do(f"wrote {path}")
        if file.secret:
            self._diff(file.path, "a secret\n" if before else "", "another secret\n")
        else:
            self._diff(file.path, *hide_in_texts(before or "", file.content))
        if not self.check:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, file.content, file.mode, (0, grp.getgrnam(file.group).gr_gid))
            except OSError as error:
                raise NodeError(card_trouble(error, file.path)) from error
        return True

    def _drop(self, paths: Iterable[str]) -> None:
        for path in paths:
            if os.path.lexists(path):
                self._do(f"removed {path}")
                self._diff(path, "present\n", "absent\n")
                if not self.check:
                    Path(path).unlink()

    def _stop_units(self, names: tuple[str, ...]) -> bool:
        """Stops and disables units that are here. Returns whether there were any."""
        here = [name for name in names if (Path(UNITS) / name).exists()]
        for name in here:
            self._do(f"stopped {name}")
        if here and not self.check:
            code, output = self._run(["systemctl", "disable", "--now", *here], timeout=300)
            if code:
                raise NodeError(f"{', '.join(here)} cannot be stopped: {output.strip()}")
        return bool(here)

    def _format(self, cluster_id: str) -> None:
        """Formats a new NameNode: in a scratch folder, which one rename makes the image.

        A killed format leaves no half image. The mark comes after the image: a run killed between them finds an image
        and only writes the mark, whereas a mark without an image would be refused by the next run.
        """
        name = Path(NAME_DIR)
        if image.is_new(NAME_DIR):
            self._do(f"formatted {name} for cluster {cluster_id}")
            if self.check:
                return
            self._make_image(name, cluster_id)
        self.hdfs = image.cluster_of(NAME_DIR)
        if image.marked_for() == self.hdfs:
            return
        mark = Path(image.MARK)
        self._do(f"recorded in {mark} that HDFS is formatted")
        if not self.check:
            mark.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(mark, f"{self.hdfs}\n")

    def _make_image(self, name: Path, cluster_id: str) -> None:
        scratch = name / ".formatting"
        if scratch.is_dir():  # of a killed run; no NameNode ever starts from it
            shutil.rmtree(scratch)
        define = ["-D", f"dfs.namenode.name.dir=file://{scratch}"]
        options = [*define, "-format", "-nonInteractive", "-clusterId", cluster_id]
        code, output = self._run([f"{LINK}/bin/hdfs", "--config", CONF, "namenode", *options], user="hdfs", timeout=300)
        if code or not (scratch / "current/VERSION").is_file():
            raise NodeError(f"the NameNode could not be formatted (exit code {code}): {_tail(output)}")
        (scratch / "current").rename(name / "current")
        scratch.rmdir()
        # On the disk before the mark is: after a power cut there must not be a mark alone.
        for path in (*(name / "current").iterdir(), name / "current", name):
            sync(path)

    def _units(self, units: tuple[Unit, ...], settings: Settings) -> None:
        names = [unit.name for unit in units]
        properties = "Id,ActiveState,UnitFileState,MainPID,Job"
        code, output = self._run(["systemctl", "show", "-p", properties, *names])
        state = parse_show(output)
        if code and not self.check:
            raise NodeError(f"systemd does not answer: {_tail(output)}")
        for unit in units:
            found = state.get(unit.name, {})
            if found.get("UnitFileState") != "enabled":
                self._do(f"enabled {unit.name}")
                self._systemctl(["enable", unit.name])
            verb = self._verb(unit, found)
            if verb:
                self._do(f"{verb}ed {unit.name}")
                # A start never waits: what the daemon needs may come up later, on another node.
                self._systemctl([verb, "--no-block", unit.name])
            if unit.daemon in READS_WORKERS:
                self._workers_in_force(unit, settings, fresh=bool(verb))

    def _verb(self, unit: Unit, found: dict[str, str]) -> str:
        """Start, restart or nothing, from what the running process was started with."""
        pid = int(found.get("MainPID") or 0)
        if found.get("ActiveState") == "deactivating" and found.get("Job"):
            return ""  # on its way through a restart, which takes the new unit
        if found.get("ActiveState") not in {"active", "activating", "reloading"}:
            return "start"
        if pid:
            try:
                running = inputs_of(Path(f"/proc/{pid}/environ").read_bytes())
            except OSError:
                return ""  # it ended just now: systemd starts it again, with the new unit
            return "" if running == unit.inputs else "restart"
        if unit.name == DIRS_UNIT and found["ActiveState"] == "active":
            done = NOTE.read_text(encoding="utf-8") if NOTE.is_file() else ""
            return "" if done == unit.inputs else "restart"
        return ""  # between two tries: the next one takes the new unit

    def _systemctl(self, arguments: list[str]) -> None:
        if self.check:
            return
        code, output = self._run(["systemctl", *arguments])
        if code:
            raise NodeError(f"systemctl {' '.join(arguments)} failed: {_tail(output)}")

    def _workers_in_force(self, unit: Unit, settings: Settings, *, fresh: bool) -> None:
        """Tells a running master of a changed list of workers.

        A note keeps what it was last told, so a killed run is mended.
        """
        note = Path(DATA) / f".workers-{unit.daemon}"
        # With the addresses: the masters turn the names into addresses once, when they read the list.
        known = [f"{name} {_address(name)}" for name in sorted(settings.workers)]
        wanted = hashlib.sha256("\n".join(known).encode()).hexdigest()
        if note.is_file() and note.read_text(encoding="utf-8") == wanted:
            return
        if fresh:
            self._note(note, wanted)
            return
        self._do(f"told {unit.name} of its workers")
        if self.check:
            return
        tool, *arguments = READS_WORKERS[unit.daemon]
        command = [f"{LINK}/bin/{tool}", "--config", CONF, *arguments]
        code, _output = self._run(command, user=DAEMONS[unit.daemon].user, timeout=60)
        if code:  # it does not listen (yet): a start reads the list, too
            self._systemctl(["restart", "--no-block", unit.name])
        self._note(note, wanted)

    def _note(self, note: Path, text: str) -> None:
        if not self.check:
            fresh = note.with_name(f"{note.name}.new")
            fresh.write_text(text, encoding="utf-8")
            fresh.replace(note)

    def _diff(self, path: str, before: str, after: str) -> None:
        self.diffs.append({"before_header": path, "after_header": path, "before": before, "after": after})


def _anchor() -> Path:
    """The file that speaks for those without a mark."""
    return Path(CONF) / "core-site.xml"


def _describe(path: Path) -> str:
    """Owner, group and mode of what is there."""
    found = path.lstat()
    try:
        owner, group = pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        owner, group = str(found.st_uid), str(found.st_gid)
    return f"{owner}:{group} {stat.S_IMODE(found.st_mode):04o}"


def _address(name: str) -> str:
    """The address of a name on this node, empty if it has none."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""


def _tail(output: str) -> str:
    """The last words of a program, for an error message."""
    return " | ".join(output.strip().splitlines()[-3:])[-600:]
