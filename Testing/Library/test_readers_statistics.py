import itertools
import math

import numpy as np
import pytest
from FluoroDenoiseLib.evaluation.readers_statistics import holm, mean_interval, student_quantile, weighted_kappa, wilcoxon_signed_rank

# Darwin's cross- and self-fertilised maize, eighths of an inch: Fisher, The Design of Experiments (1935).
MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Carcinoma in situ, pathologists A and B of seven, 118 slides: Landis and Koch (1977); Agresti, Categorical Data Analysis.
SLIDES = [[22, 2, 2, 0], [5, 7, 14, 0], [0, 2, 36, 0], [0, 1, 17, 10]]
# Anxiety ratings of two raters, 20 subjects; the R package irr prints kappa 0.297 for them with squared weights.
ANXIETY = ([3, 3, 3, 4, 5, 5, 2, 3, 5, 2, 2, 6, 1, 5, 2, 2, 1, 2, 4, 3], [3, 6, 4, 6, 2, 4, 2, 4, 3, 3, 2, 3, 3, 3, 2, 2, 1, 3, 3, 4])


def pairs_of(table):
    """The two readers' scores behind a table of counts."""
    found = [(row, column) for row, line in enumerate(table) for column, count in enumerate(line) for _ in range(count)]
    return [one for one, _ in found], [other for _, other in found]


def by_all_signs(differences):
    """The two-sided p from every assignment of signs, one by one."""
    sizes = np.abs([one for one in differences if one])
    ranks = np.array([(sizes < one).sum() + ((sizes == one).sum() + 1) / 2 for one in sizes])
    sums = np.array([(ranks * signs).sum() for signs in itertools.product((0, 1), repeat=len(ranks))])
    seen = ranks[np.array([one > 0 for one in differences if one])].sum()
    return min(1.0, 2 * min((sums <= seen).mean(), (sums >= seen).mean()))


@pytest.mark.parametrize("freedom, quantile", [(1, 12.7062), (2, 4.30265), (4, 2.77645), (9, 2.26216), (30, 2.04227), (120, 1.97993)])
def test_the_quantile_is_that_of_the_printed_tables(freedom, quantile):
    assert student_quantile(0.975, freedom) == pytest.approx(quantile, rel=1e-5)


def test_the_interval_of_a_mean_is_that_of_students_example():
    # Student (1908), hours of sleep gained by ten patients: 0.75 +- 2.26216 * 1.78901 / sqrt(10).
    mean, low, high = mean_interval([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    assert (mean, low, high) == pytest.approx((0.75, -0.5298, 2.0298), abs=1e-3)


def test_one_value_has_a_mean_and_no_interval():
    mean, low, high = mean_interval([4.0])
    assert mean == 4 and math.isnan(low) and math.isnan(high)


def test_wilcoxons_test_gives_the_known_value_for_darwins_maize():
    assert wilcoxon_signed_rank(MAIZE) == pytest.approx(0.041259765625, abs=1e-12)


@pytest.mark.parametrize("differences", [[1, 1, -1, 2, 3, 3, 0, -2], [0.5, 0.5, 0.5, -0.25, 1], [1, 2, 3, 4, 5], [-1, 1], [1 / 3, 2 / 3 - 1 / 3, -1]])
def test_wilcoxons_test_is_exact_with_ties_and_zeros(differences):
    assert wilcoxon_signed_rank(differences) == pytest.approx(by_all_signs(np.round(differences, 9)), abs=1e-12)


def test_wilcoxons_test_agrees_with_scipy_where_that_is_exact():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).permutation(np.arange(1, 41)) * np.random.default_rng(4).choice([-1, 1], 40)
    assert wilcoxon_signed_rank(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, rel=1e-9)


def test_no_differences_prove_nothing():
    assert wilcoxon_signed_rank([0, 0, 0]) == 1 and wilcoxon_signed_rank([]) == 1


def test_holms_correction_is_that_of_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_weighted_kappa_is_that_of_published_examples():
    assert weighted_kappa(*ANXIETY, range(1, 7)) == pytest.approx(0.297, abs=5e-4)
    assert weighted_kappa(*pairs_of(SLIDES), range(4)) == pytest.approx(0.784, abs=5e-4)


def test_weighted_kappa_is_the_correlation_where_both_readers_use_the_scale_alike():
    # Cohen (1968): with quadratic weights and equal margins.
    first, second = [1, 2, 3, 4, 5, 5, 3, 2], [2, 1, 3, 5, 4, 5, 2, 3]
    assert weighted_kappa(first, second, range(1, 6)) == pytest.approx(np.corrcoef(first, second)[0, 1])


def test_weighted_kappa_is_one_for_equal_scores_and_unknown_where_nothing_varies():
    assert weighted_kappa([1, 3, 5], [1, 3, 5], range(1, 6)) == 1
    assert math.isnan(weighted_kappa([4, 4], [4, 4], range(1, 6)))
