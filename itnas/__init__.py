"""Architecture selection in one-shot NAS: five methods on the same supernets, seeds and data.

Importing this package has no side effects and imports no torch; ``itnas.search`` and ``itnas.optimizers`` do.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("itnas")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
