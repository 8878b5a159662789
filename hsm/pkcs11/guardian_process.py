"""The guardian's token in a process of its own, for a worker that has another token open already.

Rules held here:
- One process opens one PKCS#11 module with one configuration (`hsm.pkcs11.module`), and the key worker's own token is the
  vault's. So the guardian's is opened by a child, begun at the first use and ended with the worker: it ends when its
  standard input does, also after a kill.
- The child is told where the token is, never a PIN: it reads the PIN source itself. Its memory is protected as the worker's.
- One line of JSON is asked, one is answered. A child that does not answer in time is ended; a signature that nobody got
  has no effect, so the question may be asked again.
"""

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TextIO

from hsm.custodian import Signature, require_digest
from hsm.errors import HsmError, TokenUnavailableError
from hsm.memory import protect_process
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.guardian import GuardianToken
from hsm.uri import Pkcs11Uri

ANSWER_TIMEOUT_S: Final = 20.0
MAX_ANSWER: Final = 4096


class GuardianProcess:
    """`GuardianKey` through the child. `uri` as RFC 7512, `softhsm_conf` as the URI's `x-softhsm-conf`."""

    def __init__(self, uri: str, softhsm_conf: Path | None = None) -> None:
        Pkcs11Uri.parse(uri)
        self._token = {"uri": uri, "softhsm_conf": None if softhsm_conf is None else str(softhsm_conf)}
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._public: bytes | None = None

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest. Raises the token's HsmError, TokenUnavailableError when the child does not answer."""
        require_digest(digest)
        r, s, v = (int(number, 16) for number in self._ask(digest.hex()).split(" "))
        return Signature(r, s, v)

    def public_key(self) -> bytes:
        """Return the compressed public key, 33 bytes."""
        if self._public is None:
            self._public = bytes.fromhex(self._ask(""))
        return self._public

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            with child:  # closes its input, which ends it
                pass

    def _ask(self, question: str) -> str:
        with self._lock:
            if self._child is None:
                self._child = self._begin()
            try:
                answer = _exchange(self._child, question)
            except (OSError, ValueError) as error:
                self._child.kill()
                self.close()
                raise TokenUnavailableError("the guardian's token did not answer: look at the worker's log") from error
        if "error" in answer:
            self.close()
            raise _error_of(str(answer["error"]), str(answer.get("message", "")))
        return str(answer["said"])

    def _begin(self) -> "subprocess.Popen[bytes]":
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "hsm.pkcs11.guardian_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # nothing is left to be written when the child died
            start_new_session=True,
        )
        _write(child, json.dumps(self._token))
        return child


def serve(asked: TextIO, answered: TextIO) -> None:
    """Answer questions until there are no more: the first line names the token, an empty one asks for the public key."""
    protect_process()
    token: GuardianToken | None = None
    told = json.loads(asked.readline())
    conf = told["softhsm_conf"]
    for line in asked:
        try:
            token = token or GuardianToken.open(TokenConfig.from_uri(told["uri"], None if conf is None else Path(conf)))
            said = _said(token, line.strip())
        except HsmError as error:
            _answer(answered, {"error": error.code, "message": str(error)})
        else:
            _answer(answered, {"said": said})
    if token is not None:
        token.close()


def _said(token: GuardianToken, question: str) -> str:
    if not question:
        return token.public_key().hex()
    signature = token.sign(bytes.fromhex(question))
    return f"{signature.r:x} {signature.s:x} {signature.v:x}"


def _answer(stream: TextIO, told: dict[str, str]) -> None:
    stream.write(json.dumps(told) + "\n")
    stream.flush()


def _exchange(child: "subprocess.Popen[bytes]", question: str) -> dict[str, object]:
    _write(child, question)
    if child.stdout is None:
        raise ValueError("the child has no output")
    raw = b""
    while not raw.endswith(b"\n"):
        ready, _, _ = select.select([child.stdout], [], [], ANSWER_TIMEOUT_S)
        piece = os.read(child.stdout.fileno(), MAX_ANSWER) if ready else b""
        if not piece or len(raw) > MAX_ANSWER:
            raise ValueError("the child ended or did not answer in time")
        raw += piece
    answer = json.loads(raw)
    if not isinstance(answer, dict):
        raise ValueError("the child's answer is no object")  # noqa: TRY004  malformed, as the others
    return answer


def _write(child: "subprocess.Popen[bytes]", line: str) -> None:
    if child.stdin is None:
        raise ValueError("the child has no input")
    child.stdin.write(line.encode() + b"\n")
    child.stdin.flush()


def _error_of(code: str, message: str) -> HsmError:
    found = next((kind for kind in _kinds(HsmError) if kind.code == code), TokenUnavailableError)
    return found(message)


def _kinds(base: type[HsmError]) -> Iterator[type[HsmError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
