"""A chain of a drill's own: anvil on a free port of the loopback interface, stopped when the context ends.

Rules: blocks are made at once and every address may send without a signature, so that a drill can play everybody; the
process is in a session of its own, so that Ctrl-C reaches the drill alone and it stops things in order. It takes its
port from the system itself: one that was found free before could be somebody else's chain by then.
"""

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from drills.evm import packages
from drills.evm.errors import EvmError
from drills.evm.node import Node

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.02


@contextmanager
def running_anvil(chain_id: int, more: Sequence[str] = ("--auto-impersonate",), *, port: int = 0) -> Iterator[Node]:
    """Start a chain and give a client of it; port 0: any free one. PackageError, EvmError."""
    program = packages.anvil()
    process = subprocess.Popen(  # noqa: S603 - the program of the lock file, or the user's own
        [str(program), "--host", LOOPBACK, "--port", str(port), "--chain-id", str(chain_id), "--silent", *more],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + START_TIMEOUT_S
        with Node(f"http://{LOOPBACK}:{_port(process, end)}") as node:
            _await(node, process, chain_id, end)
            yield node
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(process: "subprocess.Popen[bytes]", end: float) -> int:
    """Wait until the process, or what it started, listens; return where."""
    while time.monotonic() < end:
        _require_running(process)
        with suppress(psutil.NoSuchProcess):
            one = psutil.Process(process.pid)
            for each in (one, *one.children(recursive=True)):
                for connection in each.net_connections("tcp"):
                    if connection.status == psutil.CONN_LISTEN:
                        return int(connection.laddr.port)
        time.sleep(POLL_S)
    raise EvmError(f"anvil did not listen within {START_TIMEOUT_S:.0f} s: run it by itself to see why")


def _require_running(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        raise EvmError(f"anvil ended at once with {process.returncode}: run it by itself to see why")


def _await(node: Node, process: "subprocess.Popen[bytes]", chain_id: int, end: float) -> None:
    while time.monotonic() < end:
        _require_running(process)
        try:
            told = int(node.ask("eth_chainId"), 16)
        except EvmError:
            time.sleep(POLL_S)
            continue
        if told != chain_id:
            raise EvmError(f"what answers at {node.url} is another chain ({told}): try again")
        return
    raise EvmError(f"anvil did not answer within {START_TIMEOUT_S:.0f} s: run it by itself to see why")
