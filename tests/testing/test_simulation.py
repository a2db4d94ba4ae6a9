"""The simulated world: its schedules hold, are replayed to the letter, and find faults that are planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from outlive.testing.simulation.several import SAME_ORDER

pytest.importorskip("greenlet")


def simulate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it takes the place of the clock, of threads and of chance."""
    return run("-m", "outlive.testing.simulation", *arguments)


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """With the order of sets that the program would else set itself, and start anew for."""
    environment, command = os.environ | SAME_ORDER, [sys.executable, *arguments]
    return subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)


def test_schedules_hold() -> None:
    """`make simulate` plays as many as one likes: 20,000 take eight minutes of a processor."""
    done = simulate("--count", "500", "--processes", "1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_is_replayed_to_the_letter() -> None:
    first, second = simulate("--seed", "52"), simulate("--seed", "52")
    assert first.stdout == second.stdout
    assert first.stdout.count("\n") > 20 and "the plan, for --plan" in first.stdout


ONCE_FAILED = (
    # An array that was to have replicas was read, and went with its node before it had them: the former was back.
    """[8, ["a", "b", "c"], [["client1", "b", [[0.5, "put", ["k"], 1, 5, 1]]],
    ["client2", "c", [[0.7, "put", ["m"], 3, 5, 1], [1.5, "put", ["k"], 2, 5, 2]]],
    ["client3", "c", [[0.9, "get", ["m"], 9, 5, 1], [1.513, "get", ["k"], 10, 5, 1],
    [1.5142, "get", ["k"], 11, 5, 1]]]], [[1.515, "kill machine", "c", "", 0.0]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A machine and the catalog die together: what had been replaced on that machine was shown again.
    """[7, ["a", "b", "c"], [["client1", "b", [[0.5, "put", ["k"], 1, 5, 1]]],
    ["client2", "c", [[1.5, "put", ["k"], 2, 5, 1]]]],
    [[1.5392, "kill machine", "c", "", 0.0], [1.5392, "kill catalog", "", "", 0.0]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A keeper is gone for good, and the next catalog did not know of its shelf: "no array", or an earlier one by name.
    """[3408, ["a", "b"], [["client1", "b", [[0.8325, "put", ["m"], 1, 5, 1]]]],
    [[0.9876, "kill catalog", "", "", 0.0], [0.99, "end keeper", "b", "", 0.0]], [0.0, 0.0, 0.0, 0.0], []]""",
    """[48, ["a", "b", "c"], [["client1", "c", [[0.611, "put", ["k"], 2, 5, 1]]],
    ["client2", "b", [[1.8801, "put", ["k"], 6, 5, 1]]]],
    [[1.4279, "end keeper", "c", "", 0.0], [1.4329, "kill catalog", "", "", 0.0]], [0.0, 0.0, 0.0, 0.0], []]""",
    # An array of a scope was evacuated to a node that did not know of the scope, and ended it at once.
    """[459, ["a", "b"], [["client1", "b", [[1.2362, "drain", ["b"]]]],
    ["client2", "b", [[0.0705, "open_scope", ["s"]], [0.1549, "put_scoped", ["s"], 1004],
    [7.2706, "get_handle", ["s"]]]]], [], [0.0, 0.0, 0.0, 0.0], []]""",
    # A dead writer's draft was sealed as of the epoch of a listing that did not have it, and that came late.
    """[1909, ["a", "b"], [["client1", "b", [[0.0079, "get", ["k"]], [0.0943, "put", ["m"], 1]]],
    ["client3", "b", [[0.3667, "get_many", ["k", "m"], 11], [0.4349, "get", ["m"], 12],
    [0.4434, "put_handle", ["h"], 1008, 5, 2]]]], [[0.108, "kill client", "client1"]],
    [0.1, 0.0, 0.0, 0.05], []]""",
    # A keeper died for good on a node where the catalog knows an array: no copy of it was ever made.
    """[697, ["a", "b"], [["client1", "b", [[0.5671, "put", ["k"], 1], [6.5575, "put", ["m"], 2, 5, 2]]]],
    [[2.0623, "end keeper", "b"]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A lost array was deleted, while the keeper that had adopted it was about to tell the catalog.
    """[60, ["a", "b"], [["before", "b", [[1.5582, "put", ["m"], 2003]]],
    ["beside", "a", [[6.7, "delete", ["m"], 2200]]]],
    [[3.8715, "restart node", "b", "", 0.014]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A keeper that started counted a dead keeper's draft and the sealed array of the same id as one file.
    """[140, ["a", "b"],
    [["client1", "a", [[0.0542, "put", ["m"], 2]]], ["after", "b", [[4.9773, "get", ["m"], 2103]]]],
    [[0.1176, "end keeper", "b", "", 0.0, "listing_part"], [0.5878, "restart node", "b", "", 4.399],
    [5.8331, "kill keeper", "b"]], [0.0, 0.0, 0.0, 0.0], []]""",
    # An array without a key was on the node that adopted it, and the catalog told others that it was gone.
    """[143, ["a", "b"], [["before", "b", [[0.3036, "put_handle", ["h"], 2001]]],
    ["beside", "a", [[7.8476, "delete_handle", ["h"], 2202]]]],
    [[6.3911, "restart node", "b", "", 5.098]], [0.0, 0.0, 0.0, 0.0], []]""",
    # An array was adopted while it was deleted, and the put that had replaced it meanwhile was lost: its file stayed.
    """[1322, ["a", "b"], [["client2", "b", [[0.0152, "put", ["m"], 7], [0.3118, "put", ["k"], 4],
    [0.5675, "put", ["m"], 6]]], ["before", "b", [[0.0416, "delete", ["m"], 2001], [0.5072, "get", ["k"], 2000]]],
    ["after", "b", [[0.9334, "delete", ["k"], 2101], [3.1577, "put", ["k"], 2102, 5, 2]]],
    ["beside", "a", [[1.5154, "get", ["k"], 2201], [2.2811, "get", ["m"], 2200],
    [2.6282, "put_handle", ["h"], 2202, 5, 2], [4.5634, "get", ["m"], 2203]]]],
    [[0.8709, "restart node", "b", "", 0.032], [1.9598, "restart node", "b", "", 0.032],
    [3.3862, "restart node", "b", "", 0.032]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A put came to nothing after the node had died that alone had the array before: nobody said that it was lost.
    """[9, ["a", "b", "c"], [["client1", "b", [[0.5, "put", ["k"], 1]]], ["client2", "c", [[1.5, "put", ["k"], 2]]],
    ["client3", "a", [[40.0, "get", ["k"], 9]]]],
    [[1.2, "delay call", "there", "", 3.0, "replace"], [1.53, "kill client", "client2"],
    [1.3, "delay call", "there", "", 30.0, "take_off"], [2.0, "cut one way", "c", "a", 18.0, "finish"],
    [2.0, "kill machine", "b", "", 0.0, "finish"]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A draft could not be sealed as of an earlier epoch, was sealed as of the next, and a check had removed its key.
    """[1914, ["a", "b"], [["client1", "a", [[0.1183, "get", ["m"], 6], [0.1352, "put", ["k"], 3, 6000],
    [0.1419, "get_many", ["k", "m"], 1], [0.2611, "put", ["k"], 5]]],
    ["client2", "b", [[0.1322, "get", ["k"], 15], [0.1343, "get", ["m"], 16], [0.1354, "keys", [], 11],
    [0.3222, "put", ["k"], 13], [0.4779, "put", ["k"], 10]]],
    ["client3", "b", [[0.1305, "put", ["m"], 22], [0.139, "get", ["k"], 23], [0.1438, "get", ["k"], 20],
    [0.2716, "drain", ["b"], 21]]],
    ["client4", "a", [[0.1415, "get", ["m"], 30], [0.1499, "check", [], 24], [0.4049, "put_many", ["k"], 25]]],
    ["watcher-a", "a", [[2.8109, "get", ["k"], 0], [3.2828, "get", ["k"], 0], [5.7804, "get", ["m"], 0],
    [7.0524, "get", ["m"], 0]]], ["watcher-b", "b", [[7.5193, "get", ["k"], 0]]]],
    [[0.1305, "kill catalog", "", "", 0.0, ""], [0.1526, "cut one way", "a", "b", 13.292, ""]],
    [0.0, 0.0, 0.0, 0.0], []]""",
    # An array was put while its node was emptied, and the node's shelf was listed anew as the catalog asked for the
    # array: it passed the answer over, and the array never had a replica.
    """[0, ["a", "b", "c"], [["client1", "b", [[0.5, "put", ["k"], 1], [1.03, "put_handle", ["h"], 1002, 5, 2]]],
    ["client2", "c", [[1.0, "drain", ["b"]]]]], [[0.9, "delay call", "there", "", 0.5, "replicate"],
    [0.9, "delay call", "there", "", 0.8, "dropped"], [1.2, "delay call", "there", "", 1.0, "keep"]],
    [0.0, 0.0, 0.0, 0.0], []]""",
    # A call of a keeper came after the node had left: the catalog noted what a node without a shelf may drop.
    """[2118, ["a", "b", "c"], [["client1", "c", [[1.4708, "drain", ["b"]]]],
    ["client4", "b", [[1.4366, "put_many", ["k"], 27]]]],
    [[0.1723, "abandon call", "there", "kill", 15.804, "leave"]], [0.0, 0.0, 0.0, 0.0], []]""",
    # A keeper was stopped just before it dropped an array that others keep, and readers there found it though deleted.
    """[40231, ["a", "b", "c"], [["client1", "b", [[0.1953, "put_handle", ["j"], 1006, 5, 1, "job"], [1.7348,
    "get_handle", ["j"], 1001]]], ["client2", "c", [[0.3937, "drain", ["b"], 7]]], ["client3", "c", [[0.7844,
    "delete_handle", ["j"], 1011]]]], [[0.0727, "stop keeper", "b", "", 9.431, "leave"]], [0.0, 0.0, 0.0, 0.0,
    0.0], []]""",
    # A draft was replaced and dropped while its writer had it listed again: the key stood for an array that was gone.
    """[22636, ["a", "b"], [["client1", "b", [[0.3192, "put_many", ["k", "m"], 4, 6000]]], ["client2", "b",
    [[0.0071, "put", ["k"], 9], [0.0164, "delete", ["k"], 7], [0.0187, "put", ["k"], 12], [0.1394, "put", ["m"],
    8], [0.1556, "drain", ["b"], 11]]], ["client3", "b", [[0.0315, "put", ["k"], 14], [0.1654, "get", ["k"],
    1010]]], ["client4", "a", [[0.1788, "put", ["k"], 1013], [0.2422, "put", ["k"], 24]]]], [[0.3049,
    "end keeper", "b", "", 0.0, "join_copy"]], [0.1, 0.02, 0.0, 0.05, 0.02], [5183383912723748,
    14670730177565987, 21055958704748998, 26393922622363870, 32722559461819618, 43519408296633649,
    49163368991613020, 63268142464166970, 68315325106684790, 95455203101199536, 102991413682618425,
    119553536953200041, 133643067816340519, 141320889223033652, 178570837917330032, 217482530049223373,
    220464423749864728, 233046560750675667, 268275478354179398, 297736292576506827, 304480944307320066,
    346447979414256485, 392831809384611069, 450772993799172478, 476726306293901901, 506229226277245605,
    543740430765229815, 588390887947228213, 727341517056983523, 757822406546454686, 915604485419651763,
    929226473344767813, 963584896352452511, 975024050357938675, 1031793496142744749, 1054606760534242242,
    1070549719745668319, 1089666417694809835, 1098763224026046098, 1173503517894305565, 1199824350463871295,
    1313627985192936903, 1415941493064164224, 1428827221018994555, 1439042560208877828, 1474165727304720511,
    1563894505909331380, 1591546953313661947, 1626764879918763147, 1800067436349594314, 1826071938094103396,
    1837470052317476775], 0, 0, true]""",
    # A keeper that was to adopt a shelf ended for good before the catalog heard of it: nobody adopted the shelf.
    """[401895, ["a", "b", "c"], [["before", "b", [[2.2819, "delete", ["m"], 2000]]]],
    [[0.0, "crash successor", "b", "", 8.0], [2.54, "restart node", "b", "", 0.246],
    [5.2282, "end keeper", "b"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # A keeper began after its raylet had ended: its shelf did not say so, and counted as that of a living node.
    """[410359, ["a", "b"], [["before", "b", [[0.3399, "put", ["m"], 2000]]],
    ["beside", "a", [[8.0666, "drain", ["b"]]]]],
    [[0.3411, "restart node", "b", "stopped", 0.029]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # No catalog had heard of a dead node that had a key, and a writer with a clock behind put it: the former was back.
    """[400222, ["a", "b"], [["client2", "a", [[5.0059, "put", ["m"], 8]]], ["before", "b", [[1.1302, "put", ["m"],
    2001]]]], [[0.0496, "set clock", "a", "", -1000.0], [2.0066, "restart node", "b", "two", 0.378],
    [2.1106, "kill catalog"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # The same, of the third catalog.
    """[400222, ["a", "b"], [["client2", "a", [[25.0, "put", ["m"], 8]]], ["before", "b", [[1.1302, "put", ["m"],
    2001]]]], [[0.0496, "set clock", "a", "", -1000.0], [2.0066, "restart node", "b", "two", 35.0],
    [2.1106, "kill catalog"], [20.0, "kill catalog"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # A node was drained before the catalog was told of an array that its keeper had adopted: it counted as deleted.
    """[461510, ["a", "b"], [["before", "b", [[0.0744, "put", ["m"], 2001]]], ["beside", "a", [[4.6919, "drain", ["b"]],
    [15.1508, "drain", ["b"]]]]], [[0.025, "kill catalog", "", "", 0.0, "evacuate"],
    [0.9247, "restart node", "b", "stopped", 3.571]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    """[462448, ["a", "b"], [["before", "b", [[0.3941, "put", ["m"], 2000]]], ["after", "b", [[1.2166, "put", ["k"],
    2102]]]], [[0.6691, "restart node", "b", "stopped", 0.221], [0.9442, "drain machine", "b", "", 0.221],
    [1.1209, "kill catalog"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # A node had died before a catalog had heard from it, and the next one did not know what was deleted meanwhile.
    """[410009, ["a", "b", "c"], [["client2", "b", [[0.2092, "put", ["k"], 9], [0.4159, "delete", ["k"], 11]]],
    ["client3", "c", [[0.0086, "put", ["k"], 17], [0.1905, "put", ["m"], 15]]]],
    [[0.1104, "kill catalog", "", "", 0.0, "drop"], [0.184, "stop catalog", "", "", 2.538],
    [1.9133, "restart node", "c", "stopped", 1.256], [5.4559, "kill catalog"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    """[422229, ["a", "b"], [["client1", "b", [[0.1763, "get", ["k"], 1], [0.2116, "get", ["k"], 6],
    [1.1205, "put", ["k"], 2, 5, 2], [1.9335, "get", ["k"], 4], [1.9429, "put", ["m"], 5]]],
    ["after", "a", [[3.8368, "delete", ["k"], 2103], [3.8476, "put", ["m"], 2102, 5, 2]]]],
    [[1.7197, "kill catalog"], [2.5686, "restart node", "b", "", 0.954],
    [3.8242, "kill catalog", "", "", 0.0, "listing_part"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # An array was deleted while the node was listed that had adopted it: its file stayed there, and was listed later.
    """[411086, ["a", "b", "c"], [["client1", "c", [[1.6922, "get", ["m"], 6]]], ["client2", "c",
    [[0.2894, "put", ["k"], 14], [1.1127, "put", ["k"], 9], [1.4921, "get", ["k"], 12], [1.9447, "drain", ["b"], 15]]],
    ["client3", "b", [[0.0361, "put", ["k"], 19]]], ["before", "c", [[0.3925, "delete", ["m"], 2005],
    [0.4229, "get", ["k"], 2004], [0.7661, "put", ["m"], 2000, 5, 2], [1.3299, "put", ["k"], 2002]]], ["beside", "a",
    [[4.6751, "delete", ["m"], 2202], [9.4417, "delete", ["m"], 2203], [14.2145, "get", ["k"], 2200]]]],
    [[0.0133, "abandon call", "there", "kill", 0.011, "keep"], [0.9512, "kill catalog"],
    [2.7503, "restart node", "c", "", 0.923], [3.8884, "drain machine", "c", "", 0.923]],
    [0.0, 0.02, 0.0, 0.0, 0.0], [26551881321518403, 127886814907694310, 166122270505251279, 166744252164055840,
    288578516905111608]]""",
    # The catalog died as it dropped the last file of a key: what that had overwritten on a dead node was adopted.
    """[402592, ["a", "b"], [["before", "b", [[1.0034, "put", ["k"], 2100]]], ["beside", "a",
    [[5.4108, "put", ["k"], 2200], [6.1828, "delete", ["k"], 2201]]]],
    [[2.0068, "restart node", "b", "", 3.944], [6.1943, "kill catalog"]], [0.0, 0.0, 0.0, 0.0, 0.0], []]""",
    # A keeper had left while a put was replacing another array. The new shelf sealed what no catalog had listed.
    """[402673, ["a", "b"], [["client2", "a", [[0.228, "put", ["k"], 9], [0.4988, "put_many", ["k", "m"], 10]]],
    ["client3", "b", [[0.0406, "put", ["k"], 17], [0.3247, "delete", ["k"], 21], [0.3265, "put", ["k"], 23],
    [0.3297, "put", ["k"], 20], [0.3308, "get", ["m"], 1016], [0.3688, "keys", [], 18], [0.4406, "drain", ["b"],
    16], [0.4626, "put", ["k"], 19]]], ["client4", "b", [[0.1042, "get", ["k"], 28], [0.1202, "get", ["m"],
    1023], [0.1702, "put", ["k"], 1018]]]], [[0.2678, "kill catalog", ""], [0.5112, "replace keeper", "b", "",
    0.499]], [0.1, 0.02, 0.0, 0.05, 0.0], [45834699521514428, 107298271977222369, 133273845692430900,
    235618092881592772, 300077073666888653, 1047899105065629442, 1308568296188227077, 1339622276264127954,
    1470268845459018856, 1551199787451973300, 1766012869769605538, 1825607301523404495], 0, 0, true]""",
)


PLAY = """
import sys
from outlive.testing.simulation.plan import Plan
from outlive.testing.simulation.world import a_world
with a_world() as world:
    for plan in sys.stdin:
        print(world.play(Plan.loads(plan)).violations, flush=True)
"""


@pytest.fixture(scope="module")
def violations() -> list[str]:
    """Of each of these schedules, one after the other in one process."""
    done = run("-c", PLAY, stdin="".join(f"{json.dumps(json.loads(plan))}\n" for plan in ONCE_FAILED))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("number", range(len(ONCE_FAILED)))
def test_a_schedule_that_once_failed_holds(number: int, violations: list[str]) -> None:
    """`--plan` shows what happens in one that fails."""
    assert violations[number] == "[]"


FOUND_SOON = (
    "seal in any epoch",
    "copy without the catalog",
    "seal before bind",
    "forget to forbid",
    "do not ask to forbid",
    "count cached copies",
    "homes alone",
    "evacuate without looking",
    "moved is gone",
    "versions are not compared",
    "no epoch for a listing",
    "sent without a mark",
    "only the known are asked",
    "kept are evicted",
    "evicted while it is kept",
    "lost is forgotten",
    "unbind before files are gone",
    "older listing wins",
    "recycled while read",
    "finished in any epoch",
    "orphans stay",
    "silent are ignored",
    "deleted are adopted",
    "looked at once",
    "adopted is not told",
    "adopted is forgotten",
    "lost is dropped",
    "welcomed without a listing",
    "settled is not saved",
    "lost is not saved",
    "remembered for good",
    "recent for good",
    "former catalogs answer",
    "leases are not waited for",
    "served without a mark",
    "own copies are not told",
)


def test_faults_that_are_planted_are_found() -> None:
    """Those that some hundred schedules find; `--planted` alone looks for all."""
    done = simulate("--planted", "--plant", ",".join(FOUND_SOON), "--most", "1500")
    assert done.returncode == 0 and done.stdout.count("found by schedule") == len(FOUND_SOON), done.stdout + done.stderr
