"""Processor time of the review pages of 20 experiments, compared with one matplotlib figure of an interval path.

A page has eight or more charts, each of which was such a figure in an earlier version.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from et_pipeline_tests.benchmarks.measure import Row, finish, median, pair, run

EXPERIMENTS, OPPORTUNITIES = 20, 1000
ALLOWED_S = 0.05
FIGURES = 10


def rows(folder: Path) -> Iterator[Row]:
    """The one row of the table: a page may take 50 ms of processor time."""
    home = folder / "pages"
    et = [sys.executable, "-m", "et_pipeline"]
    run(
        [*et, "generate", str(home), "--experiments", str(EXPERIMENTS), "--opportunities", str(OPPORTUNITIES)]
    )
    run([*et, "tick"], {"ET_DATA_DIR": str(home)})
    command = [sys.executable, "-m", "et_pipeline_tests.benchmarks.pages"]
    ours, theirs = pair([*command, "ours", str(home)], [*command, "theirs", str(home)], runs=5)
    yield Row(
        f"a page, of {EXPERIMENTS} (processor time)",
        median(ours),
        "one matplotlib figure of an interval path as SVG",
        median(theirs),
        round(ALLOWED_S / median(theirs), 2),
        max(sample.peak_mib for sample in ours),
        f"{1000 * median(ours):.0f} ms a page, {1000 * ALLOWED_S:.0f} ms allowed; "
        f"{1000 * ours[0].output['alone']:.0f} ms where one page alone is drawn",
    )


def _ours(home: Path) -> None:
    from et_pipeline.insight.pages import write_pages
    from et_pipeline.insight.published import PAGE_NOTES
    from et_pipeline.settings import Settings

    settings = Settings(data_dir=home)
    (settings.pages_dir / PAGE_NOTES).unlink()
    started = time.process_time()
    drawn = write_pages(settings).drawn
    middle = time.process_time()
    assert len(drawn) == EXPERIMENTS, drawn
    (settings.pages_dir / f"{drawn[0]}.html").unlink()
    assert write_pages(settings).drawn == drawn[:1]
    finish((middle - started) / EXPERIMENTS, alone=time.process_time() - middle)


def _theirs(home: Path) -> None:
    import duckdb
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    with duckdb.connect(str(home / "published" / "experiments.duckdb"), read_only=True) as connection:
        path = connection.execute(
            "SELECT as_of, mean_uplift, ci_lower, ci_upper FROM interval_path WHERE metric = 'edge_bps' "
            "AND experiment_id = (SELECT min(experiment_id) FROM experiments) ORDER BY as_of"
        ).fetchnumpy()
    started = time.process_time()
    for _ in range(FIGURES):
        figure = Figure(figsize=(880 / 72, 320 / 72), dpi=72, layout="constrained")
        axes = figure.add_subplot()
        axes.fill_between(path["as_of"], path["ci_lower"], path["ci_upper"], alpha=0.16)
        axes.plot(path["as_of"], path["mean_uplift"])
        axes.grid(axis="y")
        axes.set_ylabel("uplift, bps")
        locator = AutoDateLocator(minticks=3, maxticks=7)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        FigureCanvasSVG(figure)
        figure.savefig(io.StringIO(), format="svg")
    finish((time.process_time() - started) / FIGURES)


if __name__ == "__main__":
    {"ours": _ours, "theirs": _theirs}[sys.argv[1]](Path(sys.argv[2]))
