"""A chain and Safe's contracts from npm: found where they are, fetched once where they are not.

Rules: what is fetched is exactly what `drills/npm/package-lock.json` names, by hash, without running any of its scripts;
it is kept outside the repository and outside the installed package, in a folder named after the lock file, so that a new
lock is a new folder; nothing is fetched unless a drill needs it. PORTCULLIS_ANVIL names a program of the user's own, for
machines that the lock file has none for (it has Linux on x86-64).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from drills.evm.errors import PackageError

LOCKED = Path(__file__).parents[1] / "npm"
FILES = ("package.json", "package-lock.json")
ANVIL_VARIABLE = "PORTCULLIS_ANVIL"
ANVIL = "@foundry-rs/anvil-*/bin/anvil"
SAFE_CONTRACTS = "@safe-global/safe-smart-account/build/artifacts/contracts"
FETCH_TIMEOUT_S = 600
INSTALL = "python -m drills.evm.packages"
NO_NPM = f"npm is missing: run as root `apt-get install nodejs npm`, then `{INSTALL}`"


def folder() -> Path:
    """Return where the packages of this lock file are, or will be."""
    digest = hashlib.sha256(b"".join((LOCKED / name).read_bytes() for name in FILES)).hexdigest()[:16]
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "portcullis" / f"drills-npm-{digest}"


def fetch(say: Callable[[str], None]) -> None:
    """Fetch the packages unless they are there. PackageError says what to do."""
    target = folder()
    if target.is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise PackageError(NO_NPM)
    say(f"fetching a chain and Safe's contracts from npm into {target}, once")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        _fetch_into(Path(made) / "npm", npm)
        try:
            (Path(made) / "npm").rename(target)
        except OSError:
            if not target.is_dir():  # else another drill was quicker, with the same content
                raise


def _fetch_into(made: Path, npm: str) -> None:
    made.mkdir()
    for name in FILES:
        shutil.copyfile(LOCKED / name, made / name)
    command = [npm, "ci", "--prefix", str(made), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(  # noqa: S603 - npm itself, with our own lock file
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise PackageError(
            f"the npm packages could not be fetched ({said}): is the registry reachable? Then `{INSTALL}`"
        )


def anvil() -> Path:
    """Return the chain's program. PackageError when there is none for this machine."""
    own = os.environ.get(ANVIL_VARIABLE)
    if own:
        if not os.access(own, os.X_OK):
            raise PackageError(f"{ANVIL_VARIABLE}={own} is no program that can be run: correct it")
        return Path(own)
    found = next(iter(sorted((folder() / "node_modules").glob(ANVIL))), None)
    if found is None:
        raise PackageError(
            f"anvil is missing: `{INSTALL}` fetches it for Linux on x86-64; anywhere else install Foundry and set"
            f" {ANVIL_VARIABLE}=/path/to/anvil"
        )
    return found


def artifact(path: Path) -> dict[str, object]:
    """Read a compiled contract. PackageError when it is not there."""
    try:
        found: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackageError(f"{path.name} is missing: `{INSTALL}` fetches it") from None
    return found


def safe_artifact(name: str) -> dict[str, object]:
    """Read one of Safe's own contracts, named as `Safe.sol/Safe.json`."""
    return artifact(folder() / "node_modules" / SAFE_CONTRACTS / name)


def bytecode(found: dict[str, object], *, deployed: bool = False) -> bytes:
    """Return the code that creates a contract, or what stands on the chain afterwards."""
    return bytes.fromhex(str(found["deployedBytecode" if deployed else "bytecode"])[2:])


def _main() -> int:
    try:
        fetch(lambda text: print(text, file=sys.stderr))  # noqa: T201 - a command's own words
        anvil()
    except PackageError as error:
        sys.stderr.write(f"packages: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
