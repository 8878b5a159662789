"""Set up and open SoftHSM tokens for tests, in this process or in a fresh one."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hsm.pkcs11.config import TokenConfig, pin_from_file
from hsm.pkcs11.provision import provision
from hsm.power import Power
from hsm.uri import Pkcs11Uri

OFFICER_PIN = "officer-of-tests"
USER_PIN = "user-of-tests"


def write_private(path: Path, text: str) -> Path:
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def configure(module: Path, conf: Path, folder: Path, label: str) -> TokenConfig:
    pin = pin_from_file(folder / "pin")
    return TokenConfig(module=module, label=label, state_dir=folder, pin=pin, softhsm_conf=conf)


def uri_of(config: TokenConfig) -> str:
    query = (
        ("module-path", str(config.module)),
        ("pin-source", f"file:{config.state_dir / 'pin'}"),
        ("x-softhsm-conf", str(config.softhsm_conf)),
    )
    return str(Pkcs11Uri((("token", config.label),), query))


def set_up(module: Path, conf: Path, folder: Path, power: Power, label: str) -> TokenConfig:
    write_private(folder / "pin", USER_PIN)
    config = configure(module, conf, folder, label)
    provision(config, power, lambda: OFFICER_PIN)
    return config


@dataclass(frozen=True)
class Answer:
    """What a fresh process printed as JSON, or the error code it ended with."""

    value: object
    error: str | None
    message: str


PROGRAM = """
import json, sys
from pathlib import Path
from hsm.errors import HsmError
from tests.integration.hsm.tokens import configure
def main(config):
{body}
try:
    given = json.loads(sys.argv[1])
    config = configure(Path(given["module"]), Path(given["conf"]), Path(given["folder"]), given["label"])
    print(json.dumps({{"value": main(config)}}))
except HsmError as failure:
    print(json.dumps({{"error": failure.code, "message": str(failure)}}))
"""


def start_process(config: TokenConfig, body: str) -> "subprocess.Popen[str]":
    """Start a fresh Python that runs `body` with `config`; the last expression is its return value."""
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    given = {
        "module": str(config.module),
        "conf": str(config.softhsm_conf),
        "folder": str(config.state_dir),
        "label": config.label,
    }
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(body=indented), json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def answer_of(process: "subprocess.Popen[str]") -> Answer:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    return Answer(said.get("value"), said.get("error"), said.get("message", ""))


def in_process(config: TokenConfig, body: str) -> Answer:
    return answer_of(start_process(config, body))
