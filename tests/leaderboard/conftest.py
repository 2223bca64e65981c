"""Cells made by hand, so that every expected number in these tests can be computed on paper."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from bench.store.results import CellResult, Component, Cost
from leaderboard.tables import row_flags

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MakeCell = Callable[..., CellResult]
PARAMETERS: dict[str, dict[str, Any]] = {
    "lsp": {"eps": 1.0, "patch": 8, "separation": 10.0, "rounding": "nearest", "poison_rate": 1.0},
    "iss-gray": {"test_view": False},
    "iss-jpeg": {"quality": 10, "test_view": False},
}
RECIPE = {
    "epochs": 60,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "schedule": "cosine-epoch",
    "crop_padding": 4,
    "flip": True,
}
FAMILIES = {"iss-gray": "iss", "iss-jpeg": "iss", "iss-bdr": "iss"}


def _cost(seconds: float, phases: dict[str, float], **changes: Any) -> Cost:
    fields: dict[str, Any] = {
        "phases": phases,
        "wall_seconds": seconds,
        "peak_gpu_bytes": 2 * 2**30,
        "peak_host_bytes": 3 * 2**30,
        "energy_joules": 100 * seconds,
        "device": "Test GPU",
        "exclusive": True,
        "created": "2026-01-02T03:04:05+00:00",
        "phase_joules": {name: 100 * value for name, value in phases.items()},
    }
    return Cost(**fields | changes)


def _make_cell(
    attack: str = "lsp",
    defense: str = "none",
    accuracy: float | None = 0.5,
    *,
    seed: int = 0,
    victim: str = "resnet18",
    preset: str = "paper",
    precision: str = "bfloat16",
    dataset: str = "cifar10",
    status: str = "done",
    purify: float = 10.0,
    train: float = 100.0,
    view: float | None = None,
    extra: dict[str, Any] | None = None,
    logs: dict[str, dict[str, Any]] | None = None,
    **cost_changes: Any,
) -> CellResult:
    """A finished cell (or a failed one) on a test GPU; `cost_changes` are fields of `Cost` for both stages."""
    done = status == "done"
    name = defense.partition(":")[0]
    return CellResult(
        key="-".join(
            [dataset, preset, *[precision] * (precision != "bfloat16"), attack, defense, victim, str(seed), status]
        ),
        status=status,
        preset=preset,
        precision=precision,
        dataset={
            "spec": dataset,
            "name": dataset.partition(":")[0],
            "digest": f"digest-of-{dataset}",
            "train_images": 50_000,
            "test_images": 10_000,
            "num_classes": 10,
            "shape": [3, 32, 32],
        },
        attack=Component(attack.partition(":")[0], attack, PARAMETERS.get(attack, {}), extra={"budget": "l2:1"}),
        defense=Component(name, defense, PARAMETERS.get(defense, {}), family=FAMILIES.get(name, ""), extra=extra or {}),
        victim=Component(victim, victim, {}, extra={"recipe": RECIPE}),
        seed=seed,
        clean_test_accuracy=accuracy if done else None,
        test_images=10_000 if done else None,
        costs={
            "poison": _cost(5.0, {}),
            "purify": _cost(purify, {"fit": 0.75 * purify, "apply": 0.25 * purify}, **cost_changes),
            "train": _cost(train + 1, {"train": train, "evaluate": 1.0}, **cost_changes),
        }
        if done
        else {},
        view_seconds=view,
        scores={"poison_psnr_db": 30.0, "purified_psnr_db": 27.5} if done else {},
        logs=logs or {},
        artifacts={"poison": "p0", "purify": "q0", "train": "t0"} if done else {},
        provenance={"versions": {"torch": "2.15.0"}, "threads": 2},
        error=None if done else {"stage": "purify", "kind": "RuntimeError", "message": "out of memory"},
    )


@pytest.fixture(scope="session")
def make_cell() -> MakeCell:
    return _make_cell


@pytest.fixture
def make_ranked_cell(monkeypatch: pytest.MonkeyPatch) -> MakeCell:
    """The same for preset demo; in the test one seed is enough for a rank."""
    monkeypatch.setattr(row_flags, "_SEEDS_OF_A_RANK", 1)
    return partial(_make_cell, preset="demo")


@pytest.fixture(scope="session")
def matrix(make_cell: MakeCell) -> list[CellResult]:
    """Attacks none, lsp, ops; defenses none, iss-gray, iss-jpeg, dvae; seeds 0, 1, 2; everything finished."""
    accuracies = {
        "none": {"none": 0.95, "lsp": 0.15, "ops": 0.35},
        "iss-gray": {"none": 0.93, "lsp": 0.85, "ops": 0.45},
        "iss-jpeg": {"none": 0.85, "lsp": 0.83, "ops": 0.81},
        "dvae": {"none": 0.93, "lsp": 0.91, "ops": 0.89},
    }
    purify = {"none": 0.0, "iss-gray": 0.2, "iss-jpeg": 4.0, "dvae": 400.0}
    return [
        make_cell(attack, defense, accuracy + 0.01 * (seed - 1), seed=seed, purify=purify[defense])
        for defense, by_attack in accuracies.items()
        for attack, accuracy in by_attack.items()
        for seed in range(3)
    ]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all browser tests."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'purify-bench[dev]' for these tests")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("install Chromium, for example: apt install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens an address offline, with settings of the context and a script that runs first.

    Fails the test if the browser complained about anything, on any page.
    """
    contexts = []
    complaints: list[str] = []

    def opened(address: str, script: str = "", **settings: Any) -> Page:
        if not contexts or settings:
            contexts.append(browser.new_context(offline=True, **settings))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        if script:
            page.add_init_script(script)
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
