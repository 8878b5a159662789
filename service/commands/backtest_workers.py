"""Sharing a back-test out to workers on other machines.

Rules (design D2): a message carries the names of a run and a part; the data goes through a folder that this machine and the
workers share. A message may be lost or delivered twice: a part that was not answered is asked for again, and in the end
done here, so that a back-test ends whatever becomes of broker and workers.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from celery import Celery
from kombu.exceptions import OperationalError

from rules.backtest.exchange import JOB, QUEUE, name_of, put, refusal, run_folder, take
from rules.backtest.parallel import Hands, Part, Pending
from rules.backtest.parts import run_part
from service.domain.errors import UnavailableError
from service.domain.secrets import Secret
from service.runtime.broker import broker_url

AGAIN_S: Final = 20.0
"""A part not answered for so long is asked for again."""
TIMES: Final = 3
"""How often a part is asked for before it is done here."""
_LOOK_S: Final = 0.02
_WIDTH: Final = 16

Say = Callable[[str], object]


@contextmanager
def celery_hands(url: Secret, folder: Path, say: Say) -> Iterator[Hands]:
    """Workers behind a broker. Raises UnavailableError when the broker takes no message."""
    app = Celery("portcullis", broker=broker_url(url), set_as_current=False)
    app.conf.update(task_serializer="json", accept_content=["json"], result_backend=None, task_ignore_result=True)
    run = f"run-{secrets.token_hex(8)}"
    with run_folder(folder, run) as place:
        try:
            yield _Workers(app, run, place, say)
        finally:
            app.close()


class _Workers:
    """Sends parts and waits for their files."""

    width = _WIDTH

    def __init__(self, app: Celery, run: str, place: Path, say: Say) -> None:
        self._app = app
        self._run = run
        self.place = place
        self.say = say
        self.alone = False
        """Whether nobody answered, so that everything is done here from now on."""

    def submit(self, part: Part) -> Pending:
        """Lay the part down and tell the workers."""
        if not self.alone:
            put(self.place, part)
            self.send(part)
        return _Waiting(self, part)

    def send(self, part: Part) -> None:
        """Send one message. Raises UnavailableError."""
        payload = {"run": self._run, "part": name_of(part)}
        try:
            self._app.send_task(JOB, kwargs={"payload": payload}, queue=QUEUE, ignore_result=True, retry=False)
        except (OperationalError, OSError) as error:
            raise UnavailableError("the broker takes no message: check the URL given to --celery") from error

    def go_on_alone(self) -> None:
        """Stop waiting for workers, and say why."""
        self.alone = True
        why = refusal(self.place) or "start workers with `python -m workers backtest`"
        self.say(f"no worker answered within {AGAIN_S * TIMES:.0f} s, the rest is done here: {why}")


class _Waiting:
    def __init__(self, workers: _Workers, part: Part) -> None:
        self._workers = workers
        self._part = part

    def result(self) -> bytes:
        """Wait for the part's file; do the part here when nobody does."""
        for attempt in range(TIMES):
            until = time.monotonic() + AGAIN_S
            while not self._workers.alone and time.monotonic() < until:
                found = take(self._workers.place, self._part)
                if found is not None:
                    return found
                time.sleep(_LOOK_S)
            if attempt < TIMES - 1 and not self._workers.alone:
                self._workers.send(self._part)
        if not self._workers.alone:
            self._workers.go_on_alone()
        found = take(self._workers.place, self._part)
        return found if found is not None else run_part(self._part.kind, self._part.spec, self._part.payload)
