"""Trains torchsom in its paper's configuration; runs in torchsom's own environment.

python train_torchsom.py DATA.npy OUT.npy X Y TOPOLOGY SEED
"""

import contextlib
import io
import sys

import numpy as np
import torch
from torchsom.core import SOM

source, out, x, y, topology, seed = sys.argv[1:]
torch.set_num_threads(1)
data = torch.from_numpy(np.load(source))
som = SOM(
    int(x), int(y), data.shape[1], epochs=100, batch_size=len(data), sigma=1.75, learning_rate=0.95,
    topology=topology, initialization_mode="pca", random_seed=int(seed),
)  # fmt: skip
with contextlib.redirect_stderr(io.StringIO()):
    som.initialize_weights(data, "pca")
    som.fit(data)
np.save(out, som.weights.detach().numpy())
