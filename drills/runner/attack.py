"""Plays the script: each move as a control call of the emulator, at its time, in a thread of its own.

Rules: gaps are those of the real timeline divided by the scenario's compression, never lengthened; a thief who finds less
than he came for takes what is there; a move that is refused because someone was quicker is part of the story, not an error.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from drills.moves import ControlCall, calls
from drills.runner.errors import ApiError, DrillError
from drills.runner.platform import Platform
from drills.runner.story import Story, Tone
from drills.safes import Safes
from drills.scenario_form import AccessEvent, ConfigChange, PlatformTransfer, Scenario, SigningRequest, StolenKey

TOO_LATE = 409
AMOUNT = "amount_base_units"
DUST_USD = Decimal(100)


@dataclass(frozen=True, slots=True)
class Played:
    """A move that was made. `answer` is None when it was refused; then `refused` says why."""

    call: ControlCall
    at_s: float
    answer: Mapping[str, Any] | None
    refused: str = ""


@dataclass(slots=True)
class Attack:
    """The script of one drill, begun by `start`. `speed_up`: in place of the scenario's compression."""

    scenario: Scenario
    accounts: Mapping[str, str]
    platform: Platform
    story: Story
    speed_up: int | None = None
    safes: Safes | None = None
    """The real Safes that a signing request is for."""
    played: list[Played] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _broken: BaseException | None = None

    def start(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._run, name="script", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether every move was made."""
        return self._thread is not None and not self._thread.is_alive()

    def check(self) -> None:
        """DrillError when the script broke off."""
        if self._broken is not None:
            raise DrillError(f"the script broke off: {self._broken}")

    def stop(self) -> None:
        """End early and wait."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def _run(self) -> None:
        try:
            begun = time.monotonic()
            for call in calls(self.scenario, self.accounts, self.speed_up):
                if self._stop.wait(max(0.0, begun + call.at_s - time.monotonic())):
                    return
                self.played.append(self._play(call))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits, by `check`
            self._broken = error

    def _play(self, call: ControlCall) -> Played:
        tone: Tone = "harm" if call.move.harmful else "quiet"
        at_s = time.time()
        try:
            answer = self._make(call)
        except ApiError as error:
            if error.status != TOO_LATE:
                raise
            self.story.tell(
                "good" if call.move.harmful else "bad",
                f"{_what(self.scenario, call)}: came too late, or never could",
                at_s,
            )
            return Played(call, at_s, None, str(error))
        if not _is_repetition(call, self.played):
            taken, told = _taken(self.scenario, call, answer)
            self.story.tell(
                "good" if taken is not None and taken < DUST_USD else tone, f"{_what(self.scenario, call)}{told}", at_s
            )
        return Played(call, at_s, answer)

    def _make(self, call: ControlCall) -> Mapping[str, Any]:
        body = call.body
        if isinstance(call.move, SigningRequest) and self.safes is not None:
            body = {**body, "raw_call": self.safes.raw_call(call.move)}
        try:
            return self.platform.call(call.path, body)
        except ApiError as error:
            greedy = isinstance(call.move, StolenKey) and AMOUNT in call.body
            if error.status != TOO_LATE or not greedy:
                raise
            rest = {name: value for name, value in body.items() if name != AMOUNT}
            return self.platform.call(call.path, rest)


def first_harmful(played: list[Played]) -> Played | None:
    """Return the first harmful move that had an effect."""
    return next((p for p in played if p.call.move.harmful and p.answer is not None), None)


def _is_repetition(call: ControlCall, played: list[Played]) -> bool:
    return any(one.call.number == call.number for one in played)


def _what(scenario: Scenario, call: ControlCall) -> str:
    move = call.move
    match move:
        case StolenKey() if scenario.account(move.account).safe is not None:
            return f"thief has {move.account} pay {move.asset} to {move.to}"
        case StolenKey():
            return f"thief with the key of {move.account} moves {move.asset} to {move.to}"
        case SigningRequest():
            return f"{move.user} asks to sign what is shown as {move.amount} {move.asset} to {move.to}"
        case PlatformTransfer():
            times = f", {move.repeat.count} times" if move.repeat else ""
            return f"{move.user} orders {move.amount} {move.asset} from {move.account} to {move.to}{times}"
        case ConfigChange():
            return f"{move.user} asks for {move.type}"
        case AccessEvent():
            return f"{move.actor}: {move.type}"


def _taken(scenario: Scenario, call: ControlCall, answer: Mapping[str, Any]) -> tuple[Decimal | None, str]:
    """Return the value that a theft took in USD, None for any other move, and how it is told."""
    move = call.move
    if not isinstance(move, StolenKey) or AMOUNT not in answer:
        return None, ""
    asset = scenario.asset(move.asset)
    amount = Decimal(answer[AMOUNT]).scaleb(-asset.decimals)
    value = amount * Decimal(asset.price_usd)
    if value < DUST_USD:
        return value, ": nothing but dust was left"
    return value, f" — {amount:,.0f} {move.asset}, about ${value:,.0f}"
