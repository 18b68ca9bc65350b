import hashlib
import sys
import types

import slicer
import vtk
from FluoroDenoiseScene import sample_data


def test_the_sample_is_a_run_of_24_frames_at_15_a_second(scene):
    run = sample_data.load_sample()
    assert run.GetName() == sample_data.NAME and run.GetNumberOfDataNodes() == 24
    assert (run.GetIndexName(), run.GetIndexUnit(), run.GetNthIndexValue(1)) == ("time", "s", "0.067")
    frame = run.GetNthDataNode(0)
    assert slicer.util.arrayFromVolume(frame).shape == (1, 256, 256) and frame.GetSpacing() == (0.3, 0.3, 1.0)


def test_the_sample_lies_in_space_as_a_loaded_dicom_run(scene):
    directions = vtk.vtkMatrix4x4()
    sample_data.load_sample().GetNthDataNode(0).GetIJKToRASDirectionMatrix(directions)
    assert [directions.GetElement(axis, axis) for axis in range(3)] == [-1, -1, 1]


def test_the_sample_says_that_it_is_simulated(scene):
    assert "12 quanta a pixel" in sample_data.load_sample().GetAttribute("FluoroDenoise.Simulated")


def test_saving_the_scene_does_not_write_into_the_extension(scene):
    assert sample_data.load_sample().GetStorageNode() is None
    assert scene.GetNumberOfNodesByClass("vtkMRMLStorageNode") == 0


def test_the_checksum_is_that_of_the_file():
    assert hashlib.sha256(sample_data.RUN.read_bytes()).hexdigest() == sample_data.SHA256


class OldLogic:
    """The Sample Data module's logic up to Slicer 5.10."""

    registered: list[dict] = []

    @classmethod
    def registerCustomSampleDataSource(cls, category, sampleName, uris, fileNames, nodeNames, thumbnailFileName, checksums, loadFileType):
        cls.registered.append(locals())


class NewLogic:
    """The same from Slicer 5.12 on."""

    registered: list[dict] = []
    categories: list[str] = []

    @classmethod
    def registerCustomSampleDataCategory(cls, name, title):
        cls.categories.append(title)

    @classmethod
    def registerCustomSampleDataSource(cls, category, sampleName, uris, fileNames, nodeNames, thumbnailFileName, checksums, loadFileTypes):
        cls.registered.append(locals())


def register_with(monkeypatch, logic):
    logic.registered.clear()
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = logic
    monkeypatch.setitem(sys.modules, "SampleData", module)
    sample_data.register_sample_data()
    return logic.registered


def test_the_sample_is_offered_in_old_and_new_slicers(monkeypatch):
    for logic, key in ((OldLogic, "loadFileType"), (NewLogic, "loadFileTypes")):
        (source,) = register_with(monkeypatch, logic)
        assert source[key] == "SequenceFile" and source["uris"].startswith("file:") and source["checksums"].startswith("SHA256:")
    assert NewLogic.categories == [sample_data.CATEGORY]


def test_a_slicer_without_sample_data_does_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "SampleData", None)
    sample_data.register_sample_data()
