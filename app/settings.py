"""Every setting, read once: from COGCORE_* variables over the TOML file that COGCORE_CONFIG names, over the defaults.

A name that no setting has stops the start. Imports nothing of ours.
"""

import difflib
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

PREFIX = "COGCORE_"
CONFIG = PREFIX + "CONFIG"
MOST_DRAFTED = 16


class SettingsError(ValueError):
    """A setting is unknown or wrong; the message names it, where it stands, and the remedy."""


class Settings(BaseSettings):
    """The server's settings. README.md shows each with its default and description."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs an API key.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on.")
    api_key: SecretStr | None = Field(
        None, description="The administrator's key, sent as `Authorization: Bearer`. `cogcore key` makes others."
    )
    api_key_file: str = Field("", description="A file that holds this key instead, as a container's secret does.")
    public_url: str = Field("", description="How clients reach this server; citations link there. Empty: as asked.")
    data_dir: Path = Field(Path("data"), description="Folder of documents, catalog and indexes.")
    catalog_url: SecretStr | None = Field(
        None,
        description="The catalog in PostgreSQL: `postgresql://USER:PASSWORD@HOST:5432/DATABASE`. Empty: SQLite, in the "
        "data folder.",
    )
    sample: bool = Field(True, description="Fill an empty memory with the sample knowledge base at the first start.")
    max_upload_mb: int = Field(64, ge=1, le=4096, description="Largest upload in MB.")
    max_bundle_mb: int = Field(4096, ge=1, description="Largest bundle that is imported, in MB.")
    filter: bool = Field(
        True, description="Leave garbage in documents out of what can be found: repeated, garbled, wrongly encoded."
    )
    core: str = Field("tiny", description="`tiny` is the embedded core; else a checkpoint's folder or hub id.")
    core_url: str = Field(
        "",
        description="Servers that run the core, by comma: vLLM, SGLang, llama.cpp. `COGCORE_CORE` names their model.",
    )
    core_key: SecretStr | None = Field(None, description="Sent to these servers as `Authorization: Bearer`.")
    core_timeout: float = Field(120.0, gt=0, description="Seconds of silence after which these servers have failed.")
    embedder: str = Field("", description="A sentence-transformers model. Empty: the one in the package.")
    reader: str = Field("", description="The memory's reader, by path. Empty: the one in the package; `none`: none.")
    faiss: str = Field(
        "auto", description="The vector index of large stores: `auto`, `exact`, or any FAISS factory string."
    )
    faiss_gpu: bool = Field(
        True, description="Keep a copy of large stores on a GPU for searches, where FAISS finds one."
    )
    exact_up_to: int = Field(20_000, ge=0, description="Passages in a store up to which all vectors are compared.")
    distinct_hits: bool = Field(True, description="Leave out hits that say the same as a better one.")
    search_timeout: float = Field(
        0.0, ge=0, description="Seconds of a search after which the reader reads no more. 0: no limit."
    )
    milvus_url: str = Field(
        "",
        description="A Milvus that holds the indexes, and its database: `http://milvus:19530/NAME`. Empty: RAM does.",
    )
    milvus_token: SecretStr | None = Field(None, description="Shown to Milvus: `USER:PASSWORD` or a token.")
    ocr: str = Field(
        "eng",
        pattern=r"^(\w+(\+\w+)*)?$",
        description="Languages of scans and images, by Tesseract's names: `eng+deu`. Empty: these are not read.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the core runs.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="Precision of the core. `auto`: the checkpoint's on a GPU; float32 on a CPU, with products in bf16 "
        "where weights and processor allow it.",
    )
    profile: str = Field("", description="How the core is prompted. Empty: as its checkpoint suggests.")
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="CPU threads of the core. 0: one where it has fewer than 16 million parameters, else all.",
    )
    max_sequences: int = Field(8, ge=1, le=4096, description="Sequences that the engine decodes at once.")
    cache_tokens: int = Field(
        0, ge=0, description="Tokens of KV kept in all. 0: as the core's context needs, and free memory allows."
    )
    queue: int = Field(
        64, ge=1, le=65536, description="New requests that may wait; beyond it the key with the most waiting gets 429."
    )
    speculation: str = Field(
        "auto", description="Tokens that are drafted from the prompt, to be verified in one step: a number, or `off`."
    )
    need_threshold: float = Field(0.4, ge=0, le=1, description="Search when the core's need is at least this.")
    abstain_below: float = Field(0.3, ge=0, le=1, description="Say `I do not know` when confidence is below this.")
    autonomy: float = Field(
        1.0, ge=0, le=1, description="Mark answers `needs_review` below a confidence of 1 minus this. 1: none; 0: all."
    )
    max_searches: int = Field(2, ge=0, le=8, description="Searches of the memory in one turn.")
    request_timeout: float = Field(
        600.0, ge=0, description="Seconds until an answer must have begun; a stream may then go on. 0: no limit."
    )
    requests_per_minute: int = Field(
        0,
        ge=0,
        description="Requests in a minute of an API key that was made without a limit of its own. 0: any number.",
    )
    tokens_per_minute: int = Field(0, ge=0, description="The same for tokens, of prompts and answers. 0: any number.")
    keep_days: int = Field(
        30, ge=0, description="Days until responses, and conversations that nobody adds to, are erased. 0: never."
    )
    audit: bool = Field(True, description="Write each change to `audit.jsonl` in the data folder: who, when, to what.")
    traces: bool = Field(
        False, description="Send OpenTelemetry traces of turns and searches to where `OTEL_EXPORTER_OTLP_*` say."
    )
    traces_words: bool = Field(False, description="Put words of messages and documents into these traces.")
    keep_alive: float = Field(
        10.0, gt=0, description="Seconds of silence after which a stream says that it lives, for proxies."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["text", "json"] = Field("text", description="`json`: one object a line, for log collectors.")

    @model_validator(mode="before")
    @classmethod
    def _key_of_a_file(cls, given: dict[str, Any]) -> dict[str, Any]:
        name, file = f"{PREFIX}API_KEY_FILE", str(given.get("api_key_file") or "").strip()
        if not file:
            return given
        if str(given.get("api_key") or "").strip():
            raise ValueError(f"{PREFIX}API_KEY and {name} are both set: keep one of them.")
        try:
            key = Path(file).read_text("utf-8", errors="replace").strip()
        except OSError as error:
            raise ValueError(f"{name}={file} cannot be read: {error.strerror}.") from error
        if not key:
            raise ValueError(f"{name}={file} is empty. Write the key into it.")
        return given | {"api_key": key}

    @field_validator("api_key", "core_key", "milvus_token")
    @classmethod
    def _blank_is_none(cls, key: SecretStr | None) -> SecretStr | None:
        given = key.get_secret_value().strip() if key else ""
        if not (given.isascii() and given.isprintable()):
            raise ValueError("must be printable ASCII, since it travels in a header")
        # A header's value loses the spaces around it, so the key must have none.
        return SecretStr(given) if given else None

    @field_validator("catalog_url")
    @classmethod
    def _postgres(cls, url: SecretStr | None) -> SecretStr | None:
        given = url.get_secret_value().strip() if url else ""
        if given and not given.startswith(("postgresql://", "postgres://")):
            raise ValueError("must be like postgresql://USER:PASSWORD@HOST:5432/DATABASE, or empty for SQLite")
        return SecretStr(given) if given else None

    @field_validator("public_url", "milvus_url")
    @classmethod
    def _absolute(cls, url: str) -> str:
        if url and not (url.startswith(("http://", "https://")) and urlsplit(url).hostname):
            raise ValueError("must begin with http:// or https:// and a host")
        if url and urlsplit(url).username is not None:
            raise ValueError("must hold no user and password: errors and logs name it")
        return url.rstrip("/")

    @field_validator("core_url")
    @classmethod
    def _absolutes(cls, urls: str) -> str:
        # OpenAI's clients are given the address with its version.
        return ",".join(cls._absolute(url.strip()).removesuffix("/v1") for url in urls.split(",") if url.strip())

    @field_validator("speculation", mode="before")
    @classmethod
    def _auto_off_or_length(cls, given: object) -> str:
        said = str(given)  # a file may have a number
        if said not in ("auto", "off") and not (said.isdecimal() and 1 <= int(said) <= MOST_DRAFTED):
            raise ValueError(f"must be auto, off, or how many tokens: 1 to {MOST_DRAFTED}")
        return said

    @property
    def drafts(self) -> int | None:
        """The most tokens that are drafted; None for what suits the device."""
        if self.speculation == "auto":
            return None
        return 0 if self.speculation == "off" else int(self.speculation)

    @property
    def catalog(self) -> str:
        """PostgreSQL's address with its password; empty for SQLite."""
        return self.catalog_url.get_secret_value() if self.catalog_url else ""

    @property
    def core_urls(self) -> list[str]:
        return self.core_url.split(",") if self.core_url else []

    @model_validator(mode="after")
    def _closed_door(self) -> Self:
        if self.api_key is None and not loopback(self.host):
            raise ValueError(
                f"{PREFIX}HOST={self.host} would let other machines read every document. "
                f"Set {PREFIX}API_KEY to a secret ({PREFIX}API_KEY_FILE to its file), or {PREFIX}HOST to 127.0.0.1."
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, Environment(settings_cls), File(settings_cls)


class Environment(EnvSettingsSource):
    """COGCORE_* variables, none of them unknown."""

    def __call__(self) -> dict[str, Any]:
        given = (name for name in os.environ if name.startswith(PREFIX) and name != CONFIG)
        refuse_unknown(given, [PREFIX + name.upper() for name in Settings.model_fields], "the environment")
        return super().__call__()


class File(TomlConfigSettingsSource):
    """The file named by COGCORE_CONFIG, if any: `port = 8001`, one line per setting."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        self.path = Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None
        if self.path and not self.path.is_file():
            raise SettingsError(f"{CONFIG}={self.path}: there is no such file. Correct the path or unset {CONFIG}.")
        try:
            super().__init__(settings_cls, toml_file=self.path)
        except ValueError as error:
            raise SettingsError(f"{self.path} is not TOML: {error}") from error

    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        refuse_unknown(values, list(Settings.model_fields), str(self.path))
        return values


def read(**given: Any) -> Settings:
    """The settings, or a SettingsError in words for whoever starts the server. `given` wins over all sources."""
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_words(dict(e)) for e in error.errors())) from error


def _words(error: dict[str, Any]) -> str:
    said = str(error["msg"]).removeprefix("Value error, ")
    name = ".".join(str(part) for part in error["loc"])
    # An error must not put the secret into a log.
    value = "" if name in ("api_key", "catalog_url", "core_key", "milvus_token") else f"={error['input']}"
    return f"{PREFIX}{name.upper()}{value}: {said}" if name else said


def refuse_unknown(given: Iterable[str], known: list[str], where: str) -> None:
    """Raise when `given` holds a name that is not in `known`."""
    for name in given:
        # Windows-style lower-case variables are read too, so they are compared in upper case.
        if name not in known and name.upper() not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {close[0]}?" if close else ""
            raise SettingsError(f"{name} in {where} is not a setting.{hint} The settings are: {', '.join(known)}.")


def reachable(host: str) -> str:
    """The host part of a URL by which this machine reaches what listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
