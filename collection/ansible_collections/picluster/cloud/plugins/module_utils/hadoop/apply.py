# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Bring a node to a Hadoop plan: accounts, folders, files, the NameNode's image, units; or remove Hadoop from it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.config import CONF, DATA, LINK, SECRET, sites
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.image import NameNodeImage
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import (
    ALL_UNITS,
    GROUP,
    UNITS,
    USERS,
    software,
)
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.services import HadoopServices
from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import hide_in_texts
from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.plan import (
        HadoopFile,
        HadoopFolder,
        HadoopPlan,
    )
    from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.settings import HadoopSettings
    from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

_SHOWN_PATHS = 3  # of a foreign Hadoop; enough to find the rest
MARK = b"Managed by picluster."  # in the head of every file whose format has comments
STAMP = ".picluster-sha256"  # in every tree that picluster.cloud.artifact unpacked
# Vouches for the files of its folder whose formats have no place for a mark. It is written before them and removed
# after them, so that a killed run leaves no doubt.
_ANCHOR = f"{CONF}/core-site.xml"
_UNMARKED = frozenset({"workers", "http-secret", "hdfs-dirs.json"})


class Hadoop:
    """Hadoop on one node; `image` is the NameNode's."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.image = NameNodeImage(node)

    def converge(self, plan: HadoopPlan, settings: HadoopSettings) -> None:
        """Bring the node to the plan that was computed from the settings.

        Raises:
            UserError: another Hadoop is on the node, or the NameNode's image is lost; nothing was changed.
        """
        node = self._node
        has_namenode = "namenode" in settings.daemons
        self._refuse_foreign(settings.home)
        if not node.check_mode:  # in check mode the roles before this one have not written the hosts file
            refuse_loopback(settings.node, settings.master)
        if has_namenode and self.image.is_new() and settings.give_up_data != settings.node:
            data_dirs = sites(settings)["hdfs-site"]["dfs.datanode.data.dir"]
            self.image.refuse_lost(settings.node, data_dirs, settings.formatted_on)
        self._add_accounts()
        for folder in plan.folders:
            self._put_folder(folder)
        # In check mode the archive may not be unpacked yet.
        if not node.check_mode and not node.path(f"{settings.home}/bin/hdfs").is_file():
            raise UserError(f"home has no bin/hdfs: {settings.home}; unpack Hadoop's archive there first")
        node.files.link(LINK, settings.home)
        self._remove_units(plan.surplus_units)
        for file in plan.files:
            self._put_file(file)
        if has_namenode:
            self.image.format(settings.cluster_id)
        HadoopServices(node).converge(plan.units, settings.workers)

    def remove(self) -> None:
        """Remove picluster's Hadoop: units, configuration and software, never data or accounts.

        Another installation stays, even under the same names.
        """
        node = self._node
        link = node.path(LINK)
        paths = our_paths(node)
        trees = [tree for tree in sorted(link.parent.glob(f"{link.name}-*")) if (tree / STAMP).is_file()]
        trees += sorted(link.parent.glob(f".{link.name}-*.picluster-old"))  # of a killed run
        if not paths and not trees:
            return
        units = [name for name in ALL_UNITS if f"{UNITS}/{name}" in paths]
        self._remove_units(units)
        for path in paths:
            if path not in {f"{UNITS}/{name}" for name in units}:
                self._remove_file(path)
        for tree in trees:
            node.note(str(tree), "a Hadoop release", "")
            if not node.check_mode:
                # By a rename first: a killed run leaves no half tree under its name.
                gone = tree if tree.name.startswith(".") else tree.with_name(f".{tree.name}.picluster-old")
                tree.rename(gone)
                shutil.rmtree(gone)
        conf = node.path(CONF)
        if conf.is_dir() and not node.check_mode and not any(conf.iterdir()):
            conf.rmdir()

    def _refuse_foreign(self, home: str) -> None:
        """Refuse a node with another Hadoop, before anything is changed."""
        found = foreign_paths(self._node, home)
        if found:
            more = f" and {len(found) - _SHOWN_PATHS} more" if len(found) > _SHOWN_PATHS else ""
            raise UserError(
                f"this node has a Hadoop that picluster did not install: {', '.join(found[:_SHOWN_PATHS])}{more}; move "
                "it away, or remove the node from the Hadoop groups; nothing was changed"
            )

    def _add_accounts(self) -> None:
        if _owner("root", GROUP) is None:
            self._node.note(f"group {GROUP}", "", "added")
            self._node.change("groupadd", "--system", GROUP)
        for user in USERS:
            if _owner(user, "root") is None:
                self._node.note(f"user {user}", "", "added")
                options = ("--system", "--gid", GROUP, "--home-dir", f"{DATA}/{user}", "--no-create-home")
                self._node.change("useradd", *options, "--shell", "/usr/sbin/nologin", user)

    def _put_folder(self, folder: HadoopFolder) -> None:
        place = self._node.path(folder.path)
        owner = _owner(folder.owner, folder.group)
        if place.is_dir():
            status = place.stat()
            if ((status.st_uid, status.st_gid), stat.S_IMODE(status.st_mode)) == (owner, folder.mode):
                return
            before = _describe(status)
        elif os.path.lexists(place):
            raise UserError(f"{folder.path} is not a directory; move it away")
        else:
            before = ""
        self._node.note(folder.path, before, f"{folder.owner}:{folder.group} {folder.mode:04o}")
        if owner and not self._node.check_mode:
            place.mkdir(mode=0o700, exist_ok=True, parents=True)
            os.chown(place, *owner)
            place.chmod(folder.mode)

    def _put_file(self, file: HadoopFile) -> None:
        before = self._node.files.read(file.path) or ""
        shown = ("a secret\n", "another secret\n") if file.secret else hide_in_texts(before, file.content)
        show = dict(zip((before, file.content), shown)).__getitem__  # noqa: B905 - Python 3.9 knows no strict
        self._node.files.put(file.path, file.content, file.mode, owner=_owner("root", file.group), show=show)

    def _remove_file(self, path: str) -> None:
        secret = path == SECRET
        self._node.files.remove(path, show=lambda text: "a secret\n" if secret else hide_in_texts(text, "")[0])

    def _remove_units(self, names: Iterable[str]) -> None:
        """Stop and remove the units that are here."""
        here = [name for name in names if self._node.path(f"{UNITS}/{name}").exists()]
        if here:
            self._node.units.disable(*here)
            for name in here:
                self._remove_file(f"{UNITS}/{name}")
            self._node.units.reload_daemon()


def refuse_loopback(*names: str) -> None:
    """Refuse a hosts file that has no address, or loopback, for a name: the daemons would bind and advertise that."""
    for name in dict.fromkeys(names):
        try:
            address = socket.gethostbyname(name)
        except OSError as error:
            raise UserError(f"{name} does not resolve on this node; add every node to /etc/hosts") from error
        if address.startswith("127."):
            raise UserError(
                f"{name} resolves to a loopback address on this node, where no other node can reach Hadoop: {address}; "
                "give it its real address in /etc/hosts"
            )


def _owner(user: str, group: str) -> tuple[int, int] | None:
    """Return user and group id, None if an account is missing: in check mode none is added."""
    try:
        return pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def _describe(status: os.stat_result) -> str:
    """Return owner, group and mode."""
    try:
        owner, group = pwd.getpwuid(status.st_uid).pw_name, grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        owner, group = str(status.st_uid), str(status.st_gid)
    return f"{owner}:{group} {stat.S_IMODE(status.st_mode):04o}"


def _is_marked(node: Node, path: str) -> bool:
    place = node.path(path)
    if not place.is_file():
        return False
    with place.open("rb") as stream:
        return MARK in stream.read(200)


def file_is_ours(node: Node, path: str) -> bool:
    """Return whether picluster wrote a file."""
    if not node.path(path).is_file():
        return False
    folder, name = os.path.split(path)
    tied = name in _UNMARKED and folder == CONF
    # A folder named picluster holds only picluster's files.
    return Path(folder).name == "picluster" or _is_marked(node, _ANCHOR if tied else path)


def _link_is_ours(node: Node, home: str = "") -> bool:
    """Return whether the link leads to a tree that picluster unpacked, or to `home`.

    A dangling link is ours where the configuration is: the tree was removed by hand.
    """
    place = node.path(LINK)
    if not place.is_symlink():
        return False
    target = str(place.readlink())
    tree = node.path(str(Path(LINK).parent / target))
    if target == home or (tree / STAMP).is_file():
        return True
    return not tree.exists() and _is_marked(node, _ANCHOR)


def foreign_paths(node: Node, home: str) -> list[str]:
    """Return the paths that picluster would write and that belong to another installation."""
    found = [path for path in software() if os.path.lexists(node.path(path)) and not file_is_ours(node, path)]
    if os.path.lexists(node.path(LINK)) and not _link_is_ours(node, home):
        found.append(LINK)
    return found


def our_paths(node: Node) -> list[str]:
    """Return what picluster wrote, in the order in which it may be removed: the anchor last."""
    found = [path for path in software() if os.path.lexists(node.path(path)) and file_is_ours(node, path)]
    found.sort(key=lambda path: path == _ANCHOR)
    return ([LINK] if _link_is_ours(node) else []) + found
