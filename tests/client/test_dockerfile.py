"""Dockerfiles of plain instructions, followed without Docker; whatever else is refused with its line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from portico.client import injected_folder

sys.path.append(str(injected_folder()))
import portico_dockerfile


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for name in (
        "app/main.py",
        "app/data/one.csv",
        "requirements.txt",
        "pkg/dist/mine-1.tar.gz",
        "big/model.bin",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("flask==3.*\n# none\n--extra-index-url https://download.pytorch.org/whl/cpu\ntorch\n")
    (tmp_path / ".dockerignore").write_text("# not these\nbig\n**/*.csv\n!app/data/one.csv\n")
    return tmp_path


def build(context: Path, text: str, **arguments: str) -> portico_dockerfile.Image:
    return portico_dockerfile.build(text, str(context), arguments, lambda line: None)


def test_files_packages_variables_and_the_command(context: Path) -> None:
    image = build(
        context,
        "ARG PY=3.10\nFROM python:${PY}-slim\nLABEL a=b\nENV A=1 B='two words' C=${A}0\nENV OLD one two\n"
        "WORKDIR /srv\nCOPY requirements.txt ./\n"
        "RUN pip install --upgrade pip && \\\n  pip install --no-cache-dir -r requirements.txt 'x[y]>=1'\n"
        "COPY . .\nCOPY app/main.py /other/\nRUN python3 -m pip install pkg/dist/mine-1.tar.gz\n"
        'RUN mkdir -m 777 -p /home logs\nEXPOSE 80/tcp\nENTRYPOINT ["python", "-m", "flask"]\nCMD ["run"]\n',
        PY="3.12",
    )
    assert image.base == "python:3.12-slim" and image.ports == [80]
    assert image.environment == {"A": "1", "B": "two words", "C": "0", "OLD": "one two"}
    assert image.requirements == ["flask==3.*", "torch", "x[y]>=1"]
    assert image.packages == ["/srv/pkg/dist/mine-1.tar.gz"]
    assert (image.entrypoint, image.command, image.workdir) == (["python", "-m", "flask"], ["run"], "/srv")
    assert {"/home", "/srv/logs", "/srv/app/data"} <= image.folders
    assert set(image.files) == {
        *("/srv/app/main.py", "/srv/app/data/one.csv", "/srv/requirements.txt", "/other/main.py"),
        *("/srv/pkg/dist/mine-1.tar.gz", "/srv/.dockerignore"),
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("FROM ubuntu:22.04", "line 1: FROM ubuntu:22.04: images are made from python"),
        (
            "FROM python:3.11\n\nRUN wget http://x/y",
            "line 3: RUN wget .*: RUN does pip install, mkdir and rm",
        ),
        ("FROM python:3.11\nCOPY missing .", "line 2: COPY missing .: there is no missing"),
        ("FROM python:3.11\nCOPY ../secret .", "outside of the build's folder"),
        ("FROM python:3.11\nCOPY --from=0 a b", "--from=0 needs a Docker engine"),
        ("FROM python:3.11\nFROM python:3.11", "line 2: .*several stages"),
        ("FROM python:3.11\nRUN pip install --index-url http://x y", "--index-url is not followed"),
        ("FROM python:3.11\nRUN pip install -r nothing.txt", "the image has no /nothing.txt; copy it before"),
        ("FROM python:3.11\nADD http://x/y.tar /", "nothing is fetched from elsewhere"),
        ("FROM python:3.11\nRUN echo x > /srv/settings", "a file that a program writes .*/srv/settings"),
        ("FROM python:3.11\nRUN cat x | sh", "cat needs a Docker engine"),
        ("FROM python:3.11\nONBUILD RUN x", "Portico follows no ONBUILD"),
        ("# nothing", "has no FROM"),
    ],
)
def test_what_is_not_followed_is_refused_with_its_line(context: Path, text: str, told: str) -> None:
    with pytest.raises(portico_dockerfile.Refused, match=told):
        build(context, text)


def test_packages_of_the_system_are_this_machines(context: Path) -> None:
    said: list[str] = []
    image = portico_dockerfile.build(
        "FROM python:3.11\nWORKDIR /srv\nCOPY . .\n"
        "RUN apt-get update && \\\n  apt-get install -y --no-install-recommends git curl "
        "\\\n  && rm -rf /var/lib/apt/lists/*\n"
        "RUN curl https://x/key.gpg | sudo apt-key add - && echo 'deb x' | tee -a /etc/apt/sources.list.d/x.list\n"
        "RUN echo '[x]' > /etc/boto.cfg && rm app/data/*.csv 2>/dev/null || true\n",
        str(context), {}, said.append,
    )  # fmt: skip
    told = "Portico installs no packages of the system; what runs in the image finds those of this machine: "
    assert f"{told}apt-get install -y --no-install-recommends git curl" in said
    assert "/srv/app/main.py" in image.files and "/srv/app/data/one.csv" not in image.files


def test_a_link_that_leads_out_is_refused(context: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("x")
    (context / "app" / "link").symlink_to(secret)
    with pytest.raises(portico_dockerfile.Refused, match="leads out of the build's folder"):
        build(context, "FROM python:3.11\nCOPY app /app")
