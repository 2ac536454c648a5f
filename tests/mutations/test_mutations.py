"""Files of every kind that is read, mutated: each case ends in success or in one clean error that names the file,
within 2 GiB and 10 s of CPU.

A case is found again by its id alone: `pytest -m slow -k config-json.wrong_value-17 tests/mutations`. Environment:
ACESTEP_MUTATION_SEED, the first number of each kind of case, 0 if it is not set: another one makes other cases;
ACESTEP_MUTATION_KEEP, a folder in which each mutated file stays.
"""

import sys
from operator import attrgetter

import pytest
from mutations_tests.cases import CASES, WHOLE, Case
from mutations_tests.pool import Pool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits are set and measured as Linux has them"),
]

# What the harness says of targets that do what none may.
FAULTS = {
    "crashes": "dies of SIGSEGV",
    "aborts": "dies of SIGABRT",
    "works_for_ever": "s of CPU",
    "works_in_c_for_ever": "s of CPU",
    "takes_memory_all_at_once": "memory",
    "takes_memory_bit_by_bit": "memory",
    "ends_the_process": "ends the process",
    "leaves": "ends the process",
    "raises_what_is_no_error_of_ours": "KeyError",
    "recurses": "RecursionError",
    "tells_three_lines": "has 3 lines",
    "tells_an_escape": "no text",
    "tells_a_page": "characters long",
    "names_nothing": "does not name the file",
    "tells": None,
    "ends_well": None,
}


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """What became of each case that is asked for here; they are tried side by side."""
    asked = [item.callspec.params["case"] for item in request.session.items if item.path == request.path]
    with Pool(tmp_path_factory.mktemp("mutations")) as pool:
        yield pool.submit(asked)


@pytest.mark.parametrize("case", WHOLE, ids=attrgetter("id"))
def test_a_whole_file_does_what_it_should(case, outcomes):
    outcome = outcomes[case.id].result()
    assert outcome.fault is None and not outcome.message, str(outcome)


@pytest.mark.parametrize("case", [Case("faults", name, 0) for name in FAULTS], ids=attrgetter("mutation"))
def test_every_fault_is_seen(case, outcomes):
    outcome, expected = outcomes[case.id].result(), FAULTS[case.mutation]
    assert outcome.fault is None if expected is None else expected in str(outcome.fault), str(outcome)


@pytest.mark.parametrize("case", CASES, ids=attrgetter("id"))
def test_a_mutated_file_ends_in_success_or_one_clean_error(case, outcomes):
    outcome = outcomes[case.id].result()
    assert outcome.fault is None, str(outcome)
