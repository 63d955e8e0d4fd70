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

A schedule is one record of `SCHEDULES`. A function that is put into `DECAY_FUNCTIONS` makes a record of its own, for
learning rate and radius alike.
"""

from collections.abc import Callable
from dataclasses import dataclass

from somlib.utils.registry import Functions

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


@dataclass(frozen=True)
class Schedule:
    """A schedule, with what it may be used for.

    Attributes:
        function: Value by start value, epoch and number of epochs.
        rate: Whether it suits the learning rate.
        radius: Whether it suits the neighborhood radius.
        to_one: Whether it falls to 1, which is then the unit that `final_sigma` replaces.
    """

    function: DecayFn
    rate: bool = True
    radius: bool = True
    to_one: bool = False


SCHEDULES: dict[str, Schedule] = {
    "asymptotic_decay": Schedule(asymptotic_decay),
    "lr_inverse_decay_to_zero": Schedule(lr_inverse_decay_to_zero, radius=False),
    "lr_linear_decay_to_zero": Schedule(lr_linear_decay_to_zero, radius=False),
    "sig_inverse_decay_to_one": Schedule(sig_inverse_decay_to_one, rate=False, to_one=True),
    "sig_linear_decay_to_one": Schedule(sig_linear_decay_to_one, rate=False, to_one=True),
    "sig_geometric_decay_to_one": Schedule(sig_geometric_decay_to_one, rate=False, to_one=True),
}
DECAY_FUNCTIONS: Functions[DecayFn] = Functions(SCHEDULES, Schedule)


def sigma_schedule(name: str, final: float) -> DecayFn:
    """The schedule of that name; one "to one" is measured in units of `final`, and so goes there instead of to one."""
    schedule = SCHEDULES[name]
    if final == 1 or not schedule.to_one:
        return schedule.function
    return lambda theta0, t, T: final * schedule.function(theta0 / final, t, T)
