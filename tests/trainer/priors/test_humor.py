"""HuMoR's training: what it reads, that torch and NumPy say the same, that it goes on."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.errors import PenumbraError
from engines.priors.motion.layout import NUM_STATE, STEP
from engines.priors.motion.network import MotionNetwork
from engines.priors.motion.prior import MotionPrior
from engines.priors.motion.state import Pairs
from engines.priors.motion.state import stepped as numpy_stepped
from engines.rotations import log_so3
from tests.support.motion import wandering
from trainer.priors.humor import HumorTraining, fit
from trainer.priors.humor_contact import fit_contacts
from trainer.priors.humor_data import Z_UP, MotionData, mirror, sole_heights
from trainer.priors.humor_measure import measure
from trainer.priors.humor_network import HumorNetwork, Widths
from trainer.priors.humor_start import best_sigma, file_arrays, fit_start
from trainer.priors.humor_state import Frames, state_of, step_between, stepped

FRAMES = 40
SMALL = HumorTraining(
    widths=Widths(4, (8,), (8,), (8,)),
    epochs=2,
    recorded_epochs=1,
    own_epochs=1,
    batch=32,
    window=3,
)


@pytest.fixture(scope="module")
def poses(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of every split: one who lifts the left foot, and one who wanders, with a gap."""
    rng = np.random.default_rng(0)
    lifting = np.zeros((FRAMES, 24, 3))
    lift = np.sin(np.linspace(0, np.pi, 20)).clip(0)
    lifting[10:30, 1, 0] = -0.9 * lift  # the left hip bends ahead, the knee back
    lifting[10:30, 4, 0] = 0.9 * lift
    moving = log_so3(wandering(FRAMES, rng).R)
    rotvec = np.concatenate([lifting, moving] * 3).astype(np.float32)
    frame = np.tile(np.arange(FRAMES), 6)
    frame[FRAMES + 20 : 2 * FRAMES] += 1
    path = tmp_path_factory.mktemp("poses") / "poses.npz"
    np.savez(
        path,
        rotvec=rotvec,
        transl=np.zeros((len(rotvec), 3), np.float32),
        clip=np.repeat(np.arange(6, dtype=np.int32), FRAMES),
        frame=frame.astype(np.int32),
        split=np.repeat(np.arange(3, dtype=np.uint8), 2 * FRAMES),
        clip_names=np.array([f"clip{i}" for i in range(6)]),
    )
    return path


@pytest.fixture(scope="module")
def data(poses: Path, body: BodyModel) -> MotionData:
    return MotionData.load(poses, "train", body)


def test_clips_of_another_rate_are_refused(poses: Path, body: BodyModel, tmp_path: Path) -> None:
    arrays = dict(np.load(poses))
    np.savez(tmp_path / "same.npz", **arrays, clip_fps=np.full(6, 29.97))
    MotionData.load(tmp_path / "same.npz", "val", body)
    np.savez(tmp_path / "fast.npz", **arrays, clip_fps=np.repeat([30.0, 120.0], 3))
    with pytest.raises(PenumbraError, match="clips of 120 frames a second"):
        MotionData.load(tmp_path / "fast.npz", "val", body)


def test_contacts_of_a_step(data: MotionData) -> None:
    contact = data.contact[:FRAMES].numpy()
    assert not contact[0].any()  # nothing is known before the first frame
    assert contact[1:, [1, 3]].all()  # the right foot stands
    assert contact[1:10, [0, 2]].all() and contact[31:, [0, 2]].all()
    assert not contact[13:27, [0, 2]].any()


def test_the_floor_is_at_zero_and_gaps_are_kept_apart(data: MotionData, body: BodyModel) -> None:
    assert float(data.frames.pelvis[0, 2]) == pytest.approx(0.904, abs=0.01)  # a standing body's
    np.testing.assert_allclose(data.frames.R[0, 0].numpy(), Z_UP, atol=1e-6)
    starts = data.windows(5)
    for boundary in (FRAMES, FRAMES + 20):
        for start in starts:
            assert not start < boundary < start + 5, (start, boundary)
    assert len(starts) == (FRAMES - 4) + 2 * (20 - 4)


def test_a_mirror_twice_is_none(data: MotionData) -> None:
    back = mirror(mirror(data.frames))
    torch.testing.assert_close(back.R, data.frames.R)
    torch.testing.assert_close(back.pelvis, data.frames.pelvis)
    flipped, contact = data.take(np.array([12]), 3, np.array([True]))
    assert not contact[0, 1:, [1, 3]].any() and contact[0, 1:, [0, 2]].all()
    assert float(flipped.R[0, 2, 2, 1, 2]) == pytest.approx(float(data.frames.R[14, 1, 1, 2]))


def test_torch_and_numpy_agree(data: MotionData) -> None:
    torch.manual_seed(0)
    frames, _ = data.take(data.windows(3)[-8:], 3, None)
    before, now, after = (Frames(*(part.double() for part in frames.at(i))) for i in range(3))
    rest = data.rest.double()
    state, step = state_of(rest, before, now), step_between(now, after)
    hands = np.tile(np.eye(3), (8, 2, 1, 1))
    R = [np.concatenate([frame.R.numpy(), hands], 1) for frame in (before, now, after)]
    p = [frame.pelvis.numpy() for frame in (before, now, after)]
    np.testing.assert_allclose(
        Pairs(R[0], R[1], p[0], p[1]).state(rest.numpy()), state.numpy(), atol=1e-6
    )
    np.testing.assert_allclose(Pairs(R[1], R[2], p[1], p[2]).step(), step.numpy(), atol=1e-6)
    torch_step = stepped(now, step)
    np.testing.assert_allclose(
        numpy_stepped(R[1], p[1], step.numpy())[0][:, :22], torch_step.R.numpy(), atol=1e-9
    )
    network = HumorNetwork(Widths(), data.rest, torch.randn(9, NUM_STATE), torch.randn(9, STEP))
    shipped = MotionNetwork.of(dict(network.arrays()))
    z = torch.randn(8, 32)
    x = network.standardised(state.float())
    with torch.no_grad():
        expected = network.prior(x)
        decoded, _ = network.decode(state.float(), x, z)
    mean, std = shipped.prior(state.numpy())
    np.testing.assert_allclose(mean, expected.mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(std, expected.log_std.exp().numpy(), rtol=1e-4)
    found, by_state, by_z = shipped.decode_jacobian(state.numpy(), z.numpy())
    np.testing.assert_allclose(found, decoded.numpy(), atol=1e-4)

    def decode(s: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        return network.decode(s, network.standardised(s), latent)[0].sum(0)

    J_state, J_z = torch.autograd.functional.jacobian(decode, (state.float(), z))
    np.testing.assert_allclose(by_state, J_state.permute(1, 0, 2).numpy(), atol=1e-4)
    np.testing.assert_allclose(by_z, J_z.permute(1, 0, 2).numpy(), atol=1e-4)
    np.testing.assert_allclose(
        shipped.latent_jacobian(state.numpy(), z.numpy())[1], by_z, atol=1e-5
    )
    J_mean = torch.autograd.functional.jacobian(
        lambda s: network.prior(network.standardised(s)).mean.sum(0), state.float()
    )
    np.testing.assert_allclose(
        shipped.mean_jacobian(state.numpy()), J_mean.permute(1, 0, 2).numpy(), atol=1e-4
    )


def test_a_killed_training_goes_on(data: MotionData, tmp_path: Path) -> None:
    whole, log = fit(data, data, SMALL, 0, tmp_path / "whole.pt")
    assert len(log) == 2 and all(np.isfinite(list(entry.values())).all() for entry in log)

    class Killed(Exception):
        pass

    def kill(epoch: int) -> None:
        if epoch == 0:
            raise Killed

    with pytest.raises(Killed):
        fit(data, data, SMALL, 0, tmp_path / "parts.pt", after_epoch=kill)
    parts, resumed = fit(data, data, SMALL, 0, tmp_path / "parts.pt")
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert [entry["own"] for entry in log] == [entry["own"] for entry in resumed]


def test_what_is_trained_becomes_a_prior_and_is_measured(
    data: MotionData, body: BodyModel, tmp_path: Path
) -> None:
    network, _ = fit(data, data, SMALL, 0, tmp_path / "state.pt")
    start = fit_start(data, 2, 300, 0)
    contacts = fit_contacts(network, data, 200, 0)
    prior = MotionPrior.of(file_arrays(network, best_sigma(network, data, 0), start, contacts))
    sequence = data.sequence(0, 20)
    assert np.isfinite(prior.energy(sequence)).all()
    assert prior.contacts(sequence).shape == (18, 4)
    facts = measure(prior, data, sole_heights(body), windows=2, seconds=0.2)
    assert set(facts) == {"frames", "one_step", "second", "energy"}
