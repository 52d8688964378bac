"""What one reply is worth, against what its question accepts."""

from dataclasses import dataclass

from app.eval import metrics
from app.eval.ask import Cited, Found, Reply
from app.eval.questions import Question


@dataclass(frozen=True, slots=True)
class Judged:
    """One question, its reply, and what the reply is worth.

    `quoted`: a verified quote holds an accepted answer. `recalled`: one of the first hits is a passage that answers.
    `supported`: a quote bears the answer out. `cited`: a passage that answers is cited. These are None where they make
    no sense: nothing to find, or no answer given. `former`: the answer gives what was right before the documents were
    changed, None where they were not. `both`: the reply tells what each of two documents says, None where they agree.
    """

    question: Question
    reply: Reply
    exact: bool
    f1: float
    contains: bool
    quoted: bool
    recalled: bool | None
    supported: bool | None
    cited: bool | None
    former: bool | None
    both: bool | None

    @property
    def searched(self) -> bool:
        return self.reply.searches > 0

    @property
    def answered(self) -> bool:
        return bool(answer(self.reply))

    @property
    def right(self) -> bool:
        """Whether it answers, and the answer or its quote is right. An abstention never is."""
        return self.answered and (self.exact or (self.quoted and not self.question.reckoned))

    @property
    def valid(self) -> bool:
        """Whether the turn kept to the protocol: no error, no call that failed, a reply, and that one finished."""
        reply = self.reply
        return reply.error is None and not reply.calls_failed and bool(reply.text) and reply.finish_reason == "stop"


def answer(reply: Reply) -> str:
    """The bare answer; the whole reply where the core gave none apart; nothing if it abstained."""
    return "" if reply.abstained else reply.answer or reply.text


def judge(question: Question, reply: Reply) -> Judged:
    given = answer(reply)
    accepted = question.answers
    number = question.reckoned
    right = metrics.same_number(given, accepted) if number else metrics.exact(given, accepted)
    quoted = any(metrics.contains(quote, accepted) for quote in reply.quotes)
    # A quote may be longer than the evidence, or hold the answer in other words of the document.
    evidence = question.evidence
    supported = quoted or (evidence is not None and any(metrics.quotes(quote, evidence) for quote in reply.quotes))
    claimed = question.documented and bool(given)
    return Judged(
        question,
        reply,
        exact=bool(given) and right,
        f1=float(right) if number else metrics.f1(given, accepted),
        contains=right if number else metrics.contains(given, accepted),
        quoted=quoted,
        recalled=any(_answers(question, hit) for hit in reply.found) if question.documented else None,
        supported=supported if claimed else None,
        cited=any(_answers(question, passage) for passage in reply.cited) if claimed else None,
        former=metrics.contains(given, question.former) if question.former else None,
        both=_tells_both(question, reply) if question.also else None,
    )


def _tells_both(question: Question, reply: Reply) -> bool:
    """In its own words, before the quotes."""
    said = reply.text.split("\n\n")[0]
    return all(metrics.contains(said, accepted) for accepted in (question.answers, question.also))


def _answers(question: Question, passage: Found | Cited) -> bool:
    """Whether it holds the evidence, or is of the gold file where no evidence is named."""
    if question.evidence is None:
        return passage.filename == question.file
    return metrics.quotes(passage.text, question.evidence)
