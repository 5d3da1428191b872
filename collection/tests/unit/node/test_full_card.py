"""A card that is full or read-only: one sentence from every module of the base, never a traceback."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import Rollback
from ansible_collections.picluster.cloud.plugins.modules import (
    docker_engine,
    identity,
    raspberry,
    sshd_policy,
    static_address,
)

if TYPE_CHECKING:
    from types import ModuleType

ADDRESS = {"interface": "eth0", "address": "10.0.0.2", "prefix": 24, "gateway": "10.0.0.1", "dns": [], "search": []}

IDENTITY = {
    "controller_time": None,
    "hostname": "red1",
    "hosts": {"red1": "10.0.0.2"},
    "arch": "arm64",
    "timezone": "Etc/UTC",
    "locale": "C.UTF-8",
    "ntp_servers": [],
}


class FailedError(Exception):
    """What fail_json says."""


class Full:
    """A node whose card takes nothing."""

    model = "Raspberry Pi 5"

    def __init__(self, *_arguments: object) -> None:
        pass

    def userland(self) -> str:
        return "arm64"

    def write(self, *_arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "/etc/x")

    set_hostname = set_hosts = converge = present = absent = write


@pytest.mark.parametrize(
    ("module", "node", "params"),
    [
        (identity, "Node", IDENTITY),
        (static_address, "Node", ADDRESS),
        (sshd_policy, "Node", {"user": "pi", "settings": {}}),
        (raspberry, "Board", {}),
        (docker_engine, "Engine", {"state": "present", "daemon": {}, "users": []}),
        (docker_engine, "Engine", {"state": "absent", "daemon": {}, "users": []}),
    ],
)
def test_a_read_only_card_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, node: str, params: dict[str, Any]
) -> None:
    class FakeModule:
        def __init__(self, **_options: object) -> None:
            self.params = params
            self.run_command = None
            self.check_mode = False

        def fail_json(self, msg: str) -> None:
            raise FailedError(msg)

    monkeypatch.setattr(Rollback, "alone", lambda _self: contextlib.nullcontext())
    monkeypatch.setattr(module, "AnsibleModule", FakeModule)
    monkeypatch.setattr(module, node, Full)
    with pytest.raises(
        FailedError, match=r"^/etc/x cannot be written: Read-only file system; check the card: it is full"
    ):
        module.main()
