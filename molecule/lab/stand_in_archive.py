# Copyright: the picluster authors
# SPDX-License-Identifier: Apache-2.0
"""Pack the k3s stand-in into one executable file: ``python -m lab.stand_in_archive FILE...``.

The file is a zip application (zipapp) that the nodes' own python3 runs. The same sources give the same bytes at any
time and on any machine, because `artifacts.lock` pins the digest. The zip is therefore written here: zipapp would store
the files' times and modes.
"""

from __future__ import annotations

import io
import sys
import zipapp
import zipfile
from pathlib import Path

LAB = Path(__file__).parent
PACKAGE = "k3s_stand_in"
INTERPRETER = "/usr/bin/env python3"


def build(target: Path, lab: Path = LAB) -> None:
    """Write the archive.

    Args:
        target: The file to write; it becomes executable.
        lab: The folder of the package `lab`, which contains the stand-in.
    """
    sources = {f"lab/{path.relative_to(lab).as_posix()}": path for path in (lab / PACKAGE).glob("*.py")}
    sources |= {"lab/__init__.py": lab / "__init__.py", "__main__.py": lab / PACKAGE / "__main__.py"}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, path in sorted(sources.items()):
            # Without a date a ZipInfo has the first of 1980. Stored, because zlib's output depends on its version.
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3  # Unix, wherever it is built
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_STORED)
    content.seek(0)
    zipapp.create_archive(content, target, INTERPRETER)
    target.chmod(0o755)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        build(Path(argument))
