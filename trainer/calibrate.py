"""Record a trained flow's predicted uncertainty and its errors, on subjects not trained on.

    python -m trainer.calibrate --run runs/mine --out runs/mine/errors
    python -m calib.uncertainty --fit runs/mine/errors/val_errors.npz --measure
    runs/mine/errors/test_errors.npz \
        --record engines/assets/flow.json --figures runs/mine/errors

The second command fits on the validation subjects, measures on the test subjects and stores the
result with the model.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calib.dataset import CalibrationDataset
from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.flow.features import LIMBS
from engines.flow.sampler import noise
from trainer.command import start
from trainer.data.augment import JOINT_OF_LANDMARK, RawRecords
from trainer.data.samples import Batch, encode, read
from trainer.evaluation.metrics import published_moments
from trainer.export.onnx import features_of, load_body, load_flow
from trainer.model.anchored_flow import AnchoredContext, AnchoredFlow
from trainer.model.flow import PoseFlow
from trainer.model.kinematics import SkeletonTensors, view_joints

HYPOTHESES = 100


@dataclass(frozen=True)
class CalibrateConfig:
    """Data to run on, and where to write."""

    run: Path = Path("runs/first")
    val: tuple[Path, ...] = (Path("runs/dataset/val"), Path("runs/ambiguous/val"))
    """Samples of validation subjects, to fit on: ordinary and ambiguous ones."""
    test: tuple[Path, ...] = (Path("runs/ambiguous/test"),)
    """Samples of test subjects, to measure on."""
    out: Path = Path("runs/errors")
    """Gets `val_errors.npz` and `test_errors.npz`."""


@torch.no_grad()
def errors_of(
    flow: PoseFlow | AnchoredFlow,
    skeleton: SkeletonTensors,
    records: RawRecords,
    body: BodyModel,
    data: str,
    chunk: int = 250,
) -> CalibrationDataset:
    """Run the flow on records with the noise of the live system, and compare with the labels.

    Args:
        flow: in evaluation mode.
        skeleton: of `body`.
        records: as stored.
        body: that the records were made with.
        data: their description, for the dataset.
        chunk: images at a time.
    """
    batch = encode(records, body, features=features_of(flow))
    z = torch.from_numpy(noise(HYPOTHESES))
    chunks = torch.arange(batch.size).split(chunk)
    columns = zip(*(_errors(flow, skeleton, batch.rows(index), z) for index in chunks), strict=True)
    error, cov, ray, p_visible, entropy, far, far_std = (np.concatenate(parts) for parts in columns)
    landmark_visibility = np.full((batch.size, 24), np.nan)
    for landmark in LIMBS:
        landmark_visibility[:, JOINT_OF_LANDMARK[landmark]] = records["visibility"][:, landmark]
    return CalibrationDataset(
        error,
        cov,
        ray,
        batch.visible.numpy() > 0.5,
        p_visible,
        entropy,
        landmark_visibility,
        far,
        far_std,
        data,
    )


def _errors(
    flow: PoseFlow | AnchoredFlow, skeleton: SkeletonTensors, batch: Batch, z: torch.Tensor
) -> tuple[np.ndarray, ...]:
    """Error, covariance, ray, probability of being visible, entropy, and the distance's error and
    spread, in the view.
    """
    context = flow.encode(batch.features)
    R_anchor = context.R_anchor if isinstance(context, AnchoredContext) else batch.R_anchor
    noises = z[None].expand(batch.size, -1, -1)
    bodies, log_q = flow.sample(context, noises)  # pyright: ignore[reportArgumentType]
    joints = view_joints(skeleton, R_anchor, batch.half_size, bodies).double()
    cov = published_moments(joints).cov
    ray = torch.nn.functional.normalize(joints[:, 0, 0], dim=-1)
    far = ((batch.joints[:, 0] - joints[:, 0, 0]) * ray).sum(-1)
    far_std = (joints[:, :, 0] * ray[:, None]).sum(-1).std(-1, correction=0)
    error = batch.joints - far[:, None, None] * ray[:, None] - joints[:, 0]
    p_visible, entropy = context.visible_logits.sigmoid(), -log_q[:, 1:].mean(1)
    return tuple(
        part.double().numpy() for part in (error, cov, ray, p_visible, entropy, far, far_std)
    )


def describe(counts: dict[Path, int], who: str) -> str:
    """Describe the data in a sentence."""
    parts = " and ".join(
        f"{count} of {folder.parent.name}/{folder.name}" for folder, count in counts.items()
    )
    return f"renders of CMU {who} subjects through the landmark network: {parts}"


def main(config: CalibrateConfig) -> None:
    """Write both files.

    Raises:
        PenumbraError: if the run or a folder of samples is missing, or none was named.
    """
    if not (config.val and config.test):
        raise PenumbraError("--val and --test: name at least one folder of samples for each.")
    flow = load_flow(config.run)
    body = load_body(config.run)
    skeleton = SkeletonTensors(torch.tensor(body.J_template), torch.tensor(body.J_shapedirs))
    for split, who, folders in (("val", "validation", config.val), ("test", "test", config.test)):
        parts = {folder: read(folder, body) for folder in folders}
        records = {
            key: np.concatenate([part[key] for part in parts.values()])
            for key in next(iter(parts.values()))
        }
        path = config.out / f"{split}_errors.npz"
        data = describe({folder: len(part["rotvec"]) for folder, part in parts.items()}, who)
        errors_of(flow, skeleton, records, body, data).save(path)
        print(f"{path}: {data}")
    print(
        f"next: python -m calib.uncertainty --fit {config.out}/val_errors.npz "
        f"--measure {config.out}/test_errors.npz"
    )


if __name__ == "__main__":
    start(main, CalibrateConfig)
