"""A kept program needs no other program, and nothing beyond 32 bits that its own block does not lead to."""

import platform
import struct
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import pytest

import rules.warm
from rules import compiled
from rules.arrays import F8
from rules.linking import NEAR

ELF = b"\x7fELF"
SYMBOLS, RELOCATIONS = 2, 4
WEAK = 2
ELSEWHERE = frozenset({0, 0xFFF2})
"""Sections of symbols that another program may hold: undefined ones, and common ones."""
ANY_DISTANCE = frozenset({1, 4, 9, 41, 42})
"""R_X86_64_64, PLT32 (the loader makes a 64-bit stub), GOTPCREL, GOTPCRELX, REX_GOTPCRELX (System V ABI, section 4.4)."""


class Symbol(NamedTuple):
    binding: int
    section: int


class Section(NamedTuple):
    kind: int
    begin: int
    size: int
    link: int


def sections(elf: bytes) -> list[Section]:
    table, width, count = struct.unpack_from("<Q", elf, 0x28)[0], *struct.unpack_from("<HH", elf, 0x3A)
    found = []
    for at in range(table, table + width * count, width):
        kind, begin, size, link = (*struct.unpack_from("<4xI", elf, at), *struct.unpack_from("<24xQQI", elf, at))
        found.append(Section(kind, begin, size, link))
    return found


def symbols(elf: bytes) -> list[Symbol]:
    table = next(section for section in sections(elf) if section.kind == SYMBOLS)
    rows = struct.iter_unpack("<4xBxH16x", elf[table.begin : table.begin + table.size])
    return [Symbol(info >> 4, section) for info, section in rows]


def relocations(elf: bytes) -> list[tuple[int, int]]:
    """The symbol and the kind of every place that the loader fills in."""
    tables = [section for section in sections(elf) if section.kind == RELOCATIONS]
    rows = [
        row for table in tables for row in struct.iter_unpack("<8xQ8x", elf[table.begin : table.begin + table.size])
    ]
    return [(info >> 32, info & 0xFFFFFFFF) for (info,) in rows]


def programs() -> list[Path]:
    where = compiled.folder()
    assert where is not None, "run `python -m rules.warm` first: the folder of compiled code can not be written"
    rules.warm.exercise()
    return sorted(where.glob("*.nbc"))


@pytest.mark.skipif(platform.machine() != "x86_64" or not NEAR, reason="only the small model of x86-64 has this limit")
def test_a_program_reaches_only_itself_by_32_bits() -> None:
    kept = programs()
    assert any(file.name.startswith("run-") for file in kept)
    for file in kept:
        stored = file.read_bytes()
        elf = stored[stored.index(ELF) :]
        known = symbols(elf)
        assert not [symbol for symbol in known if symbol.binding == WEAK], file.name
        outside = {kind for symbol, kind in relocations(elf) if known[symbol].section in ELSEWHERE}
        assert outside <= ANY_DISTANCE, file.name


@pytest.mark.skipif(bool(getattr(numba.config, "DISABLE_JIT", 0)), reason="interpreted code has no programs")
def test_a_program_asks_of_no_place_whether_it_is_negative() -> None:
    @numba.njit(boundscheck=False)
    def word(words: F8, at: int) -> float:
        return float(words[at])

    assert word(np.array([3.0, 5.0]), 1) == 5.0
    (program,) = word.inspect_llvm().values()
    assert "select" not in program[program.index("define") :].split("\n}")[0]
