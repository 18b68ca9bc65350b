"""A low-dose run to try the module with: shipped with it, so that it needs no network and no torch."""

import inspect
from pathlib import Path

import slicer

CATEGORY = "FluoroDenoise"
NAME = "LowDoseAngiography"
RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
RUN = RESOURCES / "SampleData" / f"{NAME}.seq.nrrd"
THUMBNAIL = RESOURCES / "Icons" / f"{NAME}.png"
SHA256 = "ce214a124c0f0d4b60e98916064dfb1579e9b78e6c5fb2b0ef72d20ba17820aa"


def load_sample() -> slicer.vtkMRMLSequenceNode:
    """The simulated low-dose run as a new sequence node: 24 frames of 256x256, uint8, 15 frames a second.

    It has no storage node afterwards: saving the scene must not write into the folder of the extension. RuntimeError
    where the file cannot be loaded.
    """
    sequence = slicer.util.loadSequence(str(RUN))
    storage = sequence.GetStorageNode()
    if storage is not None:
        sequence.SetAndObserveStorageNodeID(None)
        slicer.mrmlScene.RemoveNode(storage)
    return sequence


def register_sample_data() -> None:
    """The run in Slicer's Sample Data module; nothing happens in a Slicer without that module."""
    try:
        import SampleData
    except ModuleNotFoundError:
        return
    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # Slicer 5.12 wants categories announced
        logic.registerCustomSampleDataCategory(CATEGORY, title=CATEGORY)
    register = logic.registerCustomSampleDataSource
    # Slicer 5.12 calls loadFileTypes what was loadFileType before.
    file_type = "loadFileTypes" if "loadFileTypes" in inspect.signature(register).parameters else "loadFileType"
    register(
        category=CATEGORY,
        sampleName=NAME,
        uris=RUN.as_uri(),
        fileNames=RUN.name,
        nodeNames=NAME,
        thumbnailFileName=str(THUMBNAIL),
        checksums=f"SHA256:{SHA256}",
        **{file_type: "SequenceFile"},
    )
