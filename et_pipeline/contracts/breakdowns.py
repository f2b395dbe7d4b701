"""Dimensions of a breakdown: by which properties pairs can be divided, and which of them a plan may ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

LABEL = "label."
"""Prefix of a dimension that is a label of the report; the label's name follows."""
DIMENSION_PATTERN = r"^(side|outcome_id|hour|market|label\.[A-Za-z_][A-Za-z0-9_]{0,39})$"
"""The entries that a plan's `breakdowns` may have."""
NONE, OTHER = "(none)", "(other)"
"""The value of a pair that has no such label or group of markets, and the one for all values beyond `MAX_VALUES`."""
MAX_VALUES = 50
"""Number of values of a dimension that are shown: those with the most pairs."""
DELTA = 0.10
"""Largest expected share of false discoveries among the values of a dimension that stand."""


class Breakdown(NamedTuple):
    """One dimension of one experiment.

    Attributes:
        dimension: `side`, `outcome_id`, `hour` (of the day, UTC), `market` (groups of markets) or `label.NAME`.
        groups: For `market`, the pattern of each group by its name; `*` stands for any text.
    """

    dimension: str
    groups: Mapping[str, str] = {}

    def group_of(self, market_id: str) -> str:
        """The group of a market.

        If several patterns match, the one with the most characters besides `*` counts, then the first name.
        """
        fitting = [
            (-len(pattern.replace("*", "")), name)
            for name, pattern in self.groups.items()
            if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), market_id, re.DOTALL)
        ]
        return min(fitting)[1] if fitting else NONE
