"""What a core that learned the loop makes of the passages it is shown: its likeliest verdict, by its own numbers.

An answer with words of one, a calculation with a number of one, a search on from one, the first query put in other
words, or that none answers.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from app.agent import confidence
from app.agent.expression import numbers
from app.agent.lookup import Lookups
from app.agent.mask import WORD, GrammarMask
from app.agent.parser import Call, Piece
from app.agent.prompt import Excerpt
from app.agent.rounds import Rounds
from app.agent.turn import Turn
from app.agent.verdict import PassageChosen, Place, SumWritten, Verdict, differing, given_by, led_by, nearest, rival
from app.cores import grammar
from app.engine.types import Token

OTHERS = (grammar.ABSENT, grammar.LEADS, grammar.RECKONS, grammar.AGAIN)  # than an answer


class Judging:
    """Writes the verdicts of one turn. `past` are earlier messages whose words a query may take."""

    def __init__(self, turn: Turn, rounds: Rounds, lookups: Lookups, past: Sequence[str]) -> None:
        self.turn, self.rounds, self.lookups, self.past = turn, rounds, lookups, past
        self.user, self.vocabulary = turn.question, rounds.vocabulary

    async def decide(self, excerpts: Sequence[Excerpt], verdict: Verdict) -> AsyncGenerator[Piece]:
        """Fill in the likeliest verdict if the confidence in it is enough, else that no passage answers."""
        rounds, prompt = self.rounds, list(self.rounds.ids)
        if any(WORD.search(excerpt.text) for excerpt in excerpts):
            profile = rounds.core.profile
            chances = await self._chances()
            absent, leads, reckons, again = (chances.get(other, 0.0) for other in OTHERS)
            none = absent + leads + reckons + again
            if again > max(absent, leads, reckons, 1 - none) and self.lookups.count == 1 and self.lookups.left:
                attempts = [self._again(verdict)]
            elif leads > max(reckons, 1 - none) and len(verdict.via) < profile.hops - 1:
                attempts = [self._lead(excerpts, leads, verdict)]
            elif reckons > 1 - none:
                attempts = [self._reckon(excerpts, reckons, verdict)]
                if not numbers(self.user):  # with nothing to calculate with, the number as it stands may be the answer
                    found = chances[grammar.FOUND]
                    none = 1 - found / (found + absent + leads) if found else 1.0
                    attempts.append(self._answer(excerpts, none, verdict))
            else:
                attempts = [self._answer(excerpts, none, verdict)]
            for attempt in attempts:
                async with aclosing(attempt) as pieces:
                    async for piece in pieces:
                        yield piece
                if rounds.over or verdict.answer or verdict.query:
                    return
                rounds.begin(prompt)
        verdict.abstained = True
        async with aclosing(self.rounds.write_under(grammar.judge((), found=False))) as pieces:
            async for piece in pieces:
                yield piece

    async def _chances(self) -> dict[str, float]:
        """How probable each verdict is that the core has learned to give."""
        profile = self.rounds.core.profile
        learned = {
            grammar.ABSENT: True,
            grammar.LEADS: profile.hops > 1,
            grammar.RECKONS: profile.reckons,
            grammar.FOUND: profile.reckons,  # else it is what is left
            grammar.AGAIN: profile.rephrases,
        }
        asked = [verdict for verdict, known in learned.items() if known]
        openings = [confidence.opening(self.rounds.core.tokenizer, verdict) for verdict in asked]
        return dict(zip(asked, await self.rounds.chances(openings), strict=True))

    async def _answer(self, excerpts: Sequence[Excerpt], none: float, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Answer with words of a passage: those that the core writes, or those that the reader marked."""
        hits = [excerpt.hit for excerpt in excerpts]
        texts, via = [excerpt.text for excerpt in excerpts], [excerpt.number for excerpt, _, _ in verdict.via]
        differ = differing(excerpts) if self.rounds.core.profile.differs and not via else []
        allowed = grammar.judge(texts, first=excerpts[0].number, via=via, differ=differ, absent=False)
        mask, passage = GrammarMask(allowed, self.vocabulary), PassageChosen(grammar.FOUND)

        def sure(chosen: float) -> float:
            at = passage.number - excerpts[0].number
            told = confidence.Found(verdict.led * (1 - none) * chosen, hits[at], rival(hits, at))
            return self.turn.calibrated(told.confidence(self.rounds.core.profile.sureness))

        tokens = await self._attempt(mask, passage, sure, verdict)
        match nearest(mask.paths([token.id for token in tokens]), excerpts, differ):
            case [place]:
                tokens = await self._likelier(tokens, place, via, mask)
        for piece in self.rounds.take(tokens):
            yield piece
        match nearest(mask.paths(self.rounds.generated), excerpts, differ):
            case [answer, *others]:
                verdict.answer, verdict.other = answer, next(iter(others), None)

    async def _likelier(self, tokens: list[Token], place: Place, via: Sequence[int], mask: GrammarMask) -> list[Token]:
        """The answer as it was written, or with the reader's words from the same passage, whichever core and reader
        together hold likelier: written word for word, an answer can come to an end that the core does not believe in.
        """
        excerpt, start, end = place
        mark, words = excerpt.hit.mark, excerpt.text[slice(*excerpt.marked)].strip()
        answer = grammar.answer(words, excerpt.number, via)
        ids = [number for literal in answer for number in self.vocabulary.encode(literal.text)]
        differs = words != excerpt.text[start:end] and bool(mask.paths(ids))
        if mark is None or not differs or len(ids) >= self.rounds.left:
            return tokens
        written = sum(token.logprob for token in tokens if token.id != self.vocabulary.end)
        if not confidence.likelier(sum(await self.rounds.score(ids)) - written, mark.probability):
            return tokens
        async with aclosing(self.rounds.tokens_of(GrammarMask((answer,), self.vocabulary))) as again:
            return [token async for token in again]

    async def _reckon(self, excerpts: Sequence[Excerpt], reckons: float, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Calculate with a number of a passage. What the reader makes of it says little: the answer is not in it."""
        allowed = grammar.reckon(self.user, [excerpt.text for excerpt in excerpts], excerpts[0].number)
        mask, passage = GrammarMask(allowed, self.vocabulary), SumWritten()

        def sure(chosen: float) -> float:
            return self.turn.calibrated(confidence.led(verdict.led, reckons, chosen))

        for piece in self.rounds.take(await self._attempt(mask, passage, sure, verdict)):
            yield piece
        unsure = verdict.confidence < self.turn.policy.abstain_below
        match [] if self.rounds.over or unsure else self.rounds.calls:
            case [Call("calculate", {"expression": str(expression)})]:
                verdict.answer = given_by(excerpts[passage.number - excerpts[0].number], expression, self.user)
                if verdict.answer:
                    verdict.expression = expression
                else:
                    verdict.confidence = 0.0  # nothing that the passage gives stands in the sum

    async def _lead(self, excerpts: Sequence[Excerpt], leads: float, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Search on, with words of a passage; not for what was searched for before."""
        if not self.lookups.left:
            return
        allowed = grammar.lead(self.user, [excerpt.text for excerpt in excerpts], excerpts[0].number)
        mask, passage, before = GrammarMask(allowed, self.vocabulary), PassageChosen(grammar.LEADS), verdict.led

        def sure(chosen: float) -> float:
            verdict.led = confidence.led(before, leads, chosen)
            return self.turn.calibrated(verdict.led)

        for piece in self.rounds.take(await self._attempt(mask, passage, sure, verdict)):
            yield piece
        match [] if self.rounds.over else self.rounds.calls:
            case [Call("search_memory", {"query": str(query)})] if not self.lookups.repeats(query):
                path = mask.paths(self.rounds.generated)[0]
                verdict.via.append(led_by(path, excerpts[passage.number - excerpts[0].number]))
                verdict.query = query
            case _:
                verdict.confidence = 0.0  # it was sure of the lead, and nothing came of that

    async def _again(self, verdict: Verdict) -> AsyncGenerator[Piece]:
        """Search once more, for what the first query should have been."""
        async with aclosing(self.rounds.write_under(grammar.again(self.user, self.past))) as pieces:
            async for piece in pieces:
                yield piece
        match [] if self.rounds.over else self.rounds.calls:
            case [Call("search_memory", {"query": str(query)})] if not self.lookups.repeats(query):
                verdict.query = query

    async def _attempt(
        self, mask: GrammarMask, passage: PassageChosen, sure: Callable[[float], float], verdict: Verdict
    ) -> list[Token]:
        """A verdict that names its passage, not yet read; nothing where it is not sure enough."""
        held = list[Token]()
        async with aclosing(self.rounds.tokens_of(mask)) as tokens:
            async for token in tokens:
                held.append(token)
                chosen = passage.feed(self.vocabulary.bytes.get(token.id, b""), token.logprob)
                if chosen is not None:
                    verdict.confidence = sure(chosen)
                    if verdict.confidence < self.turn.policy.abstain_below:
                        return []
        return held
