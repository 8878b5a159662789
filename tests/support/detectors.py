"""The detectors that ship, read once for a pytest process: reading 57 files and their expressions takes 0.2 s.

An engine only reads a set. That two readings are the same set is the loader's own test.
"""

from functools import lru_cache

from rules.loader import DetectorSet, load_directory


@lru_cache(maxsize=1)
def shipped() -> DetectorSet:
    """Return them."""
    return load_directory()
