"""The one kernel for live use and replay: measure an observation against the state, then commit it.

Rules enforced here:
- ``measure`` reads and never writes; ``commit`` writes and depends on nothing but the frame, the operation and the
  settings. Neither knows a clock, a rule or an incident.
- Event time is monotone per account (per actor where there is no account) and at most five minutes ahead of receipt.
- What happened is always remembered; what is usual is learned only on LEARN and LATE_LEARN. Learned values are clipped.
- A score is calibrated against scores of its own class (Mondrian conformal prediction, Vovk et al. 2005, section 4.5):
  entities with enough history among themselves, newcomers among themselves once they are many. The wide scores of first
  weeks would otherwise make a later theft look ordinary.
- Calibration counts every score once, except that skipped ones count once per entity and hour: an attack of a thousand
  transfers must not make its own size ordinary.

Plain Python over flat float64 vectors was chosen for version 1: no compile pause, no compiler loaded in the API process
and no cache directory that a service user cannot write. The price is speed: about 90 microseconds of one core for an
activity, above the 50 aimed at. Functions mostly index and assign, so that a compiled kernel can take the same records.
"""

from typing import Final

from rules.baseline import calibration
from rules.baseline.layout import (
    ACTOR_SKIP_SCORED_US,
    AMOUNT,
    FINGERPRINT,
    FIRST_US,
    LAST_US,
    LEARNED,
    REMEMBERED,
    SHARE,
    SKIP_SCORED_US,
    Kind,
    View,
)
from rules.baseline.state import CALIBRATIONS, NEWCOMERS, State
from rules.baseline.statistics import absorb_all
from rules.baseline.tables import blank, fingerprint
from rules.features.access import FAILED_10M
from rules.features.balance import receive
from rules.features.catalogue import LEARNS, LEARNS_POPULATION, MEASURES, REMEMBERS, Family, family_of
from rules.features.frame import DAY_S, HOUR_S, US, Frame
from rules.features.velocity import give_back
from rules.learning import Operation
from rules.observation import Observation

AHEAD_US: Final = 300 * 1_000_000
_FASTEST: Final = 1.0 / 64.0
_GROUP_AFTER: Final = 50.0
_SEASONED: Final = 4096.0
_SAMPLE: Final = 8.0
_LATE_WORDS: Final = frozenset({AMOUNT, SHARE})
_BLANK: Final = {kind: blank(kind) for kind in (Kind.ACCOUNT, Kind.ACTOR, Kind.ASSET, Kind.DESTINATION)}


def measure(state: State, observation: Observation) -> Frame:
    """Measure every feature of the observation's family. Changes nothing."""
    told_us = float(min(observation.occurred_at_us, observation.received_at_us + AHEAD_US))
    account = _find_account(state, observation)
    salt = state.settings.salt
    actor_key = fingerprint(observation.actor, salt) if observation.actor else 0.0
    actor = _find(state, Kind.ACTOR, actor_key)
    last_us = account[LAST_US] if observation.account else actor[LAST_US]
    frame = Frame(observation, max(told_us, last_us), (state.population, _prior(state, observation)), salt)
    frame.account, frame.actor, frame.actor_key = account, actor, actor_key
    if observation.account:
        frame.account_key = fingerprint(observation.account, salt)
    _set_keys(state, frame, salt)
    for measure_feature in MEASURES[family_of(observation.kind)]:
        measure_feature(frame)
    return frame


def _find_account(state: State, observation: Observation) -> View:
    slot = state.accounts.find(observation.account) if observation.account else -1
    return state.accounts.view(slot) if slot >= 0 else _BLANK[Kind.ACCOUNT]


def _find(state: State, kind: Kind, key: float) -> View:
    table = state.tables[kind]
    slot = table.find(key) if key else -1
    return table.view(slot) if slot >= 0 else _BLANK[kind]


def _set_keys(state: State, frame: Frame, salt: str) -> None:
    observation = frame.observation
    if observation.destination:
        frame.destination_key = fingerprint(observation.destination, salt)
    if observation.asset:
        frame.asset_key = fingerprint(observation.asset, salt)
    if observation.country:
        frame.country_key = fingerprint(observation.country, salt)
    if observation.asn is not None or observation.ip:
        network = f"as{observation.asn}" if observation.asn is not None else str(observation.ip)
        frame.network_key = fingerprint(network, salt)
    if observation.device:
        frame.device_key = fingerprint(observation.device, salt)
    frame.destination = _find(state, Kind.DESTINATION, frame.destination_key)
    frame.asset = _find(state, Kind.ASSET, frame.asset_key)


def _group_of(state: State, observation: Observation) -> str | None:
    return observation.peer_group or (state.memberships.get(observation.account) if observation.account else None)


def _prior(state: State, observation: Observation) -> View:
    group = _group_of(state, observation)
    if group:
        table = state.tables[Kind.PEER_GROUP]
        slot = table.find(fingerprint(group, state.settings.salt))
        if slot >= 0 and table.view(slot)[LEARNED] >= _GROUP_AFTER:
            return table.view(slot)
    return state.population


def raw_p_value(state: State, frame: Frame, raw: float) -> tuple[float, bool, bool]:
    """The p-value of a raw score, whether the tail fit gave it, and whether enough scores calibrate it."""
    family = family_of(frame.observation.kind)
    if family is Family.OTHER:
        return 1.0, False, False
    enough = state.settings.min_scores
    view = state.calibrations[_calibration_of(state, frame, family)]
    if calibration.scores_seen(view) < enough:
        view = state.calibrations[family.value]
    half_life_us = state.settings.half_life_days * DAY_S * US
    p_value, tail = calibration.p_value(view, raw, frame.now_us, half_life_us)
    return p_value, tail, calibration.scores_seen(view) >= enough


def has_history(state: State, frame: Frame) -> bool:
    """Whether the entity that the score is about was learned often enough for the score to be its own."""
    of_access = family_of(frame.observation.kind) in {Family.ACCESS, Family.GOVERNANCE}
    view = frame.actor if of_access or not frame.account_key else frame.account
    return view[LEARNED] >= state.settings.enough_events


def _calibration_of(state: State, frame: Frame, family: Family) -> str:
    return family.value if has_history(state, frame) else family.value + NEWCOMERS


def commit(state: State, frame: Frame, operation: Operation, raw: float) -> None:
    """Write what the operation says into the records. An observation that was counted before changes nothing."""
    observation = frame.observation
    family = family_of(observation.kind)
    frame.late = operation is Operation.LATE_LEARN
    if not frame.late and (not observation.counts or family is Family.OTHER):
        _settle(state, frame)
        return
    _claim(state, frame)
    if not frame.late:
        _calibrate(state, frame, operation, family, raw)
        for remember in REMEMBERS[family]:
            remember(frame)
    if operation is not Operation.SKIP:
        _learn(state, frame, family)
    for view, key in ((frame.account, frame.account_key), (frame.actor, frame.actor_key)):
        if key:
            view[REMEMBERED] += 0.0 if frame.late else 1.0
            view[LAST_US] = max(view[LAST_US], frame.now_us)
    if frame.asset_key:
        frame.asset[LAST_US] = max(frame.asset[LAST_US], frame.now_us)


def _settle(state: State, frame: Frame) -> None:
    kind = frame.observation.kind
    known = frame.observation.account is not None and state.accounts.find(frame.observation.account) >= 0
    if known and kind in {"withdrawal.failed", "withdrawal.cancelled"}:
        _claim_account(state, frame)
        give_back(frame)
    elif known and kind == "deposit.confirmed" and frame.observation.counts:
        _claim_account(state, frame)
        receive(frame)


def _claim_account(state: State, frame: Frame) -> None:
    name = frame.observation.account
    if name:
        slot = state.accounts.claim(name)
        frame.account = state.accounts.view(slot)
        frame.account[FINGERPRINT] = frame.account_key
        state.dirty.add((Kind.ACCOUNT, slot))


def _claim_in(state: State, kind: Kind, key: float) -> View:
    slot = state.tables[kind].claim(key)
    state.dirty.add((kind, slot))
    return state.tables[kind].view(slot)


def _claim(state: State, frame: Frame) -> None:
    _claim_account(state, frame)
    if frame.actor_key:
        frame.actor = _claim_in(state, Kind.ACTOR, frame.actor_key)
    if frame.destination_key:
        frame.destination = _claim_in(state, Kind.DESTINATION, frame.destination_key)
    if frame.asset_key:
        frame.asset = _claim_in(state, Kind.ASSET, frame.asset_key)
    for view, key in ((frame.account, frame.account_key), (frame.actor, frame.actor_key)):
        if key and view[FIRST_US] == 0.0:
            view[FIRST_US] = frame.now_us


def _calibrate(state: State, frame: Frame, operation: Operation, family: Family, raw: float) -> None:
    if operation is Operation.SKIP:
        view, word = (frame.account, SKIP_SCORED_US) if frame.account_key else (frame.actor, ACTOR_SKIP_SCORED_US)
        if frame.account_key or frame.actor_key:
            if view[word] > 0.0 and frame.now_us - view[word] < HOUR_S * US:
                return
            view[word] = frame.now_us
    half_life_us = state.settings.half_life_days * DAY_S * US
    name = _calibration_of(state, frame, family)
    calibration.count(state.calibrations[name], raw, frame.now_us, half_life_us)
    state.dirty.add((Kind.CALIBRATION, CALIBRATIONS.index(name)))


def _rate(state: State, view: View, now_us: float) -> float:
    count = view[LEARNED] + 1.0
    gap_us = now_us - view[LAST_US] if view[LAST_US] else 0.0
    memory_us = state.settings.memory_days * DAY_S * US
    return max(1.0 / count, min(_FASTEST, max(0.0, gap_us) / memory_us))


def _learn(state: State, frame: Frame, family: Family) -> None:
    if frame.late:
        frame.values[FAILED_10M] = float("nan")
        frame.measured = [entry for entry in frame.measured if entry[0] in _LATE_WORDS]
    own = frame.account if family in {Family.MONEY, Family.SIGNING} and frame.account_key else frame.actor
    rate = _rate(state, own, frame.now_us) if frame.account_key or frame.actor_key else 0.0
    seasoned = frame.account[LEARNED] >= state.settings.enough_events
    clip = state.settings.clip
    values = []
    for word, value, mean, spread in frame.measured:
        limit = clip * spread
        if seasoned and not -limit <= value - mean <= limit:
            values.append((word, mean + limit if value > mean else mean - limit))
        else:
            values.append((word, value))
    if frame.account_key:
        absorb_all(frame.account, values, rate)
    for learn in LEARNS[family]:
        learn(frame, rate)
    _learn_record(state, frame, family, state.population, values)
    state.dirty.add((Kind.POPULATION, 0))
    group = _group_of(state, frame.observation)
    if group:
        record = _claim_in(state, Kind.PEER_GROUP, fingerprint(group, state.settings.salt))
        _learn_record(state, frame, family, record, values)
    for view, key in ((frame.account, frame.account_key), (frame.actor, frame.actor_key)):
        if key:
            view[LEARNED] += 1.0


def _learn_record(state: State, frame: Frame, family: Family, record: View, values: list[tuple[int, float]]) -> None:
    record[REMEMBERED] += 1.0
    if record[REMEMBERED] > _SEASONED and record[REMEMBERED] % _SAMPLE:
        return
    rate = _rate(state, record, frame.now_us)
    absorb_all(record, values, rate)
    for learn in LEARNS_POPULATION[family]:
        learn(frame, record, rate)
    record[LEARNED] += 1.0
    record[LAST_US] = max(record[LAST_US], frame.now_us)
