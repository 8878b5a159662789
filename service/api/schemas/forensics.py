"""Evidence, lists of labelled addresses and prepared sweeps, as they are shown and asked for."""

from datetime import date, datetime
from typing import Any

from pydantic import Field

from service.api.schemas.common import Body, Shown, Words, shows
from service.domain.blinding import MAX_REASON
from service.domain.forensics.labels import MAX_BYTES, MAX_NAME, LabelKind

_LISTED = {
    "id": "lst_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
    "source": "Treasury sanctions list",
    "listed_on": "2026-11-01",
    "entries": 1,
    "imported_by": "per_01",
    "in_force": True,
}
_CHAIN = {
    "chain": "eip155:1",
    "complete": True,
    "inside": {"looked_into": 3, "not_told": 0, "transactions": [], "because": "", "not_asked": []},
    "cut": [],
    "victims": ["0x2020202020202020202020202020202020202020"],
    "movements": [],
    "more_movements": 0,
    "addresses": [],
    "fees": {},
}


class EvidenceShown(Shown):
    """What was traced of an incident, and who had been there."""

    model_config = shows(
        {
            "state": "complete",
            "updated_at": "2026-11-22T10:00:00Z",
            "report": {
                "v": 1,
                "incident": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
                "chains": [_CHAIN],
                "access": [],
                "lists": [],
            },
            "picture": "/v1/incidents/inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P/evidence.svg",
        }
    )

    state: str = Field(description="gathering | complete; while it gathers, `report` is that of the time before.")
    updated_at: datetime
    report: dict[str, Any] | None = Field(description="docs/guides/forensics.md says what stands in it.")
    picture: str | None


class EvidenceAsked(Shown):
    """That tracing begins once more."""

    model_config = shows({"incident": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P"})

    incident: str


class EvidenceWish(Body):
    """How it is traced anew."""

    model_config = shows({"past_labels": True}) | {"extra": "forbid"}

    past_labels: bool = Field(default=False, description="Follow money past labels too, but those of kind service.")


class AddressListNew(Body):
    """A list to import: one address a line, or CSV with the columns address, name, kind."""

    model_config = shows(
        {
            "source": "Treasury sanctions list",
            "listed_on": "2026-11-01",
            "name": "Sanctioned",
            "kind": "sanctioned",
            "text": "0x5a0b54d5dc17e0aadc383d2db43b0a0d3e029c4c\n",
        }
    ) | {"extra": "forbid"}

    source: Words = Field(max_length=200, description="Who published it.")
    listed_on: date = Field(description="The list's own date.")
    name: Words = Field("Listed", max_length=MAX_NAME, description="What a plain list's addresses are called.")
    kind: LabelKind = Field(LabelKind.SERVICE, description="What a plain list's addresses are.")
    text: str = Field(max_length=MAX_BYTES)


class AddressListShown(Shown):
    """One imported list."""

    model_config = shows(_LISTED)

    id: str
    source: str
    listed_on: date
    entries: int
    imported_by: str = Field(description="The person who is answerable for it.")
    in_force: bool = Field(description="Payments are held against it, from the next activity on; false once withdrawn.")


class ListRemoval(Body):
    """Why a list should count no more."""

    model_config = shows({"why": "A newer edition is in force."}) | {"extra": "forbid"}

    why: Words = Field(max_length=MAX_REASON, description="What approvers read.")


class AddressLists(Shown):
    """Every imported list, newest first."""

    model_config = shows({"items": [_LISTED]})

    items: list[AddressListShown]


class SweepReady(Shown):
    """The sweep that is kept ready for a Bitcoin account."""

    model_config = shows(
        {
            "account": "acc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P",
            "to": "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
            "rate_sat_per_kvb": 5000,
            "tip": 800000,
            "coins": 3,
            "satoshis": "300000000",
            "made_at": "2026-11-22T10:00:00Z",
            "psbts": ["cHNidP8BAA=="],
        }
    )

    account: str
    to: str = Field(description="The safe destination: an address or a descriptor.")
    rate_sat_per_kvb: int
    tip: int = Field(description="Height of the chain when it was made.")
    coins: int
    satoshis: str
    made_at: datetime
    psbts: list[str] = Field(description="BIP-174, base64; one that the vault could sign in part holds its signatures.")
