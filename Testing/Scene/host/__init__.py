"""A stand-in for the 3D Slicer application, for tests without one.

    from host import start, load_module, make_widget
    start()                                        # slicer.app, slicer.mrmlScene, qt and ctk are there now
    module, instance = load_module("FluoroDenoise", folder)
    widget = make_widget(module)

The scene, the nodes, their storage and the modules' logics are real: the C++ classes of the slicer-core wheel. The
application, the widgets and the Python files that the wheel leaves out are stand-ins. README.md lists where they lie.
"""

from host.application import Host, start
from host.modules import close_widget, load_module, make_widget, reload_module

__all__ = ["Host", "close_widget", "load_module", "make_widget", "reload_module", "start"]
