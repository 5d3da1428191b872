# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The check's own jobs in YARN: which of them still run, and whether anybody still waits for them."""

from __future__ import annotations

import fcntl
import re
import urllib.parse
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop.probe import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PREFIX = "picluster-check-"
# A job is named like its folders in HDFS: time and process of its check.
ANY_JOB = re.compile(rf"{PREFIX.rstrip('-')}(-\d+-\d+)?")
UNFINISHED = "NEW,NEW_SAVING,SUBMITTED,ACCEPTED,RUNNING"
FINAL = frozenset({"FINISHED", "FAILED", "KILLED"})


def unfinished(master: str, user: str, name: re.Pattern[str]) -> list[str]:
    """The ids of a user's applications of this name that have not ended, by the ResourceManager's REST interface.

    Raises:
        NoAnswerError: the ResourceManager does not answer.
    """
    query = urllib.parse.urlencode({"user": user, "states": UNFINISHED})
    apps = (fetch(f"http://{master}:8088/ws/v1/cluster/apps?{query}").get("apps") or {}).get("app") or []
    return [
        str(app["id"])
        for app in apps
        if app.get("id") and app.get("user") == user and name.fullmatch(str(app.get("name")))
    ]


@contextmanager
def attended(lock: Path, when_alone: Callable[[], None]) -> Iterator[None]:
    """Tells other checks on this node, as long as it lasts, that one is under way.

    The kernel's lock ends with the process, however that ends.

    Args:
        lock: a file on this node.
        when_alone: called first if there is no other check, so that unfinished jobs are nobody's.
    """
    with lock.open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            when_alone()
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
