"""The letter that asks a token's issuer to freeze what was stolen: made from the incident's evidence alone.

Rules: it says which token, which transactions, which addresses hold what now, in exact base units, and under which
reference we are to be asked; what is only told by a platform or an endpoint is named as told. It names no person, account
or balance of ours beside the addresses that were robbed or that the trace reached. What rests where the money of many is
mixed, or at what is said to be ours, is told and not asked to be frozen: one person says so, and whoever approves the letter
sees it. Every line is printable and plain: ids come from outside. It is cut at bounds that are said, the largest amounts
first. What one letter told has a digest, so that nobody asks twice for the same.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from service.domain.approval import one_line
from service.domain.canonical import digest
from service.domain.forensics.labels import MIXES, LabelKind
from service.domain.issuer import Issuer

ACTION: Final = "request_issuer_freeze"
"""The containment action whose steps carry such letters."""
TAG: Final = "portcullis/freeze-letter/v1"
MOST_LINES: Final = 100
"""Of transactions, and of addresses."""
_SHOWN: Final = 200
_SPARED: Final = MIXES | {LabelKind.OWN}


@dataclass(frozen=True, slots=True)
class Payment:
    """One transfer of the token out of an account of ours, as platform or chain told it."""

    reference: str
    """The transaction's hash, or the platform's id of it."""
    at: datetime
    destination: str
    amount_base_units: int | None


@dataclass(frozen=True, slots=True)
class Stolen:
    """What left in one token: the payments, and where the trace says that it rests."""

    asset: str
    payments: Sequence[Payment]
    resting: Mapping[str, int]
    """By address, base units that came from the theft (poison: all that was mixed with it)."""
    spared: Mapping[str, int] = field(default_factory=dict)
    """The same where nothing is to be frozen: by address with the kind of its label."""
    in_all: int = 0
    """How many payments there are, where `payments` are only the largest of them."""

    @property
    def unread(self) -> int:
        """How many payments are not among `payments`."""
        return max(0, self.in_all - len(self.payments))

    @property
    def facts(self) -> str:
        """The digest of what a letter about it would tell."""
        paid = sorted((p.reference, p.destination, str(p.amount_base_units)) for p in self.payments)
        more = {"unread": str(self.unread)} if self.unread else {}
        rests = {"resting": _spelt(self.resting), "spared": _spelt(self.spared)}
        return digest(TAG, {"asset": self.asset, "payments": paid, **rests, **more})


def letter(issuer: Issuer, stolen: Stolen, incident: str, opened: datetime) -> Mapping[str, str]:
    """Return what a step is to send: issuer, channel, recipient, subject, letter, facts."""
    return {
        "issuer": issuer.name,
        "channel": issuer.channel,
        "recipient": issuer.contact,
        "subject": f"Request to freeze stolen {_token(stolen.asset)}, case {incident}",
        "letter": "\n".join(_lines(issuer, stolen, incident, opened)) + "\n",
        "facts": stolen.facts,
    }


def as_html(text: str, subject: str) -> str:
    """Return the same letter as a page that loads and runs nothing."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(subject)}</title></head>'
        f'<body><pre style="white-space:pre-wrap">{html.escape(text)}</pre></body></html>\n'
    )


def resting(report: Mapping[str, object], asset: str) -> tuple[dict[str, int], dict[str, int]]:
    """Return where a trace's report says that a token rests, in base units: what to freeze, and what to spare.

    Both are empty where it was not traced.
    """
    chain = asset.partition("/")[0]
    found: dict[str, int] = {}
    spared: dict[str, int] = {}
    for one in _list(report.get("chains")):
        if one.get("chain") != chain:
            continue
        for address in _list(one.get("addresses")):
            amount = _amount(address.get("resting"), asset)
            label = address.get("label")
            kind = label.get("kind") if isinstance(label, dict) else None
            name = f"{chain}:{address.get('address')}"
            if amount and kind in _SPARED:
                spared[f"{name} ({kind})"] = amount
            elif amount:
                found[name] = amount
    return found, spared


def _lines(issuer: Issuer, stolen: Stolen, incident: str, opened: datetime) -> Iterable[str]:
    yield f"To: {issuer.name}"
    yield f"Case reference: {incident}"
    yield ""
    yield f"We ask you to freeze the token {stolen.asset} at the addresses below. It was taken from accounts that we guard,"
    yield f"without their owner's consent, in an incident that we opened on {_moment(opened)}. Amounts are in the token's"
    yield "smallest unit. This letter comes with a detached signature; please verify it with the public key that you have"
    yield "from us, and answer to the sender with the case reference before you publish anything."
    yield ""
    yield "Transfers out of the robbed accounts, as told by the custody platform or the chain:"
    paid = sorted(stolen.payments, key=lambda p: (-(p.amount_base_units or 0), p.reference))
    for one in paid[:MOST_LINES]:
        amount = "an amount that was not told" if one.amount_base_units is None else str(one.amount_base_units)
        yield _plain(f"- {amount} to {one.destination}, {_moment(one.at)}, transaction {one.reference}")
    yield from _more(len(paid) + stolen.unread)
    if stolen.unread:
        yield f"  (there were {stolen.in_all} transfers; this list was made from the {len(paid)} largest of them)"
    yield ""
    if stolen.resting:
        yield "Where it rests now, by our trace over the chain's records (everything that was mixed with it counts):"
        yield from _amounts(stolen.resting)
    elif stolen.spared:
        yield "Our trace ended at the addresses named below: please freeze the destinations above and what they paid on."
    else:
        yield "Where it rests now has not been traced: please freeze the destinations above and what they paid on."
    if stolen.spared:
        yield ""
        yield "The trace came to these, too, which our lists call as it stands behind each; we do not ask to freeze them:"
        yield from _amounts(stolen.spared)


def _amounts(by_address: Mapping[str, int]) -> Iterable[str]:
    ranked = sorted(by_address.items(), key=lambda pair: (-pair[1], pair[0]))
    for address, units in ranked[:MOST_LINES]:
        yield _plain(f"- {units} at {address}")
    yield from _more(len(ranked))


def _more(number: int) -> Iterable[str]:
    if number > MOST_LINES:
        yield f"- and {number - MOST_LINES} more of smaller amounts; ask for them under the case reference"


def _plain(text: str) -> str:
    return one_line(text)[:_SHOWN]


def _token(asset: str) -> str:
    return asset.rpartition(":")[2]


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")


def _spelt(amounts: Mapping[str, int]) -> dict[str, str]:
    return {address: str(amount) for address, amount in amounts.items()}


def _list(value: object) -> list[Mapping[str, object]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _amount(told: object, asset: str) -> int:
    taint = told.get(asset) if isinstance(told, dict) else None
    poison = str(taint.get("poison", "")) if isinstance(taint, dict) else ""
    return int(poison) if poison.isdigit() else 0
