"""What the package shows, what it loads, which way its imports point, and that its documentation is true."""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fraiseql_events
from fraiseql_events import cli, errors
from fraiseql_events.demo import run

ROOT = Path(fraiseql_events.__file__).parent
DOCS = ROOT.parent
#: From the top of the house to its bottom: a room imports what stands above it. `cli` and `demo` stand below all.
ROOMS = [
    (
        "errors",
        "advice",
        "arrays",
        "caller",
        "closing",
        "lifeline",
        "wording",
        "timestamps",
        "event",
        "time_range",
        "ticket",
        "token",
        "progress",
        "notebook_bar",
        "shop",
    ),
    ("duck", "html", "served", "status_view", "payload", "entity_info", "frames"),
    ("bridge",),
    ("log",),
    ("flight",),
    (
        "flight_reader",
        "typed_reader",
        "prefetch",
        "arguments",
        "bounds",
        "client_errors",
        "interruptible",
        "connection",
    ),
    (
        "resuming",
        "names",
        "stream",
        "typed_stream",
        "live",
        "lazy",
        "sql_errors",
        "sql_frame",
        "sql_plan",
        "sql",
        "client",
    ),
    ("health", "service"),
    ("sinks",),
    (
        "own_process",
        "event_columns",
        "json_text",
        "publishing",
        "replaying",
        "output",
        "demo",
        "live_shop",
        "commands",
        "cli",
        "__main__",
    ),
    ("jupyter",),
]


def in_a_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout


def test_importing_the_package_loads_next_to_nothing() -> None:
    code = """
import sys, time
started = time.perf_counter(); import fraiseql_events; seconds = time.perf_counter() - started
print(seconds < 0.3, [name for name in ("nats", "deltalake", "pandas", "polars", "pyarrow") if name in sys.modules])
"""
    assert in_a_process(code).strip() == "True []"


def test_the_client_alone_loads_neither_nats_nor_delta() -> None:
    code = """
import sys
from fraiseql_events import EventClient, EventsError
try: EventClient("grpc://127.0.0.1:1").read("*")
except EventsError: pass
print([name for name in ("nats", "deltalake", "pandas") if name in sys.modules])
"""
    assert in_a_process(code).strip() == "[]"


def test_every_export_can_be_had_and_is_in_the_documentation() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("docs/*.md"))
    for name in fraiseql_events.__all__:
        assert getattr(fraiseql_events, name) is not None
        assert re.search(rf"`{name}\b", text), f"{name} is in no page of docs/"
    assert dir(fraiseql_events) == sorted(fraiseql_events.__all__)
    with pytest.raises(AttributeError):
        fraiseql_events.nothing  # noqa: B018


def test_every_command_and_option_is_in_the_documentation() -> None:
    text = (DOCS / "docs" / "cli.md").read_text(encoding="utf-8")
    (commands,) = [a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction)]
    for name, parser in commands.choices.items():
        assert f"## {name}" in text
        section = text.partition(f"## {name}\n")[2].partition("\n## ")[0]
        for action in parser._actions:
            for option in action.option_strings:
                assert option in ("-h", "--help") or f"`{option}" in section or f"{option} " in section, (name, option)


def test_every_status_field_is_in_the_documentation() -> None:
    from fraiseql_events.service import Service

    source = (ROOT / "service.py").read_text(encoding="utf-8")
    fields = re.findall(r'^ {12}"(\w+)":', source, re.MULTILINE)
    text = (DOCS / "docs" / "status.md").read_text(encoding="utf-8")
    assert len(fields) > 10
    assert Service.status.__doc__
    for field in fields:
        assert f"`{field}`" in text, field


def test_every_error_is_in_the_tree_of_its_module() -> None:
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.EventsError)
        assert name in (errors.__doc__ or "")


def room_of(module: str) -> int:
    top = module.split(".")[0]
    return next(depth for depth, names in enumerate(ROOMS) if top in names)


def test_imports_point_up_the_house() -> None:
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if module == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fraiseql_events."):
                other = (node.module or "").removeprefix("fraiseql_events.")
                assert room_of(other) <= room_of(module), f"{module} imports {other}, which stands below it"


def test_no_module_and_no_function_is_long() -> None:
    for path in ROOT.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        assert source.count("\n") <= 360, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = ast.get_docstring(node, clean=False) or ""
                lines = (node.end_lineno or 0) - node.lineno - doc.count("\n")
                assert lines <= 45, f"{path.name}: {node.name} has {lines} lines"


def examples(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", [DOCS / "README.md", *sorted((DOCS / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_every_example_of_the_documentation_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the addresses of a server of the test's in the place of those that the pages name."""
    code = examples(page)
    if not code:
        return
    monkeypatch.chdir(tmp_path)
    for store in ("shop", "data"):  # the first is what the README's reader has made before
        run(io.StringIO(), events=3000, store=store)
    with fraiseql_events.serve(embedded=True, store=tmp_path / "data", listen="127.0.0.1:0") as service:
        assert service.url is not None
        monkeypatch.setenv("FRAISEQL_EVENTS_URL", service.url)
        for example in code:
            mended = example.replace("grpc://localhost:50051", service.url).replace(
                "nats://localhost:4222", service.nats_url
            )
            exec(compile(mended, str(page), "exec"), {})


def test_every_promise_names_tests_that_there_are() -> None:
    text = (DOCS / "docs" / "guarantees.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    assert len(named) > 40
    for path, test in named:
        assert f"def {test}(" in (DOCS / path).read_text(encoding="utf-8"), f"{path}::{test}"


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    for page in [*DOCS.glob("*.md"), *DOCS.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
