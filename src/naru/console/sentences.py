"""What the server says, in the viewer's language.

The server speaks English: outcomes, events and errors are stored and told over the API as sentences with values in
them, and whoever reads them there needs no dictionary. Here the sentences that a language's catalogue knows are found
again by their shape, and said in that language with the same values; what it does not know stays as it is.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import starmap

BETWEEN = "; "
"""What the server puts between clauses: reasons, and a cause and its mend."""
MAX_CLAUSE = 1000
_KEPT = 2048
_NUMBER = r"-?[0-9][0-9.,]*"
_WORD = r"\S+?"
_SHAPES = {"n": _NUMBER, "m": _NUMBER, "k": _NUMBER, "digest": r"sha256:\S+", "text": ".+", "why": ".+", "also": ".+"}
"""What fits a hole, by its name; any other takes one word."""
_CLAUSES = frozenset({"why", "also"})
"""The holes whose values are clauses themselves."""
_HOLE = re.compile(r"%\((\w+)\)s")


class Sentences:
    """A catalogue from clauses with holes, such as `%(n)s ready`, to the same in another language."""

    def __init__(self, catalogue: Mapping[str, str]) -> None:
        known = sorted(catalogue.items(), key=lambda pair: -len(_HOLE.sub("", pair[0])))
        self._whole = catalogue
        self._known = tuple(starmap(_reader, known))
        self._clause = lru_cache(_KEPT)(self._translate)

    def said(self, text: str) -> str:
        """Translate each line, clause by clause; an indented line is quoted from a log and stays unless known whole."""
        return "\n".join(self._line(line) for line in text.split("\n")) if self._known else text

    def _line(self, line: str) -> str:
        if line[:1].isspace():
            return self._whole.get(line, line)
        return BETWEEN.join(self._clause(clause) for clause in line.split(BETWEEN))

    def _translate(self, clause: str) -> str:
        """Say a clause as the known one that shares the most words with it."""
        if len(clause) > MAX_CLAUSE:
            return clause
        for pattern, form in self._known:
            if found := pattern.fullmatch(clause):
                values = {hole: self._clause(v) if hole in _CLAUSES else v for hole, v in found.groupdict().items()}
                return form(values)
        return clause


def _reader(clause: str, translation: str) -> tuple[re.Pattern[str], Callable[[Mapping[str, str]], str]]:
    """Return what recognises a clause, and what fills its values into the translation."""
    literals_and_holes = _HOLE.split(clause)
    pattern = "".join(
        f"(?P<{part}>{_SHAPES.get(part, _WORD)})" if index % 2 else re.escape(part)
        for index, part in enumerate(literals_and_holes)
    )
    return re.compile(pattern), lambda values: _HOLE.sub(lambda hole: values[hole[1]], translation)
