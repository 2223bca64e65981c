"""Victims that start from weights of a file."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bench.api import Context, DataInfo, ImageSet
from bench.errors import UserError
from bench.registry import victims
from bench.select.identity import identity
from bench.select.spec import select
from bench.training import Batches, fit
from bench.training.loop import cross_entropy

INFO = DataInfo("x", 4, (3, 32, 32))
MODEL = "mobilenetv3_small_050"


def chosen(text: str):
    (selected,) = select(victims, text)
    return selected


def own_network(info: DataInfo = INFO) -> torch.nn.Module:
    torch.manual_seed(7)
    return chosen(MODEL).component.build(info)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    torch.save(own_network().state_dict(), path)
    return path


def built(path: Path, options: str = "", info: DataInfo = INFO) -> torch.nn.Module:
    return chosen(f'pretrained:"{path}":model={MODEL}{options}').component.build(info)


def test_the_network_has_the_weights_of_either_file(weights: Path, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 32, 32)
    expected = own_network().eval()(images)
    save_file(own_network().state_dict(), tmp_path / "w.safetensors")
    for path in (weights, tmp_path / "w.safetensors"):
        assert torch.equal(built(path).eval()(images), expected)
    scaled = (images - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    assert torch.allclose(built(weights, ":normalize=timm").eval()(images), own_network().eval()(scaled), atol=1e-5)


def test_a_classifier_of_another_number_of_classes_starts_anew(weights: Path) -> None:
    model = built(weights, info=DataInfo("y", 7, (3, 32, 32)))
    own = own_network().state_dict()
    assert model.eval()(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    kept = [name for name, tensor in model.network.state_dict().items() if torch.equal(tensor, own.get(name))]
    assert len(kept) == len(own) - 2


@pytest.mark.parametrize("tune", ["full", "head-only"])
def test_what_is_tuned_changes_and_nothing_else(
    weights: Path, tune: str, learnable_set: Callable[..., ImageSet], make_context: Callable[..., Context]
) -> None:
    train = learnable_set(count=32, shape=INFO.shape)
    victim = chosen(f'pretrained:"{weights}":model={MODEL}:tune={tune}:preset=demo:epochs=1').component
    model, ctx = victim.build(train.info), make_context()
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    fit(model, Batches(train, ctx.device, 16, ctx.generator("order")), cross_entropy(model), victim.recipe, ctx)
    changed = {n for n, tensor in model.network.state_dict().items() if not torch.equal(tensor, before[n])}
    if tune == "head-only":
        assert changed == {"classifier.weight", "classifier.bias"}
    else:
        assert "classifier.weight" in changed
        assert len(changed) > len(before) / 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("conv_stem.weight"), "they lack conv_stem.weight"),
        (lambda state: state.update(extra=torch.ones(1)), "unknown extra"),
        (
            lambda state: state.update({"conv_stem.weight": torch.ones(16, 3, 5, 5)}),
            r"conv_stem.weight \(16, 3, 5, 5\)",
        ),
        (lambda state: state["conv_stem.weight"].fill_(float("nan")), "not finite"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path: Path, change, message: str) -> None:
    state = own_network().state_dict()
    change(state)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=message):
        built(tmp_path / "w.pt")


def test_files_that_are_no_weights_are_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"")
    for path, message in ((tmp_path / "none.pt", "no such file"), (tmp_path / "w.bin", "weights are read from")):
        with pytest.raises(UserError, match=message):
            chosen(f'pretrained:"{path}":model={MODEL}')
    torch.save(own_network(), tmp_path / "whole.pt")  # a pickle of a class, which would run code
    with pytest.raises(UserError, match="never unpickled"):
        built(tmp_path / "whole.pt")
    torch.save({"state_dict": own_network().state_dict()}, tmp_path / "nested.pt")
    with pytest.raises(UserError, match="holds no numeric array"):
        built(tmp_path / "nested.pt")


def test_the_content_of_the_file_is_in_the_key(weights: Path, tmp_path: Path) -> None:
    text = 'pretrained:"{}":model=' + MODEL
    first = identity(chosen(text.format(weights)))
    other = own_network().state_dict()
    other["classifier.bias"] += 1
    torch.save(other, tmp_path / weights.name)
    assert identity(chosen(text.format(tmp_path / weights.name)))["content"] != first["content"]
