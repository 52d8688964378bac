"""Small talk: CLINC150's requests by intent, our own in smalltalk.toml, and what the embedded core says to them."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

BANK: Mapping[str, Mapping[str, list[str]]] = tomllib.loads(
    (Path(__file__).parent / "smalltalk.toml").read_text("utf-8")
)
FILLERS = [
    "hmm ", "well, ", "so ", "ok ", "oh, ", "hey ", "hi, ", "hello, ", "hi! ", "hello. ", "oh well, ", "ah, ", "um, ",
    "and ", "but ", "listen, ", "cogcore, ", "by the way, ", "good morning, ", "thanks, ",
]  # fmt: skip
TAILS = [" then", " cogcore", " haha", " lol", " please", " now", " today", " again", " my friend", ", ok"]
MARKS = ["", "", "", "", ".", ".", "!", "?", "...", "!!", " .", " !"]


def small_talk(requests: Sequence[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """(text, intent); our own count twice, as they say more than CLINC's."""
    theirs = [(text, intent) for text, intent, domain in requests if domain == "small_talk" and intent in BANK]
    return theirs + [(text, intent) for intent, group in BANK.items() for text in group["said"]] * 2


def reply(rng: Random, intent: str) -> str:
    """One of the replies to this intent."""
    return rng.choice(BANK[intent]["replies"])


def typed(rng: Random, text: str) -> str:
    """As people write it: a word before or after, with or without capitals and a closing mark."""
    roll = rng.random()
    if roll < 0.1:
        text = rng.choice(FILLERS) + text
    elif roll < 0.16:
        text += rng.choice(TAILS)
    roll = rng.random()
    if roll < 0.5:
        text = text[:1].upper() + text[1:]
    elif roll < 0.54:
        text = text.upper()
    elif roll < 0.6:
        text = text.replace("'", "").replace(",", "")
    return text + rng.choice(MARKS)
