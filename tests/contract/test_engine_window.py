"""What every engine promises to whoever looks into an instance: see test_engine."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest
from tests.contract.engine_labs import REPEAT, SPEAK, everything, first

from naru.domain.errors import NotFound
from naru.domain.target import Feature

pytestmark = pytest.mark.asyncio


async def test_logs_hold_both_streams_and_the_time(lab):
    started = datetime.now(UTC) - timedelta(seconds=60)
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    lines = await everything(lab.engine.logs(instance.id))

    second = "stderr" if lab.splits_streams else "stdout"
    assert {(line.stream, line.text) for line in lines} >= {("stdout", "one"), (second, "two")}
    assert all(started < line.at < datetime.now(UTC) + timedelta(seconds=60) for line in lines)


async def test_logs_can_be_cut_to_the_last_lines_and_by_time(lab):
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)
    lines = await everything(lab.engine.logs(instance.id))

    assert await everything(lab.engine.logs(instance.id, tail=1)) == lines[-1:]
    assert await everything(lab.engine.logs(instance.id, tail=0)) == []
    late = [line for line in lines if line.at >= lines[-1].at]
    assert await everything(lab.engine.logs(instance.id, since=lines[-1].at)) == late
    assert await everything(lab.engine.logs(instance.id, since=datetime.now(UTC) + timedelta(hours=1))) == []


async def test_followed_logs_end_with_the_instance(lab):
    release = lab.release()
    await lab.apply(release, 1)
    (instance,) = await lab.settled(1)

    async with asyncio.timeout(30), aclosing(lab.engine.logs(instance.id, follow=True)) as lines:
        seen = [await anext(lines), await anext(lines)]
        stopping = asyncio.create_task(lab.apply(release, 0))
        seen += [line async for line in lines]
        await stopping

    assert {line.text for line in seen} >= {"one", "two"}


async def test_a_command_leaves_its_exit_code_and_both_streams(lab):
    lab.takes(Feature.EXEC)
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    result = await lab.engine.execute(instance.id, SPEAK)

    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n")


async def test_a_command_reads_what_is_given_to_it(lab):
    lab.takes(Feature.EXEC)
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    assert (await lab.engine.execute(instance.id, REPEAT, stdin=b"spoken")).stdout == b"spoken"


async def test_usage_is_measured_in_cores_and_bytes(lab):
    lab.takes(Feature.STATS)
    await lab.apply(lab.release(), 1)
    (instance,) = await lab.settled(1)

    usage = await first(lab.engine.usage(instance.id))

    assert 0 <= usage.cpu < 64
    assert 0 < usage.memory < usage.memory_limit


@pytest.mark.parametrize(
    "look",
    [
        lambda engine: everything(engine.logs("nobody")),
        lambda engine: engine.execute("nobody", SPEAK),
        lambda engine: first(engine.usage("nobody")),
    ],
    ids=["logs", "execute", "usage"],
)
async def test_looking_into_an_instance_that_is_not_there_is_not_found(lab, look):
    with pytest.raises(NotFound, match="nobody"):
        await look(lab.engine)
