# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""What every module that converges a node supports."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragments picluster.cloud.attributes and picluster.cloud.attributes.query."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Reports what would change and changes nothing.
  diff_mode:
    support: full
    description: Shows each change before and after; secrets are hidden.
  idempotent:
    support: full
    description: A second call with the same options changes nothing.
"""

    # For modules that only read: checks, health.
    QUERY = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Changes nothing in any mode.
  diff_mode:
    support: none
    description: Changes nothing.
  idempotent:
    support: full
    description: Changes nothing.
"""
