"""A study that nobody had: a ball in a box, as the files of a CT scanner, in no order."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SLOPE, INTERCEPT = 2, -1024
SHAPE, SPACING = (24, 128, 128), (2.5, 0.75, 0.75)  # mm


def volume_of(seed: int = 0) -> np.ndarray:
    """In Hounsfield units: noise around water, and a ball of bone."""
    noise = np.random.default_rng(seed).integers(-40, 40, SHAPE) * SLOPE
    z, y, x = np.ogrid[tuple(slice(-size // 2, size // 2) for size in SHAPE)]
    ball = (z * SPACING[0]) ** 2 + (y * SPACING[1]) ** 2 + (x * SPACING[2]) ** 2 < 25**2
    return (noise + np.where(ball, 1000, 0)).astype("int16")


def files_of(volume: np.ndarray) -> list[pydicom.Dataset]:
    """A file each slice, as a scanner writes it: stored values, and how they are rescaled."""
    study, series, files = generate_uid(), generate_uid(), []
    for place, image in enumerate(volume):
        file = pydicom.Dataset()
        file.file_meta = pydicom.dataset.FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID, file.Modality = study, series, "CT"
        file.InstanceNumber, file.SliceThickness = place + 1, SPACING[0]
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient, file.PixelSpacing = [-48, -48, place * SPACING[0]], list(SPACING[1:])
        file.Rows, file.Columns = image.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit, file.PixelRepresentation = 15, 0
        file.RescaleSlope, file.RescaleIntercept = SLOPE, INTERCEPT
        file.WindowCenter, file.WindowWidth = 40, 400
        file.PixelData = ((image - INTERCEPT) // SLOPE).astype("<u2").tobytes()
        files.append(file)
    return files


def zip_of(files: list[pydicom.Dataset]) -> bytes:
    """What is uploaded: the files by name in no order."""
    upload = io.BytesIO()
    with zipfile.ZipFile(upload, "w") as archive:
        for place in np.random.default_rng(1).permutation(len(files)):
            raw = io.BytesIO()
            files[place].save_as(raw, enforce_file_format=True)
            archive.writestr(f"IM{place:04}", raw.getvalue())
    return upload.getvalue()
