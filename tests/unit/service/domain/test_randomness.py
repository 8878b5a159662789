import os
from concurrent.futures import ThreadPoolExecutor

from service.domain.ids import new_id
from service.domain.randomness import DRAWN, Pieces


def test_no_piece_comes_twice_in_any_thread() -> None:
    pieces = Pieces(10)
    with ThreadPoolExecutor(4) as threads:
        found = [
            piece
            for part in threads.map(lambda _: [pieces.take() for _ in range(3 * DRAWN)], range(4))
            for piece in part
        ]
    assert {len(piece) for piece in found} == {10}
    assert len(set(found)) == len(found) == 12 * DRAWN


def test_a_forked_process_draws_its_own() -> None:
    new_id("act")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "".join(new_id("act")[14:] for _ in range(20)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 4096).decode()
    for handle in (reading, writing):
        os.close(handle)
    theirs = {told[at : at + 16] for at in range(0, len(told), 16)}
    mine = {new_id("act")[14:] for _ in range(2 * DRAWN)}
    assert len(theirs) == 20
    assert not theirs & mine
