"""Plug-ins written with a base give the same bytes as the same plug-ins written by hand."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional

from bench.api import (
    STEP_PASSES,
    Filter,
    KnowsStep,
    KnowsWork,
    LossDefense,
    Purifies,
    SeesTestImages,
    TrainsDifferently,
    map_images,
)
from bench.registry import Registry


def darker(images_u8):
    return images_u8 // 2


@dataclass(frozen=True)
class Darker(Filter):
    """Half of every level."""

    def apply(self, images_u8):
        return darker(images_u8)


class DarkerByHand:
    def purify(self, train, ctx):
        with ctx.phase("apply"):
            return map_images(train, lambda images, rows: darker(images), ctx)


def noisy(images_01, ctx):
    return images_01 + torch.randn(images_01.shape, generator=ctx.stream("noise"))


@dataclass(frozen=True)
class Noisy(LossDefense):
    """Noise on every batch."""

    def change(self, model, images_01, labels, ctx):
        return noisy(images_01, ctx)


class NoisyByHand:
    def batch_loss(self, model, images_01, labels, ctx):
        return functional.cross_entropy(model(noisy(images_01, ctx)).float(), labels)


def test_a_filter_purifies_like_its_twin_chunk_by_chunk(random_set, make_context):
    train = random_set(count=1100)
    ours, by_hand = (one.purify(train, make_context()) for one in (Darker(), DarkerByHand()))
    assert torch.equal(ours.images, by_hand.images)
    assert torch.equal(ours.images, train.images // 2)
    assert ours.labels is train.labels


def test_a_filter_sees_test_images_only_if_asked(random_set):
    images = random_set().images
    assert Darker().view(images) is images
    assert torch.equal(Darker(test_view=True).view(images), images // 2)


def test_a_loss_defense_trains_like_its_twin(random_set, make_context):
    train = random_set(count=16)
    images = train.images.float() / 255
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, train.info.num_classes))
    (ours, again), by_hand = (
        [one.batch_loss(model, images, train.labels, ctx) for _ in range(2)]
        for one, ctx in ((Noisy(), make_context()), (NoisyByHand(), make_context()))
    )
    assert [ours, again] == by_hand
    assert ours != again


def test_bases_have_the_faces_of_their_kind():
    assert all(isinstance(Darker(), face) for face in (Purifies, SeesTestImages, KnowsWork))
    assert not isinstance(Darker(), TrainsDifferently)
    assert isinstance(Noisy(), TrainsDifferently)
    assert isinstance(Noisy(), KnowsStep)
    assert not isinstance(Noisy(), Purifies)
    assert Noisy().step_passes == STEP_PASSES


@pytest.mark.parametrize(("base", "method"), [(Filter, "apply"), (LossDefense, "change")])
def test_a_component_without_the_method_of_its_base_is_not_registered(base, method):
    @dataclass(frozen=True)
    class Empty(base):
        """Does nothing."""

    with pytest.raises(TypeError, match=f"defense 'empty': Empty must define {method}"):
        Registry("defense", "no.group").register("empty")(Empty)
