"""Runs Deezer's own Spleeter, in an environment that has it (never in the project's own).

    python tests/support/official_spleeter.py MODELS MIX.npy STEMS.npz

MODELS holds the folder 2stems, MIX.npy is float32 [time, 2] at 44.1 kHz. STEMS.npz gets the stems
and `seconds`, the time of a second call, once TensorFlow is warm.
"""

import os
import sys
import time

os.environ["MODEL_PATH"] = sys.argv[1]
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
from spleeter.separator import Separator

if __name__ == "__main__":
    mix = np.load(sys.argv[2])
    separator = Separator("spleeter:2stems", multiprocess=False)
    stems = separator.separate(mix)
    start = time.perf_counter()
    separator.separate(mix)
    np.savez(sys.argv[3], seconds=time.perf_counter() - start, **stems)
