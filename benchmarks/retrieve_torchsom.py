"""Retrieves with torchsom and fits scikit-learn's Ridge for each query; runs in torchsom's own environment.

python retrieve_torchsom.py IN.npz OUT.npz

IN holds weights (x, y, d), history (n, d), outputs (n,), queries (q, d), alpha. OUT gets answers (q,), the retrieved
indices of all queries in one array with their sizes (q,), and the seconds of each query.
"""

import sys
import time

import numpy as np
import torch
from sklearn.linear_model import Ridge
from torchsom.core import SOM

source, out = sys.argv[1:]
torch.set_num_threads(1)
given = np.load(source)
weights, history, outputs = (torch.from_numpy(given[name]) for name in ("weights", "history", "outputs"))
som = SOM(weights.shape[0], weights.shape[1], weights.shape[2], epochs=1)
som.weights.data.copy_(weights)
by_place = som.build_map("bmus_data", history, return_indices=True, batch_size=1024)
answers, found, seconds = [], [], []
for query in torch.from_numpy(given["queries"]):
    start = time.perf_counter()
    samples, values, index = som.collect_samples(query, history, outputs, by_place, return_indices=True)
    model = Ridge(alpha=float(given["alpha"])).fit(samples.numpy(), values.numpy().ravel())
    answers.append(float(model.predict(query.numpy()[None])[0]))
    seconds.append(time.perf_counter() - start)
    found.append(index.numpy())
np.savez(out, answers=answers, found=np.concatenate(found), sizes=[len(i) for i in found], seconds=seconds)
