r"""Schedules of learning rate and neighborhood radius over training.

Each is a function of the start value, the epoch `t` (from 0) and the number of epochs `T`, equal to the start value
at `t = 0`:

    asymptotic_decay              theta0 / (1 + t / (T / 2))                            either
    lr_inverse_decay_to_zero      lr0 g / (g + t), g = T / 100                          learning rate
    lr_linear_decay_to_zero       lr0 (1 - t / T)                                       learning rate
    sig_inverse_decay_to_one      s0 / (1 + t (s0 - 1) / T)                             radius
    sig_linear_decay_to_one       s0 + t (1 - s0) / T                                   radius
    sig_geometric_decay_to_one    s0 ^ (1 - t / (T - 1)), which is 1 in the last epoch  radius

The first five are those of the torchsom reference. They end at `t = T`, one step after the last epoch, at theta0 / 3,
lr0 / 101, 0, 1 and 1. The geometric one spends equal effort on each scale of the map and is meant for
`algorithm="batch"`.
"""

from collections.abc import Callable

DecayFn = Callable[[float, float, int], float]


def asymptotic_decay(theta0: float, t: float, T: int) -> float:
    """Value at epoch `t` of `T`: a third of the start is reached as t nears T."""
    return theta0 / (1 + t / (T / 2))


def lr_inverse_decay_to_zero(theta0: float, t: float, T: int) -> float:
    """Learning rate at epoch `t` of `T`: halved after a hundredth of the training."""
    g = T / 100
    return theta0 * g / (g + t)


def lr_linear_decay_to_zero(theta0: float, t: float, T: int) -> float:
    """Learning rate at epoch `t` of `T`, falling by the same amount each epoch."""
    return theta0 * (1 - t / T)


def sig_inverse_decay_to_one(theta0: float, t: float, T: int) -> float:
    """Radius at epoch `t` of `T`, fast first and slow later, towards 1."""
    return theta0 / (1 + t * (theta0 - 1) / T)


def sig_linear_decay_to_one(theta0: float, t: float, T: int) -> float:
    """Radius at epoch `t` of `T`, falling by the same amount each epoch, towards 1."""
    return theta0 + t * (1 - theta0) / T


def sig_geometric_decay_to_one(theta0: float, t: float, T: int) -> float:
    """Radius at epoch `t` of `T`, falling by the same factor each epoch, exactly 1 in the last of several."""
    return float(theta0 ** (1 - t / (T - 1))) if T > 1 else theta0


DECAY_FUNCTIONS: dict[str, DecayFn] = {
    "asymptotic_decay": asymptotic_decay,
    "lr_inverse_decay_to_zero": lr_inverse_decay_to_zero,
    "lr_linear_decay_to_zero": lr_linear_decay_to_zero,
    "sig_inverse_decay_to_one": sig_inverse_decay_to_one,
    "sig_linear_decay_to_one": sig_linear_decay_to_one,
    "sig_geometric_decay_to_one": sig_geometric_decay_to_one,
}


def sigma_schedule(name: str, final: float) -> DecayFn:
    """The schedule of that name; one "to one" is measured in units of `final`, and so goes there instead of to one."""
    decay = DECAY_FUNCTIONS[name]
    if final == 1 or not name.endswith("_to_one"):
        return decay
    return lambda theta0, t, T: final * decay(theta0 / final, t, T)
