"""The training loop: batches, augmentation, schedules, determinism, divergence."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from bench.api import Recipe
from bench.errors import ContractError
from bench.training import (
    Batches,
    Stepper,
    TrainingDivergedError,
    build,
    cross_entropy,
    fit,
    lr_factor,
    predict,
    shift_and_flip,
    to_uint8,
)

CPU = torch.device("cpu")


def batches(images, size=8, **options):
    return Batches(images, CPU, size, torch.Generator().manual_seed(0), **options)


def test_an_epoch_visits_every_image_once_in_a_new_order(random_set):
    found = batches(random_set(40))
    epochs = [torch.cat([b.rows for b in found]) for _ in range(2)]
    for rows in epochs:
        assert sorted(rows.tolist()) == list(range(40))
    assert not torch.equal(*epochs)
    assert [b.epoch for b in found] == [2] * 5


def test_images_belong_to_their_labels_and_rows(random_set):
    images = random_set(30)
    for batch in batches(images):
        assert torch.equal(batch.labels, images.labels[batch.rows])
        assert torch.allclose(batch.images_01 * 255, images.images[batch.rows].float())


@pytest.mark.parametrize(("count", "drop", "expected"), [(20, True, [8, 8]), (20, False, [8, 8, 4]), (5, True, [5])])
def test_the_last_batch(random_set, count, drop, expected):
    assert [len(b.rows) for b in batches(random_set(count), drop_last=drop)] == expected


def test_shift_and_flip_equals_pad_crop_and_mirror(random_set):
    images = random_set(20, shape=(3, 6, 9)).images
    generator = torch.Generator().manual_seed(1)
    dy, dx = (torch.randint(-4, 5, (20,), generator=generator) for _ in range(2))
    flip = torch.rand(20, generator=generator) < 0.5
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    for i, moved in enumerate(shift_and_flip(images, dy, dx, flip)):
        crop = padded[i, :, 4 + dy[i] : 10 + dy[i], 4 + dx[i] : 13 + dx[i]]
        assert torch.equal(moved, crop.flip(-1) if flip[i] else crop)


def test_flip_without_crop_mirrors_about_half(random_set):
    images = random_set(400)
    mirrored = sum(
        int((~(b.images_01 * 255 - images.images[b.rows]).abs().flatten(1).amax(1).lt(0.5)).sum())
        for b in batches(images, flip=True)
    )
    assert 140 < mirrored < 260


def test_to_uint8_rounds_or_truncates():
    values = torch.tensor([-1.0, 0.5 / 255, 1.4 / 255, 1.6 / 255, 2.0])
    assert to_uint8(values).tolist() == [0, 0, 1, 2, 255]
    assert to_uint8(values, "floor").tolist() == [0, 0, 1, 1, 255]


def test_schedules_by_hand():
    recipe = Recipe(epochs=4, schedule="cosine-epoch")
    assert [lr_factor(recipe, step, 2) for step in range(8)] == pytest.approx(
        [1, 1, 0.853553, 0.853553, 0.5, 0.5, 0.146447, 0.146447], abs=1e-5
    )
    steps = replace(recipe, schedule="multistep", milestones=(1, 3))
    assert [lr_factor(steps, step, 1) for step in range(4)] == pytest.approx([1, 0.1, 0.1, 0.01])
    warm = replace(recipe, schedule="cosine", warmup_epochs=1.0)
    assert [lr_factor(warm, step, 2) for step in range(2)] == pytest.approx([0.5, 1.0])
    one = replace(recipe, schedule="one-cycle", epochs=10)
    factors = [lr_factor(one, step, 10) for step in range(100)]
    assert max(factors) == pytest.approx(1.0)
    assert factors[0] == pytest.approx(0.04)
    assert factors[-1] < 0.01


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def train(images, ctx, recipe=None, after_epoch=None):
    model = build(small, ctx)
    recipe = recipe or Recipe(epochs=2, batch_size=8, lr=0.05)
    found = Batches(images, CPU, recipe.batch_size, ctx.generator("order"), crop_padding=1, flip=True)
    losses = fit(model, found, cross_entropy(model), recipe, ctx, after_epoch=after_epoch)
    return model, losses


def test_training_is_repeatable_and_leaves_the_global_generator_alone(random_set, make_context):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    one, losses = train(random_set(), make_context(5))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(4)
    two, again = train(random_set(), make_context(5))
    assert losses == again
    assert torch.equal(one[1].weight, two[1].weight)
    other, _ = train(random_set(), make_context(6))
    assert not torch.equal(one[1].weight, other[1].weight)


def test_training_learns(random_set, make_context):
    images, ctx = random_set(), make_context()
    model = build(small, ctx)
    found = Batches(images, CPU, 8, ctx.generator("order"))
    losses = fit(model, found, cross_entropy(model), Recipe(epochs=30, batch_size=8, lr=0.02), ctx)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_one_step_equals_the_obvious_one(random_set, make_context, optimizer):
    images, ctx = random_set(8), make_context()
    recipe = Recipe(epochs=1, batch_size=8, lr=0.01, optimizer=optimizer, clip_grad_norm=0.5)
    model = build(small, ctx)
    plain = small()
    plain.load_state_dict(model.state_dict())
    fit(model, Batches(images, CPU, 8, ctx.generator("o")), cross_entropy(model), recipe, ctx)
    by_name = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    options = {"momentum": 0.9} if optimizer == "sgd" else {}
    stepper = by_name[optimizer](plain.parameters(), lr=0.01, weight_decay=5e-4, **options)
    nn.functional.cross_entropy(plain(images.images.float() / 255), images.labels).backward()
    nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
    stepper.step()
    assert torch.allclose(plain[1].weight, model[1].weight, atol=1e-6)


def test_divergence_is_an_error_that_names_the_epoch(random_set, make_context):
    with pytest.raises(TrainingDivergedError, match=r"epoch 1 of 2.*lower lr"):
        train(random_set(), make_context(), Recipe(epochs=2, batch_size=8, lr=1e30, clip_grad_norm=None))


def test_an_overflow_in_the_last_update_is_an_error(random_set, make_context):
    images, ctx = random_set(), make_context()
    model, plain = build(small, ctx), Batches(images, CPU, 40, ctx.generator("order"))
    recipe = Recipe(epochs=1, batch_size=40, lr=1e30, clip_grad_norm=None)
    usual = cross_entropy(model)
    with pytest.raises(TrainingDivergedError, match=r"of 772 weights are NaN or infinite after epoch 1 of 1.*lower lr"):
        fit(model, plain, lambda batch: usual(batch) * 1e30, recipe, ctx)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_of_which_no_class_can_be_read_are_an_error_that_names_count_and_epoch(random_set, make_context, value):
    class BrokenInEval(nn.Sequential):
        def forward(self, images):
            logits = super().forward(images)
            return logits if self.training else logits.index_fill(0, torch.tensor([1, 3]), value)

    images, ctx = random_set(), make_context()
    model = BrokenInEval(*build(small, ctx))
    found = Batches(images, CPU, 20, ctx.generator("order"))
    recipe = Recipe(epochs=2, batch_size=20, lr=0.01)

    def after_epoch(epoch, loss):
        predict(model, images.images, CPU, 20)

    with pytest.raises(TrainingDivergedError, match=r"after epoch 1 of 2 .*NaN or infinite for 4 of 40 images"):
        fit(model, found, cross_entropy(model), recipe, ctx, after_epoch=after_epoch)


def test_predict_leaves_the_mode_and_ignores_the_batch_size(random_set):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    images = random_set(23).images
    one, two = (predict(model, images, CPU, size) for size in (5, 23))
    assert model.training
    assert torch.equal(one, two)


def test_a_training_step_never_waits_for_the_device(random_set, make_context, no_reading):
    images, ctx = random_set(), make_context()
    model = build(small, ctx)
    recipe = Recipe(epochs=1, batch_size=8, lr=0.01, crop_padding=1)
    stepper = Stepper([{"params": list(model.parameters())}], recipe, 5)
    epoch = iter(Batches(images, CPU, 8, ctx.generator("order"), crop_padding=1, flip=True))
    total = torch.zeros(())
    next(epoch)  # an epoch's numbers are drawn on the host at its start
    with no_reading():
        for batch in epoch:
            loss = cross_entropy(model)(batch)
            stepper.step(loss)
            total += loss.detach()


def test_a_loss_gets_no_generator_that_starts_again_but_what_it_keeps_may(random_set, make_context):
    model, images, ctx = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), random_set(16), make_context()

    def loss(batch, draw):
        return cross_entropy(model)(batch) + 0 * torch.rand(1, generator=draw("noise")).sum()

    with pytest.raises(ContractError, match=r"use ctx\.stream\('noise'\)"):
        fit(model, batches(images), lambda batch: loss(batch, ctx.generator), Recipe(epochs=1), ctx)
    ctx.generator("after a failure")
    fit(model, batches(images), lambda batch: loss(batch, ctx.stream), Recipe(epochs=1), ctx)

    def kept(name):
        return ctx.state(name, lambda: ctx.generator(name))

    fit(model, batches(images), lambda batch: loss(batch, kept), Recipe(epochs=1), ctx)
    first = torch.rand(3, generator=ctx.generator("noise"))
    assert not torch.equal(torch.rand(3, generator=kept("noise")), first), "it has gone on"
