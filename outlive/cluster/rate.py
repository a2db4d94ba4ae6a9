"""The rate at which arrays are moved between nodes while nobody waits: that of the network, unless it is limited."""

from __future__ import annotations

import math
import os

from outlive.units import parse_size

SETTING = "OUTLIVE_BACKGROUND_RATE"


def background() -> float:
    """Bytes a second, or infinity.

    Raises
    ------
    BadSetting
        The setting is no size.
    """
    text = os.environ.get(SETTING, "").strip()
    return float(parse_size(text, SETTING)) if text else math.inf
