"""FluoroDenoiseLib: clean pictures from noisy low-dose X-ray runs, learned without clean images.

Follow a frame through the package: fluoro_run and formats bring it in, intensity and noise say what its numbers
mean, motion aligns it with its neighbours, networks clean it, denoise streams it, formats write it back.
"""

__version__ = "0.1.0"
