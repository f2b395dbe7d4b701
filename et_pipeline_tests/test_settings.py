"""What settings refuse and no other test covers; the comparison with the documentation is in `publishing`."""

from __future__ import annotations

import pytest

from et_pipeline.settings import Settings, SettingsError


@pytest.mark.parametrize("amount", ["1GB", "500MB", "1.5GB", "2 GB", "900MiB"])
def test_amounts_of_memory_that_duckdb_takes(amount: str):
    import duckdb

    with duckdb.connect(
        config={"memory_limit": Settings.from_env({"ET_MEMORY_LIMIT": amount}).memory_limit}
    ) as it:
        assert it.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("amount", ["lots", "0GB", "1", "-1GB", "1GB; DROP", "1e3GB", "GB", "1 GB "])
def test_an_amount_of_memory_that_is_none_is_refused_before_anything_runs(amount: str):
    with pytest.raises(SettingsError, match="ET_MEMORY_LIMIT") as caught:
        Settings.from_env({"ET_MEMORY_LIMIT": amount})
    assert repr(amount) in str(caught.value) and "500MB" in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ET_NOW", "2026-11-01T00:00:00", "without an offset"),
        ("ET_NOW", "soon", "ISO-8601"),
        ("ET_LOCK_TIMEOUT", "-1", "between 0 and 86400"),
        ("ET_LOCK_TIMEOUT", "nan", "between 0 and 86400"),
        ("ET_STALL_AFTER", "a while", "a while"),
        ("ET_PORTFOLIO_DELTA", "1", "between 0.001 and 0.5"),
        ("ET_PORTFOLIO_DELTA", "nan", "between 0.001 and 0.5"),
        ("ET_PORTFOLIO_WINDOW", "a quarter", "a quarter"),
        ("ET_DAGSTER_URL", "javascript:alert(1)", "https://host"),
        ("ET_DAGSTER_URL", "dagster.example", "https://host"),
        ("ET_DAGSTER_URL", "file:///etc", "https://host"),
    ],
)
def test_what_is_no_time_or_address_is_refused(variable: str, value: str, message: str):
    with pytest.raises(SettingsError, match=variable) as caught:
        Settings.from_env({variable: value})
    assert message in str(caught.value)
