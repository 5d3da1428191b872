# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""A module's message in the words of its role's user. Pure.

A module names its own options; who runs the role knows them as variables: `give_up_data` is `hadoop_give_up_data`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

# Options of one word are left alone: they are words of ordinary sentences, too.
_NAME = re.compile(r"\b[a-z0-9]+(?:_[a-z0-9]+)+\b(=)?")


def name_variables(answer: dict[str, Any], role: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a module's answer with the role's variables in its message; `option=value` becomes `-e variable=value`."""

    def variable(found: re.Match[str]) -> str:
        if found[0].removesuffix("=") not in arguments:
            return found[0]
        return f"-e {role}_{found[0]}" if found[1] else f"{role}_{found[0]}"

    return {**answer, "msg": _NAME.sub(variable, answer["msg"])} if answer.get("failed") and "msg" in answer else answer
