"""Two tiny runs, trained for two steps, from the benchmark's files to the tables."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engines.body import BodyModel
from engines.convert_smpl import convert
from engines.errors import PenumbraError
from realtime.demo import clip_path
from tests.support.random_samples import TINY, TINY_ENCODER, prior, random_records
from tests.support.synthetic_smpl import synthetic_smpl
from trainer import train
from trainer.evaluate import EvaluateConfig, benchmarks, main
from trainer.evaluation.measure import MeasureConfig
from trainer.methods.mhentropy import MHEntropyConfig
from trainer.methods.registry import MethodConfigs, MethodName
from trainer.model.pose_prior import PoseMixture
from trainer.runs.config import TrainConfig
from trainer.runs.folder import load_method

FEW = MeasureConfig(hypotheses=25, quantised_images=1, diverse=5)


@pytest.fixture(autouse=True)
def known_prior(monkeypatch: pytest.MonkeyPatch) -> Any:
    """And as many threads afterwards as before."""
    monkeypatch.setattr(PoseMixture, "load", staticmethod(prior))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, body: BodyModel) -> Path:
    """Both benchmarks, in several shards; samples; and two runs of two steps."""
    home = tmp_path_factory.mktemp("home")
    folders = {
        "dataset/train": (1, 8),
        "dataset/val": (1, 4),
        "clear/test": (2, 4),
        "ambiguous/test": (3, 4),
    }
    for seed, (name, (shards, count)) in enumerate(folders.items()):
        (home / name).mkdir(parents=True)
        for shard in range(shards):
            np.savez(
                home / name / f"{shard:05d}.npz", **random_records(count, 10 * seed + shard, body)
            )
    names: tuple[MethodName, ...] = ("mhentropy", "hmr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoseMixture, "load", staticmethod(prior))
        for name in names:
            config = TrainConfig(
                method=name,
                dataset=home / "dataset",
                run=home / name,
                steps=2,
                batch=4,
                evaluate_every=100,
                threads=torch.get_num_threads(),
                encoder=TINY_ENCODER,
                methods=MethodConfigs(mhentropy=MHEntropyConfig(flow=TINY)),
            )
            train.run(config)
    return home


def config_of(home: Path, out: Path, **changes: Any) -> EvaluateConfig:
    given = {
        "clear": home / "clear" / "test",
        "ambiguous": home / "ambiguous" / "test",
        "measure": FEW,
    }
    return EvaluateConfig(
        **{"runs": (home / "mhentropy", home / "hmr"), "out": out} | given | changes
    )


def stored(out: Path) -> dict[tuple[str, str], dict[str, float | None]]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    values = json.loads((out / "values.json").read_text(), parse_constant=refuse)
    assert all(one["supervision"] == "3d" and one["seed"] == 0 for one in values)
    return {(one["method"], one["benchmark"]): one["values"] for one in values}


def test_runs_become_tables(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(config_of(home, tmp_path / "out"))
    values = stored(tmp_path / "out")
    assert set(values) == {(m, b) for m in ("mhentropy", "hmr") for b in ("CMU", "ambiguous CMU")}
    text = (tmp_path / "out" / "tables.md").read_text()
    assert text in capsys.readouterr().out
    second, many, estimate, third, uncertainty = text.removeprefix("**PA-MPJPE").split("\n\n**")
    for table in (second, many, estimate, third, uncertainty):
        rows = [line for line in table.splitlines() if line.startswith("| 3d")]
        assert [row.split(" | ")[1] for row in rows] == ["hmr", "mhentropy"]
    assert "Diversity on ambiguous CMU" in third and "Uncertainty on ambiguous CMU" in uncertainty
    # What is printed is what was measured.
    flow, point = values["mhentropy", "ambiguous CMU"], values["hmr", "ambiguous CMU"]
    assert f"| {flow['pa_best_25']:.1f} |" in second and f"| {flow['ah_px']:.2f} |" in third
    assert f"| {flow['pa_best_5']:.1f} |" in many
    assert f"| {flow['coverage_90']:.1f} |" in uncertainty and f"| {flow['pve']:.1f} |" in estimate
    assert (flow["pve"] or 0) > 0
    main(config_of(home, tmp_path / "fitted", measure=replace(FEW, fit=True)))
    fitted = stored(tmp_path / "fitted")["mhentropy", "ambiguous CMU"]
    assert fitted["pa_best_1"] != flow["pa_best_1"] and fitted["pve"] is None
    # One body an image: many hypotheses are no better than one, and there is nothing that spreads.
    assert point["pa_best_1"] == point["pa_best_25"] and point["pjd_3d_occluded_mm"] == 0
    assert point["pa_quantised_5"] == point["pa_best_25_of_those"]
    assert (flow["pa_best_25"] or 0) < (flow["pa_best_1"] or 0) and (
        flow["pjd_3d_occluded_mm"] or 0
    ) > 0
    # With as many clusters as hypotheses all are kept.
    assert flow["pa_quantised_25"] == flow["pa_best_25_of_those"]


def test_exact_landmarks_are_others(home: Path, tmp_path: Path, body: BodyModel) -> None:
    seen, exact = (
        benchmarks(config_of(home, tmp_path), body),
        benchmarks(config_of(home, tmp_path), body, "exact"),
    )
    assert list(seen) == ["CMU", "ambiguous CMU"] and list(exact) == [
        "exact CMU",
        "exact ambiguous CMU",
    ]
    assert exact["exact CMU"].size == 8 and exact["exact ambiguous CMU"].size == 12
    for name, samples in seen.items():
        other = exact[f"exact {name}"]
        assert torch.equal(samples.visible, other.visible)
        assert not torch.allclose(samples.features, other.features)


def test_runs_are_scored_on_what_they_learnt_from(home: Path, tmp_path: Path) -> None:
    run = tmp_path / "exact"
    train.run(
        TrainConfig(
            method="hmr",
            landmark_source="exact",
            dataset=home / "dataset",
            run=run,
            steps=1,
            batch=4,
            evaluate_every=100,
            threads=torch.get_num_threads(),
            encoder=TINY_ENCODER,
        )
    )
    main(config_of(home, tmp_path / "out", runs=(run,), max_images=3))
    assert set(stored(tmp_path / "out")) == {("hmr", "exact CMU"), ("hmr", "exact ambiguous CMU")}
    with pytest.raises(
        PenumbraError, match="runs: some learnt from rendered landmarks, others from exact ones"
    ):
        main(config_of(home, tmp_path, runs=(run, home / "mhentropy")))
    with pytest.raises(
        PenumbraError, match="--dataset: the images of 3dpw go through the landmark network"
    ):
        main(config_of(home, tmp_path, runs=(run,), dataset="3dpw", root=tmp_path))


def frame_file(folder: Path) -> Path:
    """A frame of the built-in clip, and a file in ProHMR's form that says where the person is."""
    demo = np.load(clip_path().with_suffix(".npz"))
    image = cv2.VideoCapture(str(clip_path())).read()[1]
    assert cv2.imwrite(str(folder / "frame.png"), image)
    joints = demo["joints"][0]
    px = joints[:, :2] / joints[:, 2:] * demo["focal"] + np.array(image.shape[1::-1]) / 2
    pose = np.zeros((2, 24, 3))
    pose[:, 0, 0] = np.pi
    np.savez(
        folder / "ours.npz",
        imgname=np.array(["frame.png", "missing.png"]),
        center=np.tile((px.min(0) + px.max(0)) / 2, (2, 1)),
        scale=np.full(2, 1.2 * np.ptp(px, axis=0).max()),
        body_pose=pose.reshape(2, 72),
        has_body_pose=np.ones(2),
        betas=np.full((2, 10), 3.0),
        has_betas=np.ones(2),
    )
    return folder / "ours.npz"


def test_runs_of_one_row_are_seeds_of_the_same(home: Path, tmp_path: Path) -> None:
    facts = json.loads((home / "hmr" / "config.json").read_text())
    facts["starts"][-1]["config"] |= {"seed": 1, "steps": 9, "learning_rate": 0.5, "threads": 7}
    (tmp_path / "longer").mkdir()
    (tmp_path / "longer" / "config.json").write_text(json.dumps(facts))
    with pytest.raises(
        PenumbraError,
        match=r"hmr and .*longer share a row but differ in steps, learning_rate; score",
    ):
        main(config_of(home, tmp_path, runs=(home / "hmr", tmp_path / "longer")))


def test_a_dataset_takes_the_place_of_the_benchmarks(
    home: Path, tmp_path: Path, body: BodyModel
) -> None:
    """One image of two: the second, which is not there, is not read."""
    config = config_of(
        home,
        tmp_path / "out",
        runs=(home / "mhentropy",),
        dataset="prohmr",
        root=frame_file(tmp_path),
        max_images=1,
    )
    ((name, samples),) = benchmarks(config, body).items()
    assert name == "prohmr (labels on the default body)" and samples.size == 1
    assert not samples.betas.any()  # those of another body mean nothing to this one
    main(config)
    values = stored(tmp_path / "out")["mhentropy", name]
    assert (values["pa_best_1"] or 0) > 0 and values["spearman"] is None
    assert f"Diversity on {name}" in (tmp_path / "out" / "tables.md").read_text()
    with pytest.raises(PenumbraError, match=r"missing\.png: there is no such image"):
        benchmarks(config_of(home, tmp_path, dataset="prohmr", root=tmp_path / "ours.npz"), body)


def test_a_body_of_the_users_own_goes_all_the_way(
    home: Path, tmp_path: Path, body: BodyModel
) -> None:
    """Trained, loaded and scored with it; and then a dataset's shapes mean something."""
    np.savez(tmp_path / "smpl.npz", **synthetic_smpl())
    np.savez(tmp_path / "own.npz", **convert(tmp_path / "smpl.npz")[0])
    own, run = BodyModel.load(tmp_path / "own.npz"), tmp_path / "run"
    train.run(
        TrainConfig(
            method="hmr",
            body=tmp_path / "own.npz",
            dataset=home / "dataset",
            run=run,
            steps=1,
            batch=4,
            evaluate_every=100,
            threads=torch.get_num_threads(),
            encoder=TINY_ENCODER,
        )
    )
    np.testing.assert_allclose(
        load_method(run).priors.skeleton.J_template, own.J_template, atol=1e-6
    )
    config = config_of(
        home,
        tmp_path / "out",
        runs=(run,),
        dataset="prohmr",
        root=frame_file(tmp_path),
        max_images=1,
    )
    samples = benchmarks(config, own, own_body=True)["prohmr"]
    assert (samples.betas == 3.0).all()
    main(config)
    assert set(stored(tmp_path / "out")) == {("hmr", "prohmr")}
    with pytest.raises(PenumbraError, match="runs: they were trained for different bodies"):
        main(config_of(home, tmp_path, runs=(run, home / "mhentropy")))


def test_what_is_missing_is_named(home: Path, tmp_path: Path, body: BodyModel) -> None:
    with pytest.raises(PenumbraError, match="--root: not given; say where the dataset 3dpw lies"):
        main(config_of(home, tmp_path, dataset="3dpw"))
    with pytest.raises(PenumbraError, match=r"root: .*nowhere does not exist"):
        main(config_of(home, tmp_path, dataset="3dpw", root=tmp_path / "nowhere"))
    np.savez(
        tmp_path / "h36m_valid_protocol2.npz",
        imgname=np.array(["a.jpg"]),
        center=np.ones((1, 2)),
        scale=np.ones(1),
        S=np.ones((1, 24, 4)),
    )
    with pytest.raises(PenumbraError, match="SMPL labels; give a file that has pose and shape"):
        main(config_of(home, tmp_path, dataset="h36m", root=tmp_path))
    with pytest.raises(
        PenumbraError, match=r"clear: .*ambiguous --no-tracked --clear --out .*none"
    ):
        main(config_of(home, tmp_path, clear=tmp_path / "none" / "test"))
    with pytest.raises(PenumbraError, match=r"ambiguous: .*ambiguous --no-tracked --out .*none"):
        main(config_of(home, tmp_path, ambiguous=tmp_path / "none" / "test"))
    with pytest.raises(PenumbraError, match="holds no run"):
        main(config_of(home, tmp_path, runs=(tmp_path,)))
    with pytest.raises(PenumbraError, match="runs: there is none; name at least one"):
        main(config_of(home, tmp_path, runs=()))
    with pytest.raises(PenumbraError, match=r"runs: .* the same method, supervision and seed"):
        main(config_of(home, tmp_path, runs=(home / "hmr", home / "dataset" / ".." / "hmr")))
