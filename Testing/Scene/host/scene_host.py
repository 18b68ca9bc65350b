"""A real MRML scene with the logics that Slicer connects to it at start, in the order in which Slicer does.

The order follows qSlicerCoreApplication: application logic, crosshair, data IO, slice presets, colors, module logics.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import slicer
import vtk

MODULE_LOGICS = {
    "colors": "vtkMRMLColorLogic",  # vtkSlicerColorLogic asks for color files that the wheel does not bring
    "volumes": "vtkSlicerVolumesLogic",
    "sequences": "vtkSlicerSequencesLogic",
    "markups": "vtkSlicerMarkupsLogic",
    "segmentations": "vtkSlicerSegmentationsModuleLogic",
    "subjecthierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
}


class Module:
    """What `slicer.modules.<name>` is: `logic()`, `name`, `path`."""

    def __init__(self, name: str, logic: object = None, path: str = "") -> None:
        self.name, self.path, self._logic = name, path, logic

    def logic(self) -> object:
        return self._logic


class SceneHost:
    """Owner of the scene: `scene`, `app_logic`, `modules` (a namespace), `folder` (temporary files)."""

    def __init__(self) -> None:
        self.temporary = tempfile.TemporaryDirectory(prefix="slicer-host-")
        self.folder = Path(self.temporary.name)
        self.scene = slicer.vtkMRMLScene()
        self.scene.SetRootDirectory(str(self.folder))
        self.app_logic = slicer.vtkSlicerApplicationLogic()
        self.app_logic.SetTemporaryPath(str(self.folder))
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.app_logic.SetMRMLScene(self.scene)
        self._connect_data_io()
        self._connect_views()
        self.modules = SimpleNamespace()
        for name, class_name in MODULE_LOGICS.items():
            setattr(self.modules, name, Module(name.capitalize(), self._make_logic(name, class_name)))

    def _connect_data_io(self) -> None:
        self.remote_io = slicer.vtkMRMLRemoteIOLogic()
        self.remote_io.GetCacheManager().SetRemoteCacheDirectory(str(self.folder / "cache"))
        self.io_logic = slicer.vtkDataIOManagerLogic()
        self.io_logic.SetMRMLApplicationLogic(self.app_logic)
        self.io_logic.SetAndObserveDataIOManager(self.remote_io.GetDataIOManager())
        self.app_logic.SetMRMLSceneDataIO(self.scene, self.remote_io, self.io_logic)

    def _connect_views(self) -> None:
        for factory in (slicer.vtkMRMLSliceViewDisplayableManagerFactory, slicer.vtkMRMLThreeDViewDisplayableManagerFactory):
            factory.GetInstance().SetMRMLApplicationLogic(self.app_logic)
        self.app_logic.SetSliceLogics(vtk.vtkCollection())
        self.app_logic.SetViewLogics(vtk.vtkCollection())
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.app_logic.GetColorLogic().SetMRMLScene(self.scene)
        self.app_logic.GetColorLogic().AddDefaultColorNodes()

    def _make_logic(self, name: str, class_name: str) -> object:
        logic = getattr(slicer, class_name)()
        logic.SetMRMLApplicationLogic(self.app_logic)
        logic.SetMRMLScene(self.scene)
        self.app_logic.SetModuleLogic(name.capitalize(), logic)
        return logic
