"""Why does a check fail? Mesos performs it beside the task and hands on no answer, so Naru asks once more itself."""

import asyncio
from typing import assert_never

import httpx

from naru.domain.instance import Instance
from naru.domain.workload import CommandCheck, Health, HttpCheck, TcpCheck

PATIENCE = 2.0
"""Seconds: a list of instances should not wait longer for an explanation."""


async def second_opinion(health: Health, instance: Instance) -> str:
    """Say what the instance answers to its check from here; empty when that explains nothing.

    Readiness is not decided here: an instance that Mesos calls unhealthy stays so.
    """
    patience = min(PATIENCE, health.timeout)
    match health.check:
        case HttpCheck(path):
            return await _get(path, instance.address, patience)
        case TcpCheck():
            return await _connect(instance.address, patience)
        case CommandCheck():
            return ""
        case _ as never:
            assert_never(never)


async def _get(path: str, address: str, patience: float) -> str:
    try:
        async with httpx.AsyncClient(timeout=patience, trust_env=False) as http:
            answer = await http.get(f"http://{address}{path}")
    except httpx.TimeoutException:
        return f"GET {path} on {address} did not answer within {patience:g} s"
    except httpx.ConnectError:
        return _nothing_listens(address)
    except httpx.HTTPError as error:
        return f"GET {path} on {address} failed: {error}"
    return f"GET {path} on {address} answered {answer.status_code}" if answer.status_code >= 400 else ""


async def _connect(address: str, patience: float) -> str:
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(patience):
            _, writer = await asyncio.open_connection(host, int(port))
    except TimeoutError:
        return f"{address} accepts no connection within {patience:g} s"
    except OSError:
        return _nothing_listens(address)
    writer.close()
    return ""


def _nothing_listens(address: str) -> str:
    return f"nothing listens behind {address}: see which port the program in the container listens on"
