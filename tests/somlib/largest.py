"""How large the largest tensor is that a call makes on its way."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch does not annotate it
    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, Tensor):
                self.entries = max(self.entries, tensor.untyped_storage().nbytes() // tensor.element_size())
        return made


def largest_tensor(call: Callable[[], object]) -> int:
    """Entries of the largest tensor that any operation of `call` gave back."""
    with torch.no_grad(), _Largest() as largest:  # type: ignore[no-untyped-call]  # likewise
        call()
    return int(largest.entries)
