"""The keeper's process. `starting` runs this file: `python .../keeping.py ROOT LOCK SAYS`.

It is nobody's child, and ends by itself once nothing is stored and no process of a job is there.
"""

from __future__ import annotations

import importlib
import os
import sys

READY, FAILED, OVER = b"\0ready", b"\0failed", b"\0over"  # an error is between the last two
_LOG_BYTES = 1 << 20


def main(root: str, lock: int, says: int) -> None:
    """Keep the store below `root`, with the lock of this descriptor.

    `says` is told once processes can connect, or the error.
    """
    if os.fork():
        os._exit(0)
    import pickle

    from outlive.arrays.live import raise_descriptor_limit
    from outlive.arrays.lock import is_at
    from outlive.errors import OutliveError
    from outlive.local.house import House
    from outlive.local.place import clear, discard, place_of, saying_if_full

    place = place_of(root)
    is_new = not place.shelves()
    _log_to(place.log)
    raise_descriptor_limit()
    try:
        with saying_if_full(place):
            house = House(place)
    except OutliveError as error:
        if is_new:  # what is half made would look like a store, for which the next keeper waits until there is room
            discard(place)
        os.write(says, FAILED + pickle.dumps(error) + OVER)
        os._exit(1)
    os.write(says, READY)
    os.close(says)
    os.dup2(1, 2)  # nowhere
    house.wait_until_over()
    if is_at(place.keeper, lock):  # else somebody removed the folder, and what is there now is another keeper's
        clear(place)
    os.close(lock)
    os._exit(0)  # its threads may wait for what does not come any more


def _log_to(path: str) -> None:
    """Log to a file, which does not grow without limit: it may be in memory."""
    import logging
    from logging.handlers import RotatingFileHandler

    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)


if __name__ == "__main__":
    # The package that started this, wherever it is: the folder of this file is no place for imports.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if path != here]  # with PYTHONSAFEPATH it is not there
    sys.path.insert(0, os.path.dirname(os.path.dirname(here)))
    importlib.import_module("outlive")
    del sys.path[0]
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
