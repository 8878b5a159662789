"""A vault in a process of its own: carries acts out until it is killed, or answers what its parent asks line by line."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog

from hsm.pkcs11.config import TokenConfig, pin_from_file
from hsm.pkcs11.custodian import TokenCustodian
from hsm.restrictions import Transfer
from service.chain.evm import JsonRpcChain
from service.domain.errors import PortcullisError
from service.domain.ids import AccountId
from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create
from service.vault.destruction import DESTROY_AFTER
from service.vault.keys import Vault
from service.vault.parts import VaultParts
from tests.support.authority import MovedClock
from tests.support.servers import url_of_role
from tests.support.vault import Mortal, MortalDatabase, Reaper, a_digest, alone

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Given:
    """What the process is told by its parent."""

    database: str
    module: str
    conf: str
    folder: str
    label: str
    authority_pem: str
    chain: str
    account: str
    kill_at: int | None = None
    """Number of the token call, chain call or commit at which it kills itself with SIGKILL; without, it serves."""
    serve: bool = False


class Executioner(Reaper):
    """As a reaper, but nothing of Python runs afterwards: no finally, no rollback, no logout."""

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def given_by(config: TokenConfig, **others: Any) -> Given:
    return Given(
        module=str(config.module),
        conf=str(config.softhsm_conf),
        folder=str(config.state_dir),
        label=config.label,
        **others,
    )


def start(given: Given) -> "subprocess.Popen[str]":
    """Start the process."""
    command = [sys.executable, "-m", "tests.support.vault_process", json.dumps(asdict(given))]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=ROOT)


def ask(process: "subprocess.Popen[str]", question: str) -> str:
    """Send one line and return the answer."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(question + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def acts(vault: Vault, account: AccountId, clock: MovedClock) -> list[Callable[[], object]]:
    return [
        lambda: vault.restrict(account, key="restrict"),
        lambda: vault.prepare_rotation(account, "leaf", key="prepare"),
        lambda: vault.sweep(account, key="sweep"),
        lambda: vault.swept(account),
        lambda: vault.retire(account, key="retire"),
        lambda: vault.destroy(account, key="destroy"),
        lambda: clock.pass_by(DESTROY_AFTER + timedelta(minutes=5)),
        lambda: vault.destroy_due(account),
    ]


def main(given: Given) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    clock, account = MovedClock(), AccountId(given.account)
    db = SqlDatabase(create(Secret(url_of_role(given.database, "portcullis_keys")), pool_size=2), clock)
    folder = Path(given.folder)
    config = TokenConfig(Path(given.module), given.label, folder, pin_from_file(folder / "pin"), Path(given.conf))
    token = TokenCustodian.open(config)
    chains = {"eip155:1": JsonRpcChain(given.chain)} if given.chain else {}
    parts = VaultParts(db, token, token.statements, chains, given.authority_pem.encode(), clock)
    if given.serve:
        serve(parts, account)
        return
    reaper = Executioner(at=given.kill_at)
    mortal = replace(
        parts,
        db=MortalDatabase(db, reaper),
        token=Mortal(token, reaper),
        chains={name: Mortal(chain, reaper) for name, chain in chains.items()},
    )
    for act in acts(Vault(mortal), account, clock):
        act()
    print(json.dumps({"passed": reaper.passed}))  # noqa: T201  the parent reads it


def serve(parts: VaultParts, account: AccountId) -> None:
    """Answer each line: `sign` tries an ordinary transfer, the other two restrict and lift."""
    print("ready", flush=True)  # noqa: T201  the parent reads it
    for line in sys.stdin:
        try:
            match line.strip():
                case "sign":
                    parts.sign(parts.keys_of(account)[0], Transfer(account), a_digest("payroll"))
                case "restrict":
                    Vault(parts).restrict(account, key="asked")
                case "lift_restriction":
                    Vault(parts).lift_restriction(account, key="asked", still_mine=alone)
            answer = "done"
        except PortcullisError as refused:
            answer = f"{refused.code}: {refused}"
        print(answer, flush=True)  # noqa: T201  the parent reads it


if __name__ == "__main__":
    main(Given(**json.loads(sys.argv[1])))
