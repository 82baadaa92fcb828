from __future__ import annotations

import html.parser
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from run_builder import RunBuilder
from warmline_toolkit.measure.summary import summarise
from warmline_toolkit.report import FORMATS, lab_document, render

if TYPE_CHECKING:
    from warmline_toolkit.report.document import Document

MANY = ("per-request", "keep-open", "pool", "proxy", "keep-open+warmline")


@pytest.fixture(scope="module")
def guide() -> Document:
    return lab_document(summarise(RunBuilder().events()))


@pytest.fixture(scope="module")
def burst() -> Document:
    builder = RunBuilder(scenario="burst", environments=25, at_once=25, ghosts=2, strategies=MANY)
    return lab_document(summarise(builder.events()))


@pytest.fixture(scope="module")
def burst_page(burst: Document) -> str:
    return render(burst, "html")


# --- JSON: the contract of docs/reference/report.md


def test_the_json_of_a_lab_run_keeps_its_contract(guide: Document) -> None:
    data = json.loads(render(guide, "json"))
    assert {"scenario", "provenance", "strategies", "schema", "answer", "settings", "complete"} <= data.keys()
    for strategy in data["strategies"]:
        counts = "invocations cold_starts connections_opened connections_peak refused ghosts errors throttled dropped"
        for name in counts.split():
            assert type(strategy[name]) is int, name
        assert {"p50", "p95", "p99", "max", "n"} == strategy["latency_ms"].keys()
        for name in ("p50", "p95", "p99", "max"):
            assert isinstance(strategy["latency_ms"][name], (int, float))
        assert isinstance(strategy["round_trips_per_invocation"], (int, float))
        assert isinstance(strategy["server_cpu_ms_per_invocation"], (int, float))
        assert strategy["spread"]["connections_opened"]["per_trial"] == [strategy["connections_opened"]] * 3
    assert [one["connections_opened"] for one in data["strategies"]] == [25, 5, 5]


def test_times_are_rounded_to_microseconds(guide: Document) -> None:
    assert re.findall(r"\.\d{4,}", render(guide, "json").replace('"at_s"', "")) == []


def test_refusals_are_a_total_and_by_code(burst: Document) -> None:
    for strategy in json.loads(render(burst, "json"))["strategies"]:
        assert strategy["refused"] == 20
        assert strategy["refused_by_code"] == {"1040": 20}
        assert strategy["errors_by_code"] == {"1040": 20}


# --- the terminal


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("which", ["guide", "burst"])
def test_no_line_of_the_table_is_wider_than_the_terminal(
    request: pytest.FixtureRequest, which: str, width: int
) -> None:
    lines = render(request.getfixturevalue(which), "table", width=width).splitlines()
    assert max(len(line) for line in lines) <= width


def test_without_colour_there_is_no_escape_and_with_it_there_is(guide: Document) -> None:
    assert "\x1b" not in render(guide, "table")
    assert "\x1b[" in render(guide, "table", colour=True)


def test_colour_only_repeats_what_the_text_says(guide: Document) -> None:
    coloured = render(guide, "table", colour=True)
    without_escapes = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in without_escapes.splitlines()] == render(guide, "table").splitlines()


def test_the_table_answers_first_and_shows_every_strategy(burst: Document) -> None:
    text = render(burst, "table")
    assert text.index("25 requests") < text.index("Verdicts") < text.index("Measured")
    assert text.index("MariaDB 10.11.19") < text.index("25 requests")
    for name in MANY[:4]:
        assert name in text


# --- Markdown


def test_every_markdown_table_row_has_as_many_cells_as_its_head(burst: Document) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", render(burst, "markdown"), flags=re.MULTILINE)
    assert tables
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}) == 1


# --- HTML


class _Page(html.parser.HTMLParser):
    VOID = frozenset(["meta", "br", "link", "img", "hr", "input"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.references: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found: dict[str, Any] = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in found:
            self.ids.append(found["id"])
        self.fetched += [value for name, value in found.items() if name in ("src", "srcset", "data", "action")]
        self.fetched += [found["href"]] if tag == "link" else []
        self.references += [v[1:] for k, v in found.items() if k in ("href", "xlink:href") and v.startswith("#")]
        self.references += (found.get("aria-labelledby") or "").split()
        if tag == "svg" and "aria-hidden" not in found:
            self.images.append(found)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def parsed(burst_page: str) -> _Page:
    page = _Page()
    page.feed(burst_page)
    return page


def test_the_page_is_well_formed_and_no_id_comes_twice(parsed: _Page) -> None:
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids))
    assert set(parsed.references) <= set(parsed.ids)


def test_the_page_asks_for_nothing_outside_itself(burst_page: str, parsed: _Page) -> None:
    assert parsed.fetched == []
    assert "@import" not in burst_page
    assert re.findall(r"url\((?!#)", burst_page) == []
    assert "<script" not in burst_page


def test_the_page_stays_small(burst_page: str) -> None:
    assert len(burst_page.encode()) < 300_000


def test_every_chart_has_a_title_and_a_description(parsed: _Page) -> None:
    assert len(parsed.images) == 2 * len(MANY)
    for image in parsed.images:
        assert image["role"] == "img"
        assert len((image["aria-labelledby"] or "").split()) == 2


def test_no_chart_has_a_colour_that_the_theme_cannot_change(burst_page: str) -> None:
    charts = re.findall(r'<svg viewBox="[^"]+" class="chart".*?</svg>', burst_page, flags=re.DOTALL)
    assert len(charts) == 2 * len(MANY)
    for chart in charts:
        assert re.findall(r"(?:fill|stroke): #[0-9a-f]+", chart) == []


def test_what_a_run_says_cannot_become_markup() -> None:
    name = '<img src=x onerror="alert(1)">'
    document = lab_document(summarise(RunBuilder(strategies=(name, "pool"), trials=1, server="<b>x</b>").events()))
    page = render(document, "html")
    assert name not in page
    assert "<b>x</b>" not in page
    assert "&lt;img" in page


# --- all of them


@pytest.mark.parametrize("format_", FORMATS)
def test_every_output_names_the_server_the_commit_and_the_answer(guide: Document, format_: str) -> None:
    text = " ".join(render(guide, format_).split())
    for fact in ("MariaDB 10.11.19", "0123456789ab", "one per request (25 × 1)", "Linux 6.1.0"):
        assert fact in text


@pytest.mark.parametrize("format_", FORMATS)
def test_the_same_run_gives_the_same_bytes(guide: Document, format_: str) -> None:
    assert render(guide, format_) == render(guide, format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_one_strategy_in_one_trial_is_reported_too(format_: str) -> None:
    builder = RunBuilder(strategies=("my.module.handler",), trials=1, requests=1, environments=1, at_once=1)
    assert "my.module.handler" in render(lab_document(summarise(builder.events())), format_)


def test_an_unknown_format_is_refused(guide: Document) -> None:
    with pytest.raises(ValueError, match="no format 'pdf'"):
        render(guide, "pdf")
