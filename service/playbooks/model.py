"""What a playbook says: for one kind of alert, which actions on which targets, in which order, from which severity.

A playbook only names; what an action does, needs and demands in approvals is declared once, in `service/actions/`.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

from service.domain.canonical import digest
from service.domain.errors import ConfigurationError
from service.domain.incident import IncidentKind, Severity

TAG: Final = "portcullis/playbook/v1"


class Selector(StrEnum):
    """Which of an incident's targets a step is for. Only registered accounts are ever acted on (design D9)."""

    ACCOUNTS = "accounts"
    """Accounts that an alert of the incident names."""
    EXPOSED_ACCOUNTS = "exposed_accounts"
    """Those, and every account whose keys fall with theirs."""
    EXPOSED_KEYS = "exposed_keys"
    """Those of the exposed accounts whose keys are in our vault."""
    MULTISIGS = "multisigs"
    """Those of the accounts that several owners hold on a chain."""
    NEARBY_MULTISIGS = "nearby_multisigs"
    """Every multisig behind the connections of the accounts and alerts: who deceives the signers of one is at the next."""
    SIGNERS = "signers"
    """Owners of such multisigs that an alert names by their address."""
    DESTINATIONS = "destinations"
    """Where funds went or would go; never an address of our own."""
    ACTORS = "actors"
    """People and API keys that an alert names."""
    CONNECTIONS = "connections"
    """The workspaces of the accounts and alerts."""
    ISSUED_ASSETS = "issued_assets"
    """Tokens that left and whose issuer the policy names."""


TARGET_KIND: Final = {
    Selector.ACCOUNTS: "account",
    Selector.EXPOSED_ACCOUNTS: "account",
    Selector.EXPOSED_KEYS: "account",
    Selector.MULTISIGS: "account",
    Selector.NEARBY_MULTISIGS: "account",
    Selector.SIGNERS: "credential",
    Selector.DESTINATIONS: "destination",
    Selector.ACTORS: "credential",
    Selector.CONNECTIONS: "connection",
    Selector.ISSUED_ASSETS: "asset",
}
"""The kind of target that each selector yields."""

SeverityWord = Literal["low", "medium", "high", "critical"]


class StepTemplate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One action on every target of a selector. `after` names actions of the same playbook on the same target."""

    action: str
    targets: Selector
    from_severity: SeverityWord = "high"
    after: tuple[str, ...] = ()
    asked: bool = False
    """Planned only when a person asks for it."""

    def applies_at(self, severity: Severity) -> bool:
        """Say whether the incident is bad enough for this step."""
        return severity >= Severity[self.from_severity.upper()]


class Playbook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One playbook as its file says it.

    `steps` are planned when the incident opens. `rotate_account` is planned once every `prepare_rotation` of the incident
    has ended, because its approvers must see the new addresses.
    """

    playbook: str
    version: int
    incident: IncidentKind
    title: str
    keys: Literal["assumed_stolen", "untouched"]
    """Whether a harmed account's vault keys are taken to be in the attacker's hands."""
    steps: tuple[StepTemplate, ...]
    rotate_account: tuple[StepTemplate, ...] = ()

    @property
    def by_itself(self) -> tuple[StepTemplate, ...]:
        """The steps that nobody has to ask for."""
        return tuple(step for step in self.steps if not step.asked)

    @property
    def every_step(self) -> tuple[StepTemplate, ...]:
        """The steps of both parts."""
        return self.steps + self.rotate_account


def _union(playbooks: Sequence[Playbook]) -> Playbook:
    first = playbooks[0]
    return msgspec.structs.replace(
        first,
        playbook=" + ".join(one.playbook for one in playbooks),
        keys="assumed_stolen" if any(one.keys == "assumed_stolen" for one in playbooks) else first.keys,
        steps=_each_once(step for one in playbooks for step in one.steps),
        rotate_account=_each_once(step for one in playbooks for step in one.rotate_account),
    )


def _each_once(templates: Iterable[StepTemplate]) -> tuple[StepTemplate, ...]:
    """Return the templates, of those for the same action and targets one: from the lowest severity, unasked if any is."""
    found: dict[tuple[str, Selector], StepTemplate] = {}
    for template in templates:
        known = found.setdefault((template.action, template.targets), template)
        found[template.action, template.targets] = msgspec.structs.replace(
            known,
            from_severity=min(known.from_severity, template.from_severity, key=lambda word: Severity[word.upper()]),
            asked=known.asked and template.asked,
        )
    return tuple(found.values())


class Playbooks:
    """The playbooks in force, by kind of incident, each with the digest of its file."""

    def __init__(self, by_kind: dict[IncidentKind, tuple[Playbook, str]]) -> None:
        missing = sorted(set(IncidentKind) - set(by_kind))
        if missing:
            raise ConfigurationError(
                f"no playbook is for incidents of kind {missing[0]}: add one under service/playbooks"
            )
        self._by_kind = by_kind

    def for_kinds(self, kinds: Collection[IncidentKind]) -> tuple[Playbook, str]:
        """Return the playbook for an incident with alerts of these kinds, at least one, and its digest.

        Of several it is their union, so that none of them is answered by another's playbook alone.
        """
        found = [self._by_kind[kind] for kind in IncidentKind if kind in kinds]
        if len(found) == 1:
            return found[0]
        together = _union([playbook for playbook, _ in found])
        return together, digest(TAG, msgspec.to_builtins(together))

    def __iter__(self) -> Iterator[Playbook]:
        return iter([playbook for playbook, _ in self._by_kind.values()])
