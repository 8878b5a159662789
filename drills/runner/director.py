"""Runs one drill from an empty folder to a written review, and says whether it truly happened.

Order: emulator and installation start; first set-up over HTTP; the platform is seeded with the accounts' real addresses;
history; accounts go live; the script plays while people watch, vote and acknowledge; the incident is closed; the figures
are read from the ledger. Whatever was started is stopped, in reverse, however it ends.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from drills import addresses
from drills.runner.approvers import Approvers
from drills.runner.attack import Attack, first_harmful
from drills.runner.crew import Member, crew_of
from drills.runner.errors import ApiError, DrillError
from drills.runner.figures import Moments, Summary, first_answer_s, moments
from drills.runner.homes import demo_folder, fresh_home
from drills.runner.outcomes import Check, Evidence, Json, checks, expected_kind
from drills.runner.platform import Platform
from drills.runner.processes import Address, Installation, await_emulator, start_emulator
from drills.runner.proofs import prove
from drills.runner.receivers import Receivers
from drills.runner.screen import Screen
from drills.runner.service import Service
from drills.runner.setting_up import Credentials, OtherSide, SetUp
from drills.runner.stage import Places, seed_platform, send_history
from drills.runner.story import Story
from drills.runner.watch import Watch
from drills.scenario_form import Scenario

TICK_S = 0.1
SCRIPT_TIMEOUT_S = 900.0
SETTLE_TIMEOUT_S = 60.0
QUIET_AFTER_S = 3.0
REVIEW_TIMEOUT_S = 30.0
PARTS_OF_UP = 8
NOT_FOUND = 404
OPEN_STATES = frozenset(
    {"SUBMITTED", "PENDING_AUTHORIZATION", "QUEUED", "PENDING_SIGNATURE", "BROADCASTING", "CONFIRMING"}
)


@dataclass(frozen=True, slots=True)
class Target:
    """A running installation that was not set up yet, or None in place of it for a fresh one."""

    url: str
    setup_token: str = field(repr=False)
    home: Path


@dataclass(slots=True)
class Stage:
    """What is running, once set-up is done."""

    service: Service
    platform: Platform
    crew: list[Member]
    accounts: dict[str, str]
    history: int
    home: Path

    def token(self, role: str) -> str:
        """Return the token of somebody whose token has this role."""
        return next(m.token for m in self.crew if m.strongest == role)


@dataclass(frozen=True, slots=True)
class _Cast:
    stage: Stage
    watch: Watch
    attack: Attack


class Director:
    """Directs one drill."""

    def __init__(self, scenario: Scenario, root: Path, story: Story, screen: Screen) -> None:
        self._scenario = scenario
        self._folder = demo_folder(root)
        self._story = story
        self._screen = screen
        self._probe: str | None = None
        self._acknowledged: set[str] = set()

    def run(self, target: Target | None, record: Path | None, emulator_port: int) -> Summary:
        """Run it; DrillError when it could not be brought to an end. The summary says whether all of it happened."""
        with ExitStack() as running:
            stage = self._set_the_stage(running, target, record, emulator_port)
            summary = self._play(running, stage)
            self._screen.heading("Stopping")
        return summary

    def _set_the_stage(self, running: ExitStack, target: Target | None, record: Path | None, port: int) -> Stage:
        self._screen.heading("Starting a platform to guard, and Portcullis to guard it")
        receivers = running.enter_context(Receivers())
        program = running.enter_context(start_emulator(self._folder, record, port, self._quiet))
        emulated = await_emulator(program, self._folder)
        platform = running.enter_context(Platform(emulated))
        if target is None:
            home = fresh_home(self._folder)
            told = self._start(running, home, f"{platform.url}/chain/rpc")
        else:
            home, told = target.home, Address(target.url, target.setup_token)
        service = running.enter_context(Service(told.url))
        return self._set_up(service, told.token, platform, receivers, home)

    def _start(self, running: ExitStack, home: Path, rpc_url: str) -> Address:
        heard: list[str] = []

        def hear(line: str) -> None:
            heard.append(line)
            self._screen.progress("starting", min(len(heard), PARTS_OF_UP - 1), PARTS_OF_UP)

        installation = Installation(home, {f"eip155:{self._scenario.chain_id}": rpc_url}, hear)
        running.enter_context(installation.program)
        told = installation.wait()
        self._screen.progress("starting", PARTS_OF_UP, PARTS_OF_UP)
        return told

    def _set_up(self, service: Service, token: str, platform: Platform, receivers: Receivers, home: Path) -> Stage:
        self._screen.heading("First set-up: people with phones, connections, accounts with safe destinations")
        scenario, crew = self._scenario, crew_of(self._scenario.people)
        credentials = Credentials.fresh()
        setting_up = SetUp(service, token, scenario)
        setting_up.channels(receivers)
        setting_up.people(crew)
        keys = platform.keys()
        other = OtherSide(f"{platform.url}/v1", platform.jwks_url(), keys["cosigner_public_key_pem"])
        setting_up.connections(other, credentials)
        setting_up.register()
        setting_up.complete()
        stage = Stage(service, platform, crew, {}, 0, home)
        total = len(scenario.accounts)
        made = setting_up.await_addresses(
            crew[0].token, lambda n: self._screen.progress("keys made in the vault", n, total)
        )
        stage.accounts = addresses.of_accounts(scenario, made)
        places = Places(service.url, (home / "public" / "gate-callback.pem").read_text())
        seed_platform(platform, scenario, stage.accounts, credentials, places)
        stage.history = send_history(
            service,
            scenario,
            stage.accounts,
            setting_up.ingest,
            lambda n, m: self._screen.progress("history learned", n, m),
        )
        setting_up.go_live(stage.token("admin"))
        return stage

    def _play(self, running: ExitStack, stage: Stage) -> Summary:
        factor = self._scenario.compression
        self._screen.heading(f"{self._scenario.title} (gaps shortened {factor} times)")
        approvers = Approvers(stage.service, stage.crew, self._story)
        watch = running.enter_context(Watch(stage.service, stage.crew[0].token, self._story, approvers))
        attack = Attack(self._scenario, stage.accounts, stage.platform, self._story)
        running.callback(attack.stop)
        attack.start()
        cast = _Cast(stage, watch, attack)
        self._until(lambda: attack.is_over, cast, quiet_s=0, timeout_s=SCRIPT_TIMEOUT_S)
        self._until(lambda: self._is_settled(watch, stage), cast, quiet_s=QUIET_AFTER_S, timeout_s=SETTLE_TIMEOUT_S)
        self._screen.heading("Closing: verdict, review, figures, proofs")
        incident = self._main_incident(watch)
        review = self._close(watch, stage)
        return self._sum_up(stage, attack, incident, review, approvers.votes)

    def _until(self, done: Callable[[], bool], cast: _Cast, *, quiet_s: float, timeout_s: float) -> None:
        """Watch, vote and acknowledge until `done` has been so for `quiet_s`, or the time is over."""
        watch, attack, stage = cast.watch, cast.attack, cast.stage
        end = time.monotonic() + timeout_s
        since: float | None = None
        while time.monotonic() < end:
            attack.check()
            watch.look()
            self._note_first_harm(attack, stage)
            self._acknowledge(watch, stage)
            self._try_a_held_account(watch, stage)
            since = None if not done() else since or time.monotonic()
            if since is not None and time.monotonic() - since >= quiet_s:
                return
            time.sleep(TICK_S)

    def _note_first_harm(self, attack: Attack, stage: Stage) -> None:
        if self._story.first_harm_s is not None:
            return
        first = first_harmful(attack.played)
        if first is not None:
            platform = stage.platform
            found = first_answer_s(first, platform.transactions(), platform.deliveries(), platform.callbacks())
            self._story.first_harm_s = found

    def _acknowledge(self, watch: Watch, stage: Stage) -> None:
        on_call = min((m for m in stage.crew if m.oncall_level), key=lambda m: m.oncall_level or 0)
        for incident_id, incident in watch.incidents.items():
            if incident_id not in self._acknowledged and incident["state"] != "closed":
                stage.service.post(f"/v1/incidents/{incident_id}/acknowledge", on_call.token)
                self._acknowledged.add(incident_id)

    def _try_a_held_account(self, watch: Watch, stage: Stage) -> None:
        """Once an account is held, order a transfer from it: it must not be signed."""
        if self._probe is not None or self._scenario.expected.outcome != "contained":
            return
        held = [
            str(step["target"]["value"])
            for incident_id in watch.incidents
            for step in watch.steps(incident_id)
            if step["action"] == "suspend_withdrawals" and step["state"] == "done"
        ]
        others = [a.id for a in self._scenario.accounts if held and a.id != held[0]]
        if not held or not others:
            return
        native = next(a.id for a in self._scenario.assets if a.contract is None)
        body: Json = {"account": held[0], "asset": native, "amount_base_units": "1000000000", "user": "payout-bot"}
        answer = stage.platform.call(
            "/emulator/transfer", {**body, "destination_type": "VAULT_ACCOUNT", "destination": others[0]}
        )
        self._probe = str(answer["transaction"])
        self._story.tell("quiet", f"a transfer is ordered from {held[0]}, to see that the gate holds it")

    def _is_settled(self, watch: Watch, stage: Stage) -> bool:
        if self._scenario.expected.outcome == "no_hold":
            return not any(t["status"] in OPEN_STATES for t in stage.platform.transactions())
        main = self._main_incident(watch)
        if main is None or main["state"] == "open":
            return False
        waiting = [d for d in watch.approvers.reviewed if d not in watch.approvers.done]
        return not waiting and all(watch.is_settled(i) for i in watch.incidents)

    def _main_incident(self, watch: Watch) -> Json | None:
        wanted = expected_kind(self._scenario)
        found = [i for i in watch.incidents.values() if i["kind"] == wanted]
        return min(found, key=lambda i: str(i["opened_at"])) if found else None

    def _close(self, watch: Watch, stage: Stage) -> str:
        """Close every incident with its verdict; returns the main one's review page, empty when there is none."""
        main = self._main_incident(watch)
        verdict = "false_positive" if self._scenario.expected.outcome == "no_hold" else "true_positive"
        for incident_id in watch.incidents:
            stage.service.post(f"/v1/incidents/{incident_id}/close", stage.token("responder"), {"verdict": verdict})
        return "" if main is None else self._await_review(str(main["id"]), stage)

    def _await_review(self, incident_id: str, stage: Stage) -> str:
        end = time.monotonic() + REVIEW_TIMEOUT_S
        while True:
            try:
                return stage.service.text(f"/v1/reviews/{incident_id}/page", stage.crew[0].token)
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
            if time.monotonic() > end:
                raise DrillError("the review was not written within 30 s; look into logs/containment.log of the home")
            time.sleep(TICK_S)

    def _sum_up(self, stage: Stage, attack: Attack, incident: Json | None, review: str, votes: int) -> Summary:
        platform, scenario = stage.platform, self._scenario
        when = moments(self._story.first_harm_s, incident)
        evidence = self._evidence(stage, attack, incident, review, when)
        found = checks(evidence)
        path = self._folder / "review.html"
        if review:
            path.write_text(review)
        figures = platform.figures()
        return Summary(
            scenario=scenario.name,
            value_at_risk_usd=str(figures["value_at_risk_usd"] or "0.00"),
            value_lost_usd=str(figures["value_lost_usd"]),
            value_saved_usd=str(figures["value_saved_usd"]),
            detected_after_s=when.after(when.detected),
            held_after_s=when.after(when.held),
            contained_after_s=when.after(when.contained),
            incident_id=None if incident is None else str(incident["id"]),
            review_path=str(path) if review else None,
            compression=scenario.compression,
            random_seed=scenario.random_seed,
            history_activities=stage.history,
            votes=votes,
            succeeded=all(held for _, held in found),
            checks=found,
        )

    def _evidence(self, stage: Stage, attack: Attack, incident: Json | None, review: str, when: Moments) -> Evidence:
        reader = stage.crew[0].token
        anomalous = stage.service.pages("/v1/activities", reader, anomalous="true")
        answers = [p.answer for p in attack.played if p.answer is not None]
        return Evidence(
            scenario=self._scenario,
            figures=stage.platform.figures(),
            transactions=stage.platform.transactions(),
            callbacks=stage.platform.callbacks(),
            incident=incident,
            decisions=tuple(str(a["decision"]) for a in anomalous),
            moments=when,
            probe=self._probe,
            ordered=tuple(str(a["transaction"]) for a in answers if "transaction" in a),
            review=review,
            proofs=self._prove(stage),
        )

    def _prove(self, stage: Stage) -> tuple[Check, ...]:
        held, said = prove(stage.home)
        for sentence in said:
            self._story.tell("bad", sentence)
        return held

    def _quiet(self, _line: str) -> None:
        """The emulator's own lines are of no interest while it lives."""
