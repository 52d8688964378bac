"""llm, a command line: what its users type."""

import json
import os
import subprocess
import sys
from pathlib import Path

from checks import ASKED, KEY, URL, check, run

LLM = Path(sys.executable).with_name("llm")
FOLDER = Path.home() / "llm"
# What its documentation has users write for a server that speaks as OpenAI does.
OURS = f'model_name: cogcore, api_base: "{URL}", api_key_name: cogcore, supports_tools: true, supports_schema: true'
MODELS = f"""
- {{model_id: cogcore, {OURS}}}
- {{model_id: nobody, model_name: gpt-nope, api_base: "{URL}", api_key_name: cogcore}}
"""


def llm(*words):
    """What the command printed; what went wrong where it failed."""
    environment = {**os.environ, "LLM_USER_PATH": str(FOLDER)}
    done = subprocess.run([LLM, *words], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.stderr if done.returncode else done.stdout + done.stderr


@check
def models():
    assert llm("keys", "set", "cogcore", "--value", KEY) == ""
    (FOLDER / "extra-openai-models.yaml").write_text(MODELS, "utf-8")
    assert "cogcore" in llm("models")


@check
def prompt_streamed_and_whole():
    streamed = llm("prompt", "-m", "cogcore", "--usage", ASKED["question"])
    whole = llm("prompt", "-m", "cogcore", "--no-stream", ASKED["question"])
    assert ASKED["answer"] in whole and whole.strip() in streamed
    assert "Token usage:" in streamed


@check
def what_the_memory_does_not_hold_and_small_talk():
    assert ASKED["unknown"] in llm("-m", "cogcore", ASKED["unanswerable"])
    talk = llm("-m", "cogcore", "-s", "Be kind.", ASKED["small_talk"])
    assert talk.strip() and ASKED["unknown"] not in talk and "Error" not in talk


@check
def a_conversation_goes_on_with_what_was_answered():
    assert ASKED["answer"] in llm("-m", "cogcore", ASKED["question"])
    thanked = llm("-c", "Thank you, that was helpful.")
    assert thanked.strip() and "Error" not in thanked


@check
def the_log_has_the_usage():
    last = json.loads(llm("logs", "--json", "-n", "1"))[0]
    assert last["model"] == "cogcore" and last["input_tokens"] > 0 and last["output_tokens"] > 0


@check
def functions_and_schemas_are_refused_by_the_embedded_core():
    for words in (["-T", "llm_time"], ["--schema", "name, age int"]):
        assert "Error" in (refused := llm("-m", "cogcore", *words, "Hi")) and "400" in refused, refused


@check
def errors_are_the_clients_own():
    assert "Error" in (unknown := llm("-m", "nobody", "Hi")) and "model_not_found" in unknown, unknown
    refused = llm("-m", "cogcore", "--key", "wrong", "Hi")
    assert "Error" in refused and "invalid_api_key" in refused, refused


run()
