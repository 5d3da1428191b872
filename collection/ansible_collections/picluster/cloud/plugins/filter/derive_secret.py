# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""One secret a cluster, and from it one secret for each purpose."""

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

    Nobody who learns one derived secret learns the cluster's secret or another derived one.

    Args:
        secret: the cluster's secret, 64 hex digits.
        label: what the derived secret is for, `k3s-token` for example.

    Raises:
        AnsibleFilterError: the secret is not 64 hex digits, or the label is empty. The secret is never shown.
    """
    if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
        found = f"{len(secret)} characters" if isinstance(secret, str) else f"a {type(secret).__name__}"
        raise AnsibleFilterError(
            f"derive_secret needs the cluster's secret, 64 hex digits, but got {found}: "
            "let `picluster inventory` make group_vars/all/secrets.yml"
        )
    if not isinstance(label, str) or not label:
        raise AnsibleFilterError(f"derive_secret needs a label that says what the secret is for, but got {label!r}")
    return hmac.new(bytes.fromhex(secret), label.encode(), hashlib.sha256).hexdigest()


class FilterModule:
    """The filters of this file, as Ansible looks for them."""

    def filters(self) -> dict[str, Callable[[object, object], str]]:
        """Return the filters by name."""
        return {"derive_secret": derive_secret}
