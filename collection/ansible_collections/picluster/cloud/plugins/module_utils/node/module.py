# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The frame of every module that runs on a node: arguments in, one answer or one sentence out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.picluster.cloud.plugins.module_utils.node.errors import UserError
from ansible_collections.picluster.cloud.plugins.module_utils.node.files import CARD_ERRORS, describe_write_error
from ansible_collections.picluster.cloud.plugins.module_utils.node.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def run_module(
    converge: Callable[[Node, dict[str, Any]], Mapping[str, Any] | None],
    arguments: Mapping[str, Mapping[str, Any]],
    **options: Any,  # noqa: ANN401 - those of AnsibleModule
) -> None:
    """Run a module: parse its arguments, converge the node, report.

    Args:
        converge: Takes the node and the module's options, does the work, and returns what the answer has beside
            `changed` and `diff`. Each may be in it, too, where it differs from what the node recorded.
        arguments: The module's argument spec.
        options: Further arguments of AnsibleModule, such as required_if.
    """
    module = AnsibleModule(argument_spec=dict(arguments), supports_check_mode=True, **options)
    node = Node(module)
    try:
        answer = converge(node, module.params) or {}
    except UserError as error:
        module.fail_json(msg=str(error))
    except OSError as error:
        # A card fails anywhere, also below code that is not ours. Any other refusal of the system is a bug of ours.
        if error.errno not in CARD_ERRORS:
            raise
        module.fail_json(msg=describe_write_error(error))
    module.exit_json(**{"changed": node.changed, "diff": node.diff, **answer})
