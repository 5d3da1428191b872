"""Public SSH keys for the cards, and where their private halves are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_TYPES = re.compile(
    r"ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com"
)
# What ssh tries by itself in ~/.ssh (man ssh_config, IdentityFile).
_DEFAULT_IDENTITIES = frozenset({"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"})


def read_keys(paths: Iterable[Path]) -> tuple[str, ...]:
    """Read public keys, in order and each once.

    Raises:
        PiclusterError: if a file is missing, a private key, or no public key.
    """
    keys: dict[str, None] = {}
    for path in paths:
        try:
            text = path.expanduser().read_text(encoding="utf-8")
        except RuntimeError as error:
            raise PiclusterError(f"the key {path} cannot be read: there is no such user's home") from error
        except OSError as error:
            raise PiclusterError(
                f"the key {path} cannot be read ({error.strerror}): ssh-keygen -t ed25519 makes a pair"
            ) from error
        except UnicodeDecodeError as error:
            raise PiclusterError(f"{path} is not a public SSH key: it is not text") from error
        if "PRIVATE KEY" in text:
            raise PiclusterError(f"{path} is a private key: give its public half, most likely {path}.pub")
        found = parse_lines(text.splitlines(), str(path))
        if not found:
            raise PiclusterError(f"{path} is empty: a public SSH key is one line like 'ssh-ed25519 AAAA... you@home'")
        keys.update(dict.fromkeys(found))
    return tuple(keys)


def parse_lines(lines: Iterable[str], source: str) -> list[str]:
    """Return the public keys of these lines, without blank ones and comments.

    Args:
        lines: One key each.
        source: Where they are from, for the error sentence.

    Raises:
        PiclusterError: if one is no public key.
    """
    found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    for line in found:
        _check(line, source)
    return found


def _check(line: str, source: str) -> None:
    words = line.split(None, 2)
    problem = ""
    if len(words) < 2 or not _TYPES.fullmatch(words[0]):  # noqa: PLR2004 - type and key, the comment may be missing
        problem = "its line does not begin with a key type such as ssh-ed25519"
    elif not line.isprintable() and not line.replace("\t", " ").isprintable():
        problem = "it has control characters"
    elif not _is_key(line):
        problem = "its base64 part is cut off or mistyped"
    if problem:
        raise PiclusterError(f"{source} is not a public SSH key: {problem}")


def private_half(paths: Iterable[Path], home: Path) -> Path | None:
    """Return the first private key beside these public ones that ssh would not try by itself.

    Returns:
        None if ssh finds a private half by itself or none is here (then an agent may hold it).
    """
    for path in paths:
        public = path.expanduser().absolute()
        if public.suffix != ".pub":
            continue
        private = public.with_suffix("")
        if not private.is_file():
            continue
        if private.parent == home / ".ssh" and private.name in _DEFAULT_IDENTITIES:
            return None
        return private
    return None


def _is_key(line: str) -> bool:
    # Imported here: only the commands that read a key should pay for loading it.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415

    try:
        load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True
