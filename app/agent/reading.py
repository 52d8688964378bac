"""The turn of a core that reads and does nothing else, as OCC-RAG: what the user says is looked up, and answered from.

It decides nothing, so a turn has no `need`: where a search is allowed there is one, with the user's own words; where
none is, or nothing is found, there is no claim. It is shown one question and its sources, as it was trained to be, and
neither instructions nor earlier messages. At its status the probability of ANSWERABLE against UNANSWERABLE is read, and
with the score of a passage that its reasoning cites it is the confidence, which decides. An answer is what such a
passage says word for word; one that none says is hardly believed, and shown without a quote if at all.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.agent import confidence
from app.agent.citations import cite, near_miss
from app.agent.events import Event
from app.agent.lookup import Lookups
from app.agent.parser import Piece
from app.agent.prompt import Excerpt, sources
from app.agent.rounds import Rounds
from app.agent.tools import CALCULATE
from app.agent.turn import Turn, TurnRefused, refuse_forms
from app.agent.verdict import Verdict, said_by
from app.cores import grammar, occ
from app.cores.load import Core
from app.engine.types import Token
from index.memory import Memory

ROOM = 1024  # tokens kept free for thoughts and answer when sources are shown
ENDS = (".", "!", "?")


class ReadingTurn:
    """One turn, from its search to Done."""

    def __init__(self, turn: Turn, core: Core, memory: Memory) -> None:
        refuse_forms(turn, core.name)
        if turn.policy.function == CALCULATE:
            raise TurnRefused("tool_choice", f"the core {core.name!r} does not calculate: serve another core")
        self.turn, self.memory = turn, memory
        self.rounds = Rounds(turn, core)
        self.lookups = Lookups(turn, memory)
        self.excerpts: list[Excerpt] = []
        self._searches = self.lookups.left > 0 and turn.policy.choice != "none" and bool(turn.question.strip())
        if turn.policy.choice == "required" and not self._searches:
            raise TurnRefused("tool_choice", "nothing can be searched: allow a search and name a store, or choose auto")
        self._status = self.rounds.encode(occ.STATUS)[0]

    async def events(self) -> AsyncGenerator[Event]:
        if self._searches:
            async with aclosing(self.lookups.search(self.turn.question)) as searched:
                async for search in searched:
                    yield search
        verdict, answer = Verdict(abstained=True), list[Token]()
        if self.lookups.hits:
            async with aclosing(self._think()) as thoughts:
                async for thought in thoughts:
                    yield thought
            verdict, answer = await self._judge()
        for piece in self._reply(verdict, answer):
            yield piece
        if verdict.answer:
            async with aclosing(cite(self.rounds, self.memory, verdict.places)) as cited:
                async for event in cited:
                    yield event
        for piece in self.rounds.close():
            yield piece
        said = self._said(answer) or None
        if verdict.answer:
            excerpt, start, end = verdict.answer
            said = excerpt.text[start:end]
        yield self.rounds.done(answer=said, confidence=verdict.confidence, abstained=verdict.abstained)

    async def _think(self) -> AsyncGenerator[Piece]:
        """Show it the sources. What it thinks of them, up to its status; it may not answer before."""
        self.rounds.begin(self._prompt())
        banned = self.rounds.encode(occ.ANSWER)
        async with aclosing(self.rounds.write(banned=banned, until=lambda: self._judging)) as thoughts:
            async for thought in thoughts:
                yield thought

    def _prompt(self) -> list[int]:
        """The question and all sources that fit, the best one whatever its length."""
        rounds, hits = self.rounds, self.lookups.hits
        asked = [{"role": "user", "content": self.turn.question}]
        while True:
            documents, self.excerpts = sources(hits, rounds.core.profile)
            prompt = rounds.renderer.start(asked, documents=documents)
            if len(prompt) <= rounds.core.engine.context_length - ROOM or len(hits) == 1:
                return prompt
            hits = hits[:-1]

    @property
    def _judging(self) -> bool:
        """Whether it has come to its status."""
        return self.rounds.ids[-1] == self._status

    async def _judge(self) -> tuple[Verdict, list[Token]]:
        """What it makes of the sources, and the tokens of an answer that may be given: none where it was cut short."""
        rounds = self.rounds
        yes, no, opening = map(rounds.encode, (occ.ANSWERABLE, occ.UNANSWERABLE, occ.ANSWERING))
        full = len(rounds.ids) + max(map(len, (no, opening))) >= rounds.core.engine.context_length
        if rounds.over or full:
            rounds.cut_short = True
            return Verdict(), []
        if not self._judging:
            return Verdict(abstained=True), []
        share = confidence.answerable(await rounds.score(yes), await rounds.score(no))
        threshold = self.turn.policy.abstain_below
        chances = [(self._sure(share, excerpt), excerpt) for excerpt in self._cited()]
        most = max(sure for sure, _ in chances)
        if most < threshold:
            return Verdict(most, abstained=True), []
        rounds.force(opening)
        answer = await self._answer()
        if rounds.cut_short:
            return Verdict(), []
        said = self._said(answer)
        if not said or said.casefold().startswith(occ.REFUSAL):
            return Verdict(confidence.unsupported(share), abstained=True), []
        places = [(sure, place) for sure, excerpt in chances if (place := said_by(excerpt, said))]
        sure, place = max(places, key=lambda one: one[0], default=(confidence.unsupported(share), None))
        abstained = sure < threshold
        return Verdict(sure, abstained, None if abstained else place), [] if abstained else answer

    def _sure(self, share: float, excerpt: Excerpt) -> float:
        """Of an answer from this source. Which one it takes has no probability of its own."""
        return self.turn.calibrated(confidence.Found(share, excerpt.hit).confidence())

    def _cited(self) -> list[Excerpt]:
        """The sources that its reasoning cites, or all where it cites none, best first."""
        numbers = occ.cited(str(self.rounds.core.tokenizer.decode(self.rounds.generated)))
        return [excerpt for excerpt in self.excerpts if excerpt.number in numbers] or self.excerpts

    async def _answer(self) -> list[Token]:
        """The tokens of its answer, in which nothing else begins. Held back until it is known what bears it out."""
        others = self.rounds.encode("".join(sorted(occ.TOKENS - {occ.ANSWER_END})))
        async with aclosing(self.rounds.tokens_of(banned=others)) as stream:
            tokens = [token async for token in stream]
        self.rounds.cut_short |= bool(tokens) and tokens[-1].finish == "length"
        return tokens

    def _said(self, answer: list[Token]) -> str:
        ids = [token.id for token in answer]
        return str(self.rounds.core.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    def _reply(self, verdict: Verdict, answer: list[Token]) -> list[Piece]:
        """A sentence with the answer and the number of its source, or that there is none; nothing where it was cut."""
        rounds = self.rounds
        if not answer:
            thoughts = rounds.finish() if rounds.ids else []
            unknown = grammar.UNKNOWN + near_miss(self.lookups.hits) if verdict.abstained else ""
            return [*thoughts, *rounds.say(unknown)]
        sentence = self._said(answer).endswith(ENDS)
        pieces = rounds.say("" if sentence else f"{grammar.ANSWER} ")
        pieces += [piece for token in answer for piece in rounds.read(token)] + rounds.finish()
        marker = f" [{verdict.answer[0].number}]" if verdict.answer else ""
        return pieces + rounds.say(marker if sentence else f"{marker}.")
