"""A card that is full or read-only: one sentence from every module of the base, never a traceback."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Any

import pytest

from ansible_collections.picluster.cloud.plugins.module_utils.confirm.rollback import Rollback
from ansible_collections.picluster.cloud.plugins.modules import docker_engine, raspberry, sshd_policy

if TYPE_CHECKING:
    from types import ModuleType


class FailedError(Exception):
    """What fail_json says."""


class Full:
    """A node whose card takes nothing."""

    model = "Raspberry Pi 5"

    def __init__(self, *_arguments: object) -> None:
        pass

    def write(self, *_arguments: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", "/etc/x")

    converge = present = absent = write


@pytest.mark.parametrize(
    ("module", "node", "params"),
    [
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
