"""What the server says is said in the viewer's language, with its values, wherever the catalogue knows it."""

import ast
import re
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from tests.contract.fake_behaviour import Exits
from tests.unit.console.conftest import ADMIN_SUBJECT, Browser, Stage, words
from tests.unit.console.saying import Source

import naru
from naru.console.language import sentences
from naru.console.sentences import Sentences
from naru.domain.proof import Answer, ProbeRequest
from naru.domain.workload import Restart
from naru.gate.decide import Policy
from naru.gate.gate import Gate

ROOT = Path(str(naru.__path__[0]))
KO = {"Accept-Language": "ko"}
SERVER = ("control", "domain", "gate", "oci", "store", "engines", "routing", "console")
ENGLISH = (
    "domain/membership.py",  # to the agent's command line
    "store/answers.py",  # to programs, over the API
    *("store/migrations", "store/seal.py", "routing/caddy/settings.py"),  # to who starts the server
    *("oci/build.py", "oci/sample.py"),  # to who makes the sample image
    *("oci/archive.py", "oci/compression.py", "oci/document.py", "oci/tar.py"),  # what a broken archive is made of
    "engines/swarm/ingress.py",  # to the log
)
"""Who stays English: few people of the console ever read what these files say."""
WITH_WORDS_FROM_ELSEWHERE = {
    *("3 is 3", "3 is not 3", "3 is no 3", "3 is no name for 3", "the 3 3 appears twice"),
    *("3, on 3", "made the target 3 3", "it may run only on the 3 a or b", "there is no 3 a or b", "GET 3 on [3]:3 3"),
    "1 node of 3 fetches it (3) in waves of a, b",
}
"""What a word from another place completes: the catalogue holds it with each such word, unless nobody ever says it."""
HOLE = re.compile(r"%\((\w+)\)s")
HANGUL = re.compile(r"[가-힣]")
SAMPLES = {"n": "3", "m": "4.5", "k": "6", "digest": "sha256:abc", "text": "any words", "why": "it is cordoned"}


def catalogue() -> dict[str, str]:
    source = files("naru.console") / "locale/ko/LC_MESSAGES/sentences.po"
    return {str(one.id): str(one.string) for one in read_po(BytesIO(source.read_bytes()), locale="ko") if one.id}


def said_by_the_server() -> str:
    """Every text in the server's source, one a line; what goes in between is no part of it."""
    trees = (ast.parse(path.read_text("utf-8")) for room in SERVER for path in (ROOT / room).rglob("*.py"))
    return "\n".join(text for tree in trees for node in ast.walk(tree) for text in _texts(node))


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def pieces(clause: str) -> set[str]:
    """What a clause says between its values."""
    return {piece.strip() for piece in re.split(r"%\(\w+\)s|[,:()]| [0-9]+ ", clause)}


def parts(piece: str, told: str) -> int:
    """Of how many of the server's texts a piece is put together."""
    words_left, count = piece.split(), 0
    while words_left:
        longest = (n for n in range(len(words_left), 0, -1) if " ".join(words_left[:n]) in told)
        words_left, count = words_left[next(longest, 1) :], count + 1
    return count


def test_each_known_clause_is_one_that_the_server_says():
    told = said_by_the_server()
    assert parts("which nobody in this house says", told) > 2
    assert [clause for clause in catalogue() if any(parts(piece, told) > 2 for piece in pieces(clause))] == []


def test_each_clause_that_the_server_says_is_known():
    """Errors, journal, evidence, outcomes, reasons and drift; tables of texts and how far a pull is are left out."""
    korean = sentences("ko")
    clauses = {clause for text in said_to_people() for clause in re.split(r"; |\n", text) if is_said(clause)}

    assert len(clauses) > 600
    assert sorted(c for c in clauses - WITH_WORDS_FROM_ELSEWHERE if not HANGUL.search(korean.said(c))) == []


def test_each_thing_that_a_form_can_have_wrong_has_its_korean_name():
    workload, korean = Source(ROOT / "domain/workload.py"), sentences("ko")
    whats = [w for path in ROOT.glob("[cd]o*/*.py") for w in Source(path).arguments("label")]
    told = [*(f"{w} is 3" for w in workload.arguments("_within")), *(f"X! is no name for {w}" for w in whats)]

    assert len(set(told)) > 20
    assert [clause for clause in told if not HANGUL.search(korean.said(clause))] == []


def said_to_people() -> Iterator[str]:
    for room in SERVER:
        for path in (ROOT / room).rglob("*.py"):
            if not str(path.relative_to(ROOT)).startswith(ENGLISH):
                source = Source(path)
                yield from source.errors()
                if room in {"control", "gate", "engines"}:
                    yield from source.arguments("_tell", "append", "Evidence", "replace", "Step")
                    yield from source.attributes("outcome")
                    yield from source.answers()


def is_said(clause: str) -> bool:
    """Whether a clause has words of its own, and none of them is missing."""
    return " " in clause and "  " not in clause and clause == clause.strip() and bool(re.search("[a-z]{2}", clause))


def test_each_known_clause_is_found_again_and_takes_its_values_along():
    for clause, translation in catalogue().items():
        holes = HOLE.findall(clause)
        assert sorted(holes) == sorted(HOLE.findall(translation)), clause
        values = {hole: SAMPLES.get(hole, hole) for hole in holes}
        shown = values | ({"why": "차단됨"} if "why" in values else {})

        said = sentences("ko").said(HOLE.sub(lambda hole, values=values: values[hole[1]], clause))

        assert said == HOLE.sub(lambda hole, shown=shown: shown[hole[1]], translation)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("nobody knows this", "nobody knows this"),
        ("it is cordoned", "막힘"),
        ("it is cordoned; nobody knows this", "막힘; nobody knows this"),
        ("x: it is cordoned\n  it is cordoned", "x: 막힘\n  it is cordoned"),
        ("3 ready", "3개"),
        ("none ready", "none ready"),
        ("%(n)s ready", "%(n)s ready"),
        ("no target can run %s: " + "x" * 2000, "no target can run %s: " + "x" * 2000),
    ],
)
def test_only_what_is_known_is_translated(text: str, said: str):
    known = {"it is cordoned": "막힘", "%(n)s ready": "%(n)s개", "%(target)s: %(why)s": "%(target)s: %(why)s"}
    assert Sentences(known).said(text) == said
    assert Sentences({}).said(text) == text


async def test_a_koreans_rollouts_are_told_in_korean(browser: Browser, stage: Stage):
    first = await stage.deploy(restart=Restart.NEVER)
    bigger = await stage.end_of(await stage.platform.apps.scale("shop", replicas=3, subject=ADMIN_SUBJECT))
    stage.build("shop:2")
    stage.engine.behave(Exits(3), image="docker.io/library/shop:2")
    broken = await stage.end_of(await stage.platform.apps.update("shop", image="shop:2", subject=ADMIN_SUBJECT))
    removed = await stage.end_of(await stage.platform.apps.remove("shop", subject=ADMIN_SUBJECT))

    for rollout in (first, bigger, broken, removed):
        page = (await browser.get(f"/rollouts/{rollout.id}", **KO)).text
        told = re.findall(r'class="(?:outcome|reason)"[^>]*>([^<]+)<', page)
        assert told
        assert _not_korean(told) == []
    events = (await browser.get("/events", **KO)).text
    told = re.findall(r'<td class="wide">([^<]+)<', events) + re.findall(r"<code>([^<]+)</code>", events)
    assert len(told) > 8
    assert _not_korean(told) == []
    assert "asked for shop:1 with 2 replicas" in words((await browser.get("/events")).text)


async def test_a_korean_reads_why_a_proof_or_the_gate_refused(browser: Browser, stage: Stage):
    stage.prober.answer = Answer(500, (), "", 0, 0.01, "GET / answered 500 instead of a status below 400")
    unproven = await stage.deploy()
    object.__setattr__(stage.platform.pipeline, "gate", Gate(Policy((), local=False)))
    refused = await stage.deploy("other", "other:1")

    assert "400 미만이어야 하는데 500 응답" in words((await browser.get(f"/rollouts/{unproven.id}", **KO)).text)
    page = words((await browser.get(f"/rollouts/{refused.id}", **KO)).text)
    assert "게이트가 거부함" in page
    assert "엔진에서 빌드한 이미지, 정책상 실행 불가" in page


async def test_a_korean_reads_what_is_wrong_with_a_form(browser: Browser, stage: Stage):
    await stage.deploy()

    page = words((await browser.post("/new", {"app": "Shop!", "image": "shop:1", "replicas": "-1"}, **KO)).text)
    assert "영문 소문자, 숫자, 하이픈 1~40자를 쓰고 글자로 시작하세요" in page
    assert "레플리카 수가 -1입니다" in page
    assert "포트가 없습니다" in page
    page = words((await browser.post("/apps/shop/remove", {"confirm": "chop"}, **KO)).text)
    assert "입력한 이름이 앱의 이름과 다릅니다" in page
    page = words((await browser.get("/apps/nothing", **KO)).text)
    assert "앱 nothing이(가) 없습니다" in page


async def test_a_korean_reads_why_a_target_was_chosen(browser: Browser, stage: Stage):
    rollout = await stage.deploy()
    await stage.platform.apps.request("shop", ProbeRequest(), subject=ADMIN_SUBJECT)

    page = (await browser.get(f"/rollouts/{rollout.id}", **KO)).text
    rows = re.findall(r"<tr><td>([^<]+)</td><td[^>]*>[^<]*</td><td>([^<]+)</td></tr>", page)
    assert rows
    assert _not_korean([text for row in rows for text in row]) == []
    assert "GET / 요청 보냄" in words((await browser.get("/apps/shop/events", **KO)).text)


def _not_korean(told: list[str]) -> list[str]:
    """Name the clauses without a word of Korean; lines of a log aside."""
    lines = [line for text in told for line in text.split("\n") if not line.startswith(" ")]
    return [clause for line in lines for clause in line.split("; ") if not HANGUL.search(clause)]
