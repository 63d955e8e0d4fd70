"""What holds for every test: one CPU thread, so that small tensors do not wait for each other.

Where there is no CUDA device, Triton interprets its kernels; it wants to know before it is imported.
"""

import os

import torch

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
