"""One thread for torch, also in the programs that tests start. Their images are so small that two threads wait for each other longer
than they compute: on two cores, one of them busy, the recursion over 8 frames of 64x64 took 12 times as long with two."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
