"""Test forecasting.eligibility: in which words a model's part in the comparison is put."""

import numpy as np

from forecast_assets.forecasting.eligibility import competing_text, status_of


def test_a_model_says_on_how_many_series_it_competed_and_what_it_needs():
    short = status_of(np.array(["too short: it needs 104 values and has 90"] * 4, dtype=object))
    declined = status_of(np.array(["not for this series: it needs values"], dtype=object))
    scored = status_of(np.array([None] * 4, dtype=object))
    failed = status_of(np.array([None, "ValueError: no"], dtype=object))
    assert competing_text([short] * 21) == "0 of 21 series: needs 104 weeks"
    assert competing_text([scored, failed]) == "2 of 2 series"
    assert competing_text([scored, declined]) == "1 of 2 series: it needs values"
