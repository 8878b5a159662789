"""The compiled contracts in the repository are what their sources give, byte for byte."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from service.chain.guard import guard_code
from tests.support.anvil import INSTALL, ROOT, npm_file

CONTRACTS = (
    ROOT / "service" / "chain" / "contracts" / "PortcullisGuard.sol",
    ROOT / "drills" / "contracts" / "DrillToken.sol",
    ROOT / "drills" / "contracts" / "Usurper.sol",
)


@pytest.mark.parametrize("source", CONTRACTS, ids=lambda path: str(path.stem))
def test_a_contract_is_what_its_source_gives(source: Path) -> None:
    npm_file("solc/package.json")
    node = shutil.which("node")
    if node is None:
        pytest.fail(f"node is not installed: {INSTALL}")
    compiler = ROOT / "tests" / "npm" / "compile.cjs"
    done = subprocess.run([node, compiler, source, source.stem], capture_output=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == source.with_suffix(".json").read_bytes()


def test_the_code_has_no_immutables_and_no_metadata_so_that_it_is_the_same_everywhere() -> None:
    read = json.loads(CONTRACTS[0].with_suffix(".json").read_text(encoding="utf-8"))
    code = guard_code()
    assert code.creation.endswith(code.runtime)
    assert read["settings"]["metadata"] == {"appendCBOR": False, "bytecodeHash": "none"}
    assert read["compiler"]["version"].startswith("0.8.37+")
