"""Imports every table so that `metadata` is whole: for migrations and grants only."""

from service.store.tables import (
    access,
    activity,
    approval,
    attention,
    baseline,
    bitcoin,
    blinding,
    forensics,
    incident,
    keys,
    polling,
    proof,
    registry,
)
from service.store.tables.base import metadata

__all__ = [
    "access",
    "activity",
    "approval",
    "attention",
    "baseline",
    "bitcoin",
    "blinding",
    "forensics",
    "incident",
    "keys",
    "metadata",
    "polling",
    "proof",
    "registry",
]
