"""Jobs that end in something to look at: a previewed frame, a comparison, a table of measurements, what the computer can."""

from __future__ import annotations

from collections.abc import Generator

# numpy.median and percentile bring it in at their first call: too long a block in the middle of the work.
import numpy.ma  # noqa: F401
from slicer.i18n import tr as _

from .job import PreviewJob
from .scene_job import SceneJob
from .sequences import current_frame, preview_volume, residual, resolve_input
from .worker_client import WorkerClient


class PreviewVolumeJob(PreviewJob):
    """Denoises one frame, by default the one on show. result: a volume node of it; `preview` holds the pixels."""

    def __init__(self, client: WorkerClient, input_node, number: int | None = None, preview_node=None, *,
                 kind: str | None = None, **settings) -> None:
        if number is None:
            number = current_frame(resolve_input(input_node, kind=kind))
        self._preview_node = preview_node
        super().__init__(client, input_node, number, kind=kind, **settings)

    def _steps(self) -> Generator[None, None, None]:
        yield from super()._steps()
        self.preview = self.result
        self.result = preview_volume(self.frames, self.preview.number, self.preview.clean, self._preview_node)


class ProbeJob(SceneJob):
    """Asks what this computer can compute with. result: what `fluorodenoise probe --json` prints."""

    def _steps(self) -> Generator[None, None, None]:
        self.result = yield from self._ask("probe")


class PiecesJob(SceneJob):
    """Work of Slicer's own process that comes in pieces, each saying how many of how many are done."""

    def _take(self, pieces: Generator, words: str) -> Generator[None, None, object]:
        """Yields after each piece and returns what the pieces return. words: with {done} and {count}."""
        self.state = "running"
        try:
            while True:
                try:
                    done, count = next(pieces)
                except StopIteration as end:
                    return end.value
                self.fraction, self.text = done / max(count, 1), words.format(done=done, count=count)
                yield
        finally:
            pieces.close()


class CompareJob(PiecesJob):
    """Computes what was removed and shows it beside input and output. result: its node; `shown`: whether there are views."""

    shown = False

    def __init__(self, client: WorkerClient, comparison, input_node, output_node, residual_node=None) -> None:
        self._frames, self._comparison = resolve_input(input_node), comparison
        self._output_node, self._residual_node = output_node, residual_node
        super().__init__(client, [input_node, self._frames.node, output_node, residual_node])

    def _steps(self) -> Generator[None, None, None]:
        pieces = residual(self._frames, self._output_node, self._residual_node)
        self.result = yield from self._take(pieces, _("Subtracting frame {done} of {count}"))
        self.shown = self._comparison.show_comparison(self._frames.node, self._output_node, self.result)


class QualityJob(PiecesJob):
    """Measures input and output in regions. result: the table node; `quality`: rows and plain words; `charts`: the plots."""

    def __init__(self, client: WorkerClient, input_node, output_node, regions=(), background=None, edge=None,
                 table_node=None) -> None:
        self._frames, self._output_node = resolve_input(input_node), output_node
        self._regions, self._background, self._edge, self._table_node = regions, background, edge, table_node
        self.charts: list = []
        super().__init__(client, [input_node, self._frames.node, output_node, *regions, background, edge, table_node])

    def _steps(self) -> Generator[None, None, None]:
        from .measurements import quality, quality_plots, quality_table

        pieces = quality(self._frames, self._output_node, self._regions, self._background, self._edge)
        self.quality = yield from self._take(pieces, _("Measuring frame {done} of {count}"))
        self.result = quality_table(self.quality, self._table_node)
        yield
        self.charts = quality_plots(self.quality, self.result)
