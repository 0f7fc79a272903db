"""Check rows of a model-output file against a hub's tasks.json, which names what it accepts.

The format is that of hubverse.io, schema versions 3 to 6.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from forecast_assets.errors import format_list

VALUE_COLUMNS = ("output_type", "output_type_id", "value")
TARGET = "target"


@dataclass(frozen=True)
class HubRules:
    """What a hub accepts for one target: a value's limits, and values of each column."""

    task_ids: Mapping[str, Mapping[str, Sequence[Any] | None]]
    quantiles: Mapping[str, Sequence[Any] | None]
    minimum: float | None
    maximum: float | None


def parse_rules(text: str, target: str) -> HubRules:
    """Return the rules of a target. Raises ValueError with what the file lacks."""
    try:
        tasks = [task for each in json.loads(text)["rounds"] for task in each["model_tasks"]]
        targets = [_accepted(task["task_ids"].get(TARGET, {})) for task in tasks]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(f"it is no tasks.json of a hub ({problem})") from None
    fitting = [task for task, names in zip(tasks, targets, strict=True) if target in names]
    if not fitting:
        known = format_list(dict.fromkeys(name for names in targets for name in names))
        raise ValueError(f"it has no target {target!r}; it has {known or 'none'}")
    quantile = [task for task in fitting if "quantile" in task.get("output_type", {})]
    if not quantile:
        raise ValueError(f"its target {target!r} takes no quantiles")
    output = quantile[0]["output_type"]["quantile"]
    value = output.get("value", {})
    return HubRules(
        quantile[0]["task_ids"],
        output.get("output_type_id", {}),
        value.get("minimum"),
        value.get("maximum"),
    )


def problems(rows: pd.DataFrame, rules: HubRules) -> list[str]:
    """Return which rules the rows of a file break, in sentences."""
    return [*_problems(rows, rules)]


def _problems(rows: pd.DataFrame, rules: HubRules) -> Iterator[str]:
    expected, given = {*rules.task_ids, *VALUE_COLUMNS}, {*rows.columns}
    if expected != given:
        lacking = format_list(sorted(expected - given)) or "none"
        yield (
            f"the hub's columns differ: the file lacks {lacking}, and has"
            f" {format_list(sorted(given - expected)) or 'none'} that the hub does not know"
        )
    checked = {name: rule for name, rule in rules.task_ids.items() if name in given}
    for name, rule in {**checked, "output_type_id": rules.quantiles}.items():
        values = {_comparable(value) for value in rows[name].drop_duplicates().tolist()}
        accepted = {_comparable(value) for value in _accepted(rule)}
        if refused := sorted(map(str, values - accepted)):
            yield f"`{name}` has {len(refused)} values that the hub refuses: {format_list(refused)}"
        required = {_comparable(value) for value in rule.get("required") or ()}
        if absent := sorted(map(str, required - values)):
            shown = format_list(absent)
            yield f"`{name}` lacks {len(absent)} values that the hub requires: {shown}"
    for name, limit, is_broken in (
        ("below", rules.minimum, rows["value"].lt),
        ("above", rules.maximum, rows["value"].gt),
    ):
        if limit is not None and (n := int(is_broken(limit).sum())):
            yield f"{n} values are {name} {limit:g}, the limit of the hub"


def _accepted(rule: Mapping[str, Sequence[Any] | None]) -> list[Any]:
    return [*(rule.get("required") or ()), *(rule.get("optional") or ())]


def _comparable(value: Any) -> Any:
    """Return a number as such, and anything else as the text that a file has."""
    if isinstance(value, pd.Timestamp):
        return str(value.date())
    return round(float(value), 9) if isinstance(value, int | float) else str(value)
