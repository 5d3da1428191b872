"""The programs picluster (also python -m picluster) and cm-burn: they start with little, so that Ctrl-C finds them."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> int:
    """Run picluster."""
    return _run("main")


def cm_burn() -> int:
    """Run cm-burn."""
    return _run("cm_burn")


def _run(program: str) -> int:
    try:
        from picluster import cli  # noqa: PLC0415 - the import takes half a second, in which Ctrl-C must be caught, too

        return int(getattr(cli, program)())
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
