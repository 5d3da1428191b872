"""The groups of a new inventory, as the layers of the collection declare them; no layer is named here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from picluster.errors import PiclusterError

_PACKAGE = Path(__file__).resolve().parents[1]
_COLLECTION = "ansible_collections/picluster/cloud"


def declared_groups(package: Path = _PACKAGE) -> dict[str, dict[str, Any]]:
    """Return by name the groups of all layers, in the order of the layers; `initial` and `description` are used.

    Raises:
        PiclusterError: the collection is not where picluster is.
    """
    # A wheel installs both side by side; a checkout has bootstrap/picluster and collection/.
    places = (package.parent, package.parents[1] / "collection")
    roles = next((roles for place in places if (roles := place / _COLLECTION / "roles").is_dir()), None)
    if roles is None:
        raise PiclusterError(
            f"the collection picluster.cloud is missing: no {_COLLECTION} in {places[0]} or {places[1]}; "
            "install picluster again"
        )
    yaml = YAML(typ="safe")
    # Each declaration is checked by the collection's own tests and at the start of each run.
    layers = [(path.parts[-3], yaml.load(path)) for path in roles.glob("*/meta/layer.yml")]
    ordered = sorted(layers, key=lambda layer: (layer[1]["order"], layer[0]))
    return {name: group for _, declared in ordered for name, group in declared["groups"].items()}
