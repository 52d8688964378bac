"""The embedded core's tokenizer: byte-level BPE, digits one by one, trained on prose, questions and the protocol."""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from app.cores import grammar
from app.train.sources import Sources

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
PROTOCOL = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
MARKS = ("<mark>", "</mark>")
PHRASES = (grammar.SEARCH, grammar.CALCULATE, grammar.TALK, grammar.ABSENT, grammar.RESULT, grammar.CALL_END)


def train(sources: Sources, folder: Path, vocabulary: int = 8192, articles: int = 3000) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`, beside its chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\d"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(PROTOCOL + MARKS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
    )
    bpe.train_from_iterator(_texts(sources, articles), trainer)
    bpe.add_tokens([AddedToken(word, normalized=False, special=False) for word in PROTOCOL + MARKS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=2048
    )
    fast.save_pretrained(folder)


def _texts(sources: Sources, articles: int) -> Iterator[str]:
    yield from sources.prose(articles)
    yield from (item.question for item in sources.squad())
    for phrase in PHRASES:
        yield from [phrase] * 2000
