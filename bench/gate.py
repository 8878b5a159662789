"""The gate before signing at 500 questions a second, while PostgreSQL is killed and while it hangs: over real HTTP.

Run from the repository: `python -m bench.gate [--per-s 500] [--seconds 28] [--json]`. It starts a real `portcullis up`, asks
as a Fireblocks co-signer would (RFC 7519, RS256), each question at its time whether others were answered or not, and kills
PostgreSQL (-9; it is started again) after a quarter of the time and lets it hang (SIGSTOP) in the third. One question in
fifty shows another recipient than would be signed, one in twenty asks once more what was asked before. The exit code is 0
when every question was answered within the platform's 30 s, nothing was approved that must not be or that no row of ours
proves, and no request got two final answers. Times include the machine's own load, the client's among it.
"""

import argparse
import asyncio
import json
import math
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import jwt
import psutil
from cryptography.hazmat.primitives.asymmetric import rsa
from rich.console import Console
from rich.table import Table

from bench.chaos import percentile
from bench.chaos_faults import pid_of
from bench.chaos_load import IDLE_S
from bench.chaos_proofs import database
from bench.chaos_stage import scratch
from bench.gate_questions import CONNECTION, Question, connection, questions
from drills.runner.crew import crew_of
from drills.runner.processes import Installation
from drills.runner.receivers import Receivers
from drills.runner.service import Service
from drills.runner.setting_up import SetUp
from drills.scenario import load_named
from service.runtime.layout import Layout, layout_of

ACCOUNTS: Final = 60
PLATFORM_WAITS_S: Final = 30.0
HANGS_S: Final = 8.0
KILLED_AT, HANGS_AT = 0.25, 0.5
_FINAL: Final = {"APPROVE": "approve", "REJECT": "reject"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one question. `action` is empty where nothing came that a co-signer would take."""

    question: Question
    action: str
    took_s: float
    reason: str = ""
    """Why it counts as none."""


@dataclass(frozen=True, slots=True)
class _Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    used_s: float


@dataclass(slots=True)
class Asker:
    """A co-signer that asks on time, over as many lines as it needs."""

    port: int
    gate_pem: str = field(repr=False)
    _idle: list[_Line] = field(default_factory=list)

    async def ask(self, every: Sequence[Question]) -> list[Answer]:
        """Ask all, each at its time."""
        began = time.monotonic()
        tasks = []
        for question in every:
            await asyncio.sleep(max(0.0, began + question.at_s - time.monotonic()))
            tasks.append(asyncio.create_task(self._one(question)))
        answered = await asyncio.gather(*tasks)
        for line in self._idle:
            line.writer.close()
        return answered

    async def _one(self, question: Question) -> Answer:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PLATFORM_WAITS_S):
                action = self._read(await self._post(question), question)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError, jwt.PyJWTError) as error:
            return Answer(question, "", time.monotonic() - began, f"{type(error).__name__} {error}"[:80])
        return Answer(question, action, time.monotonic() - began)

    async def _line(self) -> _Line:
        """Return a line that the other side does not close just now: uvicorn does after five idle seconds."""
        while self._idle:
            line = self._idle.pop()
            if time.monotonic() - line.used_s < IDLE_S:
                return line
            line.writer.close()
        return _Line(*await asyncio.open_connection("127.0.0.1", self.port), time.monotonic())

    async def _post(self, question: Question) -> bytes:
        line = await self._line()
        line.writer.write(
            f"POST /cosigner/{CONNECTION}/v2/tx_sign_request HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n"
            f"content-length: {len(question.body)}\r\n\r\n".encode()
            + question.body
        )
        head = (await line.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        body = await line.reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        self._idle.append(replace(line, used_s=time.monotonic()))
        if head.split(" ", 2)[1] != "200":
            raise ValueError(head.splitlines()[0])
        return body

    def _read(self, body: bytes, question: Question) -> str:
        found = json.loads(jwt.api_jws.decode(body, self.gate_pem, ["RS256"]))
        return str(found["action"]) if found["requestId"] == question.request else ""


@dataclass(frozen=True, slots=True)
class Moments:
    """When what was done to PostgreSQL, in seconds after the first question."""

    killed_s: float
    hangs_s: float
    goes_on_s: float


async def disturb(layout: Layout, seconds: float) -> Moments:
    """Kill PostgreSQL, and let it hang once it runs again."""
    began = time.monotonic()
    await asyncio.sleep(seconds * KILLED_AT)
    killed, killed_s = pid_of(layout, "postgres"), time.monotonic() - began
    psutil.Process(killed).kill()
    await asyncio.sleep(seconds * (HANGS_AT - KILLED_AT))
    while (again := _running(layout)) is None or again.pid == killed:  # noqa: ASYNC110  a process of others
        await asyncio.sleep(0.1)
    stopped, hangs_s = [again, *again.children(recursive=True)], time.monotonic() - began
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(HANGS_S)
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)
    return Moments(killed_s, hangs_s, time.monotonic() - began)


def _running(layout: Layout) -> psutil.Process | None:
    """Return the server, None while it is being started."""
    try:
        return psutil.Process(pid_of(layout, "postgres"))
    except (KeyError, psutil.NoSuchProcess):
        return None


def wrong(answers: Sequence[Answer], decided: dict[str, str]) -> list[str]:
    """Return what must not be."""
    final: dict[str, set[str]] = defaultdict(set)
    found = [f"{a.question.request} got no answer: {a.reason} after {a.took_s:.1f} s" for a in answers if not a.action]
    for one in answers:
        if one.action in _FINAL:
            final[one.question.request].add(one.action)
        if one.action == "APPROVE" and not one.question.honest:
            found.append(f"{one.question.request} was approved and is not what is shown")
    for request, several in final.items():
        found += [f"{request} was answered {sorted(several)}"] if len(several) > 1 else []
        found += [
            f"{request}: {action}, and our row says {decided.get(request)}"
            for action in several
            if decided.get(request) != _FINAL[action]
        ]
    return found


def play(folder: Path, per_s: float, seconds: float) -> tuple[list[Answer], Moments, list[str]]:
    """Start an installation, ask, and judge."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    every = list(questions(key, per_s, seconds, ACCOUNTS))
    with ExitStack() as started:
        receivers = started.enter_context(Receivers())
        home = folder / "home"
        installation = Installation(home, {}, lambda _: None)
        started.enter_context(installation.program)
        told = installation.wait()
        service = started.enter_context(Service(told.url))
        _set_up(SetUp(service, told.token, load_named("kucoin-2020")), receivers, key)
        layout = layout_of(home)
        port = int(told.url.rpartition(":")[2].rstrip("/"))
        asker = Asker(port, (layout.public / "gate-callback.pem").read_text())

        async def both() -> tuple[list[Answer], Moments]:
            answers, moments = await asyncio.gather(asker.ask(every), disturb(layout, seconds))
            return answers, moments

        answers, moments = asyncio.run(both())
        with database(layout) as db:
            rows = db.execute("SELECT request_id, decision FROM decisions").fetchall()
    return answers, moments, wrong(answers, {row["request_id"]: row["decision"] for row in rows})


def _set_up(setting_up: SetUp, receivers: Receivers, key: rsa.RSAPrivateKey) -> None:
    service, crew = setting_up.service, crew_of([])
    setting_up.channels(receivers)
    setting_up.people(crew)
    service.post("/v1/setup/connections", setting_up.token, {"connections": [connection(key)]})
    refs = [str(n) for n in range(ACCOUNTS)]
    accounts = [{"connection": CONNECTION, "ref": ref, "name": ref, "holder": "platform", "assets": []} for ref in refs]
    made = service.post("/v1/setup/accounts", setting_up.token, {"accounts": accounts})["accounts"]
    setting_up.complete()
    admin = next(m.token for m in crew if m.strongest == "admin")
    for one in made:
        service.post(f"/v1/accounts/{one['id']}/go-live", admin)


def report(answers: Sequence[Answer], broken: Sequence[str], per_s: float, moments: Moments) -> dict[str, object]:
    """Return the figures as JSON has them: times in milliseconds, by part of the run and in all."""
    parts: dict[str, list[Answer]] = {"calm": [], "killed": [], "hanging": [], "after": []}
    ends = (moments.killed_s, moments.hangs_s, moments.goes_on_s, math.inf)
    for one in answers:
        name = next(n for n, end in zip(parts, ends, strict=True) if one.question.at_s < end)
        parts[name].append(one)
    return {
        "questions_a_second": per_s,
        "questions": len(answers),
        "ms": {
            name: {"p50": _ms(them, 50), "p99": _ms(them, 99), "worst": _ms(them, 100)}
            for name, them in {**parts, "in all": list(answers)}.items()
        },
        "answers": {
            name: dict(Counter(one.action or "none" for one in them))
            for name, them in {**parts, "in all": list(answers)}.items()
        },
        "wrong": list(broken[:20]),
        "holds": not broken,
    }


def _ms(answers: Sequence[Answer], percent: float) -> float:
    return percentile([one.took_s * 1e3 for one in answers], percent)


def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.gate", description="The gate while its database is away.")
    parser.add_argument("--per-s", type=float, default=500.0, help="questions a second")
    parser.add_argument("--seconds", type=float, default=28.0, help="for how long; 20 to 120")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    seconds = min(max(chosen.seconds, 20.0), 120.0)
    with scratch(None) as folder:
        answers, moments, broken = play(folder, chosen.per_s, seconds)
    told = report(answers, broken, chosen.per_s, moments)
    if chosen.json:
        print(json.dumps(told))
    else:
        _show(Console(), told)
    return 0 if told["holds"] else 1


def _show(console: Console, told: dict[str, object]) -> None:
    table = Table("the gate", "p50 ms", "p99 ms", "worst ms", "answers")
    times: dict[str, dict[str, float]] = told["ms"]  # type: ignore[assignment]  # as built above
    answers: dict[str, dict[str, int]] = told["answers"]  # type: ignore[assignment]  # as built above
    for name, row in times.items():
        said = ", ".join(f"{action} {n}" for action, n in sorted(answers[name].items()))
        table.add_row(name, f"{row['p50']:.0f}", f"{row['p99']:.0f}", f"{row['worst']:.0f}", said)
    console.print(table)
    console.print(
        f"{told['questions']} questions at {told['questions_a_second']} a second; wrong: {told['wrong'] or 'nothing'}"
    )


if __name__ == "__main__":
    sys.exit(main())
