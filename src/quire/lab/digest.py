"""A digest of the code that decides an experiment's result.

From the experiment's function every definition of `quire` that it can reach by name is followed.
What only carries runs out (the lab, but for the functions that a loop calls) and the downloading of
datasets, whose files are checksummed, are left out. Comments, docstrings and layout do not count,
nor does the name or the place of anything: a definition is written down as its syntax tree, in
which definitions of `quire` stand as numbers in the order in which they are met, local variables
likewise, and names from other packages in full.

So a cached run or a committed verdict is known to belong to the code as it is now, a change to one
experiment leaves the others' results valid, and moving or renaming code changes nothing.
"""

import ast
import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from quire.lab.papers import find_experiment, find_paper, module_of, paper_folders

Place = tuple[str, str]  # module, name; the name "" is the module as a whole

LEFT_OUT = (
    "quire.lab",
    "quire.report",
    "quire.cli",
    "quire.data.catalogue",
    "quire.data.store",
)
INCLUDED = ("quire.lab.training", "quire.lab.measure")
"""Modules of the lab whose functions compute inside an experiment's loop."""

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def code_digest(paper: str, experiment: str) -> str:
    """Twelve hexadecimal digits that change when code behind the experiment changes."""
    name = find_experiment(find_paper(paper), experiment).code
    return digest_of(f"{module_of(paper)}.experiments.{name}", name)


@functools.cache
def digest_of(module: str, name: str) -> str:
    """Twelve hexadecimal digits of one definition with everything of `quire` that it reaches."""
    root = _resolved((module, name))
    numbers: dict[Place, int] = {root: 0}
    places, rows = [root], []

    def number(mark: re.Match[str]) -> str:
        place = mark[1], mark[2]
        if place not in numbers:
            numbers[place] = len(places)
            places.append(place)
        return str(numbers[place])

    for place in places:  # grows while it is read
        text = _text(place)
        if text is not None:
            rows.append(MARK.sub(number, text))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


MARK = re.compile("\0(.*?):(.*?)\0")
"""A definition of `quire` in another one's text, where its number will stand."""


@functools.cache
def _text(place: Place) -> str | None:
    """A definition, with marks, written once for all that reach it; None for a whole module."""
    source = _module(place[0])
    node = source.definitions.get(place[1]) if source else None
    return None if source is None or node is None else _Writer(source).definition(node)


class _Source:
    """Top-level definitions and imports of one module."""

    def __init__(self, module: str, tree: ast.Module) -> None:
        self.module = module
        self.definitions: dict[str, ast.stmt] = {}
        self.imports: dict[str, Place] = {}
        for node in tree.body:
            self._read(node)

    def _read(self, node: ast.stmt) -> None:
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            self.definitions[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for leaf in ast.walk(target):
                    # In `name.attribute = …` the name is read: its definition stays as it was.
                    if isinstance(leaf, ast.Name) and isinstance(leaf.ctx, ast.Store):
                        self.definitions[leaf.id] = node
        elif isinstance(node, ast.If | ast.Try):
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.stmt):
                    self._read(child)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            self.imports |= _imports(node)


@dataclass
class _Scope:
    """Names of a function, a comprehension or a class body, as they are written down."""

    names: dict[str, str] = field(default_factory=dict)
    imports: dict[str, Place] = field(default_factory=dict)
    is_class: bool = False


class _Writer:
    """Writes one definition as text that no name of its own and no place decides."""

    def __init__(self, source: _Source) -> None:
        self.source = source
        self.scopes: list[_Scope] = []
        self.parts: list[str] = []

    def definition(self, node: ast.stmt) -> str:
        """The text of a top-level function, class or assignment."""
        self._write(node, top=True)
        return "".join(self.parts)

    def _write(self, value: object, *, top: bool = False) -> None:
        if isinstance(value, list):
            self.parts.append("[")
            for item in value:
                if not _says_nothing(item):
                    self._write(item)
            self.parts.append("]")
        elif isinstance(value, ast.Name):
            self.parts.append(f"<{self._name(value.id)}>")
        elif isinstance(value, ast.Attribute):
            self._attribute(value)
        elif isinstance(value, (*FUNCTIONS, ast.Lambda)):
            self._function(value, top=top)
        elif isinstance(value, ast.ClassDef):
            self._class(value, top=top)
        elif isinstance(value, COMPREHENSIONS):
            self._comprehension(value)
        elif isinstance(value, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
            self._fields(value, name=self._name(value.name) if value.name else "")
        elif isinstance(value, ast.AST):
            self._fields(value)
        else:
            self.parts.append(repr(value))

    def _fields(self, node: ast.AST, *, leave: Iterable[str] = (), name: str | None = None) -> None:
        self.parts.append(f"({type(node).__name__}")
        for key, value in ast.iter_fields(node):
            if key in ("ctx", "kind", "type_comment") or key in leave or value is None:
                continue
            self.parts.append(f" {key}=")
            if key == "name" and name is not None:
                self.parts.append(name)
            elif key in ("annotation", "returns"):
                self._annotation(value)
            else:
                self._write(value)
        self.parts.append(")")

    def _annotation(self, value: object) -> None:
        # A quoted annotation means what it says.
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            value = ast.parse(value.value, mode="eval").body
        self._write(value)

    def _function(
        self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, *, top: bool
    ) -> None:
        is_lambda = isinstance(node, ast.Lambda)
        given, inner, name = node.args, _Scope(), ""
        for arg in _arguments(given):
            # A parameter's name is part of how it is called; a lambda's is not.
            place = f"${len(self.scopes)}.{len(inner.names)}"
            inner.names[arg.arg] = place if is_lambda else arg.arg
        body: list[ast.AST] = []
        if isinstance(node, ast.Lambda):
            body.append(node.body)
        else:
            body += node.body
            name = "" if top else self._name(node.name)
            self._write(node.decorator_list)
        self._bind(inner, body)
        self.parts.append(f"({type(node).__name__} {name} ")
        for arg in _arguments(given):
            self.parts.append(f"{inner.names[arg.arg]}:")
            if arg.annotation is not None:
                self._annotation(arg.annotation)
        counts = len(given.posonlyargs), len(given.args), len(given.kwonlyargs)
        self.parts.append(f"{counts}{given.vararg is not None}{given.kwarg is not None}")
        self._write(given.defaults)
        self._write([item for item in given.kw_defaults if item is not None])
        if not isinstance(node, ast.Lambda) and node.returns is not None:
            self._annotation(node.returns)
        self.scopes.append(inner)
        self._write(body)
        self.scopes.pop()
        self.parts.append(")")

    def _class(self, node: ast.ClassDef, *, top: bool) -> None:
        self.parts.append(f"(Class {'' if top else self._name(node.name)}")
        self._write(node.decorator_list)
        self._write(node.bases)
        self._write(node.keywords)
        inner = _Scope(is_class=True)
        names, inner.imports = _bound(node.body)
        inner.names = {name: name for name in names}  # its attributes are used by their names
        self.scopes.append(inner)
        self._write(node.body)
        self.scopes.pop()
        self.parts.append(")")

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        self._write(node.generators[0].iter)  # evaluated outside
        inner = _Scope()
        for generator in node.generators:
            for leaf in ast.walk(generator.target):
                if isinstance(leaf, ast.Name):
                    inner.names.setdefault(leaf.id, f"${len(self.scopes)}.{len(inner.names)}")
        self.scopes.append(inner)
        self._fields(node)
        self.scopes.pop()

    def _bind(self, scope: _Scope, body: Iterable[ast.AST]) -> None:
        names, scope.imports = _bound(body)
        for name in names:
            scope.names.setdefault(name, f"${len(self.scopes)}.{len(scope.names)}")

    def _name(self, name: str) -> str:
        place = self._local(name)
        if isinstance(place, str):
            return place
        if place is None:
            if name in self.source.definitions:
                place = (self.source.module, name)
            elif name in self.source.imports:
                place = self.source.imports[name]
            else:
                return name  # a builtin
        return self._shown(place)

    def _local(self, name: str) -> str | Place | None:
        for depth, scope in enumerate(reversed(self.scopes)):
            if scope.is_class and depth > 0:
                continue  # methods do not see the names of their class
            if name in scope.imports:
                return scope.imports[name]
            if name in scope.names:
                return scope.names[name]
        return None

    def _shown(self, place: Place) -> str:
        place = _resolved(place)
        module, name = place
        if not _ours(module):
            # Where something stands in the lab, which is left out, is of no account either.
            if module.startswith("quire."):
                return f"quire:{name or module.rpartition('.')[2]}"
            return f"{module}.{name}" if name else module
        return f"@\0{module}:{name}\0" if name else f"module {module}"

    def _attribute(self, node: ast.Attribute) -> None:
        chain, base = [node.attr], node.value
        while isinstance(base, ast.Attribute):
            chain.append(base.attr)
            base = base.value
        place = self._imported(base.id) if isinstance(base, ast.Name) else None
        if place is None:
            self.parts.append("(Attribute ")
            self._write(node.value)
            self.parts.append(f" {node.attr})")
            return
        chain.reverse()
        while chain:
            further = _entered(place, chain[0])
            if further is None:
                break
            place, chain = further, chain[1:]
        self.parts.append(f"<{self._shown(place)}>" + "".join(f".{name}" for name in chain))

    def _imported(self, name: str) -> Place | None:
        place = self._local(name)
        if place is None and name not in self.source.definitions:
            place = self.source.imports.get(name)
        return place if isinstance(place, tuple) else None


def _arguments(given: ast.arguments) -> list[ast.arg]:
    rest = [arg for arg in (given.vararg, given.kwarg) if arg is not None]
    return [*given.posonlyargs, *given.args, *given.kwonlyargs, *rest]


def _says_nothing(node: object) -> bool:
    """Whether a statement is a docstring or an import: of no account by itself."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _bound(body: Iterable[ast.AST]) -> tuple[list[str], dict[str, Place]]:
    """Names that a body binds, in order, without those of inner scopes; and its imports."""
    names: dict[str, None] = {}
    imports: dict[str, Place] = {}
    outer: set[str] = set()
    for node in _own(body):
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            names[node.name] = None
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names[node.id] = None
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            names[node.name] = None
        elif isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _imports(node)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer |= set(node.names)
    return [name for name in names if name not in outer], imports


def _own(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes of a body in order, without what stands in inner scopes."""
    left = [*body][::-1]
    while left:
        node = left.pop()
        yield node
        if isinstance(node, ast.comprehension):
            left += [node.iter, *node.ifs][::-1]
        elif not isinstance(node, (*FUNCTIONS, ast.Lambda, ast.ClassDef)):
            left += [*ast.iter_child_nodes(node)][::-1]


def _imports(node: ast.ImportFrom | ast.Import) -> dict[str, Place]:
    found: dict[str, Place] = {}
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            found[alias.asname or alias.name] = (node.module or "", alias.name)
    else:
        for alias in node.names:
            whole = alias.name if alias.asname else alias.name.partition(".")[0]
            found[alias.asname or whole] = (whole, "")
    return found


def _entered(place: Place, attribute: str) -> Place | None:
    """The place that an attribute of an imported module stands for, None if it is no module."""
    module, name = _resolved(place)
    if name and _ours(module):
        return None
    inner = f"{module}.{name}" if name else module
    return (inner, attribute)


def _resolved(place: Place) -> Place:
    """Where a name is defined: imports of imports are followed, a submodule is a module."""
    seen: set[Place] = set()
    while place not in seen:
        seen.add(place)
        module, name = place
        source = _module(module)
        if source is None or not name or name in source.definitions:
            return place
        if name in source.imports:
            place = source.imports[name]
        elif _module(f"{module}.{name}"):
            return (f"{module}.{name}", "")
        elif module == "quire.data" and _module(f"quire.data.sets.{name}"):
            place = (f"quire.data.sets.{name}", name)  # datasets are found by file
    return place


def _ours(module: str) -> bool:
    if module.startswith(INCLUDED):
        return True
    return (module == "quire" or module.startswith("quire.")) and not module.startswith(LEFT_OUT)


@functools.cache
def _module(name: str) -> _Source | None:
    if not _ours(name):
        return None
    root = Path(__file__).resolve().parent.parent.parent
    path = root.joinpath(*name.split("."))
    parts = name.split(".")
    if name.startswith("quire.papers.") and parts[2] in paper_folders():
        path = paper_folders()[parts[2]].joinpath(*parts[3:])
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return _Source(name, ast.parse(file.read_text(encoding="utf-8")))
    return None
