"""A core by name, folder or hub id: its tokenizer, its profile, its engine. Nothing is downloaded for "tiny"."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.cores import occ
from app.cores.profile import Profile
from app.cores.profiles import PROFILES, profile_for
from app.engine.load import TOKENIZER, DType, load_engine, resolve
from app.engine.remote import Reading, connect
from app.engine.types import Engine

TINY_FOLDER = Path(__file__).parent / "tiny"
SAMPLE = "Is 1,024 the same number to both of us?"
"""What a server must read as the tokens that we do."""


class UnknownCore(ValueError):
    """No profile, or a tokenizer that cannot hold a conversation; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Core:
    """The small model and what a turn must know of it. `more_ends`: ends that its tokenizer does not name."""

    name: str
    tokenizer: PreTrainedTokenizerBase
    profile: Profile
    engine: Engine
    more_ends: frozenset[int] = frozenset()

    @property
    def ends(self) -> frozenset[int]:
        """The ids that end what the core writes. Qwen ends a turn with either of two; both are never part of one."""
        ends = (self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        return self.more_ends.union(int(number) for number in ends if number is not None)


def load_core(
    name: str = "tiny",
    device: str = "cpu",
    *,
    profile: str = "",
    dtype: DType = "auto",
    max_sequences: int = 8,
    cache_tokens: int | None = None,
    queue: int = 64,
    threads: int | None = None,
    speculation: int | None = None,
) -> Core:
    """Load a core and start its engine. Blocks. `profile` overrides what the checkpoint's config would choose.

    Raises UnknownCore, and the engine's UnsupportedModel and NotEnoughMemory.
    """
    folder = core_folder(name)
    tokenizer, chosen = _prompted(name, folder, profile)
    engine = load_engine(
        folder,
        device,
        dtype=dtype,
        max_sequences=max_sequences,
        cache_tokens=cache_tokens,
        queue=queue,
        threads=threads,
        speculation=speculation,
    )
    return Core(name, tokenizer, chosen, engine, _ends(folder))


def load_remote_core(
    name: str,
    urls: Sequence[str],
    *,
    profile: str = "",
    key: str = "",
    timeout: float = 120,
    max_sequences: int = 8,
    queue: int = 64,
) -> Core:
    """A core that other servers run: only its tokenizer is read here. Blocks.

    Raises UnknownCore, and UnsupportedModel and EngineUnavailable from the engine.
    """
    folder = TINY_FOLDER if name == "tiny" else resolve(name, TOKENIZER)
    tokenizer, chosen = _prompted(name, folder, profile)
    if chosen.trained_loop:
        raise UnknownCore(
            f"the core {name!r} writes under a mask, which needs an engine on this machine: "
            "set COGCORE_CORE to the model that COGCORE_CORE_URL serves, or unset COGCORE_CORE_URL"
        )
    reading = Reading(len(tokenizer), SAMPLE, list(tokenizer.encode(SAMPLE, add_special_tokens=False)))
    engine = connect(
        urls,
        name,
        reading,
        key=key,
        context_length=_positions(_config(folder)),
        timeout=timeout,
        max_sequences=max_sequences,
        queue=queue,
    )
    return Core(name, tokenizer, chosen, engine, _ends(folder))


def _prompted(name: str, folder: Path, profile: str) -> tuple[PreTrainedTokenizerBase, Profile]:
    if profile and profile not in PROFILES:
        raise UnknownCore(f"no profile {profile!r}; the profiles are {', '.join(PROFILES)}")
    tokenizer = load_tokenizer(folder)
    if not profile and name == "tiny":
        return tokenizer, PROFILES["tiny"]
    chosen = PROFILES[profile] if profile else profile_for(_config(folder), str(tokenizer.chat_template))
    if chosen is None:
        raise UnknownCore(
            f"{name}: its chat template knows no tool calls of a form that is read here (<tool_call>, or Llama 3's), "
            f"so it could not search; take another core, or choose a profile among {', '.join(PROFILES)}"
        )
    if chosen.reads and (missing := occ.TOKENS - tokenizer.get_vocab().keys()):
        raise UnknownCore(
            f"{name}: its tokenizer lacks {', '.join(sorted(missing))}, which the profile {chosen.name} needs: "
            "take OCC-RAG, or another profile"
        )
    return tokenizer, sampled(chosen, _json(folder / "generation_config.json"))


def sampled(profile: Profile, given: Mapping[str, Any]) -> Profile:
    """The profile with the checkpoint's own sampling, if its generation_config.json says how to sample.

    What it does not name is off then. A core that learned the loop learned it to be read without chance.
    """
    if profile.trained_loop or given.get("do_sample") is None:
        return profile
    named = {name: number for name, number in given.items() if number is not None} if given["do_sample"] else {}
    return replace(
        profile,
        temperature=named.get("temperature", 1.0 if named else 0.0),
        top_p=named.get("top_p", 1.0),
        top_k=named.get("top_k", 0),
    )


def core_folder(name: str) -> Path:
    """Where a core lies. Raises UnsupportedModel."""
    return TINY_FOLDER if name == "tiny" else resolve(name)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a checkpoint's folder, with a chat template and an end token."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise UnknownCore(f"{folder} holds no tokenizer: name a checkpoint's folder in Hugging Face format") from error
    if not tokenizer.chat_template:
        raise UnknownCore(f"{folder} has no chat template: a base model cannot hold a conversation; take its chat form")
    if tokenizer.eos_token_id is None:
        raise UnknownCore(f"the tokenizer in {folder} names no eos_token: set it in tokenizer_config.json")
    return tokenizer


def _config(folder: Path) -> Mapping[str, Any]:
    if not (config := _json(folder / "config.json")):
        raise UnknownCore(f"{folder} has no config.json: it is no checkpoint in Hugging Face format")
    return config


def _positions(config: Mapping[str, Any]) -> int | None:
    """The context's length. Models that also see, as Qwen3.5, keep what is about text apart."""
    positions: int | None = (config.get("text_config") or config).get("max_position_embeddings")
    return positions


def _ends(folder: Path) -> frozenset[int]:
    """Llama ends some calls with another token than its turns; only generation_config.json tells."""
    ends = _json(folder / "generation_config.json").get("eos_token_id")
    return frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])


def _json(file: Path) -> Mapping[str, Any]:
    """What the file holds; nothing where there is none."""
    given: Mapping[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    return given
