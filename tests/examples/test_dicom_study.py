"""What examples/dicom_serve makes of DICOM files, without Ray: volumes, pictures, and reasons why not."""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
Image = pytest.importorskip("PIL.Image")

FOLDER = Path(__file__).parents[2] / "examples" / "dicom_serve"
sys.path.append(str(FOLDER))
image, phantom, study = (importlib.import_module(name) for name in ("image", "phantom", "study"))
VOLUME = phantom.volume_of()


def read(files: list) -> dict:
    _, series = study.read_study(phantom.zip_of(files))
    [found] = series.values()
    return found


def zipped(**files: bytes) -> bytes:
    upload = io.BytesIO()
    with zipfile.ZipFile(upload, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return upload.getvalue()


def file_of(dataset: pydicom.Dataset) -> bytes:
    raw = io.BytesIO()
    dataset.save_as(raw, enforce_file_format=True)
    return raw.getvalue()


def test_slices_are_sorted_and_rescaled() -> None:
    found = read(phantom.files_of(VOLUME))
    assert found["volume"].dtype == np.int16
    assert (found["volume"] == VOLUME).all()
    assert (found["spacing"], found["center"], found["width"]) == (phantom.SPACING, 40, 400)


def test_they_are_sorted_by_position_whatever_their_numbers_say() -> None:
    files = phantom.files_of(VOLUME)
    for number, file in enumerate(files):
        file.InstanceNumber = len(files) - number
    assert (read(files)["volume"] == VOLUME).all()


def test_slices_across_another_axis_are_sorted_along_it() -> None:
    files = phantom.files_of(VOLUME)
    for place, file in enumerate(files):  # coronal: rows to the left, columns down, and so the normal to the back
        file.ImageOrientationPatient, file.ImagePositionPatient = [1, 0, 0, 0, 0, -1], [0, place * 2.5, 0]
    assert (read(files)["volume"] == VOLUME).all()


def test_values_that_are_no_integers_stay_what_they_are() -> None:
    files = phantom.files_of(VOLUME)
    for file in files:
        file.RescaleSlope = "0.5"
    volume = read(files)["volume"]
    assert volume.dtype == np.float32
    assert (volume == (VOLUME - phantom.INTERCEPT) / 4 + phantom.INTERCEPT).all()


def test_each_series_is_a_volume() -> None:
    one, other = phantom.files_of(VOLUME), phantom.files_of(VOLUME[:5])
    for file in other:
        file.StudyInstanceUID = one[0].StudyInstanceUID
    name, series = study.read_study(phantom.zip_of([*one, *other]))
    assert name == one[0].StudyInstanceUID
    assert [
        len(found["volume"]) for found in (series[one[0].SeriesInstanceUID], series[other[0].SeriesInstanceUID])
    ] == [24, 5]


def test_one_slice_and_no_window() -> None:
    [file] = phantom.files_of(VOLUME[:1])
    del file.WindowCenter, file.WindowWidth
    found = read([file])
    assert found["spacing"] == phantom.SPACING
    grays = np.asarray(Image.open(io.BytesIO(image.png(found, "z", 0))))
    assert (grays.min(), grays.max()) == (0, 255)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Rows": 64}, "IM00"),
        ({"PixelData": b"12"}, "IM00"),
        ({"PixelSpacing": None}, "IM00"),
        ({"ImagePositionPatient": None}, "IM00"),
        ({"RescaleSlope": "1e300"}, "IM00"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"PhotometricInterpretation": "RGB"}, "RGB, not MONOCHROME2"),
        ({"Rows": 65535, "Columns": 65535}, "too large"),
        ({"StudyInstanceUID": "1.2.3"}, "2 studies"),
        ({"SeriesInstanceUID": ""}, "a UID has digits"),
        ({"PixelSpacing": [1, 1]}, "differ in size, orientation or pixel spacing"),
        ({"ImagePositionPatient": [0, 0, 1000]}, "a slice is missing"),
        ({"ImagePositionPatient": [0, 0, 2.5]}, "a slice is missing, or there twice"),
    ],
)
def test_reasons(changes: dict, reason: str) -> None:
    files = phantom.files_of(VOLUME)
    for name, value in changes.items():
        setattr(files[7], name, value)
    with pytest.raises(study.NotAStudy, match=reason):
        study.read_study(phantom.zip_of(files))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ImagePositionPatient": [0, 0, 5]}, "there twice"),
        ({"ImagePositionPatient": ["0", "0", "nan"]}, "no finite number"),
        ({"ImageOrientationPatient": [0] * 6}, "there twice"),
        ({"PixelSpacing": [0, 0]}, "mm apart"),
        ({"PixelSpacing": [-1, 1]}, "mm apart"),
        ({"PixelSpacing": ["inf", "1"]}, "mm apart"),
        ({"PixelSpacing": ["1", "1e6"]}, "mm apart"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0, "PixelData": bytes(128 * 128 * 6)}, "several samples"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_reasons_that_all_files_give(changes: dict, reason: str) -> None:
    """No slice differs from the others; but no picture could be made, or only a wrong one."""
    files = phantom.files_of(VOLUME[:3])
    for file in files:
        for name, value in changes.items():
            setattr(file, name, value)
    with pytest.raises(study.NotAStudy, match=reason):
        study.read_study(phantom.zip_of(files))


@pytest.mark.parametrize(("center", "width"), [("nan", 400), (40, "nan"), ("inf", 400), (40, "inf"), (40, -1)])
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
def test_what_is_no_window_is_left_out(center: object, width: object) -> None:
    [file] = phantom.files_of(VOLUME[:1])
    file.WindowCenter, file.WindowWidth = center, width
    found = read([file])
    assert found["width"] == int(VOLUME[0].max()) - int(VOLUME[0].min()) + 1


@pytest.mark.filterwarnings("ignore:The .*compress")
def test_many_pixels_in_few_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    files = phantom.files_of(VOLUME[:9] * 0)
    for file in files:
        file.compress(pydicom.uid.RLELossless)
    upload = phantom.zip_of(files)
    monkeypatch.setattr(study, "LARGEST", 8 << 14)  # each has 1 << 14 pixels
    assert study.read_study(phantom.zip_of(files[:8]))
    assert len(upload) < study.LARGEST
    with pytest.raises(study.NotAStudy, match="more than 131,072 pixels"):
        study.read_study(upload)


@pytest.mark.parametrize(
    ("upload", "reason"),
    [
        (b"", "no ZIP of DICOM files"),
        (b"\x89PNG", "no ZIP of DICOM files"),
        (zipped(), "files of 0 studies"),
        (zipped(**{"scan.png": b"\x89PNG" * 100}), "scan.png: this is no DICOM file"),
        (zipped(DICOMDIR=b"skipped"), "files of 0 studies"),
        (zipped(IM=b"").replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xff"), "no ZIP of DICOM"),  # a later version's
    ],
)
def test_what_is_no_study(upload: bytes, reason: str) -> None:
    with pytest.raises(study.NotAStudy, match=reason):
        study.read_study(upload)


def test_damaged_files_are_refused_or_read_and_nothing_else() -> None:
    random = np.random.default_rng(3)
    whole = file_of(phantom.files_of(VOLUME[:1])[0])
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in random.integers(132, 900, 3):  # where the tags are
            damaged[place] = random.integers(256)
        try:
            study.read_study(zipped(IM=bytes(damaged[: random.integers(200, len(damaged) + 1)])))
        except study.NotAStudy:
            refused += 1
    assert refused > 100


def test_more_than_the_limit_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "LARGEST", 1000)
    with pytest.raises(study.NotAStudy, match="more than 1,000 bytes"):
        study.read_study(zipped(IM=bytes(1001)))


@pytest.mark.parametrize(("center", "width"), [(40, 400), (0, 1), (1000, 2), (-3.5, 7), (40.25, 1.5), (0, 1e6)])
def test_the_window_is_that_of_the_standard(center: float, width: float) -> None:
    from pydicom.pixels import apply_windowing

    about = pydicom.Dataset()
    about.WindowCenter, about.WindowWidth = center, width
    about.PhotometricInterpretation, about.BitsStored, about.PixelRepresentation = "MONOCHROME2", 8, 0
    values = np.arange(-2000, 2000, dtype="int16")
    assert np.abs(image.window(values, center, width) - apply_windowing(values.astype("float64"), about)).max() <= 0.51


def test_pictures() -> None:
    series = {"volume": VOLUME, "spacing": phantom.SPACING, "center": 500.0, "width": 1.0}
    assert (image.section(series, "y", 3) == VOLUME[:, 3]).all()
    assert (image.section(series, "x", None) == VOLUME.max(axis=2)).all()
    across = Image.open(io.BytesIO(image.png(series, "y", None)))
    assert across.size == (128, 80)  # pixels of 0.75 mm: the slices are 60 mm
    ball = np.asarray(across) > 127
    assert ball.any(axis=0).sum() == pytest.approx(ball.any(axis=1).sum(), abs=4)  # it is round
    long = Image.open(io.BytesIO(image.png(series | {"spacing": (250.0, 0.01, 0.01)}, "y", None)))
    assert long.size == (1, 24)  # and not 600,000 rows
    with pytest.raises(image.NoSuchSlice, match=r"no slice 24 .* there are 24"):
        image.png(series, "z", 24)
    with pytest.raises(image.NoSuchSlice):
        image.png(series, "z", -1)
