"""Mutated files of every kind that is read: each case ends in success or in one clean error that names the file, within
2 GiB of memory and 10 s of CPU time.

One case alone: `pytest -m slow tests/mutations -k config-json.wrong_value-17`. Other cases: with the environment
variables ACESTEP_MUTATION_SEED and ACESTEP_MUTATION_TIMES, see cases.py. ACESTEP_MUTATION_KEEP is a folder for a copy
of each mutated file.
"""

import sys
from operator import attrgetter

import pytest

if sys.platform != "linux":
    pytest.skip("limits are set and measured as Linux has them", allow_module_level=True)

from mutations_tests.cases import CASES, VALID, Case
from mutations_tests.pool import Pool

pytestmark = pytest.mark.slow

BAD_TARGETS = {
    "crashes": "dies of SIGSEGV",
    "aborts": "dies of SIGABRT",
    "computes_for_ever": "s of CPU",
    "computes_in_c_for_ever": "s of CPU",
    "allocates_at_once": "memory",
    "allocates_in_steps": "memory",
    "ends_the_process": "ends the process",
    "exits": "ends the process",
    "raises_a_key_error": "KeyError",
    "recurses": "RecursionError",
    "three_lines": "has 3 lines",
    "escape_in_message": "control character",
    "long_message": "characters long",
    "no_name_in_message": "does not name the file",
    "clean_error": None,
    "success": None,
}


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """The future outcome of each selected case; worker processes run them side by side."""
    selected = [item.callspec.params["case"] for item in request.session.items if item.path == request.path]
    with Pool(tmp_path_factory.mktemp("mutations")) as pool:
        yield pool.submit(selected)


@pytest.mark.parametrize("case", VALID, ids=attrgetter("id"))
def test_a_valid_file_succeeds(case, outcomes):
    outcome = outcomes[case.id].result()
    assert outcome.fault is None and not outcome.message, str(outcome)


@pytest.mark.parametrize("case", [Case("bad_target", name, 0) for name in BAD_TARGETS], ids=attrgetter("mutation"))
def test_every_fault_is_found(case, outcomes):
    outcome, expected = outcomes[case.id].result(), BAD_TARGETS[case.mutation]
    assert outcome.fault is None if expected is None else expected in str(outcome.fault), str(outcome)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("id"))
def test_a_mutated_file_ends_in_success_or_one_clean_error(case, outcomes):
    outcome = outcomes[case.id].result()
    assert outcome.fault is None, str(outcome)
