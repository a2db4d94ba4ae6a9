"""The tests that are long by nature: they torment, measure, or run every program of the documentation.

`make test` leaves them out and keeps a short form of each promise. `make test-all` runs them, and so does `.ci/run`,
without the LONGEST. `make test-longest` runs all. A pattern names a file, and what is looked for in the node ids of its
tests: nothing if all are meant, and then the file is not even read. A pattern that matches no test is an error.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from pathlib import Path

LONG = (
    # killed or stopped at random, for many seconds
    "nodes/test_chaos.py::",
    r"nodes/test_history.py::test_linearizable\[(one node|three nodes that)",
    "nodes/test_raylets.py::",
    "nodes/test_archives.py::",
    "archive/test_folder.py::test_readers_see_the_archive",
    "nodes/test_keepers_memory.py::",
    "nodes/test_lines_tormented.py::",
    "cluster/test_killed_actors.py::test_(a_keeper_goes_on_while_the_catalog_is_stopped|all_arrays_are_found_again)",
    "cluster/test_calls.py::",
    "cluster/test_tls.py::",
    r"workers/test_harmless.py::test_no_task_fails_and_no_object_is_lost_while_trim_runs\[many\]",
    "workers/test_harmless.py::test_the_same_with_recycle",
    "workers/test_harmless.py::test_of_the_test",
    r"workers/test_trim_killed.py::test_its_leases_are_returned\[(ask_to_exit|give_back|let_exit-SIGTERM)",
    "arrays/test_full_disks.py::",
    r"arrays/test_spill_faults.py::test_at_every_call\[.*(from then on)",
    "testing/test_simulation.py::test_(schedules_hold|faults_that_are_planted_are_found)",
    # a model against a real Ray
    "workers/test_inspect_settings.py::test_reasons_that_settings_make",
    # each case starts a Ray, and the shorter tests of the same file try the same code
    "workers/test_restart.py::",
    "cluster/test_sessions.py::test_programs_that_start_at_once",
    "cluster/test_sessions.py::test_a_store_that_another_program",
    "cluster/test_sessions.py::test_one_program_two_clusters",
    "cluster/test_sessions.py::test_a_shelf_that_somebody_removed",
    "cluster/test_sessions.py::test_different_roots",
    "cluster/test_authentication.py::test_a_cluster_without_tokens",
    r"cluster/test_authentication.py::test_the_token_that_is_there_is_used\[(client|found|variable)\]",
    "cluster/test_authentication.py::test_without_grpcio",
    "nodes/test_restart.py::test_everything_stops_and_starts_again",
    "nodes/test_scale_down.py::",
    "nodes/test_pods.py::",
    "pages/test_words.py::test_no_sentence_of_the_code_is_a_riddle",
    "nodes/test_head_restarts.py::",
    "nodes/test_parts.py::",
    "nodes/test_many_nodes.py::test_ray_restarts_on_a_machine",
    "nodes/test_many_nodes.py::test_a_keeper_that_is_slow_to_die",
    "nodes/test_many_nodes.py::test_a_node_comes_and_goes",
    "nodes/test_ray_nodes.py::test_a_node_that_drains_and_dies",
    "nodes/test_ray_client.py::TestConformance::",
    "nodes/test_ray_client.py::test_(more_than_ray_client|outlive_is_not|a_gateway_that|what_a_program|commands|disconnected)",
    "workers/test_leaving_nodes.py::",
    "workers/test_recycle.py::test_(a_large_argument|a_limit_below|a_worker_that_others|generators|options|a_worker_leaves_when)",
    # Ray lets its workers go after many seconds
    "workers/test_looking.py::test_(rounds_that_let_workers_go|the_node_stays_idle|an_exact_look)",
    "workers/test_ended_jobs.py::test_(those_that|what_another)",
    # one of its kind is short
    r"arrays/test_warm.py::test_arrays_that_are_not_contiguous\[1-",
    "cluster/test_sessions.py::test_with_token_authentication",
    r"lint/test_processes.py::test_no_process_outlives_the_one_that_started_it\[(2|Signals.SIGINT)\]",
    r"package/test_imports.py::.*\[(--version|lint --explain|explain|versions|tune|workers)",
    r"package/test_help.py::test_bash_completes\[outlive (workers|lint)",
    r"package/test_extras.py::test_commands_that_need_ray\[(put|nodes|doctor|workers)",
    # every program of the documentation, every error of a real Ray, every frame around a log
    "demo/test_demo_run.py::",
    "examples/test_examples.py::test_it_runs",
    "lint/test_pages_run.py::",
    "explain/test_lost_nodes.py::",
    "explain/test_frames.py::test_in_(a_frame|two_frames)",
    "values/test_columns.py::test_random_damage",
    "values/test_libraries.py::test_damaged_bytes",
    "cluster/test_store.py::test_ray_data",  # which loads pandas and Ray Data
    "data/test_on_ray.py::",
    "pages/test_built_site.py::",
    # other projects' suites: zarr's state machines, and xarray's for zarr, which loads all of xarray
    "zarr/test_stateful.py::",
    "zarr/test_xarray.py::",
    # a real browser, or a Ray for a test alone
    "dashboard/test_browser.py::",
    "dashboard/test_command.py::test_(a_cluster_that|no_cluster|a_port)",
    "metrics/test_scrape.py::",  # Ray's agent, which loads much
)

LONGEST = (
    "workers/test_model_against_ray.py::test_number_of_workers",  # a minute in which no other test may run
    "pages/test_programs.py::",  # three minutes, and packages of its own
    "examples/test_dicom_serve.py::",  # ray[serve], which is among these
    r"nodes/test_history.py::test_linearizable\[three nodes\]",  # its kills are among those of the other one
    "nodes/test_bulk.py::",  # many small arrays, for over a minute
    "workers/test_beside_trim.py::",  # test_harmless has the most frequent of these calls
    "nodes/test_scale_down.py::test_without_outlive",  # what Ray does by itself
    # one of the two autoscalers is enough in the shorter form
    r"nodes/test_scale_down.py::test_a_node_(that_cannot_see|of_min_workers)\w*\[v1",
    r"workers/test_leaving_nodes.py::test_a_node_leaves\[2",
    "workers/test_leaving_nodes.py::test_a_node_with_arrays_leaves",
    "nodes/test_scale_down.py::test_a_node_of_min_workers",
    r"nodes/test_scale_down.py::test_both_nodes_leave\w*\[v1",
    r"lint/test_pages_run.py::test_pages\[(?!OUT202)",  # each starts programs of its own
    # most of a minute each, and others of the same file try nearly the same
    "nodes/test_pods.py::test_a_pod_that_is_killed_in_the_midst",
    r"demo/test_demo_run.py::test_interrupt_ends_all\[outlive",
    r"examples/test_examples.py::test_it_runs\[(stages|io_manager|idle_workers)",
    "explain/test_fuzz.py::test_memory",
    r"arrays/test_spill_faults.py::test_at_every_call\[.*a quota",
    r"workers/test_guard.py::test_one_that_ends_while_it_holds_a_worker_gives_it_back\[(ray.kill|SIGSTOP)",
    "workers/test_inspect.py::test_a_spent_owner",
    "workers/test_recycle.py::test_the_worker_leaves_after_the_task",
    "workers/test_ended_jobs.py::test_(a_worker_of_a_dead|each_of_several)",
)


def _by_file(patterns: Iterable[str]) -> dict[str, re.Pattern[str]]:
    """For each file that is named, what is looked for in the rest of a node id: a pattern for all would take long."""
    found: dict[str, list[str]] = {}
    for pattern in patterns:
        file, _, rest = pattern.partition("::")
        found.setdefault(f"tests/{file}", []).append(rest)
    return {file: re.compile("|".join(rest)) for file, rest in found.items()}


_LONG, _LONGEST = _by_file(LONG + LONGEST), _by_file(LONGEST)
SHORT = bool(os.environ.get("OUTLIVE_SHORT"))  # set by `make test`


def few(count: int) -> int:
    """How often something is tried that is tried so often in the longer forms: `make test` tries it a quarter of that.

    Examples and moments that are random are others each time.
    """
    return count // 4 if SHORT else count


def is_long(nodeid: str) -> bool:
    """Whether `make test` leaves this test out."""
    return _matches(_LONG, nodeid)


def is_longest(nodeid: str) -> bool:
    """Whether `make test-all` leaves this test out too."""
    return _matches(_LONGEST, nodeid)


def _matches(patterns: dict[str, re.Pattern[str]], nodeid: str) -> bool:
    file, _, rest = nodeid.partition("::")
    return file in patterns and patterns[file].search(rest) is not None


@functools.cache
def left_out(marks: str) -> frozenset[str]:
    """The files of which no test is run with this expression for marks: to import them may take seconds."""
    patterns = {"not long": LONG + LONGEST, "not longest": LONGEST}.get(marks, ())
    return frozenset(f"tests/{pattern[:-2]}" for pattern in patterns if pattern.endswith("::"))


def unknown(nodeids: list[str]) -> list[str]:
    """The patterns that match none of these tests, or name no file, if it is left out."""
    files: dict[str, list[str]] = {}
    for nodeid in nodeids:
        file, _, rest = nodeid.partition("::")
        files.setdefault(file, []).append(rest)
    return [pattern for pattern in LONG + LONGEST if not _is_known(pattern, files)]


def _is_known(pattern: str, files: dict[str, list[str]]) -> bool:
    file, _, rest = pattern.partition("::")
    tests = files.get(f"tests/{file}")
    if tests is None:
        return Path(__file__).parent.joinpath(file).exists()
    return any(re.search(rest, test) for test in tests)
