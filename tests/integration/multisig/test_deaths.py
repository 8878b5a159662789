"""Every step of a Safe, its worker dying after each thing that leaves something: a row, a signature, a transaction.

On a real Safe 1.5.0 with a real Delay modifier. Each worker dies one effect later than the one before, until something new
is in a block; another goes on once the lease is over. In a second life each dies when the receipt, or that it is done, was
written. Either way the chain has each change once and every step is done.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from http.client import HTTPConnection
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, update

from service.actions.base import actions_in
from service.chain.evm import JsonRpcChain
from service.chain.json_rpc import Answer, JsonRpc
from service.chain.safe_service import HttpSafeService
from service.domain.ids import StepId, new_id
from service.domain.plan import Lane, Step, StepState
from service.flow import contain
from service.flow.contain import Hands
from service.store.tables.incident import plans, steps
from service.store.tables.keys import accounts
from service.vault.multisig import Multisigs
from service.vault.purse import Purse
from service.vault.safes import Safe
from service.vault.vaults import Vaults
from tests.integration.multisig.conftest import SafeHouse
from tests.integration.multisig.zodiac import THIEF, Delay, made_delay
from tests.support.anvil import CHAIN, CHAIN_ID, ETHER
from tests.support.incidents import CONNECTION, add_incident
from tests.support.safe_service import FakeSafeService, serving
from tests.support.vault import Effects, EffectsDatabase, Killed, Reaper

pytestmark = [pytest.mark.servers, pytest.mark.repeats]
ACTIONS = actions_in("service.actions")
MOST_WORKERS = 60
"""More than die of any step, and what they left in blocks needs."""
TAKEN = 2
"""What every worker writes first: that the step is his, and that he begins."""
AFTER_A_LEASE = timedelta(seconds=30)


class PlainRpc(JsonRpc):
    """The same calls over a bare connection: thousands of questions are asked here, and httpx takes most of their time."""

    def __init__(self, url: str) -> None:
        super().__init__(url, most_bytes=1, timeout_s=1)
        self._connection = HTTPConnection(url.removeprefix("http://"), timeout=300)

    def close(self) -> None:
        super().close()
        self._connection.close()

    def post(self, method: str, params: Sequence[object]) -> Answer:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return msgspec.json.decode(self._connection.getresponse().read(), type=Answer)


@dataclass
class Life:
    """One Safe's containment from the beginning, by workers of whom some die."""

    house: SafeHouse
    service: HttpSafeService
    chain: JsonRpcChain = field(init=False)
    incident: str = field(init=False)

    def __post_init__(self) -> None:
        self.chain = JsonRpcChain(self.house.chain.url, CHAIN_ID)
        self.chain.close()
        self.chain._rpc = PlainRpc(self.house.chain.url)
        with self.house.house.superuser.begin() as uow:
            ref = f"{CHAIN}:{self.house.address}"
            uow.connection.execute(update(accounts).where(accounts.c.id == self.house.account).values(ref=ref))
            self.incident = add_incident(uow.connection, (f"account:{CONNECTION}/{ref}",))

    def step(self, action: str, **params: object) -> StepId:
        """Plan one step as people who approved it left it."""
        declared, at = ACTIONS[action], f"{CHAIN}:{self.house.address}"
        kind = min(declared.target_kinds)
        target = {"kind": kind, "connection": CONNECTION, "value": at, "account": None}
        if kind == "credential":
            target |= {"value": str(params.pop("owner")), "account": at}
        plan, identity = new_id("pln"), new_id("stp")
        row = {"id": plan, "incident_id": self.incident, "playbook": "drain", "playbook_digest": "", "policy_digest": "",
               "compromised": "none", "digest": plan, "document": "{}"}  # fmt: skip
        made = {"id": identity, "plan_id": plan, "incident_id": self.incident, "position": 0, "action": action,
                "target": target, "params": params, "effect": declared.effect.value, "lane": declared.lane.value,
                "state": "ready", "idempotency_key": identity}  # fmt: skip
        with self.house.house.superuser.begin() as uow:
            uow.connection.execute(insert(plans).values(**row, created_at=uow.now))
            uow.connection.execute(insert(steps).values(**made, created_at=uow.now))
        return StepId(identity)

    def hands(self, reaper: Reaper) -> Hands:
        """One worker, whom the reaper may take after each row, signature and transaction of his."""
        house, guardian = self.house.house, self.house.guardian
        db: Any = EffectsDatabase(house.superuser, reaper)
        token: Any = Effects(house.parts.token, reaper, "sign")
        chain: Any = Effects(self.chain, reaper, "send")
        key: Any = Effects(guardian.key, reaper, "sign")
        parts = replace(house.parts, db=db, token=token)
        guardian = replace(guardian, chain=chain, key=key, purse=Purse(db, CHAIN))
        multisigs = Multisigs(parts, lambda _: replace(guardian, until=time.monotonic() + 300), {CHAIN: self.service})
        return Hands(
            db=db, clock=house.clock, owner=new_id("wrk"), lane=Lane.KEYS, actions=ACTIONS, votes_key_pem=lambda: b"",
            keep=lambda _step, _fence: nullcontext(), multisig=multisigs, vault=Vaults(parts),
        )  # fmt: skip

    def works(self, step: StepId) -> int:
        """Let workers have a step until it is done; return how many died."""
        deaths, after = 0, 1
        for _ in range(MOST_WORKERS):
            before = self.in_blocks()
            if self.dies(step, Reaper(at=after)):
                deaths += 1
            if (found := self.read(step)).state is StepState.DONE:
                return deaths
            after = TAKEN + 1 if self.in_blocks() > before else after + 1
            self.next_worker(step)
        pytest.fail(f"{found.action} is {found.state.value}: {found.reason}")

    def dies(self, step: StepId, reaper: Reaper) -> bool:
        try:
            contain.step(self.hands(reaper), step)
        except Killed:
            return True
        return False

    def next_worker(self, step: StepId) -> None:
        """Let the lease end, and what was sent be in a block: else a lock may be sent twice, which does no harm.

        Attempts are counted anew: more die here than a step has workers.
        """
        while self.chain.next_nonce(self.house.guardian.address) > self.in_blocks():
            time.sleep(0.01)
        self.house.house.clock.pass_by(AFTER_A_LEASE)
        with self.house.house.superuser.begin() as uow:
            uow.connection.execute(update(steps).where(steps.c.id == step).values(attempt=0))

    def in_blocks(self) -> int:
        return self.chain.mined_nonce(self.house.guardian.address)

    def read(self, step: StepId) -> Step:
        with self.house.house.superuser.begin() as uow:
            return uow.plans.step(step)


@pytest.fixture
def delay(safe_house: SafeHouse) -> Delay:
    return made_delay(safe_house)


@pytest.fixture
def safe_service(safe_house: SafeHouse, service: FakeSafeService) -> Iterator[HttpSafeService]:
    for nonce in range(safe_house.nonce(), safe_house.nonce() + 2):
        service.waits(THIEF, nonce, value=ETHER)
    with serving(service) as url:
        client = HttpSafeService(url)
        yield client
        client.close()


def acts(house: SafeHouse) -> list[tuple[str, Callable[[Life], StepId]]]:
    """What is done to the Safe, in this order; both kinds of owner change and of threshold, locked and not."""
    at = f"{CHAIN}:{house.address}"
    return [
        ("reject_pending", lambda life: life.step("reject_pending")),
        ("lock_multisig", lambda life: life.step("lock_multisig")),
        ("cancel_delayed", lambda life: life.step("cancel_delayed")),
        ("replace_owner", lambda life: life.step("replace_owner", owner=house.owner(2), successor=house.spare)),
        ("raise_threshold", lambda life: life.step("raise_threshold", before=2, signatures=3, owners=3)),
        ("unlock_multisig", lambda life: life.step("unlock_multisig")),
        ("restore_threshold", lambda life: life.step("restore_threshold", safes={at: {"signatures": 3, "before": 2}})),
        ("remove_owner", lambda life: life.step("remove_owner", owner=house.owner(1))),
    ]


class AtState(Reaper):
    """Kills once, after the row that says how far the step came."""

    def __init__(self, life: Life, step: StepId, state: StepState) -> None:
        super().__init__()
        self._life, self._step, self._state = life, step, state

    def point(self) -> None:
        if self.at is None and self._life.read(self._step).state is self._state:
            self.at = 0
            raise Killed


@pytest.fixture
def life(delay: Delay, safe_service: HttpSafeService, monkeypatch: pytest.MonkeyPatch) -> Iterator[Life]:
    """A life of which the end is looked at."""
    monkeypatch.setattr(contain, "require_authority", lambda *_: None)  # people voted for all of it
    delay.queue(2)
    house, began = delay.house, delay.house.nonce()
    left = (house.owner(0), house.spare)
    found = Life(house, safe_service)
    yield found
    state = Safe(house.house.parts, replace(house.guardian, chain=found.chain), house.account, house.address).read()
    assert (state.owners, state.threshold) == (left, 2)
    assert state.guard == state.module_guard == house.guardian.guard()
    assert (delay.number("txNonce()"), state.nonce - began) == (2, 9), "each change once"
    assert found.in_blocks() == 12, "and no transaction that did nothing"
    found.chain.close()


def test_a_worker_may_die_after_every_effect(life: Life) -> None:
    deaths = {name: life.works(planned(life)) for name, planned in acts(life.house)}
    told = {name: (name in {"reject_pending", "lock_multisig"}) * 6 + 5 for name in deaths}
    assert all(deaths[name] >= least for name, least in told.items()), deaths


def test_a_worker_may_die_when_the_receipt_or_the_end_is_written(life: Life) -> None:
    for number, (name, planned) in enumerate(acts(life.house)):
        step = planned(life)
        state = StepState.DONE if number % 2 else StepState.VERIFYING
        assert life.dies(step, AtState(life, step, state)), name
        life.next_worker(step)
        contain.step(life.hands(Reaper()), step)
        if ACTIONS[name].repeats and life.read(step).state is StepState.RUNNING:  # he died when it was noted, or so
            life.next_worker(step)
            contain.step(life.hands(Reaper()), step)
        assert life.read(step).state is StepState.DONE, name
