"""A server in a process of its own, as the real one but for its models: hashed words, and a core that nobody asks."""

import uvicorn

from app.api import Parts, create_app
from app.cores.load import TINY_FOLDER, Core, load_tokenizer
from app.cores.profiles import PROFILES
from app.settings import read
from index.memory import Memory
from tests.fakes import HashedWords, ScriptedEngine

if __name__ == "__main__":
    settings = read()
    core = Core("scripted", load_tokenizer(TINY_FOLDER), PROFILES["tiny"], ScriptedEngine())
    parts = Parts(core, Memory(settings.data_dir, HashedWords()), settings)
    uvicorn.run(create_app(parts), host=settings.host, port=settings.port, log_level="warning")
