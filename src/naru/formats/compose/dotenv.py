"""Files of variables, `.env` and `env_file` (Docker's "Syntax for environment files in Docker Compose")."""

import re
from collections import ChainMap
from collections.abc import Mapping

from naru.domain.errors import Invalid
from naru.formats.compose.interpolate import interpolate

_LINE = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*(?P<sign>[=:]?)[ \t]*")
_BLANK = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))+")
_PLAIN = re.compile(r"[^\n]*")
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*")
_DOUBLE = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_SINGLE = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL)
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'", "$": "$$"}


def parse_dotenv(text: str, file: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the file.

    Unquoted and double-quoted values are interpolated with `variables`, which win, and with those that stand before.
    A name alone takes its value from `variables` and is left out where they have none. Raises Invalid with the line.
    """
    text = text.replace("\r\n", "\n")
    found: dict[str, str] = {}
    known = ChainMap(dict(variables), found)
    position = 0
    while True:
        if blank := _BLANK.match(text, position):
            position = blank.end()
        if position >= len(text):
            return found
        line = _LINE.match(text, position)
        number = text.count("\n", 0, position) + 1
        if not line:
            raise Invalid(f"{file}:{number} is no variable", "write it as NAME=VALUE")
        name = line["name"]
        if not line["sign"]:
            rest = _REST.match(text, line.end())
            if not rest:
                raise Invalid(f"{file}:{number} is no variable", "write it as NAME=VALUE")
            if name in variables:
                found[name] = variables[name]
            position = rest.end()
            continue
        try:
            found[name], position = _value(text, line.end(), known)
        except Invalid as error:
            raise Invalid(f"{file}:{number}: {error.cause}", error.mend) from error


def parse_raw(text: str, file: str) -> dict[str, str]:
    """Return the variables of a file in the format `raw`: values are taken as they are."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise Invalid(f"{file}:{number} is no variable", "write it as NAME=VALUE")
        found[name.strip()] = value
    return found


def _value(text: str, start: int, known: Mapping[str, str]) -> tuple[str, int]:
    quote = text[start : start + 1]
    if quote not in ('"', "'"):
        plain = _PLAIN.match(text, start)
        assert plain is not None  # noqa: S101 - it matches nothing, too
        return interpolate(_COMMENT.sub("", plain[0], count=1).strip(), known), plain.end()
    quoted = (_DOUBLE if quote == '"' else _SINGLE).match(text, start)
    if not quoted:
        raise Invalid("a quote is not closed", f"end the value with {quote}")
    rest = _REST.match(text, quoted.end())
    if not rest:
        raise Invalid("something follows the closing quote", "put the whole value into the quotes")
    if quote == "'":
        return quoted[1].replace("\\'", "'"), rest.end()
    unescaped = _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]), quoted[1])
    return interpolate(unescaped, known), rest.end()
