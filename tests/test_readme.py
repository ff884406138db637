"""The README is true: its code runs, its comments show what comes out, its names exist."""

from __future__ import annotations

import ast
import builtins
import decimal
import importlib
import inspect
import io
import pkgutil
import re
import sys
import tokenize
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import eskernel
import eskernel_stores
from domains import account_balances, bank_account, order
from eskernel import Command, Kernel, ProcessKernel, Projection, ShardLeases, errors
from eskernel_stores import MemoryStore
from eskernel_stores.opening import ALLOWED

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: what the fence says.
        code: the text inside.
        line: line number of its first line.
        directly: whether nothing but blank lines stand between it and the block before.
    """

    language: str
    code: str
    line: int
    directly: bool


def read_blocks(text: str) -> list[Block]:
    blocks: list[Block] = []
    end = 0
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, found.start(2)) + 1
        blocks.append(Block(found[1], found[2], line, not text[end : found.start()].strip()))
        end = found.end()
    return blocks


BLOCKS = read_blocks(TEXT)


def of_language(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


# Python.


class Results(ast.NodeTransformer):
    """Has every expression that a comment gives a result for compared with it.

    The comment stands behind the expression, or alone in the line below it.
    """

    def __init__(self, code: str, line: int) -> None:
        self.line = line
        self.wanted: dict[int, str] = {}
        tokens = tokenize.generate_tokens(io.StringIO(code).readline)
        comments = [token for token in tokens if token.type == tokenize.COMMENT]
        self.behind = {one.start[0]: one.string for one in comments if not alone(one)}
        self.below = {one.start: one.string for one in comments if alone(one)}

    def visit_Expr(self, node: ast.Expr) -> ast.Expr:
        last = node.end_lineno or 0
        comment = self.behind.get(last) or self.below.get((last + 1, node.col_offset))
        if comment is not None:
            self.wanted[self.line + last - 1] = wanted = comment.removeprefix("#").strip()
            called = ast.Name("_compare", ast.Load())
            arguments = [ast.Constant(self.line + last - 1), ast.Constant(wanted), node.value]
            node.value = ast.Call(called, arguments, [])
        return node


def alone(comment: tokenize.TokenInfo) -> bool:
    return not comment.line[: comment.start[1]].strip()


def run(code: str, line: int, namespace: dict[str, Any]) -> None:
    """Execute a block; tracebacks and failures name the README's own lines."""
    tree = ast.parse(code)
    results = Results(code, line)
    results.visit(tree)
    ast.fix_missing_locations(tree)
    ast.increment_lineno(tree, line - 1)
    compared: set[int] = set()

    def compare(line: int, wanted: str, value: Any) -> None:
        assert repr(value) == wanted, f"README.md:{line}: it is {value!r}, not {wanted}"
        compared.add(line)

    namespace["_compare"] = compare
    exec(compile(tree, str(README), "exec"), namespace)
    missed = results.wanted.keys() - compared
    assert not missed, f"README.md: never came to the results on lines {sorted(missed)}"


def run_tests(namespace: dict[str, Any]) -> None:
    """Call the parametrized test functions that the blocks define."""
    for test in [value for name, value in namespace.items() if name.startswith("test_")]:
        (parameters,) = test.pytestmark
        for value in parameters.args[1]:
            test(value)


def save_module(code: str, folder: Path) -> bool:
    """Save a block that is a module, which its first line names; return whether it is one."""
    name = re.match(r"# (\w+\.py)\n", code)
    if name is None:
        return False
    (folder / name[1]).write_text(code, encoding="utf-8")
    return True


def test_every_python_block_runs_and_gives_the_results_it_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "readme"}
    modules = set(sys.modules)
    try:
        for block, following in zip(BLOCKS, [*BLOCKS[1:], None], strict=True):
            if block.language != "python" or save_module(block.code, tmp_path):
                continue
            if "eskernel.ray" in block.code:
                continue  # tests/integration/test_ray_kernel.py runs it, on a cluster
            capsys.readouterr()
            run(block.code, block.line, namespace)
            if following is not None and following.language == "text" and following.directly:
                assert capsys.readouterr().out == following.code
        run_tests(namespace)
    finally:
        if "kernel" in namespace:
            namespace["kernel"].stop()
        for path in tmp_path.glob("*.py"):
            if path.stem not in modules:
                sys.modules.pop(path.stem, None)


def test_the_blocks_that_show_results_are_all_found():
    assert len(of_language("python")) >= 10
    assert TEXT.count("```python") == len(of_language("python"))
    shown = 0
    for block in of_language("python"):
        results = Results(block.code, block.line)
        results.visit(ast.parse(block.code))
        shown += len(results.wanted)
    assert shown >= 15


@pytest.mark.parametrize("code", ["1 + 1  # 3", "1 + 1\n# 3", "(\n    1\n)  # 2"])
def test_a_false_result_is_an_error(code):
    with pytest.raises(AssertionError, match=r"README\.md:\d+: it is"):
        run(code, 7, {})


def test_a_result_never_come_to_is_an_error():
    with pytest.raises(AssertionError, match=r"never came to the results on lines \[8\]"):
        run("if False:\n    1  # 1\n", 7, {})


# Shell.


def make_targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))


def test_every_command_is_a_make_target():
    commands = [
        line.split("#")[0] for block in of_language("sh") for line in block.code.split("\n")
    ]
    assert {"make demo", "make test"} <= {command.strip() for command in commands}
    spoken_of = re.findall(r"`(make [\w-]+)`", TEXT)
    for command in filter(None, map(str.strip, [*commands, *spoken_of])):
        program, target = command.split()
        assert (program, target in make_targets()) == ("make", True), command


# Tables.


def tables_under(heading: str) -> list[list[list[str]]]:
    """Return the rows of the tables under a heading, as lists of cells."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\|\n)+", section, re.MULTILINE)
    return [
        [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]
        for table in tables
    ]


def table_under(heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading."""
    return tables_under(heading)[0]


def as_written(default: Any) -> str:
    """Return a default as a row of a table shows it; an unchangeable mapping as a dict."""
    return f"`{dict(default) if isinstance(default, Mapping) else default!r}`"


def test_the_configuration_table_lists_every_option_with_its_default():
    _, _, *options = inspect.signature(Kernel).parameters.values()
    rows = [(name, default) for name, default, _, _ in table_under("Configuration")]
    assert rows == [(f"`{option.name}`", as_written(option.default)) for option in options]
    positional = [option.name for option in options if option.kind is not option.KEYWORD_ONLY]
    assert positional == ["snapshot_store"]


def test_the_table_of_a_projections_options_lists_each_with_its_default():
    module, *options = inspect.signature(Projection).parameters.values()
    rows = [(name, default) for name, default, _, _ in tables_under("Configuration")[1]]
    assert rows == [(f"`{option.name}`", as_written(option.default)) for option in options]
    assert module.name == "module"


def test_the_table_of_a_process_kernels_options_lists_each_that_a_kernel_has_not():
    of_a_kernel = inspect.signature(Kernel).parameters
    _, *options = inspect.signature(ProcessKernel).parameters.values()
    rows = [(name, default) for name, default, _, _ in tables_under("Configuration")[2]]
    own = [one for one in options if one.name not in of_a_kernel]
    assert rows == [(f"`{option.name}`", as_written(option.default)) for option in own]


def test_the_table_of_a_ray_kernels_options_lists_each_that_no_other_kernel_has_so():
    ray = pytest.importorskip("eskernel.ray", reason="ray has no wheel for this Python")
    known = {**inspect.signature(Kernel).parameters, **inspect.signature(ProcessKernel).parameters}
    _, *options = inspect.signature(ray.RayKernel).parameters.values()
    rows = [(name, default) for name, default, _, _ in tables_under("Configuration")[3]]
    own = [
        one for one in options if one.name not in known or one.default != known[one.name].default
    ]
    assert rows == [(f"`{option.name}`", as_written(option.default)) for option in own]


def test_the_table_of_shard_leases_lists_each_of_their_fields():
    rows = [(name, default) for name, default, _, _ in table_under("Past one process")]
    fields = inspect.signature(ShardLeases).parameters.values()
    assert rows == [(f"`{field.name}`", as_written(field.default)) for field in fields]


def test_the_table_of_stores_has_every_form_of_url_that_open_store_knows():
    urls = re.findall(
        r"`([\w+]+:[^`]*)`", " ".join(row[0] for row in table_under("Choose a store"))
    )
    assert [url.split(":")[0] for url in urls] == [form.split(":")[0] for form in ALLOWED]


def errors_of_failure_table() -> dict[str, set[str]]:
    """Return the errors in the failure table with the fields it gives them."""
    found: dict[str, set[str]] = {}
    for _, caller_gets, _ in table_under("Failures"):
        for name, fields in re.findall(r"`([A-Z]\w+)(?:\((.*?)\))?`", caller_gets):
            named = found.setdefault(name, set())
            named |= {field for field in fields.split(", ") if field.isidentifier()}
    del found["Kernel"]  # where one of them comes from
    return found


def test_the_failure_table_names_every_error_and_no_other():
    classes = dict(inspect.getmembers(errors, inspect.isclass))
    public = {name for name, one in classes.items() if issubclass(one, errors.EskernelError)}
    only_seen_as_causes = {"EskernelError", "NotStorable"}
    assert set(errors_of_failure_table()) == public - only_seen_as_causes


@pytest.mark.parametrize(("name", "fields"), errors_of_failure_table().items())
def test_an_error_has_the_fields_the_failure_table_gives_it(name, fields):
    assert fields <= set(inspect.signature(getattr(errors, name).__init__).parameters)


# Diagrams and names.


def tree_diagram() -> list[tuple[str, str]]:
    """Return the edges of the first diagram, from `name Class` to `name Class`."""
    code = of_language("mermaid")[0].code
    labels = {
        node: label.replace("<br/>", " ") for node, label in re.findall(r'(\w+)\["(.*?)"\]', code)
    }
    return [(labels[one], labels[other]) for one, other in re.findall(r"(\w+) --> (\w+)", code)]


def test_the_diagram_of_the_tree_is_the_tree():
    class Durable(MemoryStore):
        immediate = False

    def pass_on(command, call_next):
        return call_next(command)

    domains = {"bank_account": bank_account, "order": order}
    projections = {"balances": account_balances}
    with Kernel(domains, Durable(), middleware=[pass_on], projections=projections) as kernel:
        kernel.subscribe(lambda _event: None, name="mails")
        kernel.dispatch(Command("bank_account", "acc-1", "deposit", {"amount": 1}))
        kernel.dispatch(Command("order", "o-17", "place", {"customer": "c-1"}))
        tree = kernel.tree()
    edges = [
        (f"{node.name} {node.actor}", f"{child.name} {child.actor}")
        for node in tree.walk()
        for child in node.children
    ]
    assert sorted(tree_diagram()) == sorted(edges)


def known_names() -> dict[str, Any]:
    known = vars(builtins) | vars(decimal) | vars(uuid)
    for package in (eskernel, eskernel_stores):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            known |= vars(importlib.import_module(module.name))
    return known


def test_every_class_the_readme_speaks_of_exists():
    known = known_names()
    diagrams = " ".join(block.code for block in of_language("mermaid"))
    spoken_of = re.findall(r"\b([A-Z][a-z]+[A-Z]\w+|Kernel|Committer|Passivator)", diagrams)
    spoken_of += re.findall(r"`([A-Z][a-z]\w*)(?:\([^`]*\))?`", TEXT)
    spoken_of += re.findall(r"\*\*([A-Z]\w+)\*\*", TEXT)
    assert [name for name in spoken_of if name not in known] == []
    assert len(set(spoken_of)) >= 20


def test_the_path_of_a_command_calls_what_exists():
    known = known_names()
    _, path = of_language("mermaid")
    for owner, method in re.findall(r"\b([A-Z]\w+)\.(\w+)", path.code):
        assert callable(getattr(known[owner], method))
    assert {"handle_command", "apply_event"} <= set(re.findall(r"\w+", path.code))


def test_everything_in_the_layout_exists():
    layout = of_language("text")[-1].code
    folder = ROOT
    for line in layout.splitlines():
        path = line.split()[0]
        if not line.startswith(" "):
            folder = ROOT / path
        found = folder if not line.startswith(" ") else folder / path
        assert found.exists(), line


def test_every_folder_of_tests_is_in_the_layout():
    line = next(
        line for line in of_language("text")[-1].code.splitlines() if line.startswith("tests/")
    )
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()}
    shown = {name.strip(" /") for name in line.removeprefix("tests/").split(",")}
    assert shown == folders - {"__pycache__"}
