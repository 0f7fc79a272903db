"""Asset checks of `series`: one for each kind of finding of the verdict on a fetch.

What is found: `verdict`. The other assets' checks: `checks`.
"""

from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from forecast_assets.verdict.finding import Finding

ABOUT = "series"  # under this name a result lists whom it is about, where that is not everybody
MOST_ABOUT = 100  # more are told to all: an event is no place for thousands of names
ACCEPTED = "It was accepted, so it is published."

NAMES: Mapping[str, tuple[str, str]] = {
    # kind: the check, and what holds where it passes
    "new_week": ("weeks_are_known", "Every week was in the previous version."),
    "unchanged": ("something_is_new", "Something differs from the previous version."),
    "revised": ("values_stand", "What the previous version gave is what the source says now."),
    "rewritten": ("history_stands", "Less than half of the history is another than it was."),
    "repeated": ("weeks_are_their_own", "No week has come again under a later date."),
    "shrunk": ("no_week_is_gone", "Every week of the previous version is there."),
    "late": ("source_is_on_time", "The newest week that is over is there, of every series."),
    "malformed": ("rows_keep_the_contract", "Every row could be read."),
    "partial": ("newest_week_is_whole", "The newest week has the days that it usually has."),
    "duplicates": ("rows_come_once", "No series and time comes twice."),
    "off_grid": ("rows_keep_their_weekday", "Rows of weekly series are on their usual weekday."),
    "gaps": ("no_week_is_missing", "No week had to be filled since the previous version."),
    "out_of_range": ("values_are_in_range", "Every value is one that its series can have."),
    "new_series": ("series_are_known", "Every series was in the previous version."),
    "vanished_series": ("no_series_is_gone", "Every series of the previous version is there."),
    "unusual": ("newest_values_are_usual", "The newest values are as far off as values usually."),
    "rescaled": ("units_stand", "No series was multiplied, nor is its newest value."),
    "flat": ("no_series_is_stuck", "No series stands still for longer than ever."),
}

SPECS = tuple(
    dg.AssetCheckSpec(
        name,
        asset="series",
        blocking=True,
        description=f"{says} `[verdict] {kind}` says what is done where not.",
    )
    for kind, (name, says) in NAMES.items()
)


def results(
    findings: Sequence[Finding], *, is_accepted: bool = False
) -> Iterator[dg.AssetCheckResult]:
    """What each check says of a fetch: passed, a warning, or an error where it is held back.

    Where that was accepted, an error is a warning that says so.
    """
    by_kind = {one.kind: one for one in findings}
    for kind, (name, says) in NAMES.items():
        one = by_kind.get(kind)
        is_held = one is not None and one.policy == "hold"
        said = says if one is None else one.says
        yield dg.AssetCheckResult(
            check_name=name,
            passed=one is None or one.policy == "publish",
            severity=dg.AssetCheckSeverity.ERROR
            if is_held and not is_accepted
            else dg.AssetCheckSeverity.WARN,
            description=f"{said} {ACCEPTED}" if is_held and is_accepted else said,
            metadata={
                "n_problems": 0 if one is None else one.n,
                **({ABOUT: list(one.series)} if one and 0 < len(one.series) <= MOST_ABOUT else {}),
            },
        )
