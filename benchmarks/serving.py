"""The server under load, for long, and in bad company.

Run ``python benchmarks/serving.py [--quick] [PART ...]``; whole, it writes ``results/serving.md``.
It starts ``logitlab serve`` on a free port of the loopback for each part, and exits 1 where
anything was other than it has to be:

load
    64 clients ask for a minute; every answer, streamed or not, has the tokens and
    log-probabilities that the wire computes alone.
memory
    20,000 requests with texts and schemas that never come twice; the memory is flat.
hostile
    Bodies that no client should send, over the port, each of which gets a clear 4xx; and
    connections that break off.
schemathesis
    2,000 cases or more over the OpenAPI document, by the program ``st`` of the package
    schemathesis, from the PATH or the variable ``SCHEMATHESIS``; left out with a word where there
    is none.

``--quick`` is the form for CI: ten seconds of load, 1,000 requests, 200 cases.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from logitlab.models import NGram
from logitlab.wire.chat import chat, chat_stream
from logitlab.wire.completions import complete

import report

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from hostile import HOSTILE

CLIENTS = 64
LEAVES = 0.05  # of the streams are left in the middle
FLAT = 1.05, 8 << 20  # times the memory before, and so much more at most
LAST = "logitlab: the server has ended.\n"
UNHEARD = "WARNING:  Invalid HTTP request received.\n"  # uvicorn's word
Lines = list[str]


class Running(NamedTuple):
    """A server, its address, and its process."""

    url: str
    pid: int

    def memory(self) -> int:
        """Return the bytes that it holds."""
        told = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", told)[0]) << 10


@contextmanager
def served(*options: str) -> Iterator[Running]:
    """Run ``logitlab serve`` for as long as the block lasts; it has to end cleanly, in silence."""
    command = [sys.executable, "-m", "logitlab", "serve", "--port", "0", *options]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        try:
            yield Running(process.stdout.readline().split()[3], process.pid)
        finally:
            process.terminate()
            _, told = process.communicate(timeout=60)
            told = told.replace(UNHEARD, "")
            print(told.removesuffix(LAST), end="", file=sys.stderr)
        if process.returncode or told != LAST:
            raise SystemExit(f"The server ended with {process.returncode}: {told[-3000:]}")


class Case(NamedTuple):
    """A request, and its answer alone."""

    path: str
    request: dict[str, Any]
    expected: Any
    tokens: int


def timeless(body: Any) -> Any:
    """Return a body without the second it was made in."""
    return {key: value for key, value in body.items() if key != "created"}


def cases() -> list[Case]:
    """Return requests of all kinds, each with the answer that nobody else has a part in."""
    model = NGram.bundled()
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    kinds: list[dict[str, Any]] = [
        {}, {"logprobs": True, "top_logprobs": 3}, {"n": 3, "temperature": 1.3},
        {"min_p": 0.05, "frequency_penalty": 0.5}, {"response_format": form},
        {"provider": {"order": ["vllm"]}, "top_k": 20}, {"mirostat": 2, "mirostat_tau": 3},
        {"provider": {"order": ["llama_cpp"]}, "dry_multiplier": 0.8, "stop": ["."]},
    ]  # fmt: skip
    prompts = ["Once upon a time", "The king", "A", "There was a miller. " * 20]
    made = []
    for seed, (kind, prompt) in enumerate((kind, prompt) for kind in kinds for prompt in prompts):
        request = {"messages": [{"role": "user", "content": prompt}], "seed": seed, **kind}
        request["max_tokens"] = 8 + 7 * seed % 40
        whole = chat(model, request)
        if "error" in whole:
            raise SystemExit(f"{request}: {whole['error']}")
        expected: Any = timeless(whole)
        if seed % 2:
            request["stream"] = True
            expected = [timeless(chunk) for chunk in chat_stream(model, request)]
        count = whole["usage"]["completion_tokens"]
        made.append(Case("/chat/completions", request, expected, count))
        asked = {"prompt": prompt, "seed": seed, "max_tokens": 12, "logprobs": 2, "echo": True}
        asked |= {"n": 2} if seed % 3 == 0 else {}
        whole = complete(model, asked)
        made.append(Case("/completions", asked, timeless(whole), whole["usage"]["total_tokens"]))
    return made


def chunks_of(text: str) -> list[Any]:
    """Return the chunks of a stream, which has to end as streams do."""
    *events, done, rest = text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [timeless(json.loads(event.removeprefix("data: "))) for event in events]


def connections(clients: int) -> httpx.AsyncClient:
    """Return a client that holds a connection for each of those that share it."""
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    return httpx.AsyncClient(limits=limits, timeout=60)


def load(quick: bool, faults: Lines) -> Lines:
    """Let 64 clients ask at once, each again as soon as it has its answer."""
    seconds = 10 if quick else 60
    known, times, left, wrong = cases(), [], 0, []
    tokens = 0

    async def asks(client: httpx.AsyncClient, url: str, number: int) -> None:
        nonlocal left, tokens
        luck, end = random.Random(number), time.monotonic() + seconds
        while time.monotonic() < end:
            case = luck.choice(known)
            begin = time.monotonic()
            streams = case.request.get("stream", False)
            try:
                if streams and luck.random() < LEAVES:
                    async with client.stream("POST", url + case.path, json=case.request) as got:
                        await anext(got.aiter_bytes())
                    left += 1
                    continue
                answer = await client.post(url + case.path, json=case.request)
                told = chunks_of(answer.text) if streams else timeless(answer.json())
                if answer.status_code != 200 or told != case.expected:
                    wrong.append(f"{answer.status_code}: {answer.text[:500]}")
            except (httpx.HTTPError, ValueError, AssertionError) as error:
                wrong.append(repr(error))
            times.append(time.monotonic() - begin)
            tokens += case.tokens

    async def all_of_them(url: str) -> None:
        async with connections(CLIENTS) as client:
            await asyncio.gather(*(asks(client, url, number) for number in range(CLIENTS)))

    with served() as server:
        asyncio.run(all_of_them(server.url))
    if wrong or not times or not left:
        faults.append(f"load: {len(wrong)} wrong, first: {wrong[:1]}")
    times.sort()
    middle, last = statistics.median(times), times[len(times) * 99 // 100]
    return [
        f"* Load: {CLIENTS} clients for {seconds} s: {len(times):,} answers, {len(wrong)} errors "
        f"or answers other than alone ({len(known)} kinds of requests, streamed and not); {left} "
        f"streams left in the middle. {len(times) / seconds:.0f} requests and "
        f"{tokens / seconds:,.0f} tokens (written, or echoed with their log-probabilities) a "
        f"second; median {middle:.2f} s, 99 of 100 within {last:.2f} s."
    ]


def memory(quick: bool, faults: Lines) -> Lines:
    """Ask very often, never the same, and look at the memory of the server."""
    count, step = (1_000, 250) if quick else (20_000, 2_500)
    wrong: Lines = []

    def request(number: int) -> dict[str, Any]:
        text = f"The {number}th tale, {number * 7919 % 1009}"
        asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 4, "seed": number}
        if number % 10 == 0:
            schema = {"enum": [f"tale {number}", f"wood {number}"]}
            form = {"name": f"x{number}", "schema": schema}
            asked["response_format"] = {"type": "json_schema", "json_schema": form}
        return asked | ({"stream": True} if number % 3 == 0 else {})

    async def asks(client: httpx.AsyncClient, url: str, numbers: Iterator[int]) -> None:
        for number in numbers:
            answer = await client.post(f"{url}/chat/completions", json=request(number))
            if answer.status_code != 200:
                wrong.append(f"{answer.status_code}: {answer.text[:500]}")

    async def some(url: str, numbers: Iterator[int]) -> None:
        async with connections(16) as client:
            await asyncio.gather(*(asks(client, url, numbers) for _ in range(16)))

    with served() as server:
        sizes = []
        for begin in range(0, count, step):
            asyncio.run(some(server.url, iter(range(begin, begin + step))))
            sizes.append(server.memory())
    # The journal holds the last 1,000, and caches fill, before the first size that counts.
    first = sizes[0 if quick else 1]
    flat = max(sizes) <= max(first * FLAT[0], first + FLAT[1])
    if wrong or not flat:
        faults.append(f"memory: {len(wrong)} wrong {wrong[:1]}, {sizes}")
    told = ", ".join(f"{size / 2**20:.0f}" for size in sizes)
    return [
        f"* Memory: {count:,} requests, each of another text, every tenth of another schema: "
        f"{len(wrong)} errors; MiB after each {step:,}: {told}."
    ]


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a line without an end": b"GET /" + b"a" * 200_000,
    "a header without an end": b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 200_000,
    "two lengths": b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n"
    b"content-length: 3\r\n\r\n{}",
    "a length that is none": b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\n"
    b"content-length: -5\r\n\r\n{}",
    "a chunk that is none": b"POST /tokenize HTTP/1.1\r\nhost: localhost\r\n"
    b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "two hosts": b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nhost: evil\r\n\r\n",
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "an old version": b"GET /v1/models HTTP/1.0\r\n\r\n",
    "a header with a zero byte": b"GET /health HTTP/1.1\r\nhost: local\0host\r\n\r\n",
}
CUT = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{"


def hostile(quick: bool, faults: Lines) -> Lines:
    """Send what no client should, and see that others are answered as before."""
    bad: Lines = []

    async def raw(port: int, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        try:
            async with asyncio.timeout(10):
                return await reader.readline()
        except (TimeoutError, ConnectionError) as error:
            return repr(error).encode()
        finally:
            writer.close()

    async def send_all(url: str) -> None:
        root, port = url.removesuffix("/v1"), int(url.rsplit(":", 1)[1].removesuffix("/v1"))
        async with connections(8) as client:
            for case in HOSTILE:
                answer = await client.post(
                    root + case.path, content=case.body, headers=case.encoded_headers
                )
                if fault := case.fault(answer.status_code, answer.content):
                    bad.append(fault)
            for name, data in BROKEN.items():
                if b" 4" not in (line := await raw(port, data)):
                    bad.append(f"{name}: {line!r}")
            for _ in range(500):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(CUT)
                writer.close()
            asked = {"prompt": "The king", "seed": 1, "max_tokens": 5}
            answer = await client.post(f"{url}/completions", json=asked)
            if timeless(answer.json()) != timeless(complete(NGram.bundled(), asked)):
                bad.append(f"afterwards: {answer.text[:300]}")

    with served() as server:
        asyncio.run(send_all(server.url))
    faults += [f"hostile: {fault}" for fault in bad]
    return [
        f"* Hostile: {len(HOSTILE)} bodies and {len(BROKEN)} requests that are no HTTP: "
        f"{len(bad)} without a clear 4xx; 500 bodies cut off; then all as before."
    ]


def schemathesis(quick: bool, faults: Lines) -> Lines:
    """Run schemathesis over the OpenAPI document."""
    program = os.environ.get("SCHEMATHESIS") or shutil.which("st")
    if not program:
        print("schemathesis is left out: there is no program st.")
        return []
    least = 200 if quick else 2_000
    checks = (
        "not_a_server_error,status_code_conformance,content_type_conformance,"
        "response_headers_conformance,response_schema_conformance,unsupported_method,"
        "allow_header_conformance"
    )
    options = ["--phases", "fuzzing,stateful" if quick else "examples,coverage,fuzzing,stateful"]
    options += ["-n", "12" if quick else "60", "--seed", "1", "--no-shrink", "--checks", checks]
    options += ["--continue-on-failure", "--warnings", "off", "--request-timeout", "60"]
    with served() as server, tempfile.TemporaryDirectory() as folder:  # it leaves files behind
        command = [program, "run", server.url.replace("/v1", "/openapi.json"), *options]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = re.search(r"([\d,]+) generated", run.stdout)
    count = int(found[1].replace(",", "")) if found else 0
    if run.returncode or count < least:
        faults.append(f"schemathesis: {count} cases\n{run.stdout[-6000:]}{run.stderr[-2000:]}")
    version = run.stdout.partition("\n")[0].replace("Schemathesis v", "")
    return [
        f"* Schemathesis {version}: {count:,} cases over /openapi.json, "
        + ("no 500, no answer that the document does not have." if not run.returncode else "failed")
    ]


PARTS: dict[str, Callable[[bool, Lines], Lines]] = {
    "load": load,
    "memory": memory,
    "hostile": hostile,
    "schemathesis": schemathesis,
}


def main() -> int:
    asked = report.options(__doc__, *PARTS).parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        raise SystemExit(f"There is no part {', '.join(sorted(unknown))}.")
    faults: Lines = []
    lines: Lines = []
    for name, part in PARTS.items():
        if name in (asked.parts or PARTS):
            begin = time.monotonic()
            told = part(asked.quick, faults)
            lines += told
            print(*told, f"  ({time.monotonic() - begin:.0f} s)", sep="\n", flush=True)
    print(*faults, sep="\n")
    if not (asked.quick or asked.parts or faults):
        head = ["# The server under load", "", report.stamp(), ""]
        tail = ["", "Written by `benchmarks/serving.py`; client and server share the machine."]
        (report.RESULTS / "serving.md").write_text("\n".join([*head, *lines, *tail]) + "\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
