"""Names of the array types that the engine's records and rows are made of."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

F8: TypeAlias = npt.NDArray[np.float64]
"""A vector or table of IEEE 754 binary64 words."""

I8: TypeAlias = npt.NDArray[np.int64]
"""A vector or table of integers."""

B1: TypeAlias = npt.NDArray[np.bool_]
"""A vector or table of yes-or-no facts."""
