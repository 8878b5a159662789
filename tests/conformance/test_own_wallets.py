"""What each action declares to take of own wallets is what is planned for them, and what the vault does with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from service.actions.base import ActionContext, ContainmentAction, actions_in
from service.clock import SystemClock
from service.commands.reference import pages
from service.domain import threshold
from service.domain.account import Account, AccountRef, OwnWallet
from service.domain.compromise import Scope
from service.domain.errors import MissingCapabilityError
from service.domain.ids import AccountId, ConnectionId, IncidentId, PlanId
from service.domain.incident import Severity
from service.domain.plan import Json, Lane, Target
from service.playbooks.loader import load
from service.playbooks.planner import Scene, planned
from service.vault.multisig import Multisigs
from service.vault.vaults import Vaults

ACTIONS = actions_in("service.actions")
PLAYBOOKS = load(ACTIONS)
HERE = ConnectionId("con-a")
ADDRESSES = {
    OwnWallet.EVM: "eip155:1:0x00000000000000000000000000000000000000a1",
    OwnWallet.SAFE: "eip155:1:0x00000000000000000000000000000000000000a2",
    OwnWallet.BITCOIN: "bip122:000000000019d6689c085ae165831e93:bc1qexample",
}
ASSETS = {
    OwnWallet.EVM: "eip155:1/slip44:60",
    OwnWallet.SAFE: "eip155:1/slip44:60",
    OwnWallet.BITCOIN: "bip122:000000000019d6689c085ae165831e93/slip44:0",
}
ACTING = {name: action for name, action in ACTIONS.items() if action.takes}
BY_KEYS = {name: action for name, action in ACTING.items() if action.lane is Lane.KEYS}
RAISED: Json = {threshold.BEFORE: 2, threshold.SIGNATURES: 3}
TOLD: Json = {
    **RAISED,
    threshold.OWNERS: 5,
    threshold.SAFES: {ADDRESSES[OwnWallet.SAFE]: RAISED},
    "scope": Scope.LEAF.value,
}
every_kind = pytest.mark.parametrize("kind", OwnWallet)


def account(kind: OwnWallet) -> Account:
    return Account(AccountId("acc"), AccountRef(HERE, "own-1"), kind.holder, (ADDRESSES[kind],), "default", None, "w-1")


def planned_for(kind: OwnWallet) -> set[str]:
    """Every action that some playbook plans or people can ask for, of such an account, its owners and its tokens."""
    one = account(kind)
    near = () if kind is not OwnWallet.SAFE else (one,)
    scene = Scene(
        incident_id=IncidentId("inc"),
        severity=Severity.CRITICAL,
        accounts=(one,),
        exposed=(one,),
        scopes={} if kind is OwnWallet.SAFE else {one.id: Scope.LEAF},
        destinations=(),
        actors=(Target("credential", HERE, "0x00000000000000000000000000000000000000b1", one.at.ref),),
        connections=(HERE,),
        behind={HERE: [one.at.ref]},
        balances={},
        safe={},
        addresses={},
        existing=(),
        multisigs_behind=near,
    )
    steps = [s for p in PLAYBOOKS for s in planned(p.every_step, scene, ACTIONS, PlanId("pln"))]
    done = {step.action for step in steps}
    return done | {back for name in done if (back := ACTIONS[name].undone_by) is not None}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=ACTIONS.keys())
def test_an_action_says_by_whom_it_is_done_and_what_is_done_instead_elsewhere(action: ContainmentAction) -> None:
    assert bool(action.takes) != bool(action.needs), "it is a platform's call (`needs`) or done here (`takes`)"
    assert not action.takes & set(action.instead)
    assert not action.takes or action.takes | set(action.instead) == set(OwnWallet), "`instead` says what of the others"
    assert all(action.instead.values())
    assert action.lane is not Lane.KEYS or action.takes


@every_kind
def test_what_is_planned_for_a_wallet_is_what_is_declared_of_its_keys_or_owners(kind: OwnWallet) -> None:
    found = {name for name in planned_for(kind) if name in BY_KEYS}
    held_alike = {other for other in OwnWallet if other.holder is kind.holder}
    assert found == {name for name, action in BY_KEYS.items() if action.takes & held_alike}


class WorkedOnError(Exception):
    """The wallet's keys, chain or rows were asked for: the action is not refused for its kind."""


class Rows:
    """Knows what kind of wallet the account is; whatever else is asked for is work."""

    def __init__(self, kind: OwnWallet) -> None:
        self.kind = kind
        self.keys = self.registry = self
        self.at_last = False

    @property
    def db(self) -> "Rows":
        return self

    @contextmanager
    def begin(self, **_: object) -> Iterator["Rows"]:
        yield self

    def assets(self, _account: AccountId) -> tuple[str, ...]:
        return (ASSETS[self.kind],)

    def usd_of_units(self, _account: AccountId) -> dict[str, str]:
        return {}

    def account(self, _account: AccountId) -> Account:
        return account(self.kind)

    def __getattr__(self, name: str) -> Any:
        raise WorkedOnError(name)


def asked_of(action: ContainmentAction, kind: OwnWallet) -> ActionContext:
    rows: Any = Rows(kind)

    def guardian(_chain: str) -> Any:
        raise WorkedOnError("guardian")

    target = Target(min(action.target_kinds), HERE, "own-1", "own-1")
    multisigs = Multisigs(rows, guardian, {})
    params: Json = dict.fromkeys(action.params, "0x00000000000000000000000000000000000000b2") | {
        name: told for name, told in TOLD.items() if name in action.params
    }
    return ActionContext(
        target, params, "key", SystemClock(), AccountId("acc"), vault=Vaults(rows), multisig=cast("Any", multisigs)
    )


@every_kind
@pytest.mark.parametrize("action", BY_KEYS.values(), ids=BY_KEYS.keys())
def test_keys_and_owners_refuse_what_is_not_declared_and_only_that(action: ContainmentAction, kind: OwnWallet) -> None:
    if kind is OwnWallet.SAFE and kind not in action.takes:
        return  # an owner's keys are keys of the vault as well: that nobody plans it for a Safe is tested above
    refused = MissingCapabilityError if kind not in action.takes else WorkedOnError
    with pytest.raises(refused):
        action.execute(asked_of(action, kind))


@pytest.mark.parametrize("action", ACTING.values(), ids=ACTING.keys())
def test_the_matrix_shows_it(action: ContainmentAction) -> None:
    page = pages()["capabilities.md"]
    (row,) = (line for line in page.splitlines() if line.startswith(f"| [`{action.name}`]"))
    marks = [cell.strip() for cell in row.split("|")[3:-1]]
    assert marks == ["✓" if kind in action.takes else "✗" for kind in OwnWallet]
    for kind, words in action.instead.items():
        assert f"- **{kind.value}** has no `{action.name}`: {words}" in page
