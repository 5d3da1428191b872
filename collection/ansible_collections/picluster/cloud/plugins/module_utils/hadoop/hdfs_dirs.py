#!/usr/bin/python3
# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the folders that HDFS must have, over WebHDFS, as soon as the NameNode has left safe mode.

Runs on the NameNode's node as a service of its own (role hadoop copies this very file there), because no play waits
for HDFS. WebHDFS because each `hdfs dfs` costs a JVM: 5 to 10 s on a board. It may be run again at any time.
"""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

POLL_SECONDS = 2.0
# Outlives nothing: a NameNode that does not answer within it is asked again.
TIMEOUT_SECONDS = 20.0


class NotYetError(Exception):
    """The NameNode cannot do it now (not up, or in safe mode); asking again is right."""


class WebHdfs:
    """The few calls that are needed, as HDFS' superuser."""

    def __init__(self, namenode: str, user: str) -> None:
        self._base = f"http://{namenode}/webhdfs/v1"
        self._user = user

    def call(self, method: str, path: str, operation: str, **arguments: str) -> dict[str, Any] | None:
        """One call. Returns its answer, or None where the path does not exist.

        Raises:
            NotYetError: the NameNode is not there or in safe mode.
            urllib.error.HTTPError: it refused for good.
        """
        query = urllib.parse.urlencode({"op": operation, "user.name": self._user, **arguments})
        url = f"{self._base}{urllib.parse.quote(path)}?{query}"
        request = urllib.request.Request(url, method=method)  # noqa: S310 - always http, to our NameNode
        try:
            # Not by way of a proxy. This file stands alone on the node, so it cannot share module_utils' opener.
            straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with straight.open(request, timeout=TIMEOUT_SECONDS) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code == HTTPStatus.NOT_FOUND and "FileNotFoundException" in text:
                return None
            if (
                "SafeModeException" in text
                or "RetriableException" in text
                or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            ):
                raise NotYetError(f"HTTP {error.code}: {text[:300]}") from error
            raise
        except OSError as error:
            raise NotYetError(str(error)) from error
        return dict(json.loads(body)) if body else {}


def steps(status: dict[str, Any] | None, wanted: dict[str, str], superuser: str) -> list[tuple[str, dict[str, str]]]:
    """What must be done to one folder.

    The owner comes last and thus says that the folder is complete. A folder that already has another owner than the
    superuser is somebody's, who may have changed it for a reason: left alone.

    Args:
        status: the FileStatus of WebHDFS, or None where the folder does not exist.
        wanted: path, owner, group, mode (octal).
        superuser: HDFS' superuser, who owns what he makes.

    Returns:
        Operations of WebHDFS with their arguments.
    """
    mode = wanted["mode"].lstrip("0")
    owner = ("SETOWNER", {"owner": wanted["owner"], "group": wanted["group"]})
    permission = ("SETPERMISSION", {"permission": mode})
    if status is None:
        return [("MKDIRS", {"permission": mode}), permission, owner]
    if status["owner"] != superuser:
        return []
    todo = [] if status["permission"].lstrip("0") == mode else [permission]
    if (status["owner"], status["group"]) != (wanted["owner"], wanted["group"]):
        todo.append(owner)
    return todo


def make(hdfs: WebHdfs, plan: dict[str, Any]) -> list[str]:
    """Makes all folders. Returns what it did.

    Raises:
        NotYetError: HDFS is not ready.
        urllib.error.HTTPError: HDFS refused for good.
    """
    done = []
    for wanted in plan["dirs"]:
        answer = hdfs.call("GET", wanted["path"], "GETFILESTATUS")
        status = answer["FileStatus"] if answer else None
        for operation, arguments in steps(status, wanted, plan["superuser"]):
            hdfs.call("PUT", wanted["path"], operation, **arguments)
            done.append(f"{operation} {wanted['path']}")
    return done


def say(line: str) -> None:
    """Tells the journal."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Waits for HDFS, makes the folders, and leaves a note of what it was told."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    hdfs = WebHdfs(plan["namenode"], plan["superuser"])
    told = ""
    while True:
        try:
            for line in make(hdfs, plan):
                say(line)
            break
        except NotYetError as reason:
            if str(reason) != told:
                told = str(reason)
                say(f"waiting for HDFS: {told}")
            time.sleep(POLL_SECONDS)
    note = os.environ.get("RUNTIME_DIRECTORY")
    if note:
        (Path(note) / "done").write_text(os.environ.get("PICLUSTER_INPUTS", ""), encoding="utf-8")


if __name__ == "__main__":
    main()
