# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""The one exception whose text is meant for the user."""

from __future__ import annotations


class UserError(Exception):
    """A sentence for the user: what is wrong, what was found, what to do.

    Every other exception is a bug and reaches the user as a traceback, never as advice.
    """
