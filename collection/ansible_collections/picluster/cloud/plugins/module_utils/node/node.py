# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The node that a module runs on: its programs, files and units, and the record of what a call changes."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import Files, printable
from ansible_collections.picluster.cloud.plugins.module_utils.node.units import Units

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ansible.module_utils.basic import AnsibleModule

_TIMED_OUT = 124  # timeout(1)
_NOT_FOUND = 127  # sh(1)


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        code: Its exit code; 127 if there is no such program, 124 if it was stopped at its time limit.
        out: Its standard output.
        err: Its standard error.
    """

    code: int
    out: str = ""
    err: str = ""

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def reason(self) -> str:
        """What it said about its failure, on one line."""
        return " ".join((self.err or self.out).split()) or f"exit code {self.code}"


class Node:
    """The node, as one module call reads and changes it.

    Everything that changes the node goes through here, so that check mode changes nothing and every change is in the
    diff. A call has changed something exactly if its diff has an entry.

    Attributes:
        root: Where the node's file system begins; another folder than / in tests.
        check_mode: Whether to report only.
        diff: What changed, as Ansible shows it.
        files: The node's files.
        units: The node's systemd units.
    """

    def __init__(self, module: AnsibleModule, root: Path = Path("/")) -> None:
        self._module = module
        self.root = root
        self.check_mode: bool = module.check_mode
        self.diff: list[dict[str, str]] = []
        self.files = Files(self)
        self.units = Units(self)

    @property
    def changed(self) -> bool:
        """Whether this call changed something, or in check mode would."""
        return bool(self.diff)

    def path(self, name: str) -> Path:
        """Return where an absolute path of the node lies."""
        return self.root / name.lstrip("/")

    def note(self, subject: str, before: str, after: str) -> None:
        """Record a change for the diff.

        Args:
            subject: What changes: a path, a unit, `packages`.
            before: Its former state, empty for none.
            after: Its new state, empty for none.
        """
        entry = {"before_header": subject, "after_header": subject}
        self.diff.append({**entry, "before": _lines(before), "after": _lines(after)})

    def run(
        self,
        *command: str,
        stdin: str | None = None,
        user: str = "",
        timeout: int = 0,
        env: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run a program, in check mode too; its messages are in English.

        Args:
            command: The program and its arguments.
            stdin: What it reads.
            user: Whom it runs as, if not the module's user.
            timeout: Seconds after which it is stopped; 0 for no limit.
            env: Further environment variables.
        """
        wrapped = [*(("timeout", str(timeout)) if timeout else ()), *command]
        if user:
            wrapped = ["runuser", "-u", user, "--", *wrapped]
        environ = {"LC_ALL": "C.UTF-8", **(env or {})}
        try:
            code, out, err = self._module.run_command(
                wrapped, data=stdin, binary_data=True, environ_update=environ, handle_exceptions=False
            )
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EACCES):
                raise
            return Outcome(_NOT_FOUND, err=f"{command[0]}: {error.strerror}")
        if timeout and code == _TIMED_OUT:
            return Outcome(code, out, f"no result within {timeout} s")
        return Outcome(code, out, err)

    def query(self, *command: str, **options: Any) -> str:  # noqa: ANN401 - those of run()
        """Run a program that changes nothing, in check mode too; return its output.

        Raises:
            UserError: it failed; the message is the command and its own words.
        """
        outcome = self.run(*command, **options)
        if not outcome.ok:
            raise UserError(f"{' '.join(command)} failed: {outcome.reason}")
        return outcome.out

    def change(self, *command: str, **options: Any) -> None:  # noqa: ANN401 - those of run()
        """Run a program that changes the node, but not in check mode.

        Raises:
            UserError: it failed; the message is the command and its own words.
        """
        if not self.check_mode:
            self.query(*command, **options)

    def hide(self, values: Iterable[str], *, only: bool = False) -> None:
        """Mask values wherever the module's answer would show them.

        Args:
            values: The secrets.
            only: Mask no others. Of a mapping with no_log, Ansible masks each value, be it "1", wherever it occurs.
        """
        if only:
            self._module.no_log_values.clear()
        self._module.no_log_values.update(value for value in values if value)

    def warn(self, text: str) -> None:
        """Show a warning."""
        self._module.warn(text)


def _lines(text: str) -> str:
    return printable(text if not text or text.endswith("\n") else f"{text}\n")
