"""What a source file can say: the texts that its expressions come to, with a sample for every value."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path

ERRORS = frozenset({"Invalid", "NotFound", "Conflict", "Stale", "SignInRequired", "Forbidden", "Unavailable"})
MOST = 64
"""Texts of one expression that are looked at: it has two or three, unless many choices meet in it."""


class Source:
    """One file: its names and functions are followed to the texts that they stand for, those of other files are not."""

    def __init__(self, path: Path) -> None:
        self._tree = ast.parse(path.read_text("utf-8"))
        self._named: dict[str, list[ast.expr]] = defaultdict(list)
        self._returned: dict[str, list[ast.expr]] = defaultdict(list)
        for node in ast.walk(self._tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._named[name].append(value)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    ends = (one.value for one in ast.walk(node) if isinstance(one, ast.Return | ast.Yield))
                    self._returned[name] += [value for value in ends if value]

    def errors(self) -> Iterator[str]:
        """Tell the causes and mends of the errors that are raised."""
        for call in calls(self._tree):
            if called(call) in ERRORS:
                named = [one.value for one in call.keywords if one.arg in {"cause", "mend"}]
                for argument in [*call.args[:2], *named]:
                    yield from self.texts(argument)

    def arguments(self, *functions: str) -> Iterator[str]:
        """Tell the texts among the arguments of these functions."""
        for call in calls(self._tree):
            if called(call) in functions:
                for argument in [*call.args, *(one.value for one in call.keywords)]:
                    yield from self.texts(argument)

    def attributes(self, name: str) -> Iterator[str]:
        """Tell the texts that an attribute of this name is set to."""
        for node in ast.walk(self._tree):
            match node:
                case ast.Assign(targets=[ast.Attribute(attr=attr)], value=value) if attr == name:
                    yield from self.texts(value)

    def answers(self) -> Iterator[str]:
        """Tell the texts that functions return or yield; those of a function that fills a text are parts of that."""
        filling = {
            called(call) for node in ast.walk(self._tree) if isinstance(node, ast.JoinedStr) for call in calls(node)
        }
        for name, values in self._returned.items():
            if name not in filling:
                for value in values:
                    yield from self.texts(value)

    def texts(self, node: ast.expr, within: frozenset[str] = frozenset()) -> Iterator[str]:
        """Tell what an expression comes to, if that is a text of this file."""
        yield from islice(self._texts(node, within), MOST)

    def _texts(self, node: ast.expr, within: frozenset[str]) -> Iterator[str]:
        match node:
            case ast.Constant(value=str(text)):
                yield text
            case ast.JoinedStr(values=values):
                parts = [list(self.texts(value, within)) or [sample(value)] for value in values]
                yield from ("".join(chosen) for chosen in product(*parts))
            case ast.FormattedValue(value=value, format_spec=None):
                yield from self.texts(value, within)
            case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, op=ast.BitOr(), right=other):
                yield from [*self.texts(one, within), *self.texts(other, within)]
            case ast.BoolOp(values=values):
                for value in values:
                    yield from filter(None, list(self.texts(value, within)) or [sample(value)])
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                both = [list(self.texts(side, within)) for side in (left, right)]
                if any(both):
                    sides = zip(both, (left, right), strict=True)
                    yield from map("".join, product(*(texts or [sample(side)] for texts, side in sides)))
            case ast.Call(func=ast.Attribute(value=ast.Constant(value=str(between)), attr="join")):
                yield f"a{between}b"
            case ast.Call(func=ast.Attribute(value=value, attr="removeprefix")):
                yield from self.texts(value, within)
            case ast.Call(func=ast.Attribute(attr="get"), args=[_, other]):
                yield from self.texts(other, within)
            case ast.Name(id=name) if name not in within:
                for value in self._named.get(name, ()):
                    yield from self.texts(value, within | {name})
            case ast.Call(func=ast.Name(id=name)) if name not in within:
                for value in self._returned.get(name, ()):
                    yield from self.texts(value, within | {name})


def calls(within: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(within) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def sample(value: ast.expr) -> str:
    """Stand for a value: a number fits every hole of a catalogue but a digest's."""
    return "sha256:3" if "digest" in ast.unparse(value) else "3"
