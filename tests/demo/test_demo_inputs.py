"""Finding and loading volumes: the packages' own files, the user's files, and damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from outlive.demo import inputs, recipes

DICOM = Path(pydicom.__file__).parent / "data" / "test_files"
NIFTI = Path(nibabel.__file__).parent / "tests" / "data"


def test_packages_ship_an_mri_series_and_a_cine_loop():
    found = inputs.find()
    assert not found.skipped
    assert [inputs.load(source).shape for source in found.sources] == [(128, 96, 24), (128, 96, 24), (30, 240, 320, 3)]
    first, second, cine = (inputs.load(source) for source in found.sources)
    assert first.dtype == np.float32
    assert first.std() > 0
    assert cine.std() > 0
    assert not np.array_equal(first, second)
    expected = np.asarray(nibabel.load(NIFTI / "example4d.nii.gz").dataobj)[..., 1]
    np.testing.assert_array_equal(second, expected.astype(np.float32))
    assert found.nbytes == cine.nbytes


def test_users_files_of_each_kind(tmp_path):
    (tmp_path / "deep").mkdir()
    np.save(tmp_path / "deep" / "own.NPY".lower(), np.arange(24, dtype=">i2").reshape(2, 3, 4))
    shutil.copy(NIFTI / "anatomical.nii", tmp_path)
    shutil.copy(DICOM / "SC_rgb_rle_2frame.dcm", tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    found = inputs.find(tmp_path)
    assert not found.skipped
    shapes = {source.name: inputs.load(source).shape for source in found.sources}
    assert shapes == {
        "anatomical.nii": (33, 41, 25),
        "SC_rgb_rle_2frame.dcm": (2, 100, 100, 3),
        "own.npy": (2, 3, 4),
    }


def _slice(path: Path, number: int, value: int) -> None:
    image = pydicom.dcmread(DICOM / "CT_small.dcm")
    image.InstanceNumber = number
    image.PixelData = np.full((image.Rows, image.Columns), value, np.int16).tobytes()
    image.save_as(path)


def test_slices_of_a_dicom_series_are_one_volume_in_the_order_of_their_numbers(tmp_path):
    for number, name in ((3, "a"), (1, "b"), (2, "c")):
        _slice(tmp_path / f"{name}.dcm", number, 10 * number)
    (source,) = inputs.find(tmp_path).sources
    volume = inputs.load(source)
    assert volume.shape == (3, 128, 128)
    assert volume[:, 0, 0].tolist() == [10, 20, 30]


def test_a_slice_that_cannot_be_decoded_is_named_and_the_others_are_used(tmp_path):
    for number in (1, 2, 3):
        _slice(tmp_path / f"{number}.dcm", number, number)
    damaged = pydicom.dcmread(tmp_path / "2.dcm")
    damaged.PixelData = damaged.PixelData[:100]
    damaged.save_as(tmp_path / "2.dcm")
    found = inputs.find(tmp_path)
    assert [skipped.path for skipped in found.skipped] == [str(tmp_path / "2.dcm")]
    assert inputs.load(found.sources[0])[:, 0, 0].tolist() == [1, 3]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.npy", b""),
        ("torn.npy", b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (100,), }"),
        ("noise.nii", b"\x00" * 400),
        ("noise.nii.gz", b"not gzip"),
        ("noise.dcm", b"\x00" * 4000),
    ],
)
def test_damaged_files_are_skipped_and_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "good.npy", np.ones((2, 2)))
    found = inputs.find(tmp_path)
    assert [source.name for source in found.sources] == ["good.npy"]
    ((path, reason),) = found.skipped
    assert path == str(tmp_path / name)
    assert reason


@pytest.mark.parametrize(
    "array",
    [
        np.array([{"pickled": True}], dtype=object),
        np.ones(3, dtype=complex),
        np.array(["text"]),
        np.float64(7),
        np.ones((0, 4)),
    ],
)
def test_arrays_that_are_no_volumes_are_skipped(tmp_path, array):
    np.save(tmp_path / "odd.npy", array, allow_pickle=True)
    with pytest.raises(inputs.NoInput, match=r"odd\.npy"):
        inputs.find(tmp_path)


def test_nothing_to_find(tmp_path):
    with pytest.raises(inputs.NoInput, match="does not exist"):
        inputs.find(tmp_path / "missing")
    with pytest.raises(inputs.NoInput, match=r"\.nii\.gz"):
        inputs.find(tmp_path)


def test_hundred_odd_dicom_files_of_pydicoms_own_tests_raise_nothing():
    found = inputs.find(DICOM)
    assert found.sources
    assert "no_meta.dcm" in {Path(skipped.path).name for skipped in found.skipped}


def test_more_volumes_than_a_demo_takes(tmp_path, monkeypatch):
    for n in range(inputs.MOST_VOLUMES + 2):
        np.save(tmp_path / f"{n:02}.npy", np.ones((2, 2)))
    found = inputs.find(tmp_path)
    assert (len(found.sources), found.left_out) == (inputs.MOST_VOLUMES, 2)
    monkeypatch.setattr(inputs, "MOST_BYTES", 40)  # room for two of 16 bytes
    found = inputs.find(tmp_path)
    assert (len(found.sources), found.left_out) == (2, inputs.MOST_VOLUMES)


def test_a_volume_larger_than_the_limit_is_taken_if_it_is_the_only_one(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "MOST_BYTES", 10)
    for n in range(2):
        np.save(tmp_path / f"{n}.npy", np.ones((2, 2)))
    found = inputs.find(tmp_path)
    assert ([source.name for source in found.sources], found.left_out) == (["0.npy"], 1)


@pytest.mark.parametrize("shape", [(5,), (1, 1), (4, 5), (3, 4, 5), (2, 3, 4, 3)])
@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_every_recipe_makes_the_same_bits_again(tmp_path, recipe, shape):
    np.save(tmp_path / "own.npy", np.arange(np.prod(shape), dtype="int16").reshape(shape))
    job = recipes.Job(inputs.find(tmp_path).sources[0], recipe, 3)
    first, second = recipes.make(job), recipes.make(job)
    assert first.shape == shape
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert first.tobytes() == second.tobytes()


def test_every_source_gets_a_job_and_none_is_done_twice(tmp_path):
    for n in range(3):
        np.save(tmp_path / f"{n}.npy", np.ones((2, 2)))
    sources = inputs.find(tmp_path).sources
    assert [job.source for job in recipes.plan(sources, 1)] == sources
    jobs = recipes.plan(sources, 8)
    assert len(jobs) == len({(job.source, job.recipe) for job in jobs}) == 8
