"""What a scenario must hold beyond its form.

Rules: every name is defined, the script is in order, the balances suffice, and the outcome fits the script.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal

from drills.scenario_form import (
    AccessEvent,
    ConfigChange,
    Move,
    PlatformTransfer,
    Recurring,
    Scenario,
    SigningRequest,
    StolenKey,
    Stream,
)

NEW = "new"


def problems(scenario: Scenario, file_stem: str) -> Iterator[str]:
    """Yield each problem as field, then what to do."""
    if scenario.name != file_stem:
        yield f"field `name`: {scenario.name!r} must equal the file's name {file_stem!r}"
    yield from _repeated(scenario)
    yield from _balances(scenario)
    yield from _traffic(scenario)
    yield from _safes(scenario)
    yield from _script(scenario)
    yield from _outcome(scenario)


def _repeated(scenario: Scenario) -> Iterator[str]:
    groups = {
        "assets": [a.id for a in scenario.assets],
        "accounts and destinations": [a.id for a in scenario.accounts] + [d.id for d in scenario.destinations],
        "people": [p.id for p in scenario.people],
    }
    for group, ids in groups.items():
        for twice in sorted({i for i in ids if ids.count(i) > 1}):
            yield f"field `{group}`: the id {twice!r} is used twice; give each its own"
    if sum(a.contract is None for a in scenario.assets) != 1:
        yield "field `assets`: exactly one asset has no `contract`, the native coin; correct the others"


def _balances(scenario: Scenario) -> Iterator[str]:
    assets = {a.id: a for a in scenario.assets}
    known = {d.id for d in scenario.destinations}
    for i, account in enumerate(scenario.accounts):
        if account.safe_destination is not None and account.safe_destination not in known:
            yield f"field `accounts[{i}].safe_destination`: {account.safe_destination!r} is not under `destinations`; add it"
        for j, balance in enumerate(account.balances):
            place = f"accounts[{i}].balances[{j}]"
            if balance.asset not in assets:
                yield f"field `{place}.asset`: {balance.asset!r} is not under `assets`; add it there"
            elif not fits(balance.amount, assets[balance.asset].decimals):
                yield f"field `{place}.amount`: {balance.amount} has more places than the asset; shorten it"


def fits(amount: str, decimals: int) -> bool:
    """Tell whether an amount has at most as many places as its asset."""
    return len(amount.partition(".")[2]) <= decimals


def _traffic(scenario: Scenario) -> Iterator[str]:
    accounts = {a.id for a in scenario.accounts}
    places = accounts | {d.id for d in scenario.destinations}
    assets = {a.id for a in scenario.assets}
    groups: list[tuple[str, Sequence[Stream | Recurring]]] = [
        ("streams", scenario.traffic.streams),
        ("recurring", scenario.traffic.recurring),
    ]
    for group, items in groups:
        for i, item in enumerate(items):
            place = f"traffic.{group}[{i}]"
            if item.account not in accounts:
                yield f"field `{place}.account`: {item.account!r} is not under `accounts`; add it there"
            if item.asset not in assets:
                yield f"field `{place}.asset`: {item.asset!r} is not under `assets`; add it there"
            named = item.to if isinstance(item.to, list) else [item.to]
            for to in named:
                if to not in places:
                    yield f"field `{place}.to`: {to!r} is neither an account nor a destination; add it"


def _script(scenario: Scenario) -> Iterator[str]:
    before = 0
    for i, move in enumerate(scenario.script):
        place = f"script[{i}]"
        if move.at_s < before:
            yield f"field `{place}.at_s`: {move.at_s} comes before {before}; put the moves in order"
        before = move.at_s
        yield from _names(scenario, move, place)
    yield from _affordable(scenario)


def _names(scenario: Scenario, move: Move, place: str) -> Iterator[str]:
    accounts = {a.id for a in scenario.accounts}
    destinations = {d.id: d for d in scenario.destinations}
    assets = {a.id for a in scenario.assets}
    if isinstance(move, AccessEvent):
        return
    if isinstance(move, ConfigChange):
        if move.wallet is not None and move.wallet not in destinations:
            yield f"field `{place}.wallet`: {move.wallet!r} is not under `destinations`; add it"
        return
    if move.account not in accounts:
        yield f"field `{place}.account`: {move.account!r} is not under `accounts`; add it there"
    if move.asset not in assets:
        yield f"field `{place}.asset`: {move.asset!r} is not under `assets`; add it there"
    if move.to not in {*accounts, *destinations, NEW} or (move.to == NEW and not isinstance(move, PlatformTransfer)):
        yield f"field `{place}.to`: {move.to!r} is neither an account nor a destination; add it"
    if isinstance(move, SigningRequest):
        yield from _signs(scenario, move, place)
    found = destinations.get(move.to)
    if isinstance(move, StolenKey) and (found is None or found.kind != "attacker"):
        yield f"field `{place}.to`: a stolen key pays an attacker; name a destination of that kind"


def _affordable(scenario: Scenario) -> Iterator[str]:
    left: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for account in scenario.accounts:
        for balance in account.balances:
            left[account.id, balance.asset] += Decimal(balance.amount)
    for i, move in enumerate(scenario.script):
        if not isinstance(move, StolenKey | PlatformTransfer):
            continue
        times = move.repeat.count if isinstance(move, PlatformTransfer) and move.repeat is not None else 1
        wanted = left[move.account, move.asset] if move.amount is None else Decimal(move.amount) * times
        left[move.account, move.asset] -= wanted
        if left[move.account, move.asset] < 0:
            yield f"field `script[{i}].amount`: {move.account} does not hold that much {move.asset}; lower it"


def _outcome(scenario: Scenario) -> Iterator[str]:
    harmful = any(move.harmful for move in scenario.script)
    if (scenario.expected.outcome == "no_hold") == harmful:
        yield "field `expected.outcome`: `no_hold` is for scripts without a harmful move, and only for those; correct one"
    if scenario.expected.holds != harmful:
        yield "field `expected.holds`: true exactly when the script has a harmful move; correct it"
    if scenario.without_gate is not None and scenario.without_gate.outcome != "locked_in_time":
        yield "field `without_gate.outcome`: only `locked_in_time` happens when no gate is asked; correct it"
    if scenario.without_gate is not None and not any(isinstance(move, SigningRequest) for move in scenario.script):
        yield "field `without_gate`: it is for scripts with a signing_request; remove it"


def _safes(scenario: Scenario) -> Iterator[str]:
    people = {p.id for p in scenario.people}
    holders = {a.id: a.holder for a in scenario.accounts}
    for i, account in enumerate(scenario.accounts):
        if account.safe is None:
            continue
        place = f"accounts[{i}].safe"
        if account.holder != "multisig":
            yield f"field `{place}`: only an account with holder `multisig` is a Safe; correct its holder"
        for owner in account.safe.owners:
            if owner not in people and holders.get(owner) not in {"platform", "vault key"}:
                yield f"field `{place}.owners`: {owner!r} is neither a person nor an account with one key; correct it"
        first = [o for o in account.safe.owners if o in people or holders.get(o) == "platform"]
        if account.safe.threshold > len(first) or not set(first) - people:
            yield (
                f"field `{place}.owners`: the owners beside the vault's must meet the threshold, one of them an account of"
                " the platform, which sends; add owners or lower the threshold"
            )


def _signs(scenario: Scenario, move: SigningRequest, place: str) -> Iterator[str]:
    found = next((a for a in scenario.accounts if a.id == move.signs.safe), None)
    target = next((d for d in scenario.destinations if d.id == move.signs.target), None)
    if found is None or found.safe is None:
        yield f"field `{place}.signs.safe`: {move.signs.safe!r} is no account with `safe`; name one"
        return
    if target is None or not target.usurper:
        yield f"field `{place}.signs.target`: {move.signs.target!r} is no destination with `usurper`; name one"
    signing = {move.account, *move.signs.signers}
    if not signing <= set(found.safe.owners) or len(signing) != found.safe.threshold:
        yield f"field `{place}.signs.signers`: with {move.account}, as many owners as the threshold must sign; correct them"
    if not set(move.signs.signers) <= {p.id for p in scenario.people}:
        yield f"field `{place}.signs.signers`: those who sign before are people; name some"
