"""Settings are strict: what is unknown or unsafe stops the start, and says what to do."""

from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, loopback, reachable, read


def test_defaults_listen_on_this_machine_only() -> None:
    settings = read()
    assert (settings.host, settings.port, settings.api_key) == ("127.0.0.1", 8000, None)


def test_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cogcore.toml"
    file.write_text('port = 8100\nmax_searches = 3\ndata_dir = "/srv/memory"\n')
    monkeypatch.setenv("COGCORE_CONFIG", str(file))
    monkeypatch.setenv("COGCORE_PORT", "8200")
    settings = read()
    assert (settings.port, settings.max_searches, settings.data_dir) == (8200, 3, Path("/srv/memory"))
    assert read(port=8300).port == 8300


def test_unknown_variable_is_refused_and_the_known_ones_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGCORE_MAX_SERCHES", "3")
    with pytest.raises(
        SettingsError, match=r"COGCORE_MAX_SERCHES in the environment.*Did you mean COGCORE_MAX_SEARCHES"
    ) as e:
        read()
    assert all(f"COGCORE_{name.upper()}" in str(e.value) for name in Settings.model_fields)


def test_unknown_name_in_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cogcore.toml"
    file.write_text("prot = 1\n")
    monkeypatch.setenv("COGCORE_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"prot in .*cogcore\.toml is not a setting. Did you mean port\?"):
        read()


@pytest.mark.parametrize(("text", "said"), [(None, "no such file"), ("port = = 1", "is not TOML")])
def test_a_file_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "cogcore.toml"
    if text:
        file.write_text(text)
    monkeypatch.setenv("COGCORE_CONFIG", str(file))
    with pytest.raises(SettingsError, match=said):
        read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("DEVICE", "tpu"),
        ("NEED_THRESHOLD", "1.5"),
        ("AUTONOMY", "-0.1"),
        ("PUBLIC_URL", "example.org"),
        ("PUBLIC_URL", "https://"),
        ("CORE_URL", "http://gpu1:8000,gpu2:8000"),
        ("CORE_TIMEOUT", "0"),
        ("SPECULATION", "on"),
        ("SPECULATION", "17"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"COGCORE_{name}", value)
    with pytest.raises(SettingsError, match=f"COGCORE_{name}={value}: "):
        read()


@pytest.mark.parametrize(("said", "drafts"), [("auto", None), ("off", 0), ("4", 4), (4, 4)])
def test_how_much_is_drafted(said: str | int, drafts: int | None) -> None:
    assert read(speculation=said).drafts == drafts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "cogcore.example.org"])
def test_other_machines_need_a_key(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("COGCORE_HOST", host)
    with pytest.raises(SettingsError, match="Set COGCORE_API_KEY"):
        read()
    monkeypatch.setenv("COGCORE_API_KEY", " ")
    with pytest.raises(SettingsError, match="Set COGCORE_API_KEY"):
        read()
    monkeypatch.setenv("COGCORE_API_KEY", "secret")
    assert read().host == host


def test_the_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGCORE_API_KEY", "sesame")
    assert "sesame" not in repr(read())
    monkeypatch.setenv("COGCORE_API_KEY", "sésame")
    with pytest.raises(SettingsError, match="ASCII") as e:
        read()
    assert "sésame" not in str(e.value)


def test_servers_of_the_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read().core_urls == []
    monkeypatch.setenv("COGCORE_CORE_URL", "http://gpu1:8000/v1/, https://gpu2 ,")
    monkeypatch.setenv("COGCORE_CORE_KEY", "sésame")
    with pytest.raises(SettingsError, match=r"CORE_KEY: .*ASCII"):
        read()
    monkeypatch.setenv("COGCORE_CORE_KEY", "sesame")
    settings = read()
    assert settings.core_urls == ["http://gpu1:8000", "https://gpu2"]
    assert "sesame" not in repr(settings)


def test_the_key_is_what_a_header_can_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGCORE_API_KEY", " sesame\n")
    key = read().api_key
    assert key is not None
    assert key.get_secret_value() == "sesame"
    monkeypatch.setenv("COGCORE_API_KEY", "open\nsesame")
    with pytest.raises(SettingsError, match="printable"):
        read()


def test_the_key_may_be_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(" sesame\n")
    monkeypatch.setenv("COGCORE_API_KEY_FILE", str(file))
    monkeypatch.setenv("COGCORE_API_KEY", "")  # as compose files pass what is not set
    monkeypatch.setenv("COGCORE_HOST", "0.0.0.0")
    key = read().api_key
    assert key is not None and key.get_secret_value() == "sesame"
    monkeypatch.setenv("COGCORE_API_KEY", "another")
    with pytest.raises(SettingsError, match="are both set") as e:
        read()
    assert "another" not in str(e.value) and "sesame" not in str(e.value)
    monkeypatch.setenv("COGCORE_API_KEY", "")
    for content, said in (("s\u00e9same", "ASCII"), (" \n", "is empty"), (None, "cannot be read: No such file")):
        if content is None:
            file.unlink()
        else:
            file.write_text(content, "utf-8")
        with pytest.raises(SettingsError, match=said) as e:
            read()
        assert "same" not in str(e.value)
    monkeypatch.setenv("COGCORE_API_KEY_FILE", "")
    with pytest.raises(SettingsError, match="COGCORE_API_KEY_FILE to its file"):
        read()


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, is_loopback: bool) -> None:
    assert loopback(host) is is_loopback


def test_where_a_listening_address_is_reached() -> None:
    assert [reachable(h) for h in ("0.0.0.0", "::", "::1", "10.0.0.1", "host")] == [
        "127.0.0.1",
        "[::1]",
        "[::1]",
        "10.0.0.1",
        "host",
    ]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().port = 1  # type: ignore[misc]
