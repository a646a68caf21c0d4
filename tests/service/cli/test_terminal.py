"""The program in a process of its own, on a terminal and without one."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from select import select

from tests.contract.fake_behaviour import NeverReady
from tests.service.cli.conftest import PATIENCE, until

from naru.domain.rollout import RolloutState

PROGRAM = (sys.executable, "-c", "from naru.main import cli; cli()")
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def environ_of(served, **more: str) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    return {**ours, **served.environ, "TERM": "xterm-256color", "COLUMNS": "100", **more}


def on_terminal(served, *arguments: str, **more: str) -> str:
    """Run a command on a terminal of its own and return what it shows."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=environ_of(served, **more)
    ) as program:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # how Linux says that nobody holds the other end any more
            pass
        os.close(ours)
        assert program.wait(PATIENCE) == 0, shown
    return shown.decode()


@contextmanager
def running(served, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command whose output is read as text."""
    program = subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environ_of(served),
        # A shell starts what runs in its background with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def test_a_terminal_gets_colours_unless_it_asks_for_none(shown):
    assert "\x1b[" in on_terminal(shown, "apps")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", on_terminal(shown, "apps", NO_COLOR="1"))
    piped = subprocess.run([*PROGRAM, "apps"], capture_output=True, text=True, env=environ_of(shown), check=True)
    assert "\x1b" not in piped.stdout


def test_a_terminal_shows_the_rollout_as_it_happens(served):
    shown = on_terminal(served, "deploy", "shop:1", "--port", "8080", "--proof-count", "3")
    text = ESCAPE.sub("", shown)
    assert "✓  roll" in text
    assert "succeeded in" in text
    assert "shop answers at" in text
    assert "\x1b[?25h" in shown, "the cursor is back"


def test_interrupting_a_followed_rollout_only_detaches(shop):
    shop.tell(lambda: shop.site.engine.behave(NeverReady(), image="docker.io/library/shop:2"))
    with running(shop, "update", "shop", "shop:2") as program:
        first = program.stdout.readline()
        while not program.stdout.readline().startswith("roll: running"):
            pass
        program.send_signal(signal.SIGINT)
        _, told = program.communicate(timeout=PATIENCE)
    rollout = first.split()[-1]
    assert program.returncode == 130
    assert f"naru follow {rollout}" in told
    assert f"naru cancel {rollout}" in told
    assert "Traceback" not in told
    assert shop.do(shop.site.apps.rollout(rollout)).state is RolloutState.RUNNING
    assert shop.naru("cancel", rollout).exit_code == 0


def test_logs_and_events_are_followed_until_interrupted(shop):
    instance = shop.site.engine.instances("shop")[0].id
    with running(shop, "logs", "-f", "shop") as logs, running(shop, "events", "-f", "shop") as events:
        shop.tell(lambda: shop.site.engine.write(instance, "before"))
        assert logs.stdout.readline() == f"{instance}  before\n"
        shop.tell(lambda: shop.site.engine.write(instance, "after"))
        assert logs.stdout.readline() == f"{instance}  after\n"
        # Nobody knows when the events are subscribed to: something happens until one is told.
        until(lambda: shop.naru("request", "shop").exit_code == 0 and select([events.stdout], [], [], 0.1)[0])
        assert "sent GET /" in events.stdout.readline()
        for program in (logs, events):
            program.send_signal(signal.SIGINT)
            assert program.wait(PATIENCE) == 130
            assert program.stderr.read() == ""


def test_a_reader_that_goes_away_is_no_error(shown):
    with running(shown, "--help") as program:
        program.stdout.close()
        assert "Traceback" not in program.stderr.read()


def test_names_are_completed(shown):
    instance = shown.site.engine.instances("shop")[0].id
    cases = {
        ("status sh", 2): "shop",
        ("targets drain f", 3): "fake",
        (f"logs shop --instance {instance[:-1]}", 4): instance,
    }
    for (line, word), completed in cases.items():
        asked = {"_NARU_COMPLETE": "complete_bash", "COMP_WORDS": f"naru {line}", "COMP_CWORD": str(word)}
        told = subprocess.run(
            [sys.executable, "-c", "import sys; from naru.main import cli; sys.argv = ['naru']; cli()"],
            capture_output=True,
            text=True,
            env=environ_of(shown, **asked),
            check=True,
        )
        assert completed in told.stdout.split()


def test_help_loads_neither_the_client_nor_the_server():
    heavy = {"asyncio", "fastapi", "httpx", "pydantic", "sqlalchemy", "naru.client", "naru.control"}
    asked = f"import sys, naru.main; print(*{heavy} & set(sys.modules))"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
