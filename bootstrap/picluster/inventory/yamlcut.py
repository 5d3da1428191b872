"""Remove keys from a YAML text: all other lines, comments and layout stay to the byte.

A library that rewrites the file attaches each comment to the key before it, so the comment about the next node would
be removed with the node that leaves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from picluster.errors import PiclusterError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

Keys = tuple[str, ...]


def cut(text: str, victims: Collection[Keys], where: object) -> str:
    """Return the text without these keys; a mapping without keys remains as an empty mapping.

    Comments beside a key and inside its block are removed with it; all others stay. Each victim is a key with all keys
    above it; missing ones are ignored. Refuses what cannot be removed safely, such as an anchor that others refer to.
    """
    root = yaml.compose(text, yaml.SafeLoader)
    if root is None:
        return text
    doomed = set(victims)
    left = text
    for begin, end in sorted(_merged(list(_spans(text, root, (), doomed))), reverse=True):
        left = left[:begin] + left[end:]
    try:
        same = _shape(yaml.compose(left, yaml.SafeLoader), (), set()) == _shape(root, (), doomed)
    except yaml.YAMLError:
        same = False
    if not same:
        names = ", ".join(sorted({keys[-1] for keys in doomed}))
        raise PiclusterError(
            f"{where} cannot be edited safely: its YAML is too complex; remove {names} from it by hand"
        )
    return left


def _spans(text: str, node: yaml.Node, above: Keys, doomed: set[Keys]) -> Iterator[tuple[int, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    pairs = node.value
    for number, (key, value) in enumerate(pairs):
        keys = (*above, str(key.value))
        if keys not in doomed:
            # The value of an alias is written elsewhere.
            if not _is_alias(key, value):
                yield from _spans(text, value, keys, doomed)
        elif node.flow_style:
            yield _flow_span(node, number, {key for key in doomed if key[:-1] == above})
        else:
            begin = key.start_mark.index - key.start_mark.column
            end = text.find("\n", max(_end(key, value) - 1, key.end_mark.index))
            yield begin, len(text) if end < 0 else end + 1


def _flow_span(node: yaml.MappingNode, number: int, doomed: set[Keys]) -> tuple[int, int]:
    """Return the span of an entry of {a: 1, b: 2} with its comma."""
    leaving = {keys[-1] for keys in doomed}
    key, value = node.value[number]
    if any(str(later.value) not in leaving for later, _ in node.value[number + 1 :]):
        return key.start_mark.index, node.value[number + 1][0].start_mark.index
    kept = [pair for pair in node.value[:number] if str(pair[0].value) not in leaving]
    if not kept:
        return node.start_mark.index + 1, node.end_mark.index - 1
    return _end(*kept[-1]), _end(key, value)


def _is_alias(key: yaml.Node, value: yaml.Node) -> bool:
    return bool(value.start_mark.index < key.end_mark.index)


def _end(key: yaml.Node, value: yaml.Node) -> int:
    """Return where the text of an entry ends; the end mark of a block is behind the comments that follow it."""
    if _is_alias(key, value):
        return int(key.end_mark.index)
    if isinstance(value, yaml.MappingNode) and not value.flow_style and value.value:
        return _end(*value.value[-1])
    if isinstance(value, yaml.SequenceNode) and not value.flow_style and value.value:
        return _end(key, value.value[-1])
    return int(value.end_mark.index)


def _merged(spans: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    begin = end = -1
    for low, high in sorted(spans):
        if low <= end:
            end = max(end, high)
            continue
        if end >= 0:
            yield begin, end
        begin, end = low, high
    if end >= 0:
        yield begin, end


def _shape(node: yaml.Node | None, above: Keys, doomed: set[Keys]) -> object:
    """Return the meaning of a text without the removed keys; all spellings of an empty value are equal."""
    if isinstance(node, yaml.MappingNode):
        return {
            str(key.value): _shape(value, (*above, str(key.value)), doomed)
            for key, value in node.value
            if (*above, str(key.value)) not in doomed
        } or None
    if isinstance(node, yaml.SequenceNode):
        return [_shape(one, (*above, ""), doomed) for one in node.value]
    if node is None or node.tag == "tag:yaml.org,2002:null":
        return None
    return (node.tag, node.value)
