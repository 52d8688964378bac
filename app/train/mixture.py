"""What the embedded core is trained on: kinds of rows, drawn fresh for every step.

Each draw depends on the seed and the step alone, so a run that resumes sees what it would have seen.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from app.agent.expression import implied, numbers
from app.agent.prompt import Message, excerpt
from app.agent.tools import calculate
from app.cores import grammar
from app.train.chains import Told, relations, strand
from app.train.conflicts import conflict
from app.train.drills import Drills
from app.train.followups import follow_up
from app.train.reckonings import page
from app.train.rows import Answer, Hop, Row, Turns
from app.train.searches import ANSWERING, GIVING, LEADING, Found, hit_of, mark_of, marked, ranked, traced
from app.train.smalltalk import reply, small_talk, typed
from app.train.sources import Question, Sources
from app.train.sums import NUMBER, not_a_sum, renumbered, solvable, worded_sum
from app.train.worlds import Fact, fact, polite

SHORT = {"repeat", "digits", "ask", "sum", "talk"}
FILES = {"trace": "traces", "chain_trace": "chains", "reckon_trace": "reckonings", "played": "played"}
"""Where in the run the rows of some kinds are drawn from."""


class Mixture:
    """Draws rows by kind. `run` is a folder with the searches of app.train.traces and the turns of app.train.played."""

    def __init__(self, turns: Turns, sources: Sources, run: Path | None = None) -> None:
        self.turns = turns
        self.sources = sources
        self.questions = sources.shown()
        self.asked = [q.question for q in self.questions] + sources.trivia()
        self.numbered = [question for question in self.asked if NUMBER.search(question)]
        self.problems = solvable(sources.problems())
        self.requests = [text for text, _, domain in sources.requests() if domain not in ("small_talk", "meta")]
        self.talk = small_talk(sources.requests())
        words = sorted({w for text in sources.prose(60) for w in text.split() if w.isalnum()})
        self.files: dict[str, Sequence[Any]] = {
            kind: _lines(run / f"{name}.jsonl") if run else [] for kind, name in FILES.items()
        }
        self.files["again_trace"] = _pairs(self.files["trace"])
        kinds: Mapping[str, Callable[[Random], Row]] = {
            **Drills(turns, words).kinds,
            "squad": self.squad,
            "trace": self.trace,
            "follow": self.follow,
            "again": self.again,
            "again_trace": self.again_trace,
            "world": self.world,
            "chain": self.chain,
            "chain_trace": self.chain_trace,
            "reckon": self.reckon,
            "reckon_trace": self.reckon_trace,
            "conflict": self.conflict,
            "played": self.played,
            "ask": self.ask,
            "sum": self.sum,
            "talk": self.small_talk,
        }
        self.kinds = {kind: draw for kind, draw in kinds.items() if self.files.get(kind, True)}

    def draw(self, seed: int, step: int, count: int, shares: Mapping[str, float]) -> list[Row]:
        """The rows of one step: `count` that read passages, or twice as many short ones: padding stays small."""
        rng = Random(f"{seed}/{step}")
        first = rng.choices(list(shares), weights=list(shares.values()))[0]
        alike = {name: share for name, share in shares.items() if (name in SHORT) == (first in SHORT)}
        names = rng.choices(list(alike), weights=list(alike.values()), k=2 * count if first in SHORT else count)
        return [self.kinds[name](rng) for name in names]

    # Lookups.

    def squad(self, rng: Random) -> Row:
        """A real question over its paragraph and neighbours, with simulated marks; a third of them without it."""
        item = rng.choice(self.questions)
        article = self.sources.by_article[self.sources.articles[item.paragraph]]
        near = [p for p in article if p != item.paragraph]
        others = rng.sample(near, min(3, len(near)))
        answer = self.sources.paragraphs[item.paragraph][item.start : item.end]
        texts = [self.sources.paragraphs[p] for p in others if answer not in self.sources.paragraphs[p]]
        gold = self.sources.paragraphs[item.paragraph] if rng.random() < 0.67 else None
        return self._lookup(rng, item.question, marked(rng, texts, gold, (item.start, item.end), like=answer))

    def again(self, rng: Random) -> Row:
        """Such a question searched for as it stands, or the one before in its place; then with words of both."""
        asked = follow_up(rng)
        past = [{"role": "user", "content": asked.before}, {"role": "assistant", "content": asked.answer}]
        question, others = asked.fact.question, [other.text for other in rng.sample(asked.fact.others, 3)]
        repeats = question == asked.query or rng.random() < 0.5
        about = mark_of(rng, others[0], None).start
        # What is like it may well answer the question before.
        answering = marked(rng, others[1:], others[0], (about, len(others[0])))
        first = answering if repeats else marked(rng, others, None, (0, 0))
        query = asked.before if repeats else question
        return self._again(past, question, query, first, asked.query, _among_its_like(rng, asked.fact))

    def again_trace(self, rng: Random) -> Row:
        """A question of which half was searched for, as if that had found what is found without the answer."""
        found, missing = (json.loads(line) for line in rng.choice(self.files["again_trace"]))
        words = found["question"].split()
        cut = rng.randint(len(words) // 3 or 1, len(words) * 2 // 3)
        half = " ".join(words[:cut] if rng.random() < 0.5 else words[cut:])
        first, then = (traced(rng, row, row["gold"], row["span"]) for row in (missing, found))
        return self._again(self._past(rng), polite(rng, found["question"]), half, first, found["question"], then)

    def world(self, rng: Random) -> Row:
        """An invented fact among its like, with simulated marks."""
        made = fact(rng)
        return self._lookup(rng, made.question, _among_its_like(rng, made))

    def follow(self, rng: Random) -> Row:
        """A question that leans on the one before, about such a fact."""
        asked = follow_up(rng)
        past = [{"role": "user", "content": asked.before}, {"role": "assistant", "content": asked.answer}]
        found = _among_its_like(rng, asked.fact)
        return self.turns.read(past, asked.fact.question, asked.query, found.hits, self._answer(found, first=1))

    def trace(self, rng: Random) -> Row:
        """A search as the server made it: real retrieval, real marks, natural misses."""
        row = json.loads(rng.choice(self.files["trace"]))
        return self._lookup(rng, row["question"], traced(rng, row, row["gold"], row["span"]))

    def chain(self, rng: Random) -> Row:
        """A question that describes what it asks about, in an invented world, with simulated marks."""
        made = strand(rng, rng.choice(relations()))
        asked = rng.choice(made.asked)
        answering = [text for text in made.texts if asked.answered_by(text)]
        if answering or asked.around is None:
            return self._lookup(rng, asked.question, self._drawn(rng, made.texts, asked.fact, answering))
        linking = [text for text in made.texts if asked.link and asked.link.sentence in text]
        first = self._drawn(rng, made.texts, asked.link, linking, sure=LEADING)
        stating = [text for text in made.texts if asked.fact and asked.fact.sentence in text]
        return self._chained(
            rng, asked.question, first, asked.around, self._drawn(rng, made.texts, asked.fact, stating)
        )

    def chain_trace(self, rng: Random) -> Row:
        """The same, as the server searched for it."""
        row = json.loads(rng.choice(self.files["chain_trace"]))
        if "hop" not in row:
            return self._lookup(rng, row["question"], traced(rng, row, row["gold"], row["span"]))
        hop = row["hop"]
        first = traced(rng, row, hop["lead"], hop["name"])
        return self._chained(rng, row["question"], first, hop["around"], traced(rng, hop, hop["gold"], hop["span"]))

    def conflict(self, rng: Random) -> Row:
        """Two passages that say different things, with simulated marks."""
        made, words = conflict(rng), self.turns.renderer.profile.excerpt_words
        texts = [(v.passage.text, (v.start, v.end)) for v in made.versions]
        versions = [hit_of(text, mark_of(rng, text, span)) for text, span in texts]
        like = made.versions[0].value
        others = [hit_of(other.text, mark_of(rng, other.text, None, like=like)) for other in made.others]
        hits = ranked(rng, [*versions, *rng.sample(others, rng.randint(0, len(others)))])
        told = [self._answer(Found(hits, hit, span), first=1) for hit, (_, span) in zip(versions, texts, strict=True)]
        shown = [v.when in excerpt(1, hit, words).text for hit, v in zip(versions, made.versions, strict=True)]
        settled = made.settled and all(shown) and told[0] is not None
        answer, other = (*(told[:1] if settled else sorted(filter(None, told))), None, None)[:2]
        if answer and other and answer[1].lower() == other[1].lower():
            other = None
        question = polite(rng, made.question)
        return self.turns.read(self._past(rng), question, made.question, hits, answer, other=other)

    def reckon(self, rng: Random) -> Row:
        """A question whose answer is a sum over a number that a passage gives, with simulated marks.

        Where it is not given, what is said of the subject evades it.
        """
        made = page(rng)
        asked = rng.choice(made.asked)
        given = asked.sentence is not None and rng.random() > 0.3
        gold = asked.section if given else None
        others = [section.text for section in made.sections if section.text != asked.section]
        count = self.turns.renderer.profile.passages - rng.choice((1, 1, 1, 2))
        beside = rng.sample(others, min(count, len(others)))
        sure = GIVING if asked.expression else ANSWERING
        texts = beside if given else [asked.evading, *beside]
        found = marked(rng, texts, gold, asked.place(gold), sure, like=asked.expression)
        return self._reckoned(rng, asked.question, asked.expression, found)

    def reckon_trace(self, rng: Random) -> Row:
        """The same, as the server searched for it."""
        row = json.loads(rng.choice(self.files["reckon_trace"]))
        return self._reckoned(rng, row["question"], row["expression"], traced(rng, row, row["gold"], row["span"]))

    def played(self, rng: Random) -> Row:
        """A turn of the core's own that came out right."""
        row = json.loads(rng.choice(self.files["played"]))
        return Row(row["ids"], row["weights"])

    def ask(self, rng: Random) -> Row:
        """The first round alone, over many more questions and requests."""
        roll = rng.random()
        if roll < 0.3:
            query = rng.choice(self.asked)
        elif roll < 0.5:
            query = renumbered(rng, rng.choice(self.numbered))
        elif roll < 0.64:
            query = rng.choice(self.requests)
        elif roll < 0.8:
            query = fact(rng).question
        else:
            query = not_a_sum(rng)
        return self.turns.search(self._past(rng), polite(rng, query), query)[0]

    # No lookup.

    def sum(self, rng: Random) -> Row:
        """A sum in words, or a small problem, through the calculator."""
        question, expression = (
            rng.choice(self.problems) if rng.random() < 0.3 else worded_sum(rng, spoken=0.35, tens=0.5)
        )
        return self.turns.calculate(self._past(rng), question, expression)

    def small_talk(self, rng: Random) -> Row:
        """Greetings, thanks, and questions about the machine itself."""
        text, intent = rng.choice(self.talk)
        return self.turns.talk(self._past(rng), typed(rng, text), reply(rng, intent))

    def _drawn(
        self, rng: Random, texts: Sequence[str], told: Told | None, telling: Sequence[str], sure: float = ANSWERING
    ) -> Found:
        """Some of a world's passages, mostly with one that tells it."""
        gold = rng.choice(telling) if telling and rng.random() < 0.85 else None
        others = [text for text in texts if text not in telling]
        count = self.turns.renderer.profile.passages - rng.choice((1, 1, 1, 2))
        span = told.place(gold) if told and gold else (0, 0)
        beside = rng.sample(others, min(count, len(others)))
        return marked(rng, beside, gold, span, sure, like=told.value if told else "")

    def _lookup(self, rng: Random, question: str, found: Found) -> Row:
        return self.turns.read(
            self._past(rng), polite(rng, question), question, found.hits, self._answer(found, first=1)
        )

    def _chained(self, rng: Random, question: str, found: Found, around: tuple[str, str], then: Found) -> Row:
        """Two searches, if the first shows what leads on."""
        lead = self._answer(found, first=1)
        if lead is None:
            return self._lookup(rng, question, found)
        hop, answer = Hop(lead, around, then.hits), self._answer(then, first=len(found.hits) + 1)
        return self.turns.read(self._past(rng), polite(rng, question), question, found.hits, answer, hop)

    def _again(self, past: Sequence[Message], question: str, bad: str, first: Found, query: str, then: Found) -> Row:
        answer = self._answer(then, first=len(first.hits) + 1)
        return self.turns.read(past, question, bad, first.hits, answer, Hop(None, (query, ""), then.hits))

    def _reckoned(self, rng: Random, question: str, expression: str, found: Found) -> Row:
        """A calculation, if the numbers for it are shown."""
        if not (expression and found.gold):
            return self._lookup(rng, question, found)
        number = found.hits.index(found.gold) + 1
        shown = excerpt(number, found.gold, self.turns.renderer.profile.excerpt_words)
        asked = polite(rng, question)
        given = f"{asked}\n{shown.text}"
        if not numbers(expression) <= implied(given) | numbers(given):
            return self._lookup(rng, question, Found(found.hits, None, (0, 0)))
        return self.turns.reckon(self._past(rng), asked, question, found.hits, number, expression)

    def _answer(self, found: Found, first: int) -> Answer | None:
        """The words that matter, as their excerpt shows them; None when it leaves them out."""
        if found.gold is None:
            return None
        number = first + found.hits.index(found.gold)
        shown = excerpt(number, found.gold, self.turns.renderer.profile.excerpt_words)
        inside = [n for n, place in enumerate(shown.starts) if found.span[0] <= place < found.span[1]]
        if not inside or shown.starts[inside[0]] != found.span[0] or shown.starts[inside[-1]] != found.span[1] - 1:
            return None
        return number, shown.text[inside[0] : inside[-1] + 1]

    def _past(self, rng: Random) -> list[Message]:
        """Mostly nothing; else an earlier exchange."""
        if rng.random() > 0.15:
            return []
        roll = rng.random()
        if roll < 0.3:
            text, intent = rng.choice(self.talk)
            said = reply(rng, intent)
        elif roll < 0.6:
            item: Question = rng.choice(self.questions)
            text = item.question
            answer = self.sources.paragraphs[item.paragraph][item.start : item.end]
            said = f"The answer is {answer} [{rng.randint(1, 4)}]."
        elif roll < 0.8:
            text, expression = worded_sum(rng)
            said = f"The answer is {calculate(expression)}."
        else:
            text, said = rng.choice(self.asked), grammar.ABSENT.split("\n\n")[1]
        return [{"role": "user", "content": text}, {"role": "assistant", "content": said}]


def _pairs(lines: Sequence[str]) -> list[tuple[str, str]]:
    """The searches for a question, one that finds its answer and one that does not."""
    found, missing = dict[str, str](), dict[str, str]()
    for line in lines:
        row = json.loads(line)
        (missing if row["gold"] is None else found)[row["question"]] = line
    return [(line, missing[question]) for question, line in found.items() if question in missing and " " in question]


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


def _among_its_like(rng: Random, made: Fact) -> Found:
    texts = [other.text for other in rng.sample(made.others, 3)]
    gold = made.passage.text if rng.random() < 0.67 else None
    return marked(rng, texts, gold, (made.start, made.end), like=made.passage.text[made.start : made.end])
