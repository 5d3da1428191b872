# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import sys
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, urlparse

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.hadoop import hdfs_dirs as dirs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOME = {"path": "/user/pi", "owner": "pi", "group": "pi", "mode": "0700"}
TMP = {"path": "/tmp", "owner": "hdfs", "group": "hadoop", "mode": "1777"}  # noqa: S108 - in HDFS


def status(owner: str, group: str, permission: str) -> dict[str, Any]:
    return {"owner": owner, "group": group, "permission": permission}


@pytest.mark.parametrize(
    ("found", "wanted", "operations"),
    [
        (None, HOME, ["MKDIRS", "SETPERMISSION", "SETOWNER"]),
        (status("hdfs", "hadoop-admins", "755"), HOME, ["SETPERMISSION", "SETOWNER"]),  # killed after MKDIRS
        (status("hdfs", "hadoop-admins", "700"), HOME, ["SETOWNER"]),
        (status("pi", "pi", "700"), HOME, []),
        (status("pi", "friends", "755"), HOME, []),  # the owner's own change
        (status("hdfs", "hadoop", "1777"), TMP, []),
        (status("hdfs", "hadoop", "755"), TMP, ["SETPERMISSION"]),
    ],
)
def test_a_folder_gets_what_it_lacks_and_its_owner_last(
    found: dict[str, Any] | None, wanted: dict[str, str], operations: list[str]
) -> None:
    assert [operation for operation, _arguments in dirs.steps(found, wanted, "hdfs")] == operations


class NameNode(BaseHTTPRequestHandler):
    """Speaks as much WebHDFS as is needed."""

    tree: ClassVar[dict[str, dict[str, Any]]] = {}
    safe_answers: ClassVar[list[int]] = []

    def answer(self) -> None:
        url = urlparse(self.path)
        path, query = url.path.removeprefix("/webhdfs/v1"), {k: v[0] for k, v in parse_qs(url.query).items()}
        assert query["user.name"] == "hdfs"
        code, body = 200, {}
        if query["op"] == "GETFILESTATUS":
            code = 200 if path in self.tree else 404
            body = {"FileStatus": self.tree.get(path)}
            if code == 404:
                body = {"RemoteException": {"exception": "FileNotFoundException"}}
        elif self.safe_answers:
            code = self.safe_answers.pop()
            body = {"RemoteException": {"exception": "SafeModeException"}}
        elif query["op"] == "MKDIRS":
            self.tree[path] = status("hdfs", "hadoop-admins", query["permission"])
        elif query["op"] == "SETPERMISSION":
            self.tree[path]["permission"] = query["permission"]
        else:
            self.tree[path].update(owner=query["owner"], group=query["group"])
        self.send_response(code)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    do_GET = do_PUT = answer  # noqa: N815 - names of http.server

    def log_message(self, *_arguments: object) -> None:
        return


@pytest.fixture
def server() -> Iterator[str]:
    NameNode.tree.clear()
    NameNode.safe_answers.clear()
    with HTTPServer(("127.0.0.1", 0), NameNode) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{httpd.server_port}"
        httpd.shutdown()


def test_folders_are_made_once(server: str) -> None:
    hdfs = dirs.WebHdfs(server, "hdfs")
    plan = {"dirs": [TMP, HOME], "superuser": "hdfs"}
    assert len(dirs.make(hdfs, plan)) == 6
    assert dirs.make(hdfs, plan) == []
    assert NameNode.tree == {TMP["path"]: status("hdfs", "hadoop", "1777"), "/user/pi": status("pi", "pi", "700")}


def test_safe_mode_is_waited_for(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    NameNode.safe_answers.extend([403, 403])
    wanted = tmp_path / "dirs.json"
    wanted.write_text(json.dumps({"namenode": server, "superuser": "hdfs", "dirs": [HOME]}))
    monkeypatch.setattr(dirs, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(sys, "argv", ["hdfs_dirs.py", str(wanted)])
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("PICLUSTER_INPUTS", "f00")
    dirs.main()
    assert NameNode.tree["/user/pi"]["owner"] == "pi"
    assert (tmp_path / "done").read_text() == "f00"


def test_nobody_there_is_not_yet() -> None:
    with pytest.raises(dirs.NotYetError):
        dirs.WebHdfs("127.0.0.1:1", "hdfs").call("GET", "/", "GETFILESTATUS")


def test_a_refusal_for_good_is_no_reason_to_wait(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NameNode, "safe_answers", [403])
    monkeypatch.setattr(json, "dumps", lambda _body: '{"RemoteException": {"exception": "AccessControlException"}}')
    with pytest.raises(urllib.error.HTTPError):
        dirs.WebHdfs(server, "hdfs").call("PUT", "/x", "MKDIRS", permission="700")


def test_a_proxy_in_the_environment_is_not_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert dirs.WebHdfs(server, "hdfs").call("GET", "/absent", "GETFILESTATUS") is None
