"""Runs one drill from an empty folder to a written review, and says whether it truly happened.

Order: the stage is set; the script plays while people watch, vote and acknowledge; when nothing moves any more the
incidents are closed and the figures read from the ledger. Whatever was started is stopped, in reverse, however it ends.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack

from drills.runner.approvers import Approvers
from drills.runner.attack import Attack, first_harmful
from drills.runner.ballots import read_ballot_key
from drills.runner.closing import Ending, close_incidents, sum_up
from drills.runner.figures import Summary, first_answer_s
from drills.runner.opening import Opening, Stage, Wish
from drills.runner.outcomes import Json, expected_kind
from drills.runner.screen import Screen
from drills.runner.story import Story, Tone
from drills.runner.watch import Watch
from drills.scenario_form import Scenario, SigningRequest

TICK_S = 0.1
SCRIPT_TIMEOUT_S = 900.0
SETTLE_TIMEOUT_S = 60.0
QUIET_AFTER_S = 2.0
PROBE_BASE_UNITS = "1000000000"
SIGNED_ENDS: dict[str, tuple[Tone, str]] = {
    "REJECTED": ("good", "the gate refused it: nothing was signed for {safe}"),
    "COMPLETED": ("harm", "it was signed and is on the chain: {safe} runs the thief's code"),
    "FAILED": ("good", "it was signed, and the guard of {safe} refused it on the chain"),
}
"""What became of a request to sign for a Safe, by the platform's status."""
MOVING = frozenset({"SUBMITTED", "PENDING_AUTHORIZATION", "QUEUED", "PENDING_SIGNATURE", "BROADCASTING", "CONFIRMING"})


class Director:
    """Directs one drill."""

    def __init__(self, scenario: Scenario, wish: Wish, story: Story, screen: Screen) -> None:
        self._scenario = scenario
        self._wish = wish
        self._story = story
        self._screen = screen

    def run(self) -> Summary:
        """Run it; DrillError when it could not be brought to an end. The summary says whether all of it happened."""
        with ExitStack() as running:
            stage = Opening(self._scenario, self._wish, self._screen, running).set_the_stage()
            show = _Show(self._scenario, stage, self._story, running)
            self._screen.heading(f"{self._scenario.title} (gaps shortened {self._scenario.compression} times)")
            if not self._scenario.asks_gate:
                self._screen.heading("THE GATE IS OFF: the platform signs without asking anybody")
            show.play()
            self._story.show()
            self._screen.heading("Closing: verdict, review, figures, proofs")
            ending = show.ending()
            review = close_incidents(ending, show.open_incidents())
            summary = sum_up(ending, review, self._wish.folder)
            self._story.show()
            self._screen.heading("Stopping")
        return summary


class _Show:
    """The part between set-up and closing."""

    def __init__(self, scenario: Scenario, stage: Stage, story: Story, running: ExitStack) -> None:
        self._scenario = scenario
        self._stage = stage
        self._story = story
        story.names.update({m.person: m.name for m in stage.crew})
        self._approvers = Approvers(stage.service, stage.crew, read_ballot_key(stage.home), story)
        self._watch = running.enter_context(Watch(stage.service, stage.reader, story, self._approvers))
        self._attack = Attack(scenario, stage.accounts, stage.platform, story, safes=stage.safes)
        running.callback(self._attack.stop)
        self._acknowledged: set[str] = set()
        self._probe: str | None = None
        self._ended: set[str] = set()

    def play(self) -> None:
        """Play the script, and go on until nothing moves any more."""
        self._attack.start()
        self._until(lambda: self._attack.is_over, quiet_s=0, timeout_s=SCRIPT_TIMEOUT_S)
        self._until(lambda: not self._moving(), quiet_s=QUIET_AFTER_S, timeout_s=SETTLE_TIMEOUT_S)
        for what in self._moving():
            self._story.tell("bad", f"did not come to rest within {SETTLE_TIMEOUT_S:.0f} s: {what}")

    def ending(self) -> Ending:
        """Return what there is to judge."""
        main = self._main_incident()
        return Ending(
            scenario=self._scenario,
            stage=self._stage,
            story=self._story,
            played=tuple(self._attack.played),
            incident=None if main is None else str(main["id"]),
            probe=self._probe,
            votes=self._approvers.votes,
        )

    def open_incidents(self) -> Iterable[str]:
        """Return every incident that is not closed."""
        return [i for i, incident in self._watch.incidents.items() if incident["state"] != "closed"]

    def _until(self, done: Callable[[], bool], *, quiet_s: float, timeout_s: float) -> None:
        """Watch, vote and acknowledge until `done` has been so for `quiet_s`, or the time is over."""
        end = time.monotonic() + timeout_s
        since: float | None = None
        while time.monotonic() < end:
            self._attack.check()
            self._watch.look()
            self._note_first_harm()
            self._tell_what_was_signed()
            self._acknowledge()
            self._try_a_held_account()
            since = (since or time.monotonic()) if done() else None
            if since is not None and time.monotonic() - since >= quiet_s:
                return
            time.sleep(TICK_S)

    def _note_first_harm(self) -> None:
        first = first_harmful(self._attack.played)
        if self._story.first_harm_s is None and first is not None:
            platform = self._stage.platform
            self._story.first_harm_s = first_answer_s(
                first, platform.transactions(), platform.deliveries(), platform.callbacks()
            )

    def _tell_what_was_signed(self) -> None:
        """Tell once what became of each request to sign for a Safe."""
        asked = {
            str(p.answer["transaction"]): p.call.move
            for p in self._attack.played
            if p.answer is not None and isinstance(p.call.move, SigningRequest)
        }
        if asked.keys() <= self._ended:
            return
        for found in self._stage.platform.transactions():
            transaction, status = str(found["id"]), str(found["status"])
            move = asked.get(transaction)
            if move is not None and status in SIGNED_ENDS and transaction not in self._ended:
                self._ended.add(transaction)
                tone, what = SIGNED_ENDS[status]
                self._story.tell(tone, what.format(safe=move.signs.safe))

    def _acknowledge(self) -> None:
        on_call = min((m for m in self._stage.crew if m.oncall_level), key=lambda m: m.oncall_level or 0)
        for incident_id in self.open_incidents():
            if incident_id not in self._acknowledged:
                self._stage.service.post(f"/v1/incidents/{incident_id}/acknowledge", on_call.token)
                self._acknowledged.add(incident_id)

    def _try_a_held_account(self) -> None:
        """Once an account is held, order a transfer from it: it must not be signed."""
        held = self._held_accounts() if self._scenario.expected.outcome == "contained" else []
        if self._probe is not None or not held:
            return
        other = next(a.id for a in self._scenario.accounts if a.id != held[0])
        order = {
            "account": held[0],
            "asset": next(a.id for a in self._scenario.assets if a.contract is None),
            "amount_base_units": PROBE_BASE_UNITS,
            "user": "payout-bot",
            "destination_type": "VAULT_ACCOUNT",
            "destination": other,
        }
        self._probe = str(self._stage.platform.call("/emulator/transfer", order)["transaction"])
        self._story.tell("quiet", f"a transfer is ordered from {held[0]}, to see that the gate holds it")

    def _held_accounts(self) -> list[str]:
        steps = [step for incident_id in self._watch.incidents for step in self._watch.steps(incident_id)]
        return [
            str(s["target"]["value"]) for s in steps if s["action"] == "suspend_withdrawals" and s["state"] == "done"
        ]

    def _moving(self) -> list[str]:
        """Return what has not come to rest yet."""
        if self._scenario.expected.outcome == "no_hold":
            found = self._stage.platform.transactions()
            return [f"transaction {t['id']} is {t['status']}" for t in found if t["status"] in MOVING]
        main = self._main_incident()
        if main is None:
            return ["no incident of the expected kind was opened"]
        moving = [] if main["state"] != "open" else [f"incident {main['id']} is open"]
        moving += [f"{', '.join(d.actions)} waits for votes" for d in self._approvers.waiting]
        steps = [step for incident_id in self._watch.incidents for step in self._watch.unfinished(incident_id)]
        return moving + [f"{s['action']} on {s['target']['value']} is {s['state']}" for s in steps]

    def _main_incident(self) -> Json | None:
        wanted = expected_kind(self._scenario)
        found = [i for i in self._watch.incidents.values() if i["kind"] == wanted]
        return min(found, key=lambda i: str(i["opened_at"])) if found else None
