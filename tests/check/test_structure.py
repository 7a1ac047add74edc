"""The checks of infra/check/structure.py, on a small crate that breaks them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "infra" / "check")]

import structure  # noqa: E402

APART = {
    "lib.rs": "pub mod a;\npub mod b;\npub mod c;\npub use c::Item;",
    "a.rs": "use crate::b::Thing;\npub fn a() -> Thing { Thing }",
    "b.rs": "// Not used: crate::a::a\npub struct Thing;\n#[cfg(test)]\nmod tests {\n    use crate::a::a;\n}",
    "c/mod.rs": "mod part;\npub use part::Item;",
    "c/part.rs": 'use super::super::b::Thing;\npub struct Item;\nconst TEXT: &str = "crate::a::a { ";',
}


def circles(folder: Path, files: dict[str, str]) -> list[set[str]]:
    """The circles of a crate of these files."""
    structure.product.cache_clear()
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    found = structure.modules(folder / "lib.rs")
    graph = {module: structure.edges(module, found) for module in found}
    return [{"::".join(module) for module in component} for component in structure.circles(graph)]


def test_declaring_re_exporting_and_testing_make_no_circle(tmp_path):
    assert circles(tmp_path, APART) == []


@pytest.mark.parametrize(("file", "line", "circle"), [
    ("b.rs", "use crate::a;", {"a", "b"}),
    ("b.rs", "use crate::{a::{self, *}, b};", {"a", "b"}),
    ("b.rs", "fn b() { super::a::a(); }", {"a", "b"}),
    # Through a re-export of another module, by its name and as a whole.
    ("b.rs", "use crate::Item;", {"b", "c::part"}),
    ("c/part.rs", "use super::Own;\n", {"c", "c::part"}),
])  # fmt: skip
def test_a_use_back_makes_a_circle(tmp_path, file, line, circle):
    files = APART | {file: f"{APART[file]}\n{line}"}
    files["c/mod.rs"] += "\npub struct Own;\nfn make() { part::make(); }"
    assert circles(tmp_path, files) == [circle]


def test_a_function_is_as_long_as_its_lines(tmp_path):
    file = tmp_path / "long.rs"
    file.write_text('fn one(x: [u8; 4]) {\n    // }\n    let y = "}";\n}\nfn two();\n')
    assert [(name, length) for name, length, _ in structure.functions(file)] == [("one", 4), ("two", 1)]


def test_a_match_of_many_arms_is_a_table():
    arms = [f"        {number} => word({number})," for number in range(70)]
    assert structure.is_table(["fn word() {", "    match number {", *arms, "    }", "}"])
    assert not structure.is_table(["fn work() {", *(f"    let x{n} = y{n}.work()?;" for n in range(70)), "}"])


def test_the_message_of_each_log_event_is_found(tmp_path):
    file = tmp_path / "lib.rs"
    file.write_text(
        'fn f() {\n    warn!(%error, why = "x", "not sent; it will \\\n        be retried");\n'
        '    let (level, metric, message) = (Level::Info, "sent", "all is sent");\n'
        '    self.report(&call, "call announced", 1); // info!("a comment")\n}\n'
        '#[cfg(test)]\nmod tests {\n    fn g() { info!("of a test"); }\n}\n'
    )
    structure.product.cache_clear()
    assert list(structure.logged(*structure.product(file))) == ["not sent; it will be retried", "all is sent", "call announced"]
