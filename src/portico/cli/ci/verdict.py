"""What `portico ci` found: in Markdown for a person, in JUnit's XML for a code host."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.etree import ElementTree

from portico.cli.ci.evaluation import Evaluation
from portico.errors import PorticoError

_STAGES = ("compile", "test", "run", "gates")
_WORDS = {0: "passed", 1: "a gate failed", 2: "it could not be run"}
_MOST = 4000  # characters of a command's output in a table's cell's note
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd]")


@dataclass(slots=True)
class Check:
    """One thing that was looked at. `state`: passed, failed (what was looked at is not well), error (it could not be
    looked at) or skipped."""

    stage: str
    name: str
    state: str
    words: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class Verdict:
    name: str
    checks: list[Check] = field(default_factory=list)
    new: Evaluation | None = None
    deployed: Evaluation | None = None

    @property
    def code(self) -> int:
        """0: all passed; 1: something failed; 2: something could not be looked at."""
        states = {one.state for one in self.checks}
        return 2 if "error" in states else 1 if "failed" in states else 0

    @contextmanager
    def stage(self, stage: str, name: str) -> Iterator[Check]:
        """A check that passes unless the block says otherwise or can't be done."""
        check = Check(stage, name, "passed")
        self.checks.append(check)
        begun = time.monotonic()
        try:
            yield check
        except PorticoError as error:
            check.state, check.words = "error", error.message
        finally:
            check.seconds = time.monotonic() - begun

    def close(self) -> None:
        """Names the stages that something before them kept from being begun."""
        if self.code:
            begun = max(_STAGES.index(one.stage) for one in self.checks)
            self.checks += [Check(stage, "not begun", "skipped") for stage in _STAGES[begun + 1 :]]

    def markdown(self) -> str:
        lines = [f"# {self.name}: {_WORDS[self.code]}", "", "| | | |", "|---|---|---|"]
        notes = []
        for one in self.checks:
            words = one.words
            if "\n" in words:
                notes += ["", f"**{one.stage}: {one.name}**", "", "```", words[-_MOST:].strip(), "```"]
                words = words.partition("\n")[0]
            lines.append(f"| {_cell(one.stage)}: {_cell(one.name)} | {one.state} | {_cell(words)} |")
        lines += notes
        if self.new is not None:
            lines += _compared(self.new, self.deployed)
        return "\n".join(lines) + "\n"

    def junit(self) -> str:
        """A suite a stage, and a case a check."""
        root = ElementTree.Element("testsuites", name=self.name)
        for stage in _STAGES:
            some = [one for one in self.checks if one.stage == stage]
            counts: dict[str, str] = {
                state: str(sum(one.state == word for one in some))
                for state, word in (("failures", "failed"), ("errors", "error"), ("skipped", "skipped"))
            }
            seconds = f"{sum(one.seconds for one in some):.3f}"
            suite = ElementTree.SubElement(
                root, "testsuite", {"name": stage, "tests": str(len(some)), "time": seconds, **counts}
            )
            for one in some:
                case = ElementTree.SubElement(
                    suite, "testcase", classname=stage, name=one.name, time=f"{one.seconds:.3f}"
                )
                words = _NO_XML.sub("�", one.words)
                first = words.strip().partition("\n")[0]
                if one.state == "passed":
                    ElementTree.SubElement(case, "system-out").text = words
                elif one.state == "skipped":
                    ElementTree.SubElement(case, "skipped", message=first)
                else:
                    tag = "failure" if one.state == "failed" else "error"
                    ElementTree.SubElement(case, tag, message=first).text = words
        ElementTree.indent(root)
        return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _compared(new: Evaluation, deployed: Evaluation | None) -> Iterator[str]:
    """Both models side by side; of what only one has the other's cell is empty."""
    rows = f"{new.rows} rows" + (f"; the deployed model's {deployed.rows}" if deployed else "")
    yield from ("", f"## The models ({rows})", "")
    yield from ("| measure | new | deployed | the simple answer |", "|---|---|---|---|")
    before = deployed.metrics if deployed else {}
    for name, one in new.metrics.items():
        simple = f"{new.baseline[name]:.4f}" if name in new.baseline else ""
        yield f"| {_cell(name)} | {one} | {before.get(name, '')} | {simple} |"
    there = deployed.latency_milliseconds if deployed else {}
    for name, took in new.latency_milliseconds.items():
        yield f"| a row's latency, {_cell(name)} | {took:.2f} ms | {_number(there.get(name), '.2f', ' ms')} | |"
    others = deployed.differences() if deployed else {}
    for name, difference in new.differences().items():
        yield f"| {_cell(name)} | {difference:.3f} | {_number(others.get(name), '.3f')} | |"
    for column, values in new.slices.items():
        yield from ("", f"| {_cell(column)} | rows | measure | new | deployed |", "|---|---|---|---|---|")
        theirs = deployed.slices.get(column, {}) if deployed else {}
        for value, part in values.items():
            also = theirs[value].metrics if value in theirs else {}
            for name, number in part.metrics.items():
                cells = f"{number:.4f} | {_number(also.get(name), '.4f')}"
                yield f"| {_cell(value)} | {part.rows} | {_cell(name)} | {cells} |"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
