"""The review pages: one self-contained HTML file an experiment, and an index, from the analyst database alone."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
from jinja2 import Environment, PackageLoader, StrictUndefined

from et_pipeline.common import text
from et_pipeline.common.files import public_folder, write_atomically
from et_pipeline.contracts.metrics import CATALOGUE
from et_pipeline.insight import read
from et_pipeline.insight.figures import forest_figure, path_figures, sample_figures
from et_pipeline.insight.findings import badge, find
from et_pipeline.insight.published import PAGE_NOTES
from et_pipeline.settings import Settings

_HASH = re.compile(r"[0-9a-f]{40,}")


class Pages(NamedTuple):
    """What writing the pages did.

    Attributes:
        folder: Where they stand.
        drawn: Experiments whose page was drawn, since something in it changed.
        kept: Experiments whose page is as it was.
        removed: Pages of experiments that are no more.
    """

    folder: Path
    drawn: list[str]
    kept: list[str]
    removed: list[str]


class Note(NamedTuple):
    """What a page was drawn from.

    Attributes:
        figure: Changes whenever the page would.
        run_id: The run that decided what it says.
    """

    figure: str
    run_id: str | None


def write_pages(settings: Settings, *, run_id: str | None = None) -> Pages:
    """Brings the review pages up to date with the published analyst database.

    Args:
        settings: Where the published files lie, and where people open the Dagster UI.
        run_id: The Dagster run that decided what is new; where left out, pages keep the run they name.

    Raises:
        FileNotFoundError: Nothing has been published yet.
    """
    if not settings.analyst_path.exists():
        raise FileNotFoundError(
            f"{settings.analyst_path} is not there yet: it is published at the end of a tick"
        )
    folder = settings.pages_dir
    for made in (settings.published_dir, folder):
        public_folder(made)
    before = _notes(folder)
    with duckdb.connect(str(settings.analyst_path), read_only=True) as connection:
        now, drawn = {}, []
        for experiment_id, figure in sorted(read.fingerprints(connection).items()):
            old = before.get(experiment_id, Note("", None))
            now[experiment_id] = note = Note(f"{figure}-{_program()}", run_id or old.run_id)
            path = folder / f"{experiment_id}.html"
            if old.figure == note.figure and path.exists():
                now[experiment_id] = old
                continue
            page = experiment_page(
                connection, experiment_id, run_id=note.run_id, dagster_url=settings.dagster_url
            )
            write_atomically(path, page.encode(), public=True)
            drawn.append(experiment_id)
        write_atomically(folder / "index.html", index_page(connection).encode(), public=True)
    removed = sorted(set(before) - set(now))
    for experiment_id in removed:
        (folder / f"{experiment_id}.html").unlink(missing_ok=True)
    write_atomically(folder / PAGE_NOTES, json.dumps(now, sort_keys=True).encode())
    return Pages(folder, drawn, sorted(set(now) - set(drawn)), removed)


def experiment_page(
    connection: duckdb.DuckDBPyConnection,
    experiment_id: str,
    *,
    run_id: str | None = None,
    dagster_url: str = Settings.dagster_url,
) -> str:
    """The page of one experiment as HTML.

    Raises:
        KeyError: The database has no such experiment.
    """
    data = read.read_experiment(connection, experiment_id)
    findings = find(data)
    paths = path_figures(data, findings)
    primary = findings.headline.name if findings.headline else ""
    return _environment().get_template("experiment.html").render(
        data=data,
        findings=findings,
        forest=forest_figure(findings),
        primary_path=paths.get(primary),
        other_paths=[figure for name, figure in paths.items() if name != primary],
        sample_figures=sample_figures(data),
        plan=json.dumps(json.loads(data.experiment["plan"]), indent=2, ensure_ascii=False),
        run_id=run_id,
        dagster_url=dagster_url,
    )  # fmt: skip


def index_page(connection: duckdb.DuckDBPyConnection) -> str:
    """The list of all experiments as HTML."""
    experiments = read.read_index(connection)
    for row in experiments:
        row["label"], row["tone"] = badge(row["verdict"], row["state"], row["reason"])
    known = {row["experiment_id"] for row in experiments}
    refusals = read.rows(connection, "SELECT * FROM plan_refusals ORDER BY path, key")
    return _environment().get_template("index.html").render(
        experiments=experiments,
        refusals=[row for row in refusals if row["experiment_id"] not in known],
        units={name: metric.unit for name, metric in CATALOGUE.items()},
        as_of=read.latest_time(connection),
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("et_pipeline.insight"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": text.number,
        "interval": text.interval,
        "percent": text.percent,
        "moment": text.moment,
        "duration": text.duration,
        "difference": _difference,
        "facts": _facts,
    }
    environment.globals["css"] = _css()
    return environment


def _css() -> Any:
    from markupsafe import Markup

    return Markup(files(__package__ or "").joinpath("templates/page.css").read_text(encoding="utf-8"))


def _difference(mean: float | None, point: Mapping[str, Any]) -> str:
    """A mean uplift with as many decimals as its interval shows."""
    return text.signed(mean, text.decimals_of(point.get("ci_lower"), point.get("ci_upper"), mean))


def _facts(detail: str) -> list[tuple[str, str]]:
    """The figures of an audit row as names and values: hashes by their beginning, nothing nested (a whole plan)."""
    return [
        (name.replace("_", " "), f"{value[:16]}…" if _HASH.fullmatch(str(value)) else str(value))
        for name, value in json.loads(detail or "{}").items()
        if not isinstance(value, dict | list)
    ]


def _notes(folder: Path) -> dict[str, Note]:
    """What the pages were drawn from; nothing where the notes are missing or damaged: all are drawn again."""
    try:
        notes = json.loads((folder / PAGE_NOTES).read_text(encoding="utf-8"))
        return {experiment_id: Note(figure, run_id) for experiment_id, (figure, run_id) in notes.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


@cache
def _program() -> str:
    """A hash of this package: a page drawn by another version is drawn again."""
    root = Path(__file__).parent
    parts = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".sql", ".html", ".css"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:16]
