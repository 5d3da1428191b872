# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Create the folders in HDFS, over WebHDFS, as soon as the NameNode has left safe mode.

The module hadoop_node copies this file to the NameNode's node, where it runs as a service of its own, because no play
waits for HDFS. It therefore imports nothing of the collection. WebHDFS, because each `hdfs dfs` costs a JVM: 5 to 10 s
on a board. It can run again at any time.
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
# A NameNode that does not answer within it is queried again.
TIMEOUT_SECONDS = 20.0


class NotYetError(Exception):
    """The NameNode cannot do it now (not up, or in safe mode); try again."""


class WebHdfs:
    """Calls of WebHDFS, as HDFS' superuser."""

    def __init__(self, namenode: str, user: str) -> None:
        self._base = f"http://{namenode}/webhdfs/v1"
        self._user = user

    def call(self, method: str, path: str, operation: str, **arguments: str) -> dict[str, Any] | None:
        """Return the answer to one call, or None where the path does not exist.

        Raises:
            NotYetError: the NameNode does not answer or is in safe mode.
            urllib.error.HTTPError: it refused for good.
        """
        query = urllib.parse.urlencode({"op": operation, "user.name": self._user, **arguments})
        url = f"{self._base}{urllib.parse.quote(path)}?{query}"
        request = urllib.request.Request(url, method=method)  # noqa: S310 - always http, to our NameNode
        try:
            # Without a proxy. This file stands alone on the node, so it cannot import the collection's opener.
            straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with straight.open(request, timeout=TIMEOUT_SECONDS) as response:
                body = response.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            if error.code == HTTPStatus.NOT_FOUND and "FileNotFoundException" in text:
                return None
            later = "SafeModeException" in text or "RetriableException" in text
            if later or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise NotYetError(f"HTTP {error.code}: {text[:300]}") from error
            raise
        except OSError as error:
            raise NotYetError(str(error)) from error
        return dict(json.loads(body)) if body else {}


def steps(status: dict[str, Any] | None, desired: dict[str, str], superuser: str) -> list[tuple[str, dict[str, str]]]:
    """Return the operations of WebHDFS, with their arguments, that one folder needs.

    The owner is set last, so it marks a complete folder. A folder that another user than the superuser owns is left
    alone: that user may have changed it. `status` is the FileStatus of WebHDFS, None where the folder does not exist.
    """
    mode = desired["mode"].lstrip("0")
    owner = ("SETOWNER", {"owner": desired["owner"], "group": desired["group"]})
    permission = ("SETPERMISSION", {"permission": mode})
    if status is None:
        return [("MKDIRS", {"permission": mode}), permission, owner]
    if status["owner"] != superuser:
        return []
    right_owner = (status["owner"], status["group"]) == (desired["owner"], desired["group"])
    todo = [] if status["permission"].lstrip("0") == mode else [permission]
    return todo if right_owner else [*todo, owner]


def make(hdfs: WebHdfs, plan: dict[str, Any]) -> list[str]:
    """Create all folders; return the operations that were needed; raise as WebHdfs.call does."""
    done = []
    for desired in plan["dirs"]:
        answer = hdfs.call("GET", desired["path"], "GETFILESTATUS")
        status = answer["FileStatus"] if answer else None
        for operation, arguments in steps(status, desired, plan["superuser"]):
            hdfs.call("PUT", desired["path"], operation, **arguments)
            done.append(f"{operation} {desired['path']}")
    return done


def main() -> None:
    """Wait for HDFS, create the folders, and record the inputs that this was done with."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    hdfs = WebHdfs(plan["namenode"], plan["superuser"])
    told = ""
    while True:
        try:
            for line in make(hdfs, plan):
                print(line, flush=True)  # noqa: T201 - to the journal
            break
        except NotYetError as reason:
            if str(reason) != told:
                told = str(reason)
                print(f"waiting for HDFS: {told}", flush=True)  # noqa: T201 - to the journal
            time.sleep(POLL_SECONDS)
    note = os.environ.get("RUNTIME_DIRECTORY")
    if note:
        (Path(note) / "done").write_text(os.environ.get("PICLUSTER_INPUTS", ""), encoding="utf-8")


if __name__ == "__main__":
    main()
