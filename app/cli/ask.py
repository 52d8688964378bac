"""`cogcore ask`: one question, and what was thought, answered, searched and quoted."""

import asyncio
import json
import sys
from typing import Any

from app.cli.server import ServerError, Wire, checked, connected
from app.settings import Settings

DIM, BOLD, PLAIN = "\033[2m", "\033[1m", "\033[0m"


def ask(settings: Settings, question: str, store: str) -> int:
    """Print the reply as it comes; the exit status."""
    try:
        asyncio.run(_ask(settings, question, store))
    except ServerError as error:
        print(f"cogcore: {error}", file=sys.stderr)
        return 1
    return 0


async def _ask(settings: Settings, question: str, store: str) -> None:
    messages = [{"role": "user", "content": question}]
    body = {"model": f"cogcore/{store}", "messages": messages, "stream": True}
    async with connected(settings) as (client, links):
        printer = Printer(sys.stdout.isatty(), links)
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            if not response.is_success:
                await response.aread()
                checked(response)
            try:
                async for line in response.aiter_lines():
                    data = line.removeprefix("data: ")
                    if line.startswith("data: ") and data != "[DONE]":
                        printer.take(json.loads(data))
            finally:
                print(end=printer.plain, flush=True)


class Printer:
    """Chunks to text on the screen. The reply itself holds the quotes; what they came from is told after it."""

    def __init__(self, colours: bool, links: bool) -> None:
        self.links = links
        self.dim, self.bold, self.plain = (DIM, BOLD, PLAIN) if colours else ("", "", "")
        self.last = ""

    def take(self, chunk: Wire) -> None:
        if "error" in chunk:
            raise ServerError(chunk["error"]["message"])
        for choice in chunk["choices"]:
            for kind in ("reasoning", "content"):
                if choice["delta"].get(kind):
                    self._say(kind, choice["delta"][kind])
        if "cogcore" in chunk:
            self._evidence(chunk["cogcore"])

    def _say(self, kind: str, text: str) -> None:
        if kind != self.last:
            print("\n" * 2 if self.last else "", end=self.dim if kind == "reasoning" else self.plain + self.bold)
            self.last = kind
        print(text, end="", flush=True)

    def _evidence(self, told: dict[str, Any]) -> None:
        print(self.plain)
        for cited in told["citations"]:
            page = f", page {cited['page']}" if cited["page"] is not None else ""
            link = f": {cited['url']}" if self.links else ""
            print(f"\n{self.dim}source: {cited['filename']}{page}{link}{self.plain}")
        for searched in told["searches"]:
            print(f"\n{self.dim}searched for: {searched['query']}")
            for hit in searched["hits"][:3]:
                print(f"  {hit['score']:.2f} {hit['filename']}: {' '.join(hit['quote'].split())[:100]}")
            print(self.plain, end="")
        for calculated in told["calculations"]:
            print(f"\n{self.dim}calculated {calculated['expression']} = {calculated['result']}{self.plain}")
        need = "unknown" if told["need"] is None else f"{told['need']:.2f}"
        print(f"\n{self.dim}need {need}, confidence {told['confidence']:.2f}{self.plain}")
        if told["status"] == "needs_review":
            print(f"{self.dim}marked for review{self.plain}")
