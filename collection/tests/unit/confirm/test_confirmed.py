"""The controller's half of commit-confirm, with connections that are only recorded and a clock that jumps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from ansible.errors import AnsibleAuthenticationFailure, AnsibleConnectionFailure

from ansible_collections.picluster.cloud.plugins.action.sshd_policy import ActionModule
from ansible_collections.picluster.cloud.plugins.plugin_utils.confirm import confirmed

if TYPE_CHECKING:
    from collections.abc import Callable

DENIED = AnsibleAuthenticationFailure("Failed to connect to the host via ssh: pi@red1: Permission denied (publickey).")
SILENT = AnsibleConnectionFailure(
    'Data could not be sent to remote host "10.0.0.11". Make sure this host can be reached over ssh: '
    "ssh: connect to host 10.0.0.11 port 22: Connection timed out"
)
ASKED = {"name": "sshd", "within": 60}
BACK = {"changed": False, "fate": "rolled back"}


class Connection:
    """A connection plugin with options, as far as the action needs one."""

    ansible_name = "ansible.builtin.ssh"

    def __init__(self, name: str, host: str = "10.0.0.11", **options: Any) -> None:
        self.name = name
        self.options = {"ssh_args": "-o ControlPersist=600s", "host": host, "timeout": 60, "port": None, **options}
        self.option_definitions = [*self.options, "reconnection_retries"]
        self.become = object()
        self._shell = SimpleNamespace(tmpdir=None)
        self.events: list[str] = []

    def get_options(self) -> dict[str, Any]:
        return dict(self.options)

    def set_option(self, name: str, value: Any) -> None:
        self.options[name] = value

    def set_options(self, *, direct: dict[str, Any]) -> None:
        self.options = direct

    def set_become_plugin(self, plugin: object) -> None:
        self.become = plugin

    def reset(self) -> None:
        self.events.append("reset")

    def close(self) -> None:
        self.events.append("close")


class Controller:
    """Runs the action; `node` answers for the node and may raise what a connection raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, node: Callable[..., dict[str, Any]]) -> None:
        self.node = node
        self.now = 0.0
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.fresh: list[Connection] = []
        self.former = Connection("former")
        monkeypatch.setattr(confirmed.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(confirmed.time, "sleep", self._sleep)
        monkeypatch.setattr(ActionModule, "_remove_tmp_path", lambda *_: None)
        monkeypatch.setattr(ActionModule.__mro__[2], "run", lambda *_: {})
        controller = self

        def execute(
            action: Any,
            *,
            module_args: dict[str, Any],
            task_vars: Any,
            module_name: str = "picluster.cloud.sshd_policy",
        ) -> dict[str, Any]:
            assert task_vars == {"a": 1}
            connection = action._connection
            controller.calls.append((module_name.rpartition(".")[2], connection.name, module_args))
            return controller.node(controller, module_name.rpartition(".")[2], connection, module_args)

        monkeypatch.setattr(ActionModule, "_execute_module", execute, raising=False)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _get(self, name: str, context: Any, **_: Any) -> Connection:
        assert name == self.former.ansible_name
        self.fresh.append(Connection(f"fresh{len(self.fresh) + 1}", context.remote_addr))
        return self.fresh[-1]

    def run(self, action_class: type[ActionModule] = ActionModule, **arguments: Any) -> dict[str, Any]:
        action = action_class.__new__(action_class)
        action._task = SimpleNamespace(args=arguments, _uuid="1")
        action._connection = self.former
        action._play_context = SimpleNamespace(copy=lambda: SimpleNamespace(remote_addr="10.0.0.11"))
        action._shared_loader_obj = SimpleNamespace(connection_loader=SimpleNamespace(get=self._get))
        result = action.run(task_vars={"a": 1})
        assert action._connection is self.former
        return result

    @property
    def path(self) -> list[tuple[str, str, str]]:
        return [(module, name, args.get("state", "")) for module, name, args in self.calls]


def _changing(confirm: Callable[..., dict[str, Any]], **more: Any) -> Callable[..., dict[str, Any]]:
    def node(controller: Controller, module: str, connection: Connection, args: dict[str, Any]) -> dict[str, Any]:
        if module == "confirm":
            return confirm(controller, connection, args)
        return {"changed": True, "confirm": {**ASKED, "token": args["confirm_token"], **more}}

    return node


def test_a_change_stays_only_by_a_login_over_a_fresh_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Controller(monkeypatch, _changing(lambda *_: {"changed": True}))
    assert controller.run(user="pi") == {"changed": True}
    assert controller.path == [("sshd_policy", "former", ""), ("confirm", "fresh1", "")]
    token = controller.calls[0][2]["confirm_token"]
    assert controller.calls[1][2] == {"name": "sshd", "token": token}
    fresh = controller.fresh[0]
    assert fresh.options["ssh_args"].startswith("-o ControlMaster=no -o ControlPath=none ")
    # What the user needs to get there (a jump host) stays.
    assert fresh.options["ssh_args"].endswith(" -o ControlPersist=600s")
    assert fresh.options["host"] == "10.0.0.11"
    assert fresh.become is controller.former.become
    assert fresh.events == ["close"]
    assert controller.former.events == []


def test_every_run_has_a_token_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Controller(monkeypatch, _changing(lambda *_: {"changed": True}))
    controller.run()
    controller.run()
    assert controller.calls[0][2]["confirm_token"] != controller.calls[2][2]["confirm_token"]


@pytest.mark.parametrize("result", [{"changed": False}, {"changed": True}, {"failed": True, "msg": "no"}])
def test_nothing_armed_needs_no_login(monkeypatch: pytest.MonkeyPatch, result: dict[str, Any]) -> None:
    controller = Controller(monkeypatch, lambda *_: dict(result))
    assert controller.run() == result
    assert controller.fresh == []


def test_a_node_that_is_slow_to_take_logins_gets_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, *_: Any) -> dict[str, Any]:
        if controller.now < 30:
            controller.now += 10
            raise SILENT
        return {"changed": True}

    controller = Controller(monkeypatch, _changing(confirm))
    assert controller.run() == {"changed": True}
    assert len(controller.fresh) == 4


def test_no_attempt_lasts_beyond_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, connection: Connection, args: dict[str, Any]) -> dict[str, Any]:
        if args.get("state") == "undone":
            return BACK
        controller.now += connection.options["timeout"]
        raise SILENT

    controller = Controller(monkeypatch, _changing(confirm))
    assert controller.run()["failed"]
    assert controller.now <= 61
    assert controller.fresh[0].options["timeout"] == 10
    # Before the project's own value: ssh uses the first.
    assert "-o ConnectTimeout=10 -o ControlPersist=600s" in controller.fresh[0].options["ssh_args"]
    # A dead connection from before the change must not use up the time in which the node is reachable again.
    assert controller.former.options["timeout"] == 10
    assert controller.fresh[0].options["reconnection_retries"] == 0


def test_a_refused_key_is_told_soon_and_the_node_goes_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(_: Controller, connection: Connection, args: dict[str, Any]) -> dict[str, Any]:
        if connection.name != "former":
            raise DENIED
        assert args["state"] == "undone"
        return BACK

    controller = Controller(monkeypatch, _changing(confirm))
    assert controller.run() == {
        "failed": True,
        "changed": False,
        "msg": "no new login was possible after the change of sshd: pi@red1: Permission denied (publickey); "
        "the node has been rolled back",
    }
    assert controller.path[-1] == ("confirm", "former", "undone")
    assert controller.now < 10
    assert controller.former.events == ["reset"]


def test_with_the_old_connection_dead_it_waits_until_the_node_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, *_: Any) -> dict[str, Any]:
        controller.now += 5
        if controller.now < 75:
            raise SILENT
        return BACK

    controller = Controller(monkeypatch, _changing(confirm))
    result = controller.run()
    assert result["failed"]
    assert "Connection timed out; the node has been rolled back" in result["msg"]
    assert controller.path[-1][1].startswith("fresh")
    assert controller.path[-1][2] == "undone"


def test_a_node_that_never_answers_again_does_not_hold_the_run_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, *_: Any) -> dict[str, Any]:
        controller.now += 10
        raise SILENT

    controller = Controller(monkeypatch, _changing(confirm))
    message = controller.run()["msg"]
    assert "; the node does not report whether it has been rolled back (ssh: connect to host" in message
    assert message.endswith("; it rolls back by itself, unless another run has changed the same since")
    assert controller.now <= 60 + confirmed.PATIENCE + 20


def test_a_confirmation_that_the_node_refuses_is_the_node_s_own_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(_: Controller, __: Connection, args: dict[str, Any]) -> dict[str, Any]:
        return BACK if "state" in args else {"failed": True, "msg": "too late"}

    controller = Controller(monkeypatch, _changing(confirm))
    assert controller.run()["msg"] == "too late; the node has been rolled back"


def test_what_kept_the_logins_from_succeeding_is_told_with_a_confirmation_that_came_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def confirm(controller: Controller, _: Connection, args: dict[str, Any]) -> dict[str, Any]:
        if "state" in args:
            return BACK
        controller.now += 20
        if controller.now < 50:
            raise SILENT
        return {"failed": True, "msg": "too late"}

    message = Controller(monkeypatch, _changing(confirm)).run()["msg"]
    assert message.startswith("too late; no new login was possible after the change of sshd: ")
    assert "Connection timed out" in message


@pytest.mark.parametrize(
    ("fate", "sentence"),
    [
        ("rolled back", "the node has been rolled back"),
        (
            "superseded",
            "nothing was rolled back: another run's state is in effect; wait for it, then run the playbook again",
        ),
        (
            "confirmed",
            "the change is permanent nevertheless, because a login succeeded before; run the playbook again",
        ),
    ],
)
def test_a_change_is_called_rolled_back_only_if_the_node_says_so(
    monkeypatch: pytest.MonkeyPatch, fate: str, sentence: str
) -> None:
    def confirm(_: Controller, __: Connection, args: dict[str, Any]) -> dict[str, Any]:
        return {"changed": False, "fate": fate} if "state" in args else {"failed": True, "msg": "no confirmation"}

    assert Controller(monkeypatch, _changing(confirm)).run()["msg"] == f"no confirmation; {sentence}"


def test_what_a_node_could_not_roll_back_is_not_called_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, _: Connection, args: dict[str, Any]) -> dict[str, Any]:
        controller.now += 5
        return {"failed": True, "msg": "the card is full" if "state" in args else "too late"}

    assert Controller(monkeypatch, _changing(confirm)).run()["msg"] == (
        "too late; the node does not report whether it has been rolled back (the card is full); it rolls back by "
        "itself, unless another run has changed the same since"
    )


def test_lost_sudo_is_waited_out_until_the_node_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, *_: Any) -> dict[str, Any]:
        controller.now += 1
        return BACK if controller.now > 62 else {"failed": True, "msg": "sudo: a password is required"}

    controller = Controller(monkeypatch, _changing(confirm))
    assert controller.run()["msg"] == "sudo: a password is required; the node has been rolled back"


def test_a_node_that_moved_is_confirmed_at_its_new_address(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Controller(monkeypatch, _changing(lambda *_: {"changed": True}, host="10.0.0.99"))
    assert controller.run() == {"changed": True}
    assert controller.fresh[0].options["host"] == "10.0.0.99"
    assert controller.former.events == ["reset"]


def test_a_node_that_did_not_arrive_is_waited_for_at_its_old_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def confirm(controller: Controller, connection: Connection, args: dict[str, Any]) -> dict[str, Any]:
        assert connection.name != "former"
        controller.now += 5
        if connection.options["host"] == "10.0.0.99" or controller.now < 70:
            raise SILENT
        return BACK

    controller = Controller(monkeypatch, _changing(confirm, host="10.0.0.99"))
    assert "the node has been rolled back" in controller.run()["msg"]


def test_a_connection_that_breaks_during_the_change_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(*_: Any) -> dict[str, Any]:
        raise SILENT

    with pytest.raises(AnsibleConnectionFailure):
        Controller(monkeypatch, node).run()


class Moving(ActionModule):  # type: ignore[misc]  # no types in ansible-core
    """An action whose change can cut its own connection."""

    def lost_answer(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**ASKED, "token": arguments["confirm_token"], "host": arguments["address"]}


def test_a_change_that_cuts_its_own_connection_is_confirmed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def node(_: Controller, module: str, connection: Connection, args: dict[str, Any]) -> dict[str, Any]:
        if module == "confirm":
            assert connection.options["host"] == "10.0.0.99"
            return {"changed": True}
        raise SILENT

    controller = Controller(monkeypatch, node)
    assert controller.run(Moving, address="10.0.0.99") == {"changed": True}
    assert controller.calls[0][2]["confirm_token"] == controller.calls[1][2]["token"]


def test_another_kind_of_connection_gets_no_options_of_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    controller = Controller(monkeypatch, _changing(lambda *_: {"changed": True}))
    controller.former.options = {"remote_addr": "box"}
    controller.former.option_definitions = ["remote_addr"]
    controller.run()
    assert controller.fresh[0].options == {"remote_addr": "box"}
