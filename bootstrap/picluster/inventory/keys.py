"""Read public SSH keys for the cards, and find their private halves."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cryptography.hazmat.primitives.serialization import SSHPublicKeyTypes

_TYPES = re.compile(
    r"ssh-ed25519|ssh-rsa|ssh-dss|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com"
)
# What the role ssh configures (PubkeyAcceptedAlgorithms and RequiredRSASize): a card with only other keys locks its
# user out as soon as the role has run.
_REFUSED = {"ssh-dss": "DSA", "ecdsa-sha2-": "ECDSA", "sk-ecdsa-sha2-": "ECDSA"}
_MIN_RSA_BITS = 3072
# Keys that ssh tries by default in ~/.ssh (man ssh_config, IdentityFile).
_DEFAULT_IDENTITIES = frozenset({"id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk"})


def read_keys(paths: Iterable[Path]) -> tuple[str, ...]:
    """Return the public keys in these files, in order and without duplicates; refuse those that the nodes refuse."""
    keys: dict[str, None] = {}
    for path in paths:
        try:
            text = _expand(path).read_text(encoding="utf-8")
        except OSError as error:
            raise PiclusterError(
                f"the key {path} cannot be read: {error.strerror}; to create a key pair, run: ssh-keygen -t ed25519"
            ) from error
        except UnicodeDecodeError as error:
            raise PiclusterError(f"{path} is not a public SSH key: it is not text; give the .pub file") from error
        if "PRIVATE KEY" in text:
            raise PiclusterError(f"{path} is a private key: give its public half, probably {path}.pub")
        found = parse_lines(text.splitlines(), str(path))
        if not found:
            raise PiclusterError(
                f"{path} is empty: expected a public SSH key, one line such as 'ssh-ed25519 AAAA... you@home'"
            )
        check_accepted(found, f"--key {path}")
        keys.update(dict.fromkeys(found))
    return tuple(keys)


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise PiclusterError(
            f"the key {path} cannot be read: there is no such user's home; give the path in full"
        ) from error


def parse_lines(lines: Iterable[str], source: str) -> list[str]:
    """Return the public keys in these lines, without blank lines and comments; ``source`` names them in errors."""
    found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    for line in found:
        _check(line, source)
    return found


def check_accepted(lines: Iterable[str], source: str) -> None:
    """Refuse public keys that sshd on the nodes does not accept.

    Args:
        lines: From parse_lines().
        source: Where they come from, for the error message.

    Raises:
        PiclusterError: naming the first such key.
    """
    for line in lines:
        refused = next((name for kind, name in _REFUSED.items() if line.startswith(kind)), "")
        problem = f"sshd on the nodes accepts no {refused} keys" if refused else ""
        if line.startswith("ssh-rsa"):
            bits = getattr(_load(line), "key_size", 0)
            if bits < _MIN_RSA_BITS:
                problem = f"the RSA key has {bits} bits; sshd on the nodes requires {_MIN_RSA_BITS}"
        if problem:
            raise PiclusterError(f"{source}: {problem}; create a key with ssh-keygen -t ed25519 and pass it with --key")


def _check(line: str, source: str) -> None:
    words = line.split(None, 2)
    problem = ""
    if len(words) < 2 or not _TYPES.fullmatch(words[0]):  # noqa: PLR2004 - type and key; the comment is optional
        problem = "its line does not begin with a key type such as ssh-ed25519"
    elif not line.isprintable() and not line.replace("\t", " ").isprintable():
        problem = "it has control characters"
    elif _load(line) is None:
        problem = "its base64 part is cut off or mistyped"
    if problem:
        raise PiclusterError(f"{source} is not a public SSH key: {problem}")


def private_half(paths: Iterable[Path], home: Path) -> Path | None:
    """Return the first private key beside these public keys that ssh would not try by default.

    None if ssh tries a private half by default, or none is here (then an agent may hold it).
    """
    for path in paths:
        public = _expand(path).absolute()
        if public.suffix != ".pub":
            continue
        private = public.with_suffix("")
        if not private.is_file():
            continue
        if private.parent == home / ".ssh" and private.name in _DEFAULT_IDENTITIES:
            return None
        return private
    return None


def _load(line: str) -> SSHPublicKeyTypes | None:
    """Return the key, None if it is none."""
    # Imported here: only the commands that read a key should pay for loading it.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - slow to load, and only for keys
    from cryptography.hazmat.primitives.serialization import load_ssh_public_key  # noqa: PLC0415
    from cryptography.utils import CryptographyDeprecationWarning  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            # About DSA, which is refused anyway.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            return load_ssh_public_key(line.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
