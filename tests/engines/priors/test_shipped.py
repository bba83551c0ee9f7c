"""The shipped priors: derivatives, projection, samples, and whether they tell poses from others."""

import json
from pathlib import Path

import numpy as np
import pytest

from engines.errors import PenumbraError
from engines.fitting.charts import Decoder
from engines.fitting.residuals import Residuals
from engines.priors.load import KINDS, load_prior, read_prior
from engines.priors.prior import Differentiable, PosePrior, Projector, Sampler
from engines.rotations import exp_so3, geodesic_angle, log_so3
from tests.support.paths import ROOT, SHARED
from tests.support.prior_checks import (
    bodies_with,
    check_rows,
    numeric_gradient,
    random_rotations,
)
from trainer.motion.anatomy import plausible
from trainer.motion.clip import load_clip
from trainer.priors.measure import auroc, energies, perturbed
from trainer.priors.samples import with_root

ASSETS = ROOT / "engines" / "assets" / "priors"
CMU = SHARED / "data" / "mocap" / "cmu"
HELD_OUT = ("07/07_01.amc", "35/35_01.bvh", "05/05_01.amc", "127/127_01.amc", "135/135_02.amc")


@pytest.fixture(params=KINDS)
def prior(request: pytest.FixtureRequest) -> PosePrior:
    return load_prior(request.param)


def likely(count: int, seed: int) -> np.ndarray:
    """Poses of the mixture, with hands and collars as recorded: not turned."""
    mixture = load_prior("gmm")
    assert isinstance(mixture, Sampler)
    rotvec = mixture.sample(count, np.random.default_rng(seed))
    rotvec[:, [12, 13, 21, 22]] = 0.0
    return exp_so3(with_root(rotvec))


def test_it_is_what_a_fit_needs(prior: PosePrior) -> None:
    assert isinstance(prior, PosePrior)
    assert isinstance(prior, Residuals)
    assert isinstance(prior, Differentiable)
    assert isinstance(prior, Projector)


def test_rows_are_those_of_the_energy(prior: PosePrior) -> None:
    R = random_rotations(3, seed=1).astype(np.float64)
    R = exp_so3(log_so3(R))  # orthogonal in double precision
    check_rows(prior, R, step=1e-5, rtol=2e-3)


def test_gradient_is_that_of_the_energy(prior: PosePrior) -> None:
    assert isinstance(prior, Differentiable)
    R = exp_so3(log_so3(likely(3, seed=2).astype(np.float64)))
    energy, gradient = prior.gradient(R)
    np.testing.assert_allclose(energy, prior.energy(R), rtol=1e-6)
    numeric = numeric_gradient(prior, R, 1e-5)
    np.testing.assert_allclose(gradient, numeric, rtol=2e-3, atol=2e-3 * np.abs(numeric).max())


def test_single_precision_is_enough(prior: PosePrior) -> None:
    assert isinstance(prior, Differentiable)
    R = random_rotations(50, seed=3)
    energy, gradient = prior.gradient(R)
    assert energy.dtype == gradient.dtype == np.float32
    exact_energy, exact = prior.gradient(exp_so3(log_so3(R.astype(np.float64))))
    np.testing.assert_allclose(energy, exact_energy, rtol=1e-3, atol=1e-2)
    length = np.linalg.norm(exact, axis=-1)
    assert (np.linalg.norm(gradient - exact, axis=-1) < 0.01 * length + 0.01).all()


def test_root_costs_nothing(prior: PosePrior) -> None:
    R = random_rotations(10, seed=4)
    turned = R.copy()
    turned[:, 0] = np.eye(3)
    np.testing.assert_array_equal(prior.energy(R), prior.energy(turned))


def test_projection_lowers_the_energy(prior: PosePrior) -> None:
    assert isinstance(prior, Projector)
    R = perturbed(likely(40, seed=5), 0.3, np.random.default_rng(0))
    before = prior.energy(R)
    projected = prior.project(R, 5)
    after = prior.energy(projected)
    assert (after <= before).all()
    assert np.median(after / before) < 0.7
    np.testing.assert_array_equal(projected[:, 0], R[:, 0])
    assert np.linalg.det(projected) == pytest.approx(1, abs=1e-4)


def test_perturbed_poses_cost_more(prior: PosePrior) -> None:
    R = likely(300, seed=6)
    other = perturbed(R, 0.3, np.random.default_rng(0))
    assert auroc(energies(prior, R), energies(prior, other)) >= 0.9


def test_held_out_recordings_cost_less_than_perturbed_ones(prior: PosePrior) -> None:
    if not (CMU / "clips.csv").is_file():
        pytest.skip("the CMU recordings are not on this machine")
    rotvec = np.concatenate([load_clip(CMU / file).rotvec[::10] for file in HELD_OUT])
    R = exp_so3(rotvec[plausible(rotvec)].astype(np.float32))
    other = perturbed(R, 0.3, np.random.default_rng(0))
    assert auroc(energies(prior, R), energies(prior, other)) >= 0.9


def test_record_says_what_the_file_is() -> None:
    for kind in KINDS:
        file = ASSETS / f"{kind}.npz"
        record = json.loads(file.with_suffix(".json").read_text())
        assert record["config"]["kind"] == kind
        assert record["bytes"] == file.stat().st_size
        assert record["metrics"]["test"]["auroc_0.3rad"] >= 0.9
    assert sum(file.stat().st_size for file in ASSETS.iterdir()) < 6_000_000


@pytest.mark.parametrize("kind", ["gmm", "vposer", "flow"])
def test_samples_are_plausible(kind: str) -> None:
    prior = load_prior(kind)
    assert isinstance(prior, Sampler)
    rotvec = prior.sample(200, np.random.default_rng(0))
    assert rotvec.shape == (200, 23, 3)
    judge = load_prior("nrdf")
    R = exp_so3(with_root(rotvec.astype(np.float32)))
    shuffled = R.copy()
    shuffled[:, 1:] = random_rotations(200, seed=0, std=0.6)[:, 1:]
    assert auroc(energies(judge, R), energies(judge, shuffled)) > 0.95


def test_code_of_a_pose_decodes_to_about_it() -> None:
    prior = load_prior("vposer")
    assert isinstance(prior, Decoder)
    record = json.loads((ASSETS / "vposer.json").read_text())
    R = likely(300, seed=7)
    mean, std = prior.encode(R)
    assert mean.shape == std.shape == (300, prior.dim)
    assert (std > 0).all()
    error = np.degrees(geodesic_angle(R, prior.decode(mean)))[:, 1:22]
    assert error.mean() < 2 * record["reconstruction"]["test"]["mean_deg"]


def test_jacobian_of_the_decoder() -> None:
    prior = load_prior("vposer")
    assert isinstance(prior, Decoder)
    z = np.random.default_rng(0).standard_normal((3, prior.dim))
    R, J = prior.decode_with_jacobian(z)
    np.testing.assert_allclose(R, prior.decode(z), atol=1e-12)
    for column in range(prior.dim):
        step = np.zeros_like(z)
        step[:, column] = 1e-6
        back = R.swapaxes(-1, -2)
        numeric = log_so3(back @ prior.decode(z + step)) - log_so3(back @ prior.decode(z - step))
        np.testing.assert_allclose(J[..., column], numeric / 2e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["vposer", "flow"])
def test_average_curvature_is_that_of_the_energy_on_average(kind: str) -> None:
    """Fisher's identity, to the accuracy that a sharp model and other poses allow."""
    prior = load_prior(kind)
    _, bodies = bodies_with(likely(5, seed=8))
    rows = prior(bodies)
    assert rows.J.shape == (5, 63, 85)
    B = rows.J[0].T @ rows.J[0]
    assert np.linalg.eigvalsh(B[3:66, 3:66]).min() > 0
    assert not B[:3].any() and not B[66:].any()


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    for kind in KINDS:
        arrays = dict(np.load(ASSETS / f"{kind}.npz"))
        for name in arrays.keys() - {"kind"}:
            lacking = {key: value for key, value in arrays.items() if key != name}
            np.savez(tmp_path / "lacking.npz", **lacking)
            with pytest.raises(PenumbraError, match="cannot be read"):
                read_prior(tmp_path / "lacking.npz")
            if arrays[name].dtype.kind == "f":
                broken = arrays | {name: np.full_like(arrays[name], np.nan)}
                np.savez(tmp_path / "broken.npz", **broken)
                with pytest.raises(PenumbraError, match="cannot be read"):
                    read_prior(tmp_path / "broken.npz")
