"""What holds for every test: one CPU thread, so that small tensors do not wait for each other."""

import torch

torch.set_num_threads(1)
