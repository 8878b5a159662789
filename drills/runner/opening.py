"""From an empty folder to a stage: platform and installation started, set up over HTTP, history learned, accounts live."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from drills import addresses
from drills.evm import packages
from drills.evm.anvil import running_anvil
from drills.runner.crew import Member, crew_of
from drills.runner.errors import DrillError
from drills.runner.homes import fresh_home
from drills.runner.platform import Platform
from drills.runner.processes import Address, Installation, await_emulator, start_emulator
from drills.runner.receivers import Receivers
from drills.runner.screen import Screen
from drills.runner.service import Service
from drills.runner.setting_up import Credentials, OtherSide, SetUp
from drills.runner.stage import Places, seed_platform, send_history
from drills.safes import Safes
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
    """How a drill shall run. `target` None: start a fresh installation; `emulator_port` 0: any free one.

    A chain with real Safes is at the port after the emulator's.
    """

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
    safes: Safes | None = None
    """The real Safes, for a scenario with some."""

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
        safes = self._safes()
        if wish.target is None:
            home = fresh_home(wish.folder)
            told = self._start(home, platform.rpc_url() if safes is None else safes.node.url)
        else:
            home, told = wish.target.home, Address(wish.target.url, wish.target.setup_token)
        service = running.enter_context(Service(told.url))
        there = {} if safes is None else safes.create()
        setting_up = SetUp(service, told.token, self._scenario, there)
        return self._set_up(setting_up, platform, receivers, (home, safes))

    def _safes(self) -> Safes | None:
        """Start a real chain for a scenario with real Safes."""
        if not self._scenario.safes:
            return None
        packages.fetch(self._screen.heading)
        port = self._wish.emulator_port + 1 if self._wish.emulator_port else 0
        node = self._running.enter_context(running_anvil(self._scenario.chain_id, port=port))
        self._screen.heading(f"Safe 1.5.0 on a chain of the drill's own: {packages.anvil().name} at {node.url}")
        return Safes(self._scenario, node)

    def _start(self, home: Path, rpc_url: str) -> Address:
        heard: list[str] = []

        def hear(line: str) -> None:
            heard.append(line)
            self._screen.progress("parts started", min(len(heard), PARTS_OF_UP - 1), PARTS_OF_UP)

        installation = Installation(home, {f"eip155:{self._scenario.chain_id}": rpc_url}, hear)
        self._running.enter_context(installation.program)
        told = installation.wait()
        self._screen.progress("parts started", PARTS_OF_UP, PARTS_OF_UP)
        return told

    def _set_up(
        self, setting_up: SetUp, platform: Platform, receivers: Receivers, at: tuple[Path, Safes | None]
    ) -> Stage:
        home, safes = at
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
        if safes is not None:
            safes.complete(accounts)
            safes.fund(_guardian(home))
        gate_pem = (home / "public" / "gate-callback.pem").read_text() if scenario.asks_gate else None
        places = Places(service.url, gate_pem, None if safes is None else safes.node.url)
        seed_platform(platform, scenario, accounts, credentials, places)
        history = send_history(
            service, scenario, accounts, setting_up.ingest, lambda n, m: self._screen.progress("history learned", n, m)
        )
        stage = Stage(service, platform, receivers, crew, accounts, history, home, safes)
        setting_up.go_live(stage.token("admin"))
        return stage


def _guardian(home: Path) -> str:
    """Return the address that pays for the guardian's transactions."""
    try:
        return (home / "public" / "guardian-address.txt").read_text().strip()
    except OSError as error:
        raise DrillError(
            f"{error.filename} cannot be read ({error.strerror}): start the installation with `portcullis up`, which"
            " writes it for an embedded token"
        ) from None


def _ignore(_line: str) -> None:
    """What the emulator prints while it lives is of no interest; its last lines are kept for when it dies."""
