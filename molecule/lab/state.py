"""What the lab keeps of a cluster between two commands: .lab/<cluster>/ at the root of the checkout."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.nodes import Node

ROOT = Path(__file__).resolve().parents[2]


def lab_folder() -> Path:
    """The folder of all clusters; git ignores it."""
    return ROOT / ".lab"


@dataclass(frozen=True)
class State:
    """A cluster of the lab, written once its cards are burnt."""

    cluster: str
    net: str
    inventories: str
    nodes: tuple[Node, ...]
    images: dict[str, str]
    gateway: str

    def node(self, name: str) -> Node:
        """One node by its name.

        Raises:
            LabError: there is none of that name.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise LabError(f"The lab {self.cluster} has no node {name!r}; it has {names}.")


@dataclass(frozen=True)
class Folder:
    """The files of one cluster."""

    path: Path

    @classmethod
    def of(cls, cluster: str) -> Folder:
        """The folder of a cluster, which need not exist."""
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", cluster):
            raise LabError(f"A lab's name has lower-case letters, digits and hyphens, such as red; not {cluster!r}.")
        return cls(lab_folder() / cluster)

    @property
    def cards(self) -> Path:
        """The burnt card images."""
        return self.path / "cards"

    @property
    def gateway(self) -> Path:
        """What the gateway sees: the reservations."""
        return self.path / "gateway"

    @property
    def key(self) -> Path:
        """The private key of the lab's user."""
        return self.path / "id_ed25519"

    def boot(self, node: str) -> Path:
        """A node's /boot/firmware."""
        return self.path / "boot" / node

    def load(self) -> State | None:
        """The cluster's state; None if there is none.

        Raises:
            LabError: the file does not say what this version writes.
        """
        file = self.path / "state.json"
        try:
            said = json.loads(file.read_text("utf-8"))
            return State(**{**said, "nodes": tuple(Node(**node) for node in said["nodes"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LabError(
                f"{file} cannot be read ({error}); `make demo-down CLUSTER={self.path.name}` clears it away."
            ) from error

    def save(self, state: State) -> None:
        """Write the cluster's state in one step."""
        unfinished = self.path / "state.json.new"
        unfinished.write_text(json.dumps(asdict(state), indent=2) + "\n", "utf-8")
        unfinished.replace(self.path / "state.json")


def clusters() -> list[str]:
    """Names of all clusters that the lab keeps something of."""
    folder = lab_folder()
    # Names that start with a dot are no clusters', such as the logs of test runs.
    return sorted(entry.name for entry in folder.glob("[!.]*") if entry.is_dir()) if folder.is_dir() else []


def private_folder(path: Path) -> None:
    """Make a folder that only its owner may look into: keys are kept there."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
