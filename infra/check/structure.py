#!/usr/bin/env python3
"""What no compiler checks: how the code may be cut, and how it is worded. Standard library only.

    infra/check/structure.py            fails on every violation
    infra/check/structure.py --edges    also prints which use makes which edge of a circle

The checks, each a function below: circle, tools, names, size, words, messages.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES, FUNCTION_LINES, WORD_LINES = 400, 60, 59
WORDS = re.compile(r"\b(told|whoever|nobody|somebody)\b", re.IGNORECASE)
TOKENS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<hashes>\#*)".*?"(?P=hashes)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^\\'\n])'""", re.DOTALL
)
Module = tuple[str, ...]


# --- Rust, read as text -------------------------------------------------------------------------------


def tracked(*patterns: str) -> list[Path]:
    """The repository's files."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", *patterns], capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def spaces(text: str) -> str:
    """As many spaces, with the same line ends."""
    return re.sub(r"[^\n]", " ", text)


def block_end(code: str, start: int) -> int:
    """Where the block or statement ends that begins here."""
    depth = 0
    for at in range(start, len(code)):
        depth += (code[at] in "{([") - (code[at] in "})]")
        if depth == 0 and code[at] in "};":
            return at + 1
    return len(code)


@cache
def product(path: Path) -> tuple[str, str]:
    """A file's code without comments, attributes' tests and, the second time, strings; lines stay where they are."""
    text = path.read_text()
    code = TOKENS.sub(lambda token: spaces(token[0]), text)
    literal = TOKENS.sub(lambda token: spaces(token[0]) if token[0].startswith("/") else token[0], text)
    for test in re.finditer(r"#\[cfg\((?:any\()?test\b[^\]]*\]", code):
        end = block_end(code, test.end())
        code, literal = (one[: test.start()] + spaces(one[test.start() : end]) + one[end:] for one in (code, literal))
    return literal, code


def children(path: Path, code: str) -> Iterator[tuple[str, Path]]:
    """The modules that a file declares, with their files."""
    is_root = path.name in ("lib.rs", "main.rs", "mod.rs") or path.parent.name == "bin"
    below = path.parent if is_root else path.with_suffix("")
    for name in re.findall(r"\bmod\s+(\w+)\s*;", code):
        # The last two are those of a module with a `path`.
        places = (below / f"{name}.rs", below / name / "mod.rs", path.with_name(f"{name}.rs"), path.parent / name / "mod.rs")
        yield from ((name, file) for file in [file for file in places if file.is_file()][:1])


def modules(root: Path, name: Module = ()) -> dict[Module, Path]:
    """The modules of a crate that are no tests."""
    found = {name: root}
    for child, file in children(root, product(root)[1]):
        found |= modules(file, (*name, child))
    return found


def crates(*folders: str) -> list[Path]:
    """The folders of crates."""
    return [path.parent for folder in folders for path in sorted((ROOT / folder).glob("*/Cargo.toml"))]


def product_files(*folders: str) -> list[Path]:
    """The Rust files of crates that are no tests."""
    roots = [file for crate in crates(*folders) for file in crate.glob("src/*.rs") if file.name in ("lib.rs", "main.rs")]
    roots += [file for crate in crates(*folders) for file in crate.glob("src/bin/*.rs")]
    return sorted({file for root in roots for file in modules(root).values()})


def relative(path: Path) -> str:
    """A path as it is written in the list."""
    return str(path.relative_to(ROOT))


# --- Circles between modules ----------------------------------------------------------------------------


def used(tree: str, prefix: Module = ()) -> Iterator[tuple[Module, str]]:
    """Every path of a `use`, with the name that it has afterwards."""
    depth, start, parts = 0, 0, []
    for at, char in enumerate(tree + ","):
        depth += (char == "{") - (char == "}")
        if char == "," and depth == 0:
            parts.append(tree[start:at].strip())
            start = at + 1
    for part in filter(None, parts):
        head, brace, rest = part.partition("{")
        path, _, alias = head.partition(" as ")
        names = (*prefix, *(name.strip() for name in path.split("::") if name.strip()))
        if brace:
            yield from used(rest.rpartition("}")[0], names)
        else:
            names = names[:-1] if names[-1] == "self" else names
            yield names, alias.strip() or names[-1]


def absolute(path: Module, module: Module, found: dict[Module, Path]) -> Module | None:
    """A path from the crate's root, or nothing if it leads out of the crate."""
    at = module
    if path[0] == "crate":
        return path[1:]
    if path[0] in ("self", "super"):
        while path and path[0] in ("self", "super"):
            at, path = (at[:-1] if path[0] == "super" else at), path[1:]
        return at + path
    return at + path if (*at, path[0]) in found else None


def exports(module: Module, found: dict[Module, Path]) -> tuple[dict[str, Module], list[Module]]:
    """What a module re-exports: names, and modules as a whole."""
    names, whole = {}, []
    for tree in re.findall(r"\bpub(?:\([^)]*\))?\s+use\s+([^;]+);", product(found[module])[1]):
        for path, name in used(tree):
            target = absolute(path, module, found)
            if target is not None and name == "*":
                whole.append(target[:-1])
            elif target is not None:
                names[name] = target
    return names, whole


def owner(path: Module, found: dict[Module, Path], depth: int = 0) -> Module:
    """The module in which an item is defined, through re-exports."""
    at: Module = ()
    for index, name in enumerate(path):
        if (*at, name) in found:
            at = (*at, name)
            continue
        names, whole = exports(at, found)
        if name in names and depth < 9:
            return owner(names[name] + path[index + 1 :], found, depth + 1)
        defines = re.compile(rf"\bpub(?:\([^)]*\))?\s+(?:\w+\s+)*{re.escape(name)}\b")
        for other in whole:
            if other in found and defines.search(product(found[other])[1]):
                return owner(other + path[index:], found, depth + 1)
        return at
    return at


def edges(module: Module, found: dict[Module, Path]) -> dict[Module, str]:
    """The modules that a module uses, each with one of the uses. Declaring and re-exporting a child is no use of it."""
    code = product(found[module])[1]
    paths = []
    for public, tree in re.findall(r"\b(pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", code):
        for path, _ in used(tree):
            target = absolute(path, module, found)
            if target is not None and not (public and target[: len(module)] == module):
                paths.append(target[:-1] if target[-1:] == ("*",) else target)
    code = re.sub(r"\buse\s+[^;]+;", "", code)
    own = [path[-1] for path in found if path and path[:-1] == module]
    for path in re.findall(rf"(?<![\w:])(?:{'|'.join(['crate', 'super', 'self', *own])})(?:::\w+)+", code):
        target = absolute(tuple(path.split("::")), module, found)
        if target is not None:
            paths.append(target)
    owned = {owner(path, found): "::".join(path) for path in paths}
    return {other: path for other, path in owned.items() if other != module}


def circles(graph: dict[Module, dict[Module, str]]) -> Iterator[list[Module]]:
    """The strongly connected components of more than one module, after Tarjan."""
    index: dict[Module, int] = {}
    low: dict[Module, int] = {}
    stack: list[Module] = []

    def visit(node: Module) -> Iterator[list[Module]]:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                yield from visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            component = stack[at:]
            del stack[at:]
            if len(component) > 1:
                yield component

    for node in graph:
        if node not in index:
            yield from visit(node)


def circle() -> Iterator[str]:
    """No module of a crate below lib/ uses one that, in the end, uses it."""
    for crate in crates("lib"):
        found = modules(crate / "src/lib.rs")
        graph = {module: edges(module, found) for module in found}
        for component in circles(graph):
            for module in component:
                yield relative(found[module])
                inside = [(other, use) for other, use in graph[module].items() if other in component]
                for other, use in inside if "--edges" in sys.argv else ():
                    print(f"  {relative(found[module])} -> {relative(found[other])} by {use}", file=sys.stderr)


# --- The other checks -------------------------------------------------------------------------------------


def tools() -> Iterator[str]:
    """No crate below tools/ depends on one below functions/."""
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["dependencies"]
    for crate in crates("tools"):
        manifest = tomllib.loads((crate / "Cargo.toml").read_text())
        for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
            for name, how in manifest.get(kind, {}).items():
                where = [one.get("path", "") for one in (how, workspace.get(name)) if isinstance(one, dict)]
                if any("functions/" in path for path in where):
                    yield f"{relative(crate)} depends on {name}"


def names() -> Iterator[str]:
    """Nothing compares the name of a provider or of a format outside its own folder and the registry."""
    own = {path.stem for path in tracked("functions/hooks/src/bin/*.rs", "docs/destinations/*.md")}
    variants = {name.replace("-", "") for name in own}
    name = rf"(?:\"(?:{'|'.join(own)})\"|\b[A-Z]\w*::(?:{'|'.join(variants)})\b)"
    compared = re.compile(
        rf"[=!]=\s*(?:\w+\()?{name}|{name}\)?\s*[=!]=|{name}[)\s]*(?:if\b[^\n]*)?(?:=>|\|(?!\|))"
        rf"|matches!\([^;]*?{name}|\b(?:if|while)\s+let\s[^=]*{name}|\.eq\(\s*&?{name}",
        re.IGNORECASE,
    )
    # The segments of a route are a path, even where a provider's name is one of them.
    route = re.compile(r'"(?:GET|POST|PUT|PATCH|DELETE)"')
    for path in product_files("lib", "functions", "tools"):
        if "bench" in path.parts or path.stem == "registry":
            continue
        places = {part.lower() for part in (*path.parent.parts, path.stem)}
        matches = [compared.search(line) for line in product(path)[0].splitlines() if not route.search(line)]
        found = {one for match in matches if match for one in own | variants if one in match[0].lower()}
        yield from (f"{relative(path)} compares {one}" for one in found - places)


def functions(path: Path) -> Iterator[tuple[str, int, list[str]]]:
    """A file's functions, with their lengths and lines."""
    if path.suffix == ".py":
        text = path.read_text()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node.name, node.end_lineno - node.lineno + 1, text.splitlines()[node.lineno : node.end_lineno]
        return
    code = product(path)[1]
    for found in re.finditer(r"\bfn\s+(\w+)", code):
        lines = code[found.start() : block_end(code, found.start())].splitlines()
        yield found[1], len(lines), lines


def is_table(lines: list[str]) -> bool:
    """Whether most lines are rows: arms of a match, items of a list, or calls of one function."""
    lines = [line.strip() for line in lines if line.strip()]
    rows = sum("=>" in line or line.endswith(",") for line in lines)
    calls = Counter(line.partition("(")[0] for line in lines if "(" in line)
    return rows * 3 > len(lines) * 2 or max(calls.values(), default=0) * 2 > len(lines)


def size() -> Iterator[str]:
    """No product file is longer than 400 lines, no function longer than 60, but for tables."""
    scripts = [path for path in tracked("infra/*.py", "tools/*.py", "infra/*.sh", "tools/*.sh") if "bench" not in path.parts]
    rust = [path for path in product_files("lib", "functions", "tools") if not {"bench", "testkit"} & set(path.parts)]
    for path in rust + scripts:
        if len(path.read_text().splitlines()) > FILE_LINES:
            yield f"{relative(path)} is too long"
        for name, length, lines in functions(path) if path.suffix != ".sh" else ():
            if length > FUNCTION_LINES and not is_table(lines):
                yield f"{relative(path)} {name} is too long"


def words() -> Iterator[str]:
    """Few of these words anywhere; none in a page, a log line or an answer."""
    total = 0
    for path in tracked():
        try:
            lines = [line for line in path.read_text().splitlines() if WORDS.search(line)]
        except UnicodeDecodeError:
            continue
        total += len(lines)
        if lines and (path.suffix == ".md" or path.name == "openapi.yaml" or relative(path).startswith("docs/")):
            yield relative(path)
    for path in product_files("lib", "functions", "tools"):
        strings = (token[0] for token in TOKENS.finditer(product(path)[0]) if not token[0].startswith("/"))
        if any(WORDS.search(string) for string in strings):
            yield f"{relative(path)} in a string"
    if total > WORD_LINES:
        yield f"more than {WORD_LINES} lines"


def logged(literal: str, code: str) -> Iterator[str]:
    """The messages of a file's log events: of the macros, beside a level, and of the functions that report."""
    for event in re.finditer(r"\b(?:info|warn|error)!(?=\()|\bLevel::[A-Za-z]+,|\breport(?=\()", code):
        statement = literal[event.end() : block_end(code, event.end())]
        texts = [re.sub(r"\\\n\s*", "", text) for text in re.findall(r'"((?:[^"\\]|\\[\s\S])*)"', statement)]
        yield from [text for text in texts if " " in text or text == "delivered"][:1]


def messages() -> Iterator[str]:
    """docs/operations.md lists every message that is logged, and no other."""
    page = (ROOT / "docs/operations.md").read_text()
    rows = re.findall(r"^\| (`.*?`) \| (?:INFO|WARN|ERROR) \|", page, re.MULTILINE)
    listed = {message for row in rows for message in re.findall(r"`([^`]*)`", row)}
    said = {message for path in product_files("lib", "functions") for message in logged(*product(path))}
    yield from (f"{message} is not listed" for message in said - listed)
    yield from (f"{message} is not logged" for message in listed - said)


def main() -> int:
    """The command."""
    checks = (circle, tools, names, size, words, messages)
    found = sorted({f"{check.__name__}: {violation}" for check in checks for violation in check()})
    for violation in found:
        print(f"structure: {violation}", file=sys.stderr)
    print(f"structure: {len(found)} violations", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
