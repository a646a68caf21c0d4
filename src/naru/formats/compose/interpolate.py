"""Variables in values: `$VAR`, `${VAR:-default}` and their kin (Compose specification, 12-interpolation)."""

import re
from collections.abc import Callable, Mapping

from naru.domain.errors import Invalid

MAX_DEPTH = 16
_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_OPERATOR = re.compile(r":?[-?+]")

Unset = Callable[[str], object]
"""Is told the name of each variable that is not set and has no default; an empty text stands in for it."""


def interpolate(text: str, variables: Mapping[str, str], unset: Unset = lambda _: None) -> str:
    """Return the text with its variables replaced; `$$` is a dollar sign, and what looks like no variable stays.

    Operands of operators are interpolated too, but only the one that is used. Raises Invalid for an expression that
    is not closed or not understood, and with the message of `${VAR:?message}` where VAR is missing.
    """
    return _Reader(text, variables, unset).read()


def escape(text: str) -> str:
    """Return text that interpolates to `text`."""
    return text.replace("$", "$$")


class _Reader:
    def __init__(self, text: str, variables: Mapping[str, str], unset: Unset, depth: int = 0) -> None:
        if depth > MAX_DEPTH:
            raise Invalid(f"variables are nested deeper than {MAX_DEPTH} levels", "flatten them")
        self._text = text
        self._variables = variables
        self._unset = unset
        self._depth = depth

    def read(self) -> str:
        parts: list[str] = []
        position = 0
        while (dollar := self._text.find("$", position)) >= 0:
            parts.append(self._text[position:dollar])
            value, position = self._at(dollar)
            parts.append(value)
        return "".join(parts) + self._text[position:]

    def _at(self, dollar: int) -> tuple[str, int]:
        """Return what the dollar sign there stands for, and where the text goes on."""
        after = dollar + 1
        match self._text[after : after + 1]:
            case "$":
                return "$", after + 1
            case "{":
                end = self._closing(after + 1)
                return self._braced(self._text[after + 1 : end]), end + 1
        if name := _NAME.match(self._text, after):
            return self._plain(name[0]), name.end()
        return "$", after

    def _closing(self, start: int) -> int:
        depth = 1
        position = start
        while position < len(self._text):
            if self._text.startswith("$$", position):
                position += 2
                continue
            if self._text.startswith("${", position):
                depth, position = depth + 1, position + 2
                continue
            if self._text[position] == "}":
                depth -= 1
                if not depth:
                    return position
            position += 1
        raise Invalid(f"the variable in {_short(self._text)} is not closed", "write ${NAME}, or $$ for a dollar sign")

    def _braced(self, inner: str) -> str:
        name = _NAME.match(inner)
        if not name:
            raise Invalid(f"${{{_short(inner)}}} names no variable", "write ${NAME}, or $$ for a dollar sign")
        if name.end() == len(inner):
            return self._plain(name[0])
        operator = _OPERATOR.match(inner, name.end())
        if not operator:
            raise Invalid(f"${{{_short(inner)}}} is not understood", "use ${NAME}, :-, -, :?, ?, :+ or +")
        value = self._variables.get(name[0])
        is_there = value is not None and (value != "" or not operator[0].startswith(":"))
        operand = inner[operator.end() :]
        match operator[0][-1]:
            case "-":
                return value if is_there and value is not None else self._nested(operand)
            case "+":
                return self._nested(operand) if is_there else ""
            case _:
                if is_there and value is not None:
                    return value
                message = self._nested(operand) or "it is required"
                raise Invalid(f"the variable {name[0]} is missing: {message}", f"set {name[0]}, here or in .env")

    def _plain(self, name: str) -> str:
        value = self._variables.get(name)
        if value is None:
            self._unset(name)
            return ""
        return value

    def _nested(self, text: str) -> str:
        return _Reader(text, self._variables, self._unset, self._depth + 1).read()


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
