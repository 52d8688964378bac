"""llm, a command line: what its users type."""

import json
import subprocess
import sys
from pathlib import Path

from checks import ASKED, URL, check, run

LLM = Path(sys.executable).with_name("llm")
FOLDER = Path.home() / "llm"
MODELS = f"""
- {{model_id: cogcore, model_name: cogcore, api_base: "{URL}", supports_tools: true}}
- {{model_id: nobody, model_name: gpt-nope, api_base: "{URL}"}}
"""


def llm(*words, given=None):
    """What the command ended with, and what it said."""
    where = {"LLM_USER_PATH": str(FOLDER)}
    done = subprocess.run([LLM, *words], input=given, env=ENVIRONMENT | where, capture_output=True, text=True)
    return done


run()
