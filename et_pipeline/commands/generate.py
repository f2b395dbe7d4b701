"""`et generate`: writes realistic reports with a known truth into a data folder, on which a tick can run."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from et_pipeline.commands import terminal
from et_pipeline.commands.terminal import AsJson, CommandError
from et_pipeline.contracts.metrics import MONEY

if TYPE_CHECKING:
    from et_pipeline.generator import Scenario


class Format(StrEnum):
    """Formats of snapshots."""

    ndjson = "ndjson"
    gz = "ndjson.gz"
    zst = "ndjson.zst"
    parquet = "parquet"


class Matching(StrEnum):
    """The method of matching in the plans that are written."""

    correlation = "correlation"
    nearest = "nearest"
    arms = "arms"


SPLITS = {Matching.nearest: 50.0, Matching.arms: 10.0}
"""Share of the traffic that the variant gets in limited live, in percent."""


def generate(
    folder: Annotated[
        Path, typer.Argument(help="A data folder: experiments/ and report_bus/ are written into it.")
    ],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.", min=0)] = 1,
    experiments: Annotated[int, typer.Option(help="Number of experiments.", min=1, max=200)] = 1,
    opportunities: Annotated[
        int, typer.Option(help="Number of opportunities per experiment.", min=1)
    ] = 5_000,
    markets: Annotated[int, typer.Option(help="Number of markets per experiment.", min=1)] = 120,
    days: Annotated[
        int, typer.Option(help="Length of the window in days. It ends on 2026-11-01.", min=1, max=3650)
    ] = 31,
    uplift: Annotated[
        list[str] | None,
        typer.Option(
            help="True uplift of a metric, for example edge_bps=1.5 (positive is good). You can repeat this option."
        ),
    ] = None,
    market_correlation: Annotated[
        float, typer.Option(help="Share of the variance that pairs of one market have in common.")
    ] = 0.05,
    block_correlation: Annotated[
        float, typer.Option(help="Share of the variance that pairs of one hour have in common.")
    ] = 0.05,
    passes: Annotated[
        float, typer.Option(help="Share of opportunities on which the variant passes and reports it.")
    ] = 0.0,
    replay_bias: Annotated[
        list[str] | None,
        typer.Option(
            help="What the backtester adds to every value that it reports, for both arms, for example edge_bps=2. "
            "You can repeat this option."
        ),
    ] = None,
    replay_noise: Annotated[
        float,
        typer.Option(help="Noise of the simulator in bps of edge, shared by both arms' replays.", min=0),
    ] = 0.0,
    replayed_control: Annotated[
        float,
        typer.Option(help="Share of opportunities for which the control is replayed too.", min=0, max=1),
    ] = 0.0,
    after_promotion: Annotated[
        list[str] | None,
        typer.Option(
            help="Also writes a plan that follows each experiment, as after a promotion. Its window is as long as the "
            "first one: the variant trades now, and the old control is replayed. The value is the true uplift of the "
            "variant over the old control, for example edge_bps=1.5. You can repeat this option."
        ),
    ] = None,
    money: Annotated[
        bool,
        typer.Option(
            "--money", help="Reports carry sizes, pnl_usd and notional_usd, and the plans list pnl_usd."
        ),
    ] = False,
    broken: Annotated[int, typer.Option(help="Number of broken lines of each kind.", min=0)] = 0,
    files: Annotated[int, typer.Option(help="Number of snapshots.", min=1)] = 12,
    format: Annotated[Format, typer.Option(help="Format of the snapshots.")] = Format.ndjson,
    matching: Annotated[
        Matching,
        typer.Option(
            help="correlation makes shadow experiments. arms and nearest make limited live experiments, in which the "
            "variant gets 10 % or 50 % of the traffic; ticks then need ET_MODE=limited_live."
        ),
    ] = Matching.correlation,
    as_json: AsJson = False,
) -> None:
    """Writes plans, snapshots of reports with a known true uplift, and truth.json, which says what is true.

    Example: et generate /tmp/trial --uplift edge_bps=2 --broken 1 && ET_DATA_DIR=/tmp/trial et tick
    """
    from et_pipeline.generator import METRICS, Scenario, write_snapshots
    from et_pipeline.generator.scenario import FOLLOWING

    truths = _by_metric("--uplift", uplift or [])
    biases = _by_metric("--replay-bias", replay_bias or [])
    later = _by_metric("--after-promotion", after_promotion or [])
    ends_at = datetime(2026, 11, 1, tzinfo=UTC)
    live = matching is not Matching.correlation
    if later and live:
        raise CommandError(
            "--after-promotion needs --matching correlation, because the old control is replayed"
        )
    started = time.monotonic()
    try:
        scenarios = [
            Scenario(
                experiment_id=f"generated-{number}",
                mode="limited_live" if live else "shadow",
                control_strategy_id=f"strat.generated_{number}",
                variant_strategy_id=f"strat.generated_{number}",
                starts_at=ends_at - timedelta(days=days),
                ends_at=ends_at,
                opportunities=opportunities,
                markets=markets,
                uplift=truths,
                metrics=(*METRICS, *FOLLOWING) if money else METRICS,
                market_correlation=market_correlation,
                block_correlation=block_correlation,
                no_trade_share=passes,
                tells_passes=True,
                traffic_split_pct=SPLITS.get(matching, 10.0),
                replay_bias=biases,
                replay_noise=replay_noise,
                replayed_control=replayed_control,
            )
            for number in range(1, experiments + 1)
        ]
        if later:
            scenarios = [part for item in scenarios for part in _before_and_after(item, later)]
        plans = folder / "experiments"
        plans.mkdir(parents=True, exist_ok=True)
        truth = write_snapshots(
            scenarios,
            folder / "report_bus",
            seed=seed,
            files=files,
            format=format.value,
            broken=broken,
            truth_path=folder / "truth.json",
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    for item in scenarios:
        (plans / f"{item.experiment_id}.yaml").write_text(_plan(item, matching), encoding="utf-8")
    if as_json:
        terminal.print_json(json.loads(truth.to_json()))
        return
    seconds = time.monotonic() - started
    terminal.console().print(
        f"Wrote {truth.lines:,} lines in {len(truth.files)} snapshots under {terminal.plain(folder)} in "
        f"{seconds:.1f} s. "
        f"The true uplifts are in {terminal.plain(folder / 'truth.json')}.",
        soft_wrap=True,
    )


def _by_metric(name_of_option: str, options: list[str]) -> dict[str, float]:
    truths = {}
    for option in options:
        name, separator, value = option.partition("=")
        try:
            truths[name] = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise CommandError(
                f"{name_of_option} {option!r}: write it as metric=number, for example edge_bps=1.5"
            )
    return truths


AFTER = "-after"
"""Suffix of the id of an experiment that follows another one."""


def _before_and_after(item: Scenario, uplift: dict[str, float]) -> tuple[Scenario, Scenario]:
    """Two experiments: the given one, moved one window earlier, and in its window the one that follows it.

    Args:
        item: The experiment.
        uplift: The true uplift of the promoted variant over the old control after the promotion, by metric.
    """
    window = item.ends_at - item.starts_at
    after = replace(
        item,
        experiment_id=f"{item.experiment_id}{AFTER}",
        control_config_version=item.variant_config_version,
        variant_config_version=item.control_config_version,
        uplift={name: -value for name, value in uplift.items()},
    )
    return replace(item, starts_at=item.starts_at - window, ends_at=item.starts_at), after


def _plan(item: Scenario, matching: Matching) -> str:
    """The plan that fits a scenario, as YAML."""
    tolerance = {} if matching is Matching.correlation else {"tolerance": "30s"}
    smaller = item.traffic_split_pct / 100 if matching is Matching.arms else 1
    plan: dict[str, Any] = {
        "experiment_id": item.experiment_id,
        "title": f"Generated experiment {item.experiment_id}",
        "hypothesis": "This experiment is generated; truth.json has its true uplift.",
        "owner": "generator",
        "mode": item.mode,
        "control": {"strategy_id": item.control_strategy_id, "config_version": item.control_config_version},
        "variant": {"strategy_id": item.variant_strategy_id, "config_version": item.variant_config_version},
        "traffic_split_pct": item.traffic_split_pct,
        "planned_pairs": max(2, round(item.opportunities * smaller)),
        "starts_at": item.starts_at,
        "ends_at": item.ends_at,
        "matching": {"method": matching.value, **tolerance},
        "metrics": [
            {"name": "edge_bps", "role": "primary", "equivalence_margin": 2.0},
            {"name": "slippage_bps", "role": "guardrail", "non_inferiority_margin": 2.0},
            {"name": "fill_ratio", "role": "secondary"},
            {"name": "latency_ms", "role": "secondary"},
        ],
    }
    if MONEY in item.metrics:
        plan["metrics"] += [
            {"name": MONEY, "role": "secondary"},
            {"name": "edge_bps", "role": "secondary", "weight": "filled_size"},
        ]
    if item.experiment_id.endswith(AFTER):
        plan["follows"] = item.experiment_id.removesuffix(AFTER)
    return yaml.safe_dump(plan, sort_keys=False, allow_unicode=True)
