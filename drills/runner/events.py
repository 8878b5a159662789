"""Reads `GET /v1/events` (server-sent events, WHATWG HTML section 9.2): names and ids of what happened."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Told:
    """One event: its number in the stream, its name, and the ids it carries."""

    number: str
    name: str
    ids: Mapping[str, str]


def parse(lines: Iterable[str]) -> Iterator[Told]:
    """Yield the events of a stream of lines; comments, `retry:` and what is not ours are passed over."""
    number, name, data = "", "", ""
    for line in lines:
        if line == "":
            if name and data:
                yield Told(number, name, _ids(data))
            name, data = "", ""
            continue
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match key:
            case "id":
                number = value
            case "event":
                name = value
            case "data":
                data += value


def _ids(data: str) -> dict[str, str]:
    found = json.loads(data)
    ids = found.get("ids", {}) if isinstance(found, dict) else {}
    return {str(k): str(v) for k, v in ids.items()}
