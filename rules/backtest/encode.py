"""Turn a block of a file into rows for the kernel: order-free, so any process may do it.

Rules: a row is bit for bit what ``rules.event.write_row`` makes of the same activity; each distinct id of a block is
fingerprinted once.
"""

from collections.abc import Callable
from math import nan
from typing import Any, Final, NamedTuple

import numpy as np

from rules.arrays import F8, I8
from rules.backtest.blocks import Block
from rules.backtest.columns import Batch, Texts, amounts, batch_of, check_ascending, each, ids, texts_of, times
from rules.backtest.errors import CellError, shown
from rules.backtest.identity import Digests, digests
from rules.backtest.schema import AMOUNTS, DEFAULT_TYPE, EVENTS, IDS, TYPES
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_AMOUNT_UNITS,
    E_AMOUNT_USD,
    E_ASSET,
    E_AT_US,
    E_BALANCE_USD,
    E_BLOCK,
    E_CHAIN,
    E_CONTRACT_AGE_S,
    E_COUNTRY,
    E_COUNTRY_AT,
    E_COUNTS,
    E_DELEGATECALL,
    E_DESTINATION,
    E_DEVICE,
    E_FAMILY,
    E_GOVERNANCE_CALL,
    E_KIND,
    E_LISTED,
    E_LOOK,
    E_MISMATCH,
    E_NETWORK,
    E_RECEIVED_US,
    E_SESSION,
    E_UNLIMITED,
    EVENT_WIDTH,
    chain_of,
    family_code,
    fingerprint,
    kind_code,
    look_key,
)
from rules.lists.countries import COUNTRY_AT
from rules.networks import block_of

_PLAIN: Final = {
    "account": E_ACCOUNT,
    "actor": E_ACTOR,
    "destination": E_DESTINATION,
    "asset": E_ASSET,
    "country": E_COUNTRY,
    "device": E_DEVICE,
    "session": E_SESSION,
}
_UNKNOWN: Final = (
    E_AMOUNT_UNITS, E_DELEGATECALL, E_UNLIMITED, E_GOVERNANCE_CALL, E_MISMATCH, E_CONTRACT_AGE_S, E_LISTED,
)  # fmt: skip
_MOST_ASN: Final = (1 << 32) - 1


class Encoded(NamedTuple):
    """A block, ready for the kernel: its ids as Arrow array, their digests, and one row of numbers each."""

    identities: Any
    digests: Digests
    rows: F8


def encode(block: Block, *, integer_ids: bool, salt: str) -> Encoded:
    """Check and encode a block. Raises :class:`CellError`."""
    batch = batch_of(block, EVENTS)
    names = ids("event_id", batch["event_id"])
    if names.null_count:
        raise CellError("event_id", _first(names.is_null()), "is missing: every row needs one")
    at_us = times("occurred_at", batch["occurred_at"])
    check_ascending("occurred_at", at_us)
    found = digests(names)
    return Encoded(_as_told(names, integer_ids=integer_ids), found, _rows(batch, at_us, salt))


def listed(block: Block, level: Callable[[str], int | None]) -> F8 | None:
    """What lists say of each destination of a block, NaN where they can say nothing; None for a block without any.

    A block that ``encode`` refuses says nothing either.
    """
    try:
        batch = batch_of(block, ("destination",))
        told = texts_of(ids("destination", batch["destination"])) if "destination" in batch else None
    except CellError:
        return None
    return None if told is None else each(told, lambda text: _number(level(text)), nan)


def _number(level: int | None) -> float:
    return nan if level is None else float(level)


def _as_told(names: Any, *, integer_ids: bool) -> Any:
    if not integer_ids:
        return names
    try:
        return names.cast("int64")
    except ValueError:
        for index, name in enumerate(names.to_pylist()):
            if not name.lstrip("-").isdecimal() or abs(int(name)) >= 1 << 63:
                problem = f"{shown(name)} is no integer as the first row's is: write all of them the same way"
                raise CellError("event_id", index, problem) from None
        raise


def _rows(batch: Batch, at_us: I8, salt: str) -> F8:
    rows = np.zeros((len(at_us), EVENT_WIDTH), np.float64)
    rows[:, E_AT_US] = rows[:, E_RECEIVED_US] = at_us
    rows[:, E_COUNTS] = 1.0
    rows[:, E_COUNTRY_AT] = -1.0
    rows[:, _UNKNOWN] = nan
    told = {name: texts_of(ids(name, batch[name])) for name in IDS if name in batch}
    for name, texts in told.items():
        if name in _PLAIN:
            rows[:, _PLAIN[name]] = each(texts, lambda text: fingerprint(text, salt), 0.0)
    _set_kinds(rows, batch)
    _set_looks(rows, told, salt)
    _set_network(rows, told, salt)
    for name, word in zip(AMOUNTS, (E_AMOUNT_USD, E_BALANCE_USD), strict=True):
        rows[:, word] = amounts(name, batch[name]) if name in batch else nan
    return rows


def _set_kinds(rows: F8, batch: Batch) -> None:
    told = Texts(np.full(len(rows), -1), [])
    if "type" in batch:
        told = texts_of(ids("type", batch["type"]))
    for code, text in enumerate(told.texts):
        if text not in TYPES:
            index = int(np.argmax(told.codes == code))
            raise CellError("type", index, f"{shown(text)} is not one of {', '.join(sorted(TYPES))}")
    rows[:, E_KIND] = each(told, kind_code, kind_code(DEFAULT_TYPE))
    rows[:, E_FAMILY] = each(told, family_code, family_code(DEFAULT_TYPE))


def _set_looks(rows: F8, told: dict[str, Texts], salt: str) -> None:
    def chain_key(asset: str) -> float:
        chain = chain_of(asset)
        return fingerprint(chain, salt) if chain else 0.0

    if "destination" in told:
        rows[:, E_LOOK] = each(told["destination"], lambda text: look_key(text, salt), 0.0)
    if "asset" in told:
        rows[:, E_CHAIN] = each(told["asset"], chain_key, 0.0)
    if "country" in told:
        rows[:, E_COUNTRY_AT] = each(told["country"], lambda text: COUNTRY_AT.get(text.upper(), -1), -1.0)


def _set_network(rows: F8, told: dict[str, Texts], salt: str) -> None:
    if "ip" in told:
        rows[:, E_BLOCK] = each(told["ip"], lambda text: fingerprint(block_of(text), salt), 0.0)
    rows[:, E_NETWORK] = rows[:, E_BLOCK]
    if "asn" in told:
        texts = told["asn"]
        for code, text in enumerate(texts.texts):
            if not _number_of(text).isdecimal() or int(_number_of(text)) > _MOST_ASN:
                index = int(np.argmax(texts.codes == code))
                raise CellError("asn", index, f"{shown(text)} is no number of an autonomous system such as 64500")
        keys = each(texts, lambda text: fingerprint(f"as{int(_number_of(text))}", salt), 0.0)
        rows[:, E_NETWORK] = np.where(texts.codes >= 0, keys, rows[:, E_BLOCK])


def _number_of(text: str) -> str:
    return text[2:] if text[:2] in {"AS", "as"} else text


def _first(mask: Any) -> int:
    return int(np.argmax(mask.to_numpy(zero_copy_only=False)))
