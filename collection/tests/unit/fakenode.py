"""A node in a folder: real files below it, scripted programs, a systemd that remembers what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    # What a program does: its output, how it ended, or a function of the command.
    Answer = str | Outcome | Callable[..., "str | Outcome | None"]

STOPPED = {"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "disabled", "NeedDaemonReload": "no"}
RUNNING = {**STOPPED, "ActiveState": "active", "UnitFileState": "enabled"}
NOT_FOUND = {**STOPPED, "LoadState": "not-found", "UnitFileState": ""}
MASKED = {**STOPPED, "LoadState": "masked", "UnitFileState": "masked"}
_STATES = {
    "start": "active",
    "restart": "active",
    "reload": "active",
    "try-reload-or-restart": "active",
    "stop": "inactive",
}
_FILE_STATES = {"enable": "enabled", "disable": "disabled", "unmask": "disabled"}


class Failed(Exception):  # noqa: N818 - what fail_json does
    """The module failed, with this message."""


class FakeModule:
    """As much of AnsibleModule as a node uses."""

    def __init__(self, node: FakeNode, *, check_mode: bool) -> None:
        self._node = node
        self.check_mode = check_mode
        self.no_log_values: set[str] = set()
        self.warnings: list[str] = []
        self.warn = self.warnings.append

    def run_command(self, command: list[str], **options: Any) -> tuple[int, str, str]:
        outcome = self._node.answer(command, **options)
        return outcome.code, outcome.out, outcome.err


class FakeNode(Node):
    """A node whose root is a folder of the test.

    Attributes:
        commands: What was run, each as one text, in order.
        unit_states: systemd's units, by full name; an unknown unit is not found.
        answers: By the beginning of a command what it does; the longest beginning decides. A program without an answer
            fails the test. systemctl needs none, but may have one (to fail).
    """

    def __init__(
        self,
        root: Path,
        answers: Mapping[str, Answer] | None = None,
        *,
        check_mode: bool = False,
        units: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.module = FakeModule(self, check_mode=check_mode)
        super().__init__(self.module, root)  # type: ignore[arg-type]  # as much of a module as a node uses
        self.answers: dict[str, Answer] = dict(answers or {})
        self.commands: list[str] = []
        self.inputs: list[str | None] = []
        self.unit_states: dict[str, dict[str, str]] = {name: dict(state) for name, state in (units or {}).items()}

    @property
    def actions(self) -> list[str]:
        """What was run, without queries of systemd."""
        return [command for command in self.commands if not command.startswith("systemctl show")]

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """Put a file on the node, past the diff."""
        place = self.path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        place.chmod(mode)
        return place

    def text(self, path: str) -> str:
        """Return a file's text."""
        return self.path(path).read_text(encoding="utf-8")

    def answer(self, command: list[str], data: str | None = None, **_options: Any) -> Outcome:
        """Do what the script says for a command."""
        text = " ".join(map(str, command))
        self.commands.append(text)
        self.inputs.append(data)
        known = [start for start in self.answers if text == start or text.startswith((f"{start} ", f"{start}="))]
        found: Any = self.answers[max(known, key=len)] if known else None
        if callable(found):
            found = found(*command)
        if found is None and command[0] == "systemctl":
            found = self._systemctl(*command[1:])
        assert found is not None, f"the test has no answer for: {text}"
        return found if isinstance(found, Outcome) else Outcome(0, found)

    def _systemctl(self, verb: str, *arguments: str) -> str:
        names = [argument for argument in arguments if not argument.startswith("-")]
        if verb == "show":
            listed = next(argument for argument in arguments if argument.startswith("--property="))
            properties = listed.partition("=")[2].split(",")
            return "\n".join("".join(f"{line}\n" for line in self._shown(name, properties)) for name in names)
        if verb == "daemon-reload":
            for state in self.unit_states.values():
                state["NeedDaemonReload"] = "no"
        for name in names:
            state = self.unit_states.setdefault(name, dict(STOPPED))
            if verb in _FILE_STATES:
                state["UnitFileState"] = _FILE_STATES[verb]
            if verb == "unmask":
                state["LoadState"] = "loaded"
            active = {"enable": "start", "disable": "stop"}.get(verb, "") if "--now" in arguments else verb
            if active in _STATES:
                state["ActiveState"] = _STATES[active]
        return ""

    def _shown(self, name: str, properties: list[str]) -> list[str]:
        state = {"Id": name, **self.unit_states.get(name, NOT_FOUND)}
        return [f"{key}={state[key]}" for key in properties if key in state]
