"""Points of the camera frame on the plane z = 1, batch last."""

from jaxtyping import Bool, Float
from torch import Tensor

from engines.camera import NEAREST_M
from engines.flow.features import TORSO
from engines.types import LIMB_JOINTS, LIMB_LANDMARKS

LIMBS = list(LIMB_JOINTS)
_TORSO = sorted(LIMB_LANDMARKS[landmark] for landmark in TORSO)


def to_plane(points: Float[Tensor, "J 3 N"]) -> Float[Tensor, "J 2 N"]:
    """Project points; nearer ones than `NEAREST_M` count as being there."""
    return points[:, :2] / points[:, 2:].clamp_min(NEAREST_M)


def half_size_of(flat: Float[Tensor, "24 2 N"]) -> Float[Tensor, "N"]:
    """Half the person's size on the plane z = 1, as `engines.flow.features` has it but for the
    virtual camera's rotation.
    """
    center = flat[_TORSO].mean(0)
    return 2.0 * (flat[LIMBS] - center).square().sum(1).mean(0).sqrt() + 1e-6


def inside(
    flat: Float[Tensor, "J 2 N"], focal: Float[Tensor, "N"], size: Float[Tensor, "2 N"]
) -> Bool[Tensor, "J N"]:
    """Tell which points lie inside an image of a focal length and size, px."""
    return ((flat * focal).abs() < size / 2).all(1)
