"""YAML 1.1 without what a data file does not need and an attacker does.

Rules enforced here: no tags beyond the plain types, no anchors and no aliases (a small file must not grow large), no key
twice in one mapping (the first one would be lost without a word). Moments stay text: the reader of a field decides.
"""

from collections.abc import Hashable
from typing import Any

import yaml


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that refuses aliases, anchors and repeated keys."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it out
        if isinstance(event, yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, f"aliases are not allowed: write it out, {event.start_mark}")
        if getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(None, None, f"anchors are not allowed: write it out, {event.start_mark}")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 -- the library's signature
        seen: set[object] = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


_PlainLoader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in {"tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"}
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load(content: bytes) -> object:
    """The value of one document. Raises ``yaml.YAMLError`` when it is none, or not a plain one."""
    return yaml.load(content, Loader=_PlainLoader)  # noqa: S506 -- a subclass of the safe loader
