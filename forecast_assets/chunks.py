"""A chunk of fits as a worker takes it: run in a watched process, the failures of a model as data.

Spreading chunks over workers: `crew`. The process and its watcher: `runner`.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forecast_assets.backtest import Fold
from forecast_assets.errors import ModelError
from forecast_assets.fitting import Answer, Question
from forecast_assets.panel import Panel, Unit
from forecast_assets.runner import Budget, Ended, Runner

PACKAGED = ""  # the package's own models share a process


@dataclass(frozen=True)
class Chunk:
    """Fits of one model for one worker. `fingerprint`: the model as the sender knows it."""

    question: Question
    fingerprint: str
    units: Sequence[Unit]
    budget: Budget


@dataclass(frozen=True)
class Report:
    """What came of a chunk: an answer for each unit, and why the model was ended on which series.

    `refused` says why the chunk was not run at all. Times are of the worker's own clock.
    """

    answers: Sequence[Answer]
    ended: Mapping[int, str]
    began: float
    seconds: float
    peak_mb: float = 0.0
    refused: str = ""


def run_chunk(panel: Panel, chunk: Chunk) -> Report:
    """Run every unit, in a new process after each that ends the one it runs in.

    A unit that its process died at is tried once more, since others can kill a process too. Where a
    model had to be ended, its other units of the same series are not tried: a model that did not
    forecast every fold is not ranked there.
    """
    began, started = time.time(), time.perf_counter()
    model = chunk.question.model
    try:
        fingerprint = model.fingerprint
    except ModelError as error:  # its package is not here
        return Report([failed(unit, str(error)) for unit in chunk.units], {}, began, 0.0)
    if fingerprint != chunk.fingerprint:
        return Report((), {}, began, 0.0, refused=f"{model.name} is {model.identity} there")
    answers: dict[int, Answer] = {}
    ended: dict[int, str] = {}
    died: set[int] = set()
    kind = PACKAGED if model.is_packaged else fingerprint
    runner = _borrowed(kind)
    peak_mb = 0.0
    while todo := [i for i in range(len(chunk.units)) if i not in answers]:
        asked = [chunk.units[i] for i in todo]
        try:
            for place, answer in runner.run(chunk.question, asked, panel, chunk.budget):
                answers[todo[place]] = answer
        except Ended as end:
            peak_mb = max(peak_mb, runner.peak_mb)
            runner.close()
            runner = Runner()
            at = todo[end.unit]
            if at in answers or (end.is_death and at not in died):
                died.add(at)
                continue
            series = chunk.units[at].series
            answers[at] = failed(chunk.units[at], str(end), end.seconds)
            ended[series] = str(end)
            for i, unit in enumerate(chunk.units):
                if unit.series == series and i not in answers:
                    answers[i] = failed(unit, not_tried(str(end)))
    peak_mb = max(peak_mb, runner.peak_mb)
    _give_back(kind, runner)
    in_order = [answers[i] for i in range(len(chunk.units))]
    return Report(in_order, ended, began, time.perf_counter() - started, peak_mb)


def failed(unit: Unit, said: str, seconds: float = 0.0) -> Answer:
    """The answer of a unit that gave none."""
    share = seconds / len(unit.folds)
    return Answer([Fold(None, share, said)] * len(unit.folds), seconds)


def not_tried(said: str) -> str:
    """The error of a fold that was not tried, for what another one of its series did."""
    return f"not tried: at another cutoff it {said}"


_idle: list[tuple[str, Runner]] = []
_lock = threading.Lock()


def _borrowed(kind: str) -> Runner:
    """An idle process that ran models of this kind, or a new one.

    A model of the user's own has a process to itself: what it does to it is its own affair.
    """
    with _lock:
        for i, (its_kind, _) in enumerate(_idle):
            if its_kind == kind:
                return _idle.pop(i)[1]
        others = [one for one in _idle if one[0] != PACKAGED]
        _idle[:] = [one for one in _idle if one[0] == PACKAGED]
    for _, runner in others:
        runner.close()
    return Runner()


def _give_back(kind: str, runner: Runner) -> None:
    with _lock:
        _idle.append((kind, runner))


def close_idle() -> None:
    """End the processes that wait for work in this worker."""
    with _lock:
        idle, _idle[:] = [*_idle], []
    for _, runner in idle:
        runner.close()
