"""Asks the vault token, at the end of bench/chaos.py, what became of the key worker's effects: as that worker's own user.

Rules: a key that a done `restrict_key` restricted refuses what is neither a sweep nor a cancellation; each new key that a
done `prepare_rotation` promised answers with a signature of the token. Nothing is asked of rows alone: every answer is a
try to sign. `python -m bench.chaos_keys` prints one JSON object; `ask` starts it with the key worker's settings.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from hsm.restrictions import Transfer
from service.clock import SystemClock
from service.config import read_settings
from service.domain.errors import ForbiddenError, PortcullisError
from service.domain.ids import AccountId
from service.domain.vault import VaultKey
from service.runtime.environment import base_environment, read_environment
from service.runtime.layout import Layout
from service.store.database import SqlDatabase, create
from service.vault.parts import VaultParts
from service.vault.rotations import split

TIMEOUT_S: Final = 120.0
KEYS: Final = "keys"
_SIGNED, _REFUSED = "signed", "refused"
_PROBE: Final = hashlib.sha256(b"bench.chaos: nobody's transaction").digest()


class Told(NamedTuple):
    """What the token said: how many keys answered and refused as they must, and what is wrong of the others."""

    answering: int
    refusing: int
    wrong: list[str]


def ask(layout: Layout, pid: int, accounts: dict[str, bool]) -> Told:
    """Return what the token says.

    `pid` is the key worker's: whoever asks has its rights and no others. `accounts`: our id → whether its keys were
    restricted; each of them was promised a new key.
    """
    environment = base_environment(layout, KEYS) | (read_environment(layout, KEYS) or {})
    rights = _rights(pid)
    done = subprocess.run(
        [sys.executable, "-m", "bench.chaos_keys"],
        input=json.dumps(accounts),
        env=environment | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        user=rights.user,
        group=rights.group,
        extra_groups=rights.groups,
    )
    if done.returncode != 0:
        last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        return Told(0, 0, [f"the token could not be asked: {last}"])
    return Told(**json.loads(done.stdout))


class _Rights(NamedTuple):
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


def _rights(pid: int) -> _Rights:
    if os.getuid() != 0:
        return _Rights()
    worker, status = psutil.Process(pid), Path(f"/proc/{pid}/status").read_text()
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    numbers = tuple(int(one) for one in groups.removeprefix("Groups:").split())
    return _Rights(worker.uids().real, worker.gids().real, numbers)


def main() -> None:
    """Ask for every account on standard input, and print what was found."""
    settings = read_settings()
    if settings.token is None:
        raise SystemExit("the key worker's settings name no token")
    db = SqlDatabase(create(settings.database_url, pool_size=1), SystemClock())
    token = TokenCustodian.open(TokenConfig.from_uri(settings.token.uri, settings.token.softhsm_conf))
    parts = VaultParts(db, token, token.statements, {}, b"", SystemClock())
    answering, refusing, wrong = 0, 0, []
    for account, restricted in json.load(sys.stdin).items():
        old, new = _keys(parts, AccountId(account))
        wrong += [f"{account} was promised a new key and has none"] if not new else []
        for key in new:
            said = _tried(parts, key)
            answering += said == _SIGNED
            wrong += [] if said == _SIGNED else [f"the new key {key.path} of {account} does not answer: {said}"]
        for key in old if restricted else ():
            said = _tried(parts, key)
            refusing += said == _REFUSED
            wrong += [] if said == _REFUSED else [f"the restricted key {key.path} of {account}: {said}"]
    token.close()
    db.engine.dispose()
    print(json.dumps({"answering": answering, "refusing": refusing, "wrong": wrong}))


def _keys(parts: VaultParts, account: AccountId) -> tuple[tuple[VaultKey, ...], tuple[VaultKey, ...]]:
    with parts.db.begin() as uow:
        record, keys = uow.keys.rotation(account), tuple(uow.keys.keys_of(account))
    return split(record, keys)


def _tried(parts: VaultParts, key: VaultKey) -> str:
    """Try to sign a transfer: signed (the token layer checked it against the public key), refused, or what went wrong."""
    try:
        parts.sign(key, Transfer(key.account_id), _PROBE)
    except ForbiddenError:
        return _REFUSED
    except PortcullisError as error:
        return f"{error.code}: {error}"
    return _SIGNED


if __name__ == "__main__":
    main()
