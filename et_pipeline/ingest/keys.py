"""Stable 64-bit keys of reports: the same on every machine and with every version of the libraries.

Texts are hashed with XXH3 (64 bits, seed 0, UTF-8), numbers are used as their bits, and both are mixed
with the finaliser of SplitMix64 (Steele, Lea, Flood 2014). A key only makes a search faster: where two
report keys are equal, the ids themselves are compared.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
import polars as pl
import xxhash
from numpy.typing import NDArray

from et_pipeline.contracts.metrics import REPORT_METRICS
from et_pipeline.contracts.report import PASSED

Keys = NDArray[np.uint64]

_NULL = np.uint64(0x9E3779B97F4A7C15)
_PLACE = ("market_id", "outcome_id", "side")
_EMITTER = ("schema_version", "bot_id", "strategy_id", "config_version", "mode")
_ALWAYS = (
    "edge_bps",
    "slippage_bps",
    "fill_ratio",
    "latency_ms",
    "toxicity_bps",
    "filled_size",
    "asked_size",
)
"""Metrics that are always part of a content's hash, even where they are missing. A metric that was added to the
catalogue later is part of it only where it exists, so that the hash of a report without it does not change."""
_SEPARATOR = "\x1f"
"""Separates texts that are hashed together: a control character, which no identifier contains."""
_AT_ONCE = 2000
"""Texts that exist as Python objects at a time: their memory stays in the processor's cache."""


def add_keys(reports: pl.DataFrame) -> pl.DataFrame:
    """Adds `report_key`, `opportunity_key` and `content_hash` (all UInt64).

    Args:
        reports: Good reports: the text columns, `emitted_at`, `decision`, the metrics and `extra`.
    """
    report = _texts(reports["report_id"])
    opportunity = _mixed(_texts(reports["correlation_id"]), _repeated_texts(reports, _PLACE))
    content = _mixed(_mixed(report, opportunity), _repeated_texts(reports, _EMITTER))
    if reports["extra"].null_count() < len(reports):
        content = np.where(
            reports["extra"].is_null(), content, _mixed(content, _texts(reports["extra"].fill_null("")))
        )
    content = _mixed(content, reports["emitted_at"].to_physical().to_numpy().view(np.uint64))
    passed = (reports["decision"] == PASSED).to_numpy()
    if passed.any():  # only passes are mixed in, so that the hash of a trade does not change
        content = np.where(passed, _mixed(content, np.full_like(content, _NULL)), content)
    for name in REPORT_METRICS:
        values = reports[name]
        if name in _ALWAYS:
            content = _mixed(content, _doubles(values))
        elif values.null_count() < len(values):
            named = _mixed(np.full_like(content, xxhash.xxh3_64_intdigest(name.encode())), _doubles(values))
            content = np.where(values.is_null().to_numpy(), content, _mixed(content, named))
    return reports.with_columns(
        pl.Series("report_key", report),
        pl.Series("opportunity_key", opportunity),
        pl.Series("content_hash", content),
    )


def _texts(texts: pl.Series) -> Keys:
    encoded = texts.cast(pl.Binary)
    few = (encoded[start : start + _AT_ONCE].to_list() for start in range(0, len(encoded), _AT_ONCE))
    return np.fromiter(map(xxhash.xxh3_64_intdigest, chain.from_iterable(few)), np.uint64, len(encoded))


def _repeated_texts(reports: pl.DataFrame, columns: tuple[str, ...]) -> Keys:
    """Hashes of several columns as one text. Many rows are equal, so each distinct text is hashed only once."""
    texts = reports.select(pl.concat_str(columns, separator=_SEPARATOR)).to_series()
    distinct = texts.unique()
    return _texts(distinct)[texts.cast(pl.Enum(distinct)).to_physical()]


def _doubles(values: pl.Series) -> Keys:
    bits = (values.fill_null(0.0).to_numpy() + 0.0).view(np.uint64)  # + 0.0 makes -0.0 equal to 0.0
    return np.where(values.is_null().to_numpy(), _NULL, bits)


def _mixed(left: Keys, right: Keys) -> Keys:
    """Combines two keys into one. The result depends on their order, and so on the order of fields."""
    with np.errstate(over="ignore"):
        z = left * np.uint64(0xD1342543DE82EF95) + right + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
