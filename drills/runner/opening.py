"""From an empty folder to a stage: platform and installation started, set up over HTTP, history learned, accounts live."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from drills import addresses
from drills.runner.crew import Member, crew_of
from drills.runner.homes import fresh_home
from drills.runner.platform import Platform
from drills.runner.processes import Address, Installation, await_emulator, start_emulator
from drills.runner.receivers import Receivers
from drills.runner.screen import Screen
from drills.runner.service import Service
from drills.runner.setting_up import Credentials, OtherSide, SetUp
from drills.runner.stage import Places, seed_platform, send_history
from drills.scenario_form import Scenario

PARTS_OF_UP = 8


@dataclass(frozen=True, slots=True)
class Target:
    """A running installation that was not set up yet."""

    url: str
    setup_token: str = field(repr=False)
    home: Path


@dataclass(frozen=True, slots=True)
class Wish:
    """How a drill shall run. `target` None: start a fresh installation; `emulator_port` 0: any free one."""

    folder: Path
    target: Target | None = None
    record: Path | None = None
    emulator_port: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """What is running, once set-up is done and history learned. `history`: how many activities that was."""

    service: Service
    platform: Platform
    receivers: Receivers
    crew: list[Member]
    accounts: dict[str, str]
    history: int
    home: Path

    def token(self, role: str) -> str:
        """Return the token of somebody whose token has this role."""
        return next(m.token for m in self.crew if m.strongest == role)

    @property
    def reader(self) -> str:
        """A token that may read."""
        return self.crew[0].token


class Opening:
    """Sets the stage of one drill; what it starts is stopped when `running` ends."""

    def __init__(self, scenario: Scenario, wish: Wish, screen: Screen, running: ExitStack) -> None:
        self._scenario = scenario
        self._wish = wish
        self._screen = screen
        self._running = running

    def set_the_stage(self) -> Stage:
        """Start and set up everything; DrillError that says what to do."""
        self._screen.heading("Starting a platform to guard, and Portcullis to guard it")
        wish, running = self._wish, self._running
        receivers = running.enter_context(Receivers())
        program = running.enter_context(start_emulator(wish.folder, wish.record, wish.emulator_port, _ignore))
        platform = running.enter_context(Platform(await_emulator(program, wish.folder)))
        if wish.target is None:
            home = fresh_home(wish.folder)
            told = self._start(home, platform)
        else:
            home, told = wish.target.home, Address(wish.target.url, wish.target.setup_token)
        service = running.enter_context(Service(told.url))
        return self._set_up(SetUp(service, told.token, self._scenario), platform, receivers, home)

    def _start(self, home: Path, platform: Platform) -> Address:
        heard: list[str] = []

        def hear(line: str) -> None:
            heard.append(line)
            self._screen.progress("parts started", min(len(heard), PARTS_OF_UP - 1), PARTS_OF_UP)

        installation = Installation(home, {f"eip155:{self._scenario.chain_id}": platform.rpc_url()}, hear)
        self._running.enter_context(installation.program)
        told = installation.wait()
        self._screen.progress("parts started", PARTS_OF_UP, PARTS_OF_UP)
        return told

    def _set_up(self, setting_up: SetUp, platform: Platform, receivers: Receivers, home: Path) -> Stage:
        self._screen.heading("First set-up: people with phones, connections, accounts with safe destinations")
        scenario, crew, credentials = self._scenario, crew_of(self._scenario.people), Credentials.fresh()
        setting_up.channels(receivers)
        setting_up.people(crew)
        cosigner = platform.keys()["cosigner_public_key_pem"]
        setting_up.connections(OtherSide(f"{platform.url}/v1", platform.jwks_url(), cosigner), credentials)
        setting_up.register()
        setting_up.complete()
        total = len(scenario.accounts)
        made = setting_up.await_addresses(
            crew[0].token, lambda done: self._screen.progress("accounts provisioned", done, total)
        )
        accounts = addresses.of_accounts(scenario, made)
        service = setting_up.service
        gate_pem = (home / "public" / "gate-callback.pem").read_text()
        seed_platform(platform, scenario, accounts, credentials, Places(service.url, gate_pem))
        history = send_history(
            service, scenario, accounts, setting_up.ingest, lambda n, m: self._screen.progress("history learned", n, m)
        )
        stage = Stage(service, platform, receivers, crew, accounts, history, home)
        setting_up.go_live(stage.token("admin"))
        return stage


def _ignore(_line: str) -> None:
    """What the emulator prints while it lives is of no interest; its last lines are kept for when it dies."""
