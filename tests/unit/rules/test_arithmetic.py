"""The engine's own logarithms and exponentials agree with the standard library's, and are total."""

import math
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rules import arithmetic

POSITIVE = st.floats(min_value=5e-324, max_value=1.7e308)


@settings(deadline=None)
@given(POSITIVE)
@example(1.0)
@example(math.nextafter(1.0, 2.0))
@example(math.nextafter(1.0, 0.0))
def test_logarithms(x: float) -> None:
    assert arithmetic.log2(x) == pytest.approx(math.log2(x), rel=1e-12, abs=1e-300)
    assert arithmetic.log(x) == pytest.approx(math.log(x), rel=1e-12, abs=1e-300)
    assert arithmetic.log10(x) == pytest.approx(math.log10(x), rel=1e-12, abs=1e-300)


@settings(deadline=None)
@given(st.floats(min_value=-300.0, max_value=300.0))
def test_exponentials(x: float) -> None:
    assert arithmetic.exp(x) == pytest.approx(math.exp(x), rel=1e-12)
    assert arithmetic.exp2(x) == pytest.approx(2.0**x, rel=1e-12)
    assert arithmetic.exp10(x) == pytest.approx(10.0**x, rel=1e-12)


@pytest.mark.parametrize("power", [arithmetic.exp, arithmetic.exp2, arithmetic.exp10])
def test_no_exponent_overflows(power: Callable[[float], float]) -> None:
    assert power(-1e300) == 0.0
    assert math.isfinite(power(1e300))
    assert math.isnan(power(math.nan))


def test_logarithms_of_what_has_none() -> None:
    assert arithmetic.log2(0.0) == -math.inf
    assert math.isnan(arithmetic.log2(-1.0))
    assert math.isnan(arithmetic.log2(math.nan))
    assert arithmetic.log2(math.inf) == math.inf


PAST = """
from rules.arithmetic import exp, exp2, exp2_of_past, exp_of_past

for x in [-1e-6 * 1.05**n for n in range(600)] + [0.0, -708.3, -708.4, -709.5, -1021.9, -1022.0, -1e12]:
    assert exp_of_past(x) == exp(x) and exp2_of_past(x) == exp2(x), x
"""


def test_what_fades_does_so_to_the_last_bit() -> None:
    environment = os.environ | {"PYTHONPATH": ".", "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", PAST], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
