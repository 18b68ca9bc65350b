"""What `slicer.util.loadVolume`, `loadSequence`, `loadScene`, `saveNode` and `saveScene` call in the application.

Reading and writing is done by the real logics and storage nodes; only the choice among them is made here.
"""

from __future__ import annotations

import os

import vtk

SEQUENCE_ENDINGS = (".seq.nrrd", ".seq.nhdr", ".seq.mha", ".seq.mhd")
VOLUME_ENDINGS = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".tif", ".png", ".dcm")


class CoreIOManager:
    def __init__(self, host) -> None:
        self._host = host

    def fileType(self, name: str) -> str:
        name = str(name).lower()
        if name.endswith(SEQUENCE_ENDINGS):
            return "SequenceFile"
        if name.endswith((".mrb", ".mrml")):
            return "SceneFile"
        return "VolumeFile" if name.endswith(VOLUME_ENDINGS) else "NoFile"

    def loadNodes(self, file_type: str, properties: dict, nodes, messages=None) -> bool:
        path = str(properties["fileName"])
        if not os.path.exists(path):
            if messages:
                messages.AddMessage(vtk.vtkCommand.ErrorEvent, f"file not found: {path}")
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear")), messages)
        if file_type == "VolumeFile":
            name = properties.get("name") or os.path.basename(path).split(".")[0]
            option = int(bool(properties.get("labelmap")))
            node = self._host.modules.volumes.logic().AddArchetypeVolume(path, name, option)
        elif file_type == "SequenceFile":
            node = self._host.modules.sequences.logic().AddSequence(path, *([messages] if messages is not None else []))
        else:
            raise NotImplementedError(f"The host has no reader for {file_type}.")
        if node is not None and nodes is not None:
            nodes.AddItem(node)
        return node is not None

    def _load_scene(self, path: str, clear: bool, messages) -> bool:
        scene = self._host.scene
        if clear:
            scene.Clear(0)
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, clear, messages))
        scene.SetURL(path)
        return bool(scene.Connect(messages) if clear else scene.Import(messages))

    def fileWriterFileType(self, node) -> str:
        for kind in ("Sequence", "Volume"):
            if node.IsA(f"vtkMRML{kind}Node"):
                return f"{kind}File"
        return "NodeFile"

    def saveNodes(self, file_type: str, properties: dict, messages=None) -> bool:
        path = str(properties["fileName"])
        if file_type == "SceneFile":
            return self._save_scene(path, messages)
        node = self._host.scene.GetNodeByID(properties["nodeID"])
        class_name = node.GetDefaultStorageNodeClassName(path)
        storage = node.GetStorageNode()
        if storage is None or storage.GetClassName() != class_name:
            storage = self._host.scene.AddNewNodeByClass(class_name)
            node.SetAndObserveStorageNodeID(storage.GetID())
        if "useCompression" in properties:
            storage.SetUseCompression(int(properties["useCompression"]))
        storage.SetFileName(path)
        written = bool(storage.WriteData(node))
        if messages is not None:
            messages.AddMessages(storage.GetUserMessages())
        return written

    def _save_scene(self, path: str, messages) -> bool:
        scene = self._host.scene
        if path.endswith(".mrb"):
            return bool(scene.WriteToMRB(path, None, messages) if messages is not None else scene.WriteToMRB(path))
        if path.endswith(".mrml"):
            scene.SetURL(path)
            return bool(scene.Commit(path, messages))
        raise NotImplementedError("The host saves no scene as a folder.")
