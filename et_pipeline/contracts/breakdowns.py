"""Dimensions of a breakdown: what a pair is told apart by, and what a plan may ask for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

LABEL = "label."
"""How the dimension of a label of the report begins; its name follows."""
DIMENSION_PATTERN = r"^(side|outcome_id|hour|market|label\.[A-Za-z_][A-Za-z0-9_]{0,39})$"
"""What `breakdowns` of a plan may hold."""
NONE, OTHER = "(none)", "(other)"
"""The value of a pair without a label or a group of markets, and that of all values beyond `MAX_VALUES`."""
MAX_VALUES = 50
"""Values of a dimension that are shown; the ones with the most pairs."""
DELTA = 0.10
"""Bound of the expected share of false ones among the values of a dimension that stand."""


class Breakdown(NamedTuple):
    """One dimension of one experiment.

    Attributes:
        dimension: `side`, `outcome_id`, `hour` (of the day, UTC), `market` (groups of markets) or `label.NAME`.
        groups: For `market`, the pattern of each group by its name; `*` stands for any text.
    """

    dimension: str
    groups: Mapping[str, str] = {}

    def group_of(self, market_id: str) -> str:
        """The group of a market: of the patterns that fit, the one with the most letters, then the first name."""
        fitting = [
            (-len(pattern.replace("*", "")), name)
            for name, pattern in self.groups.items()
            if re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), market_id, re.DOTALL)
        ]
        return min(fitting)[1] if fitting else NONE
