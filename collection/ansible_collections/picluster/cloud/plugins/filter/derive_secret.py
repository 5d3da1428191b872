# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""One secret per cluster, and one derived from it for each purpose."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from collections.abc import Callable

_SECRET = re.compile(r"[0-9a-fA-F]{64}")


def derive_secret(secret: object, label: object) -> str:
    """Return the secret that belongs to `label`: HMAC-SHA256 of the label under the cluster's secret, in hex.

    A derived secret reveals neither the cluster's secret nor another derived one.

    Args:
        secret: The cluster's secret, 64 hex digits.
        label: The purpose of the derived secret, for example `k3s-token`.

    Raises:
        AnsibleFilterError: the secret is not 64 hex digits, or the label is empty; the message never shows the secret.
    """
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        found = f"a string of {len(secret)} characters" if isinstance(secret, str) else f"a {type(secret).__name__}"
        raise AnsibleFilterError(
            f"the cluster's secret must be 64 hex digits, got {found}; restore group_vars/all/secrets.yml from a "
            "backup (a new secret locks running layers out)"
        )
    if not isinstance(label, str) or not label:
        raise AnsibleFilterError(f"the label of a derived secret must be a string such as k3s-token, got {label!r}")
    return hmac.new(bytes.fromhex(secret), label.encode(), hashlib.sha256).hexdigest()


class FilterModule:
    """The filters of this file, as Ansible looks for them."""

    def filters(self) -> dict[str, Callable[[object, object], str]]:
        """Return the filters by name."""
        return {"derive_secret": derive_secret}
