"""What `som serve` does under loads that it was not made for.

    python benchmarks/overload.py [REQUESTS]

A map of the weather data is trained by `som train`, registered, and served by `som serve` in a process of its own, with
its defaults. Then, one after the other:

    capacity     16 clients that ask for 256 rows each, without a pause
    overload     three times as many requests as that a second, due at fixed times, answered or not
    idle         one row 20 times a second: alone, then beside 500 sockets that send nothing, 50 that sent half of a
                 head and 50 that sent half of a body
    large        one row 20 times a second: alone, then beside two requests of 18 MB of CSV, then beside two of 18 MB
                 that are refused (millions of rows), then beside two of JSON as expensive to read as 18 MB can be
    soak         REQUESTS (by default 100,000) with one row each by 32 clients: memory after each tenth

Beside each load, `/ping` and `/health` are asked ten times a second. Times are in milliseconds, from when a request was
due to the end of its answer; clients and server share the machine.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil
from serve import REPOSITORY, SOM, example_rows, serving

MEGABYTE = 2**20
LARGE_BYTES = 18 * MEGABYTE


class Answer(NamedTuple):
    milliseconds: float
    status: int


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        trained = os.environ.get("SOM_BENCHMARK_STORE")  # a folder where this was done before
        if trained:
            os.chdir(trained)
        else:
            subprocess.run([*SOM, "train", str(REPOSITORY / "data" / "weather.yaml")], check=True)
        rows = example_rows()
        with serving() as (process, port):
            asyncio.run(loads(port, psutil.Process(process.pid), rows, requests))


async def loads(port: int, server: psutil.Process, rows: list[bytes], requests: int) -> None:
    one = [request(row) for row in rows]
    many = [request(joined(rows[i : i + 256])) for i in range(0, 512, 256)]
    await closed(port, one, 4, 200)  # warm-up
    print(f"memory before: {rss(server)}\n")
    print("| load | asked | 200 | 503 | other | p50 | p99 | p99 of 503 | p99 of /ping | of /health | MB, most |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    seconds, answers = await beside(port, server, "capacity", lambda: timed(closed(port, many, 16, 800)))
    rate = len(answers) / seconds
    await beside(port, server, f"overload: {3 * rate:.0f} a second", lambda: timed(opened(port, many, 3 * rate, 20)))
    await beside(port, server, "one row", lambda: timed(opened(port, one, 20, 10)))
    held = [await holding(port, begin) for begin in [b""] * 500 + [one[0][:20]] * 50 + [many[0][:5000]] * 50]
    await beside(port, server, "one row, beside 600 idle", lambda: timed(opened(port, one, 20, 10)))
    for _, writer in held:
        writer.close()
    for name, body, kind in large(rows):
        two = [asyncio.create_task(once(port, request(body, kind))) for _ in range(2)]
        await beside(port, server, f"one row, beside two of {name}", lambda: timed(opened(port, one, 20, 10)))
        for answer in await asyncio.gather(*two):
            print(
                f"|   such a request | 1 | {answer.status == 200:d} | | {answer.status} | {answer.milliseconds:.0f} |"
            )
    print("\n| requests | failed | MB |\n| ---: | ---: | ---: |", flush=True)
    for tenth in range(10):
        answers = await closed(port, one, 32, requests // 10)
        failed = sum(answer.status != 200 for answer in answers)
        print(f"| {(tenth + 1) * requests // 10} | {failed} | {rss(server)} |", flush=True)


def large(rows: Sequence[bytes]) -> list[tuple[str, bytes, str]]:
    columns = json.loads(rows[0])["dataframe_split"]["columns"]
    values = [json.loads(row)["dataframe_split"]["data"][0] for row in rows]
    lines = [",".join("" if v is None else f"{v!r}" for v in row) for row in values]
    text = "\n".join(lines * (LARGE_BYTES // len("\n".join(lines)) + 1))[:LARGE_BYTES]
    full = (",".join(columns) + "\n" + text[: text.rindex("\n") + 1]).encode()
    count = full.count(b"\n") - 1
    short = (",".join(columns) + "\n" + ("," * (len(columns) - 1) + "\n") * (LARGE_BYTES // len(columns))).encode()
    quoted = (
        full[:-1] + b'\n"' + full[full.index(b"\n") + 1 :].split(b",", 1)[0] + b'",' + b",".join([b"1"] * 16) + b"\n"
    )
    hollow = b'{"inputs":[' + b"[]," * (LARGE_BYTES // 3) + b"[]]}"
    return [
        (f"18 MB of CSV, {count} rows", full, "text/csv"),
        (f"18 MB of CSV, {count} rows, a quote in it", quoted, "text/csv"),
        ("18 MB of CSV, a million empty rows", short, "text/csv"),
        ("18 MB of JSON, six million empty rows", hollow, "application/json"),
    ]


def joined(rows: Sequence[bytes]) -> bytes:
    """A request for all of the rows."""
    split = [json.loads(row)["dataframe_split"] for row in rows]
    data = [row for each in split for row in each["data"]]
    return json.dumps({"dataframe_split": {"columns": split[0]["columns"], "data": data}}).encode()


def request(body: bytes, kind: str = "application/json", path: str = "/invocations", method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


PROBES = {path: request(b"", path=path, method="GET") for path in ("/ping", "/health")}


async def beside(
    port: int, server: psutil.Process, name: str, load: Callable[[], Awaitable[tuple[float, list[Answer]]]]
) -> tuple[float, list[Answer]]:
    """A load, and how the probes are answered meanwhile."""
    probes: dict[str, list[Answer]] = {path: [] for path in PROBES}
    most = [0.0]

    async def probe() -> None:
        while True:
            for path, content in PROBES.items():
                probes[path].append(await once(port, content))
            most[0] = max(most[0], server.memory_info().rss / 1e6)
            await asyncio.sleep(0.1)

    probing = asyncio.create_task(probe())
    seconds, answers = await load()
    probing.cancel()
    with suppress(asyncio.CancelledError):
        await probing
    count = Counter(answer.status for answer in answers)
    good = [answer.milliseconds for answer in answers if answer.status == 200]
    busy = [answer.milliseconds for answer in answers if answer.status == 503]
    other = len(answers) - count[200] - count[503]
    pings = " | ".join(
        f"{percentile([a.milliseconds for a in each], 99)}{'' if all(a.status == 200 for a in each) else ' FAILED'}"
        for each in probes.values()
    )
    print(
        f"| {name} | {len(answers)} | {count[200]} | {count[503]} | {other} | {percentile(good, 50)} "
        f"| {percentile(good, 99)} | {percentile(busy, 99)} | {pings} | {most[0]:.0f} |",
        flush=True,
    )
    return seconds, answers


async def timed(load: Awaitable[list[Answer]]) -> tuple[float, list[Answer]]:
    begun = time.perf_counter()
    answers = await load
    return time.perf_counter() - begun, answers


async def closed(port: int, contents: Sequence[bytes], clients: int, requests: int) -> list[Answer]:
    """Clients that ask without a pause."""

    async def client(number: int) -> list[Answer]:
        connection = Connection(port)
        answers = [
            await connection.ask(contents[i % len(contents)], time.perf_counter())
            for i in range(number, requests, clients)
        ]
        connection.close()
        return answers

    return [a for each in await asyncio.gather(*(client(i) for i in range(clients))) for a in each]


async def opened(port: int, contents: Sequence[bytes], rate: float, seconds: float) -> list[Answer]:
    """Requests that are due at fixed times, whether earlier ones were answered or not."""
    start, free, tasks = time.perf_counter() + 0.1, [], []

    async def client(number: int) -> Answer:
        connection = free.pop() if free else Connection(port)
        answer = await connection.ask(contents[number % len(contents)], start + number / rate)
        free.append(connection)
        return answer

    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(client(number)))
    answers = await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return list(answers)


async def once(port: int, content: bytes) -> Answer:
    connection = Connection(port)
    answer = await connection.ask(content, time.perf_counter())
    connection.close()
    return answer


async def holding(port: int, begin: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which a request was begun at most."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begin)
    return reader, writer


class Connection:
    """One that is opened when it is needed, and again after the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, content: bytes, due: float) -> Answer:
        """The status of an answer, 0 where there is none."""
        for _ in range(2 if self.open else 1):
            try:
                status = await asyncio.wait_for(self._ask(content), 300)
                return Answer((time.perf_counter() - due) * 1000, status)
            except (OSError, EOFError, TimeoutError):
                self.close()
        return Answer((time.perf_counter() - due) * 1000, 0)

    async def _ask(self, content: bytes) -> int:
        if self.open is None or self.open[0].at_eof():
            self.open = await asyncio.open_connection("127.0.0.1", self.port, limit=MEGABYTE)
        reader, writer = self.open
        writer.write(content)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        await reader.readexactly(int(head.split("content-length:")[1].split()[0]))
        return int(head.split()[1])

    def close(self) -> None:
        if self.open is not None:
            self.open[1].close()
        self.open = None


def percentile(values: Sequence[float], share: int) -> str:
    return f"{statistics.quantiles(values, n=100)[share - 1]:.0f}" if len(values) > 1 else "-"


def rss(process: psutil.Process) -> str:
    return f"{process.memory_info().rss / 1e6:.0f}"


if __name__ == "__main__":
    main()
