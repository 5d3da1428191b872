# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The option of the modules that may wait for apt."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment picluster.cloud.lock_timeout."""

    DOCUMENTATION = r"""
options:
  lock_timeout:
    description:
      - Seconds to wait for another program that holds apt's or dpkg's lock.
      - From 0 to 86400.
    type: int
    default: 600
"""
