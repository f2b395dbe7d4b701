"""What plans, reports and sign-offs say is data: no file outside, no SQL, no script, no shell, no template, no bomb."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from importlib.metadata import distributions
from pathlib import Path

import dagster as dg
import duckdb
import pytest
import yaml

from et_pipeline.contracts.plan import read_plans
from et_pipeline.ingest.listing import list_snapshots
from et_pipeline.ingest.reader import MAX_BAD_LINES, SMALL_BYTES, read_snapshot
from et_pipeline.settings import Settings
from et_pipeline_tests.conftest import PROJECT, SAMPLE_PLANS, call_et, run_et
from et_pipeline_tests.ingest import lab
from et_pipeline_tests.job.conftest import World
from et_pipeline_tests.registry import Answer, serving

pytestmark = pytest.mark.xdist_group("security")
PLAN = (SAMPLE_PLANS / "line-shop-v4.yaml").read_text()

# Files outside


def test_a_link_that_leads_out_of_the_bus_is_named_and_not_read(settings: Settings, tmp_path_factory) -> None:
    secret = lab.write(tmp_path_factory.mktemp("elsewhere") / "x.ndjson", lab.ndjson([lab.report()]))
    bus = settings.report_bus_dir
    (bus / "out.ndjson").symlink_to(secret)
    (bus / "folder").symlink_to(secret.parent)
    (bus / "up.ndjson").symlink_to(Path("..") / ".." / secret.parent.name / secret.name)
    lab.write(bus / "real.ndjson", lab.ndjson([lab.report("r2")]))
    (bus / "inside.ndjson").symlink_to(bus / "real.ndjson")
    result = lab.run(settings)
    assert lab.rows(settings, "SELECT report_id FROM reports") == [("r2",)]
    assert set(result.unreadable) == {"out.ndjson", "up.ndjson"}
    (sentence,) = lab.rows(settings, "SELECT sentence FROM unreadable WHERE path = 'out.ndjson'")
    assert "outside the report bus" in sentence[0] and str(secret) not in sentence[0]


def test_a_plan_that_links_outside_is_refused_and_its_target_is_not_shown(
    settings: Settings, tmp_path_factory
):
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.yaml"
    secret.write_text("password: marker-of-a-secret")
    (settings.experiments_dir / "out.yaml").symlink_to(secret)
    (settings.experiments_dir / "line-shop-v4.yaml").write_text(PLAN)
    plans, refusals = read_plans(settings.experiments_dir)
    assert list(plans) == ["line-shop-v4.yaml"]
    (refusal,) = refusals
    assert "outside experiments" in str(refusal) and "marker" not in str(refusal)


def test_a_folder_of_links_inside_is_read_as_a_config_map_is_mounted(settings: Settings) -> None:
    folder = settings.experiments_dir
    (folder / "..data").mkdir()
    (folder / "..data" / "p.yaml").write_text(PLAN)
    (folder / "p.yaml").symlink_to(Path("..data") / "p.yaml")
    plans, refusals = read_plans(folder)
    assert (list(plans), refusals) == (["p.yaml"], [])


def test_pipes_and_links_in_a_circle_make_nobody_wait(settings: Settings) -> None:
    for folder in (settings.experiments_dir, settings.report_bus_dir):
        (folder / "a").symlink_to(".")
        (folder / "b").symlink_to(".")
    os.mkfifo(settings.experiments_dir / "pipe.yaml")
    os.mkfifo(settings.report_bus_dir / "pipe.ndjson")
    (settings.experiments_dir / "circle.yaml").symlink_to("circle.yaml")
    os.mkfifo(settings.experiments_dir / "pipe2.yml")
    code = (
        "from et_pipeline.settings import Settings\n"
        "from et_pipeline.due import fingerprint\n"
        "from et_pipeline.contracts.plan import read_plans\n"
        "s = Settings.from_env(); fingerprint(s); print(len(read_plans(s.experiments_dir)[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "ET_DATA_DIR": str(settings.data_dir)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "3"
    assert list_snapshots(settings.report_bus_dir).files == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", ".x", "a b", "x\n", "con'", "{x}", "-O"])
def test_an_experiment_id_is_never_a_path_or_a_statement(settings: Settings, name: str) -> None:
    document = yaml.safe_load(PLAN) | {"experiment_id": name}
    (settings.experiments_dir / "x.yaml").write_text(yaml.safe_dump(document))
    plans, (refusal,) = read_plans(settings.experiments_dir)
    assert plans == {} and refusal.key == "experiment_id"


# SQL, HTML, templates, Markdown, terminals: a whole tick over hostile words

HOSTILE = (
    """'; DROP TABLE reports; -- x" OR "1"="1 {0}{rule}{x!r}%s%(x)s ../../../etc/passwd""",
    """"><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}{% raw %}""",
    "[click](javascript:alert(3)) ![i](https://evil.example/i.png) [/red][link=https://evil.example]x",
    """=HYPERLINK("https://evil.example") $(touch /tmp/owned)`id`; rm -rf ~""",
    "-Overify-time=20000101",
)
"""Each is a name somewhere, so it is at most 180 characters long."""
START = datetime(2026, 10, 1, tzinfo=UTC)


def hostile_plan(name: str, words: str, **changes: object) -> str:
    document = yaml.safe_load(PLAN) | {
        "experiment_id": name,
        "title": words,
        "hypothesis": words,
        "owner": words,
        "control": {"strategy_id": words + name, "config_version": words + "1"},
        "variant": {"strategy_id": words + name, "config_version": words + "2"},
        "starts_at": START,
        "ends_at": START + timedelta(days=3),
        "traffic_split_pct": 10,
        "metrics": [{"name": "edge_bps", "role": "primary"}],
        "promotion": {"request_review": False},
        **changes,
    }
    return yaml.safe_dump(document)


def hostile_reports(name: str, words: str, *, nearest: bool) -> Iterator[dict[str, object]]:
    """Twenty opportunities of both arms, every text in them hostile."""
    for number in range(20):
        for arm, shift in (("1", 0), ("2", 1)):
            moment = START + timedelta(hours=number, seconds=shift)
            replayed = not nearest and arm == "2"
            yield lab.report(
                f"{words} {name} {number} {arm}",
                bot_id="gov.backtester" if replayed else words,
                mode="replay" if replayed else "live",
                strategy_id=words + name,
                config_version=words + arm,
                correlation_id=f"{words}{name}{number}" + (arm if nearest else ""),
                market_id=f"{words}{number % 4}",
                outcome_id=words,
                emitted_at=moment.isoformat().replace("+00:00", "Z"),
                metrics={"edge_bps": float(number + shift)},
                **{words: words},
            )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, dg.ExecuteInProcessResult]]:
    """A tick over plans, reports and sign-offs that hold every hostile word wherever a word may stand."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("experiments", "report_bus", "sign_offs"):
        (folder / name).mkdir()
    documents: list[dict[str, object]] = []
    for number, words in enumerate(HOSTILE):
        for kind, changes in (
            ("shadow", {}),
            ("near", {"mode": "limited_live", "matching": {"method": "nearest", "tolerance": "10s"}}),
        ):
            name = f"{kind}-{number}"
            (folder / "experiments" / f"{name}.yaml").write_text(hostile_plan(name, words, **changes))
            documents += hostile_reports(name, words, nearest=kind == "near")
        documents += [
            {"kind": words},
            {"kind": "OperationsReport", words: words},
            lab.report(words, side=words),
        ]
        (folder / "experiments" / f"bad-{number}.yaml").write_text(
            yaml.safe_dump({words: words, "alpha": words})
        )
        document = json.dumps({"signer": words, "reason": words, words: words})
        (folder / "sign_offs" / f"{number}.json").write_text(document)
    content = lab.ndjson(documents) + b"".join(words.encode() + b"\n" for words in HOSTILE)
    for place, ending in (("experiments", "yaml"), ("report_bus", "ndjson"), ("sign_offs", "json")):
        Path(os.fsdecode(f"{folder}/{place}/".encode() + b"\xff\x1b[2J." + ending.encode())).write_text("x")
    (folder / "report_bus" / "it's [a] {x} <b> *.ndjson").write_bytes(content)
    with dg.DagsterInstance.ephemeral() as instance:
        world = World(folder, instance, {"ET_NOW": "2026-10-10T00:00:00Z", "ET_MODE": "limited_live"})
        yield world, world.tick()


def test_quotes_and_braces_pair_like_any_other_text(hostile) -> None:
    world, result = hostile
    assert result.success
    expected = sorted((f"{kind}-{n}", 20) for kind in ("shadow", "near") for n in range(len(HOSTILE)))
    assert world.rows("SELECT experiment_id, count(*) FROM pairs GROUP BY 1 ORDER BY 1") == expected
    assert world.rows("SELECT count(*) FROM reports") == [(40 * 2 * len(HOSTILE),)]
    assert world.rows("SELECT count(DISTINCT market_id) FROM pairs") == [(4 * len(HOSTILE),)]
    rebuilt = call_et(world.folder, "rebuild", "--check", **world.environment)
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_word_is_script_image_or_template_on_a_page(hostile) -> None:
    world, _ = hostile
    pages = sorted((world.settings.published_dir / "pages").glob("*.html"))
    assert len(pages) == 2 * len(HOSTILE) + 2, "one an experiment, the index and the words"
    for path in pages:
        html = path.read_text()
        for tag, attributes in _Page(html).found:
            assert tag not in {"script", "img", "iframe", "object", "base"}, path
            assert not [name for name in attributes if name.startswith("on")], path
            assert re.match(
                r"(#|[\w.-]+$|data:,$|http://localhost:3000/runs/)", attributes.get("href") or "#"
            ), path
    words = (world.settings.published_dir / "pages" / "shadow-1.html").read_text()
    assert "{{ 7 * 7 }}{% raw %}" in words, "a template in a title is text"


def test_no_word_is_a_link_an_image_or_html_in_the_metadata_of_runs(hostile) -> None:
    _, result = hostile
    shown = [check.metadata for check in result.get_asset_check_evaluations()]
    shown += [event.materialization.metadata for event in result.get_asset_materialization_events()]
    values = [value for metadata in shown for value in metadata.values()]
    texts = [value.md_str or "" for value in values if isinstance(value, dg.MarkdownMetadataValue)]
    assert any("DROP TABLE" in text for text in texts)
    plots = [text for text in texts if text.startswith("![interval path of ")]
    for text in plots:  # our own picture, whose only word from outside is the experiment's plain id
        assert re.fullmatch(r"!\[interval path of [\w.-]+\]\(data:image/svg\+xml;base64,[\w+/=]+\)", text), (
            text
        )
    for text in set(texts) - set(plots):
        assert not re.search(r"(?<!\\)[<\[\]`]", text), text


def test_no_word_is_a_colour_or_a_command_in_a_terminal(hostile) -> None:
    world, _ = hostile
    for command in (("status",), ("show", "shadow-2"), ("validate", str(world.settings.report_bus_dir))):
        done = call_et(world.folder, *command, **world.environment)
        assert "Traceback" not in done.stderr
        assert "[/red][link=https://evil.example]x" in done.stdout or command[0] == "validate"
        assert "\x1b" not in done.stdout


def test_no_word_reaches_a_shell(hostile) -> None:
    world, _ = hostile
    assert not Path("/tmp/owned").exists()
    assert world.rows("SELECT DISTINCT valid, refusal FROM sign_offs") == [(False, "malformed")]


def test_file_names_that_are_no_text_are_told_as_text(hostile) -> None:
    world, _ = hostile
    name = r"\udcff\x1b[2J."
    assert (f"{name}yaml",) in world.rows("SELECT path FROM plan_refusals")
    assert (f"{name}json",) in world.rows("SELECT path FROM sign_offs")
    assert world.rows("SELECT count(*) FROM snapshots") == [(1,)]


# Memory


def test_short_lines_are_taken_in_small_batches(tmp_path: Path) -> None:
    """A quarantined line takes a hundred times the memory of the one byte that it may have."""
    path = lab.write(tmp_path / "x.ndjson", b"\n" * 400_000)
    sizes = [len(batch.bad) for batch in read_snapshot(path)]
    assert sum(sizes) == 400_000
    assert max(sizes) <= MAX_BAD_LINES + SMALL_BYTES


def test_a_dictionary_bomb_is_refused(tmp_path: Path) -> None:
    """One long text, stored once and shown in every row: gigabytes out of some kilobytes."""
    path = tmp_path / "x.parquet"
    with duckdb.connect() as connection:
        columns = ", ".join(
            f"'{name}' AS {name}" for name in ("schema_version", "kind", "bot_id", "report_id")
        )
        connection.execute(
            f"COPY (SELECT {columns}, repeat('x', 60000) AS market_id FROM range(90000)) TO '{path}' "
            "(FORMAT parquet, ROW_GROUP_SIZE 90000, STRING_DICTIONARY_PAGE_SIZE_LIMIT 1000000)"
        )
    assert path.stat().st_size < 1_000_000
    with pytest.raises(Exception, match="unpacks to more bytes") as caught:
        for _ in read_snapshot(path):
            pass
    assert caught.value.reason == "compression_bomb"


# Secrets and permissions: one tick of the real command, with everything that it writes

TOKEN = "mark3r-token-of-the-registry=="
SEED = "SUAMARK3RSEEDOFTHEBUS"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A data folder after real commands with secrets and an open umask, and all that they printed."""
    folder = tmp_path_factory.mktemp("written")
    data, creds = folder / "data", folder / "bus.creds"
    creds.write_text(f"-----BEGIN NATS USER JWT-----\nMARK3RJWT\n------END NATS USER JWT------\n{SEED}\n")
    generated = call_et(
        data, "generate", str(data), "--opportunities", "800", "--uplift", "edge_bps=-20", "--days", "10"
    )
    assert generated.returncode == 0, generated.stderr
    printed = ""
    with serving() as registry:
        echo = Answer(401, {"WWW-Authenticate": f"Bearer {TOKEN}"}, f"bad token: Bearer {TOKEN}".encode())
        registry.script = [echo] * 50
        environment = {"ET_REGISTRY_URL": registry.url, "ET_REGISTRY_TOKEN": TOKEN, "ET_LOG_LEVEL": "debug"}
        bus = {"ET_NATS_URL": "nats://127.0.0.1:1", "ET_NATS_CREDS": str(creds), "ET_NATS_TIMEOUT": "1"}
        before = os.umask(0)
        try:
            for command, more in (
                (("tick", "--verbose"), {}),
                (("bus", "snapshot"), bus),
                (("tick", "--json", "--force"), {}),
                (("parquet",), {}),
                (("status", "--json"), bus),
                (("outbox", "list", "--json"), bus),
                (("spec",), bus),
            ):
                run = run_et if command == ("tick", "--verbose") else call_et
                done = run(data, *command, **environment, **more)
                printed += done.stdout + done.stderr
        finally:
            os.umask(before)
        assert registry.requests, "the token was used"
        assert registry.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"
    return data, printed


def test_no_secret_is_in_anything_that_is_written_or_printed(written) -> None:
    data, printed = written
    assert "HTTP 401" in printed, "the refusal is told, without what it echoed"
    with duckdb.connect(str(data / "published" / "experiments.duckdb"), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        rows = "".join(str(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for name in tables)
    assert "HTTP 401" in rows
    contents = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
    assert len(contents) > 40
    for marker in (TOKEN, TOKEN[:8], SEED, "MARK3RJWT"):
        assert marker not in printed
        assert marker not in rows
        assert not [1 for content in contents if marker.encode() in content]


def test_others_can_write_nothing_and_read_only_what_is_published(written) -> None:
    data, _ = written
    for path in data.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        inside = path.relative_to(data).parts[0]
        if inside in ("experiments", "report_bus", "truth.json") or path.is_symlink():
            continue  # made by the generator, as people and the bus make them
        assert not mode & 0o022, (path, oct(mode))
        if inside != "published":
            assert not mode & 0o007, (path, oct(mode))
    for name in ("experiments.duckdb", "pages/index.html", "parquet/experiments.parquet", "metrics.prom"):
        assert stat.S_IMODE((data / "published" / name).stat().st_mode) & 0o004, name


# Dependencies


def test_every_installed_distribution_is_pinned() -> None:
    """The list that an audit reads is the list of what runs here."""
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    installed = {
        re.sub(r"[-_.]+", "-", found.metadata["Name"]).lower(): found.version
        for found in distributions(path=[path for path in sys.path if "site-packages" in path])
    }
    for own in ("et-pipeline", "pip", "setuptools"):
        installed.pop(own, None)
    assert len(installed) > 80
    assert {name: version for name, version in installed.items() if normal.get(name) != version} == {}
