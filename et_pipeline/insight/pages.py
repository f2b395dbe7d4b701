"""The review pages: one self-contained HTML file per experiment, and an index, made from the analyst database alone."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import duckdb

from et_pipeline.common.files import public_folder, write_atomically
from et_pipeline.common.sql import row_dicts
from et_pipeline.contracts.metrics import metric_of
from et_pipeline.experiments.failures import Failure, attempt, note, sentences
from et_pipeline.governance.portfolio import summary
from et_pipeline.insight import read
from et_pipeline.insight.board import ORDERS, filters, sections
from et_pipeline.insight.figures import (
    breakdown_figures,
    forest_figure,
    gap_figure,
    path_figures,
    sample_figures,
)
from et_pipeline.insight.findings import badge, find
from et_pipeline.insight.glossary import TERMS
from et_pipeline.insight.publish import publish_analyst_database
from et_pipeline.insight.published import PAGE_NOTES
from et_pipeline.insight.rendering import GLOSSARY_FILE, environment, part
from et_pipeline.settings import Settings
from et_pipeline.warehouse.connection import open_copy, open_warehouse

_MESSAGES = re.compile(b"<!-- messages -->.*?<!-- end of messages -->", re.DOTALL)


class Pages(NamedTuple):
    """The result of writing the pages.

    Attributes:
        folder: The folder of the pages.
        drawn: Experiments whose page was written, since something in it changed.
        refreshed: Those of them in which only deliveries of messages changed; the rest of the page was kept.
        kept: Experiments whose page was not changed.
        removed: Pages that were removed, since their experiment does not exist any more.
        failures: Experiments whose page could not be drawn; a page that says so was written instead.
        failing: A sentence for every present error, of any stage.
    """

    folder: Path
    drawn: list[str]
    refreshed: list[str]
    kept: list[str]
    removed: list[str]
    failures: list[Failure]
    failing: tuple[str, ...] = ()


class Note(NamedTuple):
    """The state from which a page was drawn.

    Attributes:
        figure: A fingerprint of everything on the page except deliveries.
        run_id: The run that decided the content of the page.
        deliveries: A fingerprint of the deliveries on the page.
    """

    figure: str
    run_id: str | None
    deliveries: str = ""


def write_pages(settings: Settings, *, run_id: str | None = None) -> Pages:
    """Updates the review pages from the published analyst database.

    Args:
        settings: The folder of published files, and the address of the Dagster UI.
        run_id: The Dagster run that decided what is new; without it, pages keep the run that they name.

    Raises:
        FileNotFoundError: Nothing has been published yet.
    """
    if not settings.analyst_path.exists():
        raise FileNotFoundError(f"{settings.analyst_path} does not exist yet: a tick publishes it at its end")
    folder = settings.pages_dir
    for made in (settings.published_dir, folder):
        public_folder(made)
    before = _notes(folder)
    with open_copy(settings.analyst_path) as connection:
        now: dict[str, Note] = {}
        whole, delivered = [], []
        for experiment_id, (figure, deliveries) in sorted(read.fingerprints(connection).items()):
            old = before.get(experiment_id, Note("", None))
            if old.figure != f"{figure}-{_program()}" or not (folder / f"{experiment_id}.html").exists():
                now[experiment_id] = Note(f"{figure}-{_program()}", run_id or old.run_id, deliveries)
                whole.append(experiment_id)
                continue
            now[experiment_id] = old._replace(deliveries=deliveries)
            if old.deliveries != deliveries:
                delivered.append(experiment_id)
        messages = read.messages(connection, delivered)
        refreshed = [name for name in delivered if _refresh(folder / f"{name}.html", messages.get(name, []))]
        whole += sorted(set(delivered) - set(refreshed))

        def draw(names: list[str]) -> None:
            for data in read.read_experiments(connection, names):
                name = data.experiment["experiment_id"]
                page = _page(data, run_id=now[name].run_id, dagster_url=settings.dagster_url)
                write_atomically(folder / f"{name}.html", page.encode(), public=True)

        _, failures = attempt("page", whole, draw)
        for failure in failures:  # an earlier page would look as if it were up to date
            name = failure.experiment_id
            write_atomically(folder / f"{name}.html", _failed_page(connection, failure).encode(), public=True)
            now[name] = now[name]._replace(figure="")  # so that it is tried again
            whole.remove(name)
        write_atomically(folder / "index.html", index_page(connection).encode(), public=True)
        _write_families(connection, folder)
    write_atomically(folder / GLOSSARY_FILE, glossary_page().encode(), public=True)
    removed = sorted(set(before) - set(now))
    for experiment_id in removed:
        (folder / f"{experiment_id}.html").unlink(missing_ok=True)
    write_atomically(folder / PAGE_NOTES, json.dumps(now, sort_keys=True).encode())
    drawn = sorted([*whole, *refreshed])
    kept = sorted(set(now) - {*drawn, *(failure.experiment_id for failure in failures)})
    return Pages(folder, drawn, refreshed, kept, removed, failures)


def publish_pages(settings: Settings, *, run_id: str | None = None) -> Pages:
    """Updates the pages, and publishes again if some could not be drawn, so that `failures` shows them to analysts too.

    Args:
        settings: As for `write_pages`.
        run_id: As for `write_pages`.
    """
    pages = write_pages(settings, run_id=run_id)
    looked_at = [*pages.drawn, *pages.kept, *(failure.experiment_id for failure in pages.failures)]
    with open_warehouse(settings) as connection:
        changed = note(connection, settings.now(), "page", looked_at, pages.failures)
        failing = tuple(sentences(connection))
    if changed:
        publish_analyst_database(settings)
        write_pages(settings, run_id=run_id)  # the index shows it
    return pages._replace(failing=failing)


def _refresh(path: Path, messages: list[read.Row]) -> bool:
    """Replaces the part about messages in an existing page; returns False if the page has no such part."""
    new = part("messages.html", "messages", messages).encode()
    page, found = _MESSAGES.subn(lambda _: new, path.read_bytes())
    if found == 1:
        write_atomically(path, page, public=True)
    return found == 1


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
    return _page(read.read_experiment(connection, experiment_id), run_id=run_id, dagster_url=dagster_url)


def _page(data: read.ExperimentData, *, run_id: str | None, dagster_url: str) -> str:
    findings = find(data)
    paths = path_figures(data, findings)
    plan = json.loads(data.experiment["plan"])
    primary = findings.headline.name if findings.headline else ""
    return environment().get_template("experiment.html").render(
        data=data,
        findings=findings,
        forest=forest_figure(findings),
        gap_path=gap_figure(data, findings),
        primary_path=paths.get(primary),
        other_paths=[figure for name, figure in paths.items() if name != primary],
        breakdowns=breakdown_figures(data),
        sample_figures=sample_figures(data),
        plan=json.dumps(plan, indent=2, ensure_ascii=False),
        sample=plan.get("sample", False),
        family=plan.get("family"),
        family_page=family_file(plan.get("family")),
        run_id=run_id,
        dagster_url=dagster_url,
    )  # fmt: skip


def _failed_page(connection: duckdb.DuckDBPyConnection, failure: Failure) -> str:
    """The page that is shown instead of one that could not be drawn, with the earlier failures."""
    before = row_dicts(
        connection,
        "SELECT sentence FROM failures WHERE experiment_id = ? AND stage <> 'page' ORDER BY since, stage",
        [failure.experiment_id],
    )
    sentences = [*(row["sentence"] for row in before), failure.sentence]
    template = environment().get_template("failed.html")
    return template.render(experiment_id=failure.experiment_id, sentences=sentences)


def index_page(connection: duckdb.DuckDBPyConnection) -> str:
    """The list of all experiments as HTML."""
    experiments, as_of = read.read_index(connection), read.latest_time(connection)
    known = {row["experiment_id"] for row in experiments}
    refusals = row_dicts(connection, "SELECT * FROM plan_refusals ORDER BY path, key")
    return environment().get_template("index.html").render(
        sections=sections(experiments, as_of),
        filters=filters(experiments),
        orders=ORDERS,
        refusals=[row for row in refusals if row["experiment_id"] not in known],
        families=[(name, family_file(name)) for name in read.families(connection)],
        portfolio=summary(row_dicts(connection, "FROM portfolio")),
        as_of=as_of,
    )  # fmt: skip


def family_page(family: str, rows: list[read.Row]) -> str:
    """The page of one family as HTML.

    Args:
        family: Its name.
        rows: Its variants, see `read.families`.
    """
    for row in rows:
        row["label"], row["tone"] = badge(row["verdict"], row["state"], row["reason"], row["follows"])
    measured = [row for row in rows if row["mean_uplift"] is not None]
    unit = metric_of(measured[0]["metric"]).unit if measured else ""
    return environment().get_template("family.html").render(
        family=family, rows=rows, measured=measured, unit=unit
    )  # fmt: skip


def glossary_page() -> str:
    """The page with the meanings of terms, as HTML."""
    return environment().get_template("glossary.html").render(terms=TERMS)


def _write_families(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Writes the page of each family, and removes the pages of families that do not exist any more."""
    pages = {family_file(name): family_page(name, rows) for name, rows in read.families(connection).items()}
    for path in folder.glob(family_file("*")):
        if path.name not in pages:
            path.unlink(missing_ok=True)
    for name, page in pages.items():
        write_atomically(folder / name, page.encode(), public=True)


def family_file(family: str) -> str:
    """The file name of a family's page. It begins with an underscore, which no experiment's id does."""
    return f"_family-{family}.html"


def _notes(folder: Path) -> dict[str, Note]:
    """The state from which each page was drawn; empty if the file is missing or damaged, so that all are drawn
    again."""
    try:
        notes = json.loads((folder / PAGE_NOTES).read_text(encoding="utf-8"))
        return {experiment_id: Note(*note) for experiment_id, note in notes.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


@cache
def _program() -> str:
    """A hash of this package, so that a page which another version drew is drawn again."""
    root = Path(__file__).parent
    parts = sorted(
        path for path in root.rglob("*") if path.suffix in (".py", ".sql", ".html", ".svg", ".css")
    )
    return hashlib.sha256(b"".join(path.read_bytes() for path in parts)).hexdigest()[:16]
