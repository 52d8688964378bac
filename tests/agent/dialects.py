"""The protocols that bigger cores speak, each as a small chat template of our own and a random checkpoint to load."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from app.cores import occ
from app.cores.load import TINY_FOLDER
from tests.engine import checkpoints

SOURCES = ("<|source_start|>", "<|source_end|>")
VOCAB = 8208  # the embedded core's and the tokens added here
CONTEXT = 1536

CHATML = """\
{%- macro turn(role, text) %}{{- '<|im_start|>' + role + '\\n' + text + '<|im_end|>\\n' }}{%- endmacro %}
"""
QWEN35 = (
    CHATML
    + """\
{%- if tools %}
{{- turn('system', '# Tools' + (tools | tojson) + '<tool_call>\\n<function=name>\\n</function>') }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'system' %}
{%- if not loop.first %}{{- raise_exception('System message must be at the beginning.') }}{%- endif %}
{{- turn('system', message.content) }}
{%- elif message.role == 'tool' %}
{{- turn('user', '<tool_response>\\n' + message.content + '\\n</tool_response>') }}
{%- elif message.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}
{%- if message.reasoning_content %}{{- '<think>\\n' + message.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
{{- message.content }}
{%- for call in message.tool_calls or [] %}
{{- '<tool_call>\\n<function=' + call.function.name + '>\\n' }}
{%- for name, value in call.function.arguments | items %}
{{- '<parameter=' + name + '>\\n' + (value | string) + '\\n</parameter>\\n' }}
{%- endfor %}
{{- '</function>\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}{{- turn(message.role, message.content) }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n<think>\\n' + ('' if enable_thinking else '\\n</think>\\n\\n') }}
{%- endif %}
"""
)
# As SmolLM3's own: tools under a name of its own, no calls, results like the user's words, one system message.
SMOLLM3 = (
    CHATML
    + """\
{%- set system = messages[0].content if messages[0].role == 'system' else '' %}
{%- set quiet = '' if enable_thinking else '<think>\\n\\n</think>\\n' %}
{{- turn('system', system + ('<tools>' + (xml_tools | string) + '</tools> <tool_call>' if xml_tools else '')) }}
{%- for message in messages %}
{%- if message.role == 'assistant' %}{{- turn('assistant', quiet + message.content) }}
{%- elif message.role != 'system' %}{{- turn('user', message.content) }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' + quiet }}{%- endif %}
"""
)
GRANITE = """\
{%- macro turn(role, text) %}
{{- '<|start_of_role|>' + role + '<|end_of_role|>' + text + '<|end_of_text|>\\n' }}
{%- endmacro %}
{%- if tools %}
{{- turn('system', (tools | tojson) + ' <tool_call>\\n{"name": ..., "arguments": ...}\\n</tool_call>') }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- turn('user', '\\n<tool_response>\\n' + message.content + '\\n</tool_response>') }}
{%- elif message.tool_calls %}
{%- for call in message.tool_calls %}
{{- turn('assistant', message.content + '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": '
    + (call.function.arguments | tojson) + '}\\n</tool_call>') }}
{%- endfor %}
{%- else %}{{- turn(message.role, message.content) }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}
"""
LLAMA3 = """\
{%- macro turn(role, text) %}
{{- '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' + text + '<|eot_id|>' }}
{%- endmacro %}
{{- bos_token }}
{%- if tools %}
{%- if tools_in_user_message | default(true) %}{{- raise_exception('The tools are among the words.') }}{%- endif %}
{{- turn('system', 'Call as {"name": name, "parameters": dictionary}. ' + (tools | tojson)) }}
{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}{{- turn('ipython', message.content | tojson) }}
{%- elif 'tool_calls' in message %}
{%- if message.tool_calls | length != 1 %}{{- raise_exception('One call at once!') }}{%- endif %}
{%- set call = message.tool_calls[0].function %}
{{- turn('assistant', '{"name": "' + call.name + '", "parameters": ' + (call.arguments | tojson) + '}') }}
{%- else %}{{- turn(message.role, message.content) }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}
"""
# As OCC-RAG's: sources beside the last message, and a reply whose first thought has begun.
OCC_RAG = (
    CHATML
    + """\
{%- for message in messages %}
{%- if loop.last and documents %}
{{- '<|im_start|>user\\n<|query_start|>' + message.content + '<|query_end|>\\n' }}
{%- for document in documents %}
{{- '<|source_start|><|source_id|>' + (loop.index | string) + ' ' + document.text + '<|source_end|>\\n' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- else %}{{- turn(message.role, message.content) }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' + ('' if enable_thinking else '<think>\\n\\n</think>\\n\\n') }}
{{- '<|query_analysis_start|>\\n' }}
{%- endif %}
"""
)


def hermes(name: str, arguments: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def bare(name: str, arguments: dict[str, Any]) -> str:
    return json.dumps({"name": name, "parameters": arguments})


def xml(name: str, arguments: dict[str, Any]) -> str:
    given = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in arguments.items())
    return f"<tool_call>\n<function={name}>\n{given}</function>\n</tool_call>"


@dataclass(frozen=True)
class Dialect:
    """A family: `profile` is what its checkpoints get, `call` how it writes a call, `ends` all that end its turns."""

    profile: str
    family: str
    template: str
    call: Callable[[str, dict[str, Any]], str] = hermes
    ends: tuple[str, ...] = ("<|im_end|>",)
    tokens: tuple[str, ...] = ()
    thinking: str = ""

    @cache  # noqa: B019 - few, and they live as long as the tests
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The embedded core's, with this family's own tokens and template, and no response template."""
        made: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(TINY_FOLDER)
        made.add_tokens([*self.ends, *self.tokens], special_tokens=True)
        made.eos_token = self.ends[0]
        if "<|begin_of_text|>" in self.tokens:
            made.bos_token = "<|begin_of_text|>"
        made.chat_template, made.response_template = self.template, None
        return made

    def write(self, folder: Path, **sampling: Any) -> Path:
        """A random checkpoint, as small as it can be; of Qwen3.5 only what says what it is."""
        tokenizer = self.tokenizer()
        tokenizer.save_pretrained(folder)
        if self.family == "qwen3_5":
            text = {"model_type": "qwen3_5_text", "max_position_embeddings": CONTEXT}
            config = {
                "model_type": "qwen3_5",
                "architectures": ["Qwen3_5ForConditionalGeneration"],
                "text_config": text,
            }
            (folder / "config.json").write_text(json.dumps(config))
        else:
            checkpoints.write(self.family, folder, vocab_size=VOCAB, max_position_embeddings=CONTEXT)
        ends = tokenizer.convert_tokens_to_ids(list(self.ends))
        (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends, **sampling}))
        return folder


READER = Dialect(
    "occ-rag",
    "qwen3-tied",
    OCC_RAG,
    ends=("<|im_end|>", occ.ANSWER_END),
    tokens=(*sorted(occ.TOKENS - {occ.ANSWER_END}), "<|query_start|>", "<|query_end|>", *SOURCES),
)
HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>", "<|python_tag|>")
DIALECTS = {
    "qwen3.5": Dialect("qwen3.5", "qwen3_5", QWEN35, xml, thinking="qwen3.5-thinking"),
    "smollm3": Dialect("smollm3", "smollm3", SMOLLM3, hermes, thinking="smollm3-thinking"),
    "granite": Dialect(
        "hermes", "granite-4", GRANITE, hermes, ("<|end_of_text|>",), ("<|start_of_role|>", "<|end_of_role|>")
    ),
    "llama3": Dialect("llama3", "llama-tied", LLAMA3, bare, ("<|eot_id|>", "<|eom_id|>"), HEADERS),
}
