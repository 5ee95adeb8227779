"""Commands are found, options are checked, and errors of the user are one line with code 2."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_bio_superposition.cli import COMMANDS, main


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


WORDS = [[name] for name in sorted(COMMANDS) if name != "evaluate"]
WORDS += [["evaluate", what] for what in ("sae", "encoder", "sweep")]


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_command_explains_itself(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in ("--config", "device", "seed", "--json"):  # a sweep's are those of its evaluation
        assert option in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyse"], "No command 'analyse'. Choose one of: demo"),
        (["segment", "a.tif"], "--out"),
        (["segment", "a.tif", "--out", "x", "--method", "magic"], "--method"),
        (["segment", "a.tif", "--out", "x", "--tile-px", "7"], "Choose a value from 128"),
        (["segment", "a.tif", "--out", "x", "--config", "absent.toml"], "absent.toml"),
        (["analyze", "a.tif", "--out", "x", "--roles", "nuclei"], "nuclei"),
        (["info", "absent.tif"], "absent.tif"),
    ],
)
def test_an_error_of_the_user_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert message in complaint
    assert complaint.count("\n") == 1


def test_no_command_shows_the_usage_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_flags_win_over_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('device = "nonsense"\n', encoding="utf-8")
    assert main(["info", "--config", str(settings)]) == 2
    assert "nonsense" in capsys.readouterr().err
    assert main(["info", "--config", str(settings), "--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["event"] == "result"
    assert result["device chosen"] == "cpu"


def test_the_package_and_its_help_import_neither_torch_nor_scanpy() -> None:
    code = (
        "import sys, napari_bio_superposition.cli as cli; cli.main(['--help']);"
        "heavy = {'torch', 'scanpy', 'napari', 'skimage', 'dask'} & set(sys.modules);"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_reader_who_leaves_ends_the_command_without_a_traceback(tmp_path: Path) -> None:
    done = _run_in_shell("import sys; sys.exit(0)")
    assert "Traceback" not in done.stderr
    assert "interrupted" in done.stderr


def test_a_terminal_that_does_not_know_a_character_gets_its_number() -> None:
    code = (
        "import sys; from napari_bio_superposition.cli.reporting import Reporter;"
        "Reporter(as_json=False).result([chr(0x65e5)], {})"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stdout == "\\u65e5\n", done.stderr


def _run_in_shell(reader: str) -> subprocess.CompletedProcess[str]:
    """Run `info --json` with a reader of its output that has ended before it writes."""
    with subprocess.Popen([sys.executable, "-c", reader], stdin=subprocess.PIPE) as end:
        assert end.stdin is not None
        end.wait()
        code = "import sys; from napari_bio_superposition.cli import main; sys.exit(main())"
        return subprocess.run(
            [sys.executable, "-c", code, "info", "--json"],
            stdout=end.stdin,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
