"""Chains of attacks (`em+ops`), and attacks on some classes only."""

import math
from dataclasses import dataclass, replace

import pytest
import torch

from attacks.ops import Ops
from bench import run_matrix
from bench.api import Budget, ImageSet, PartialPoison
from bench.api.budget import BudgetSum
from bench.api.engine import Engine
from bench.check.contracts import CONTRACTS, checks_of
from bench.check.contracts.images import stacks_as_it_poisons
from bench.datasets import loading
from bench.errors import ContractError, UserError
from bench.plan.describe import describe
from bench.plan.plan import make_plan
from bench.registry import attacks
from bench.select.chain import Chain
from bench.select.grammar import split
from bench.select.identity import identity
from bench.select.matrix import make_matrix
from bench.select.settings import Settings, read_settings
from bench.select.spec import select
from bench.stages.crafting import craft
from bench.stages.invariants import check_budget
from bench.stages.session import Session
from bench.store.artifacts import Store


def chosen(text):
    (selected,) = select(attacks, text)
    return selected


def crafted(text, images, make_context, seed=0):
    """What the stage makes: the scope of the context is the selection's name."""
    selected = chosen(text)
    return craft(selected.component, images, make_context(seed, selected.name))


@dataclass(frozen=True)
class Brighter(PartialPoison):
    """Adds levels to every entry, whatever the image."""

    levels: int = 8
    promised: int | None = None

    @property
    def budget(self) -> Budget:
        return Budget("linf", (self.promised or self.levels) / 255)

    def poison(self, train: ImageSet, ctx) -> ImageSet:
        return replace(train, images=(train.images.short() + self.levels).clamp(0, 255).to(torch.uint8))


@dataclass(frozen=True)
class Careless(Brighter):
    """Changes nothing of clean images, and everything of others."""

    def poison_onto(self, clean: ImageSet, poisoned: ImageSet, ctx) -> ImageSet:
        return replace(poisoned, images=255 - poisoned.images)


class TestSelections:
    def test_texts_are_canonical_and_come_back(self):
        selected = chosen("lsp:eps=1.0:patch=8+ops:sparsity=2")
        assert (selected.name, selected.text) == ("lsp+ops", "lsp:eps=1.0+ops:sparsity=2")
        assert selected.parameters["ops.sparsity"] == 2
        for text in (selected.text, selected.full_text):
            again = chosen(text)
            assert (again.parameters, again.component) == (selected.parameters, selected.component)

    def test_three_parts_spaces_and_comma_lists(self):
        names = [one.name for one in select(attacks, "lsp, lsp + ar+ops:sparsity=2,lsp+ar+ops")]
        assert names == ["lsp", "lsp+ar+ops", "lsp+ar+ops"]
        assert len(select(attacks, "lsp+ops,lsp+ops:sparsity=1")) == 1, "the same chain twice"

    def test_all_names_single_attacks(self):
        assert not any(one.parts for one in select(attacks, "all"))

    @pytest.mark.parametrize(
        ("word", "parts"),
        [
            ("em+ops", ["em", "ops"]),
            ("em:eps=8/255+ops:sparsity=2", ["em:eps=8/255", "ops:sparsity=2"]),
            ("lsp:eps=1e+2+ops", ["lsp:eps=1e+2", "ops"]),
            ("from-file:path=a+b.npz", ["from-file:path=a+b.npz"]),
            ("from-file:path=a+b/c.npz+ops", ["from-file:path=a+b/c.npz", "ops"]),
            ("lsp:classes=+ops", ["lsp:classes=", "ops"]),
        ],
    )
    def test_where_a_selection_is_cut(self, word, parts):
        assert split(word) == parts

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("lsp+", r"attack 'lsp\+': a '\+' needs a name on both sides"),
            ("+ops", "needs a name on both sides"),
            ("lsp++ops", "needs a name on both sides"),
            ("+", "needs a name on both sides"),
            ("lsp+opss", "unknown attack 'opss'; did you mean ops"),
            ("none+ops", r"'none\+ops': none is the clean training set"),
            ("lsp+none", "none is the clean training set"),
            ("lsp+lsp", "names lsp twice"),
            ("lsp:eps=2+lsp:eps=1+ops", "names lsp twice"),
            ("all+ops", "'all' is several .*lsp.*a chain takes one at each place"),
            ("lsp:eps=x+ops:sparsity=0", r"(?s)eps='x'.*sparsity must be at least 1"),
            ("lsp:poison_rate=0.5+ops", "poison_rate is 0.5 for lsp and 1.0 for ops"),
            ("lsp:classes=1+ops:classes=2", "classes is '1' for lsp and '2' for ops"),
            ("lsp:stratified=yes+ops", "stratified is True for lsp"),
        ],
    )
    def test_bad_chains(self, words, message):
        with pytest.raises(UserError, match=message):
            select(attacks, words)

    def test_other_kinds_have_no_chains(self):
        from bench.registry import victims

        with pytest.raises(UserError, match=r"unknown victim 'linear\+small-cnn'"):
            select(victims, "linear+small-cnn")

    def test_a_path_from_a_table_is_not_cut(self, tmp_path):
        (tmp_path / "a+b").mkdir()
        (one,) = select(attacks, "from-file", {"from-file": {"path": str(tmp_path / "a+b")}})
        assert one.component.path == str(tmp_path / "a+b")
        assert select(attacks, one.full_text)[0].component.path == one.component.path

    def test_from_toml_with_parameters_for_a_part(self, tmp_path):
        path = tmp_path / "m.toml"
        path.write_text('preset = "demo"\nattacks = ["lsp+ops"]\n[parameters.attacks]\nlsp = { eps = 2.0 }\n')
        matrix = make_matrix([read_settings(path)])
        assert [attack.text for attack in matrix.attacks] == ["none", "lsp:eps=2.0+ops"]


class TestIdentity:
    def test_the_key_covers_every_part(self):
        texts = ["lsp+ops", "ops+lsp", "lsp+ops:sparsity=2", "lsp:eps=1.0+ops", "lsp+ar+ops", "lsp"]
        found = [identity(chosen(text)) for text in texts]
        assert len({str(one) for one in found}) == len(texts)
        assert found[0]["parts"] == [identity(chosen("lsp")), identity(chosen("ops"))], "sources and contents too"

    def test_the_key_covers_a_file_of_a_part(self, tmp_path):
        path = tmp_path / "noise.npz"
        contents = []
        for value in (1, 2):
            path.write_bytes(bytes([value]))
            contents.append(identity(chosen(f"from-file:path={path}+ops"))["parts"][0]["content"])
        assert contents[0] != contents[1]

    def test_a_cell_says_what_was_chained(self):
        component = describe(chosen("lsp+ops:sparsity=2"))
        assert component.extra["budget"] == "l2:1.3041 + l0:2"
        assert component.source == "arXiv:2111.00898 + arXiv:2205.12141"
        assert component.parameters["lsp.eps"] == 1.3041

    @pytest.mark.parametrize(
        ("text", "uses_seed"),
        [
            ("ops", False),
            ("ops:classes=0-4", False),
            ("ops:classes=0-4:poison_rate=0.5", True),
            ("lsp+ops", True),
        ],
    )
    def test_seeds_in_keys(self, tiny, tmp_path, text, uses_seed):
        matrix = make_matrix([Settings("demo", attacks=text, defenses="none", victims="linear", seeds=2)])
        session = Session(matrix.dataset, tiny.digests, tmp_path, tmp_path, "cpu")
        plan = make_plan(matrix, tiny, Store(tmp_path), session)
        poisons = [job for job in plan.jobs.values() if job.stage == "poison"]
        assert len(poisons) == 1 + (2 if uses_seed else 1)


class TestCrafting:
    def test_a_part_gets_the_seeds_it_has_alone(self, tiny, make_context):
        """Where OPS wrote nothing, the chain is LSP alone, bit by bit; the rest is OPS alone."""
        lsp, _ = crafted("lsp", tiny.train, make_context)
        ops, _ = crafted("ops", tiny.train, make_context)
        both, mask = crafted("lsp+ops", tiny.train, make_context)
        search = Ops()._search(tiny.train)
        positions = torch.stack([search[0][label, 0] for label in tiny.train.labels])
        written = torch.zeros(len(tiny.train), 1, 32 * 32, dtype=torch.bool)
        written[torch.arange(len(tiny.train)), 0, positions] = True
        expected = torch.where(written, ops.images.flatten(2), lsp.images.flatten(2))
        assert torch.equal(both.images.flatten(2), expected)
        assert mask.all()

    @pytest.mark.parametrize("text", ["em:surrogate=s-net:steps=1:max_rounds=1:batch_size=32:batches_per_round=2"])
    def test_error_minimizing_noise_is_the_same_in_a_chain(self, tiny, make_context, text):
        em, _ = crafted(text, tiny.train, make_context)
        both, _ = crafted(f"{text}+ops", tiny.train, make_context)
        assert ((em.images != both.images).any(dim=1).flatten(1).sum(dim=1) <= 1).all()
        assert (em.images == both.images).double().mean() > 0.99

    def test_statistics_are_those_of_the_clean_images(self, tiny, make_context):
        dark = Chain((("dark", Brighter(levels=200)), ("ops", Ops())))
        both, _ = craft(dark, tiny.train, make_context())
        alone, _ = craft(Ops(), tiny.train, make_context())
        changed = (alone.images != tiny.train.images).any(dim=1, keepdim=True).expand_as(both.images)
        assert torch.equal(both.images[changed], alone.images[changed])

    def test_later_parts_add_what_they_add_to_the_clean_images_and_clip(self, random_set, make_context):
        clean = random_set(12)
        for levels in (-30, 30):
            chain = Chain((("one", Brighter(levels=40)), ("two", Brighter(levels=levels, promised=30))))
            both, _ = craft(chain, clean, make_context())
            first = (clean.images.short() + 40).clamp(0, 255)
            second = (clean.images.short() + levels).clamp(0, 255) - clean.images.short()
            assert torch.equal(both.images.short(), (first + second).clamp(0, 255))

    def test_every_part_is_held_to_its_own_budget(self, random_set, make_context):
        chain = Chain((("loud", Brighter(levels=8, promised=4)), ("ops", Ops())))
        with pytest.raises(ContractError, match="poison 'loud' exceeds its budget linf:4/255"):
            craft(chain, random_set(), make_context())

    def test_parts_compute_as_the_whole_does(self, random_set, make_context):
        @dataclass(frozen=True)
        class Watching(Brighter):
            def poison(self, train: ImageSet, ctx) -> ImageSet:
                ctx.log("computed", [ctx.engine.deterministic, ctx.seed, str(ctx.device)])
                return super().poison(train, ctx)

        ctx = replace(make_context(3), engine=Engine(deterministic=True))
        craft(Chain((("watching", Watching()), ("ops", Ops()))), random_set(), ctx)
        assert ctx.logs["watching.computed"] == [True, 3, str(ctx.device)]

    def test_a_part_that_changes_nothing_is_refused(self, random_set, make_context):
        chain = Chain((("ops", Ops()), ("idle", Brighter(levels=0, promised=4))))
        with pytest.raises(ContractError, match="poison 'idle' changed no image within its budget linf:4/255"):
            craft(chain, random_set(), make_context())

    def test_what_goes_onto_others_is_held_to_its_budget_too(self, random_set, make_context):
        chain = Chain((("ops", Ops()), ("careless", Careless())))
        with pytest.raises(ContractError, match="poison 'careless' exceeds its budget linf:8/255"):
            craft(chain, random_set(), make_context())

    def test_a_part_that_returns_anything_else_is_named(self, random_set, make_context):
        class Forgets(Brighter):
            def poison(self, train, ctx):
                return None

        with pytest.raises(ContractError, match="attack 'forgets' returned NoneType, expected an ImageSet"):
            craft(Chain((("ops", Ops()), ("forgets", Forgets()))), random_set(), make_context())

    def test_a_stacking_attack_that_differs_from_itself_breaks_its_contract(self, tiny):
        with pytest.raises(ContractError, match="differs from poison"):
            stacks_as_it_poisons(replace(chosen("ops"), component=Careless()), tiny)

    def test_one_draw_of_images_for_all_parts(self, tiny, make_context):
        text = "lsp:poison_rate=0.5+ops:poison_rate=0.5:craft_on=all"
        both, mask = crafted(text, tiny.train, make_context)
        _, alone = crafted("lsp:poison_rate=0.5", tiny.train, make_context)
        assert torch.equal(mask, alone)
        assert torch.equal(both.images[~mask], tiny.train.images[~mask])
        assert (both.images[mask] != tiny.train.images[mask]).flatten(1).any(dim=1).all()

    def test_logs_carry_the_name_of_the_part(self, tiny, make_context):
        quick = "surrogate=s-net:steps=1:max_rounds=1:batch_size=32:batches_per_round=1"
        ctx = make_context(0, "em+ops")
        craft(chosen(f"em:{quick}+ops").component, tiny.train, ctx)
        assert ctx.logs["em.rounds"] == 1
        assert ctx.logs["em.converged"] is ctx.logs["converged"] is False

    @pytest.mark.parametrize("text", ["lsp+ops", "ops+ar", "ops:classes=0-1+lsp:classes=0-1"])
    def test_a_chain_keeps_the_contracts(self, text):
        from bench.check.component import tiny

        checks = checks_of("attacks", chosen(text))
        assert len(checks) == len(CONTRACTS["attacks"]) - 2, "it is not deterministic and no part of a chain"
        for check in checks:
            check(chosen(text), tiny())


def test_a_chain_with_a_part_without_a_norm_has_none(random_set, make_context):
    class Inverts(Brighter):
        budget = Budget("none")

        def poison(self, train, ctx):
            return replace(train, images=255 - train.images)

    chain = Chain((("ops", Ops()), ("inverts", Inverts())))
    assert chain.budget == Budget("none")
    assert str(chain.budget) == "no norm bound"
    clean = random_set()
    poisoned, mask = craft(chain, clean, make_context())
    check_budget("ops+inverts", chain.budget, poisoned, clean, mask)
    careless = Chain((("brighter", Brighter(levels=8, promised=4)), ("inverts", Inverts())))
    with pytest.raises(ContractError, match="'brighter' exceeds its budget linf:4/255"):
        craft(careless, clean, make_context())


class TestBudgetSum:
    @pytest.fixture
    def clean(self):
        return torch.full((1, 3, 4, 4), 100, dtype=torch.uint8)

    def excess(self, budget, clean, poisoned):
        return float(budget.measure(clean, poisoned)) - budget.allowed((3, 4, 4))

    def test_one_pixel_is_free_and_the_rest_is_bounded(self, clean):
        budget = BudgetSum((Budget("linf", 8 / 255), Budget("l0", 1)))
        assert str(budget) == "linf:8/255 + l0:1"
        poisoned = clean + 8
        poisoned[0, :, 2, 3] = 255
        assert self.excess(budget, clean, poisoned) <= 0
        poisoned[0, 0, 0, 0] += 1
        assert self.excess(budget, clean, poisoned) > 0

    def test_norms_of_one_kind_add_up(self, clean):
        assert self.excess(BudgetSum((Budget("linf", 8 / 255), Budget("linf", 4 / 255))), clean, clean + 12) <= 0
        assert self.excess(BudgetSum((Budget("linf", 8 / 255), Budget("linf", 4 / 255))), clean, clean + 13) > 0

    def test_an_l2_part_takes_what_the_others_leave(self, clean):
        rest = math.sqrt(48) * 10 / 255
        slack = 0.5 * math.sqrt(48) / 255
        for radius, fits in ((rest - slack + 1e-4, True), (rest - slack - 1e-4, False)):
            budget = BudgetSum((Budget("l2", radius), Budget("linf", 8 / 255)))
            assert (self.excess(budget, clean, clean + 18) <= 0) == fits


class TestClasses:
    @pytest.mark.parametrize(
        ("text", "canonical"),
        [("0-4", "0-4"), ("3", "3"), ("3/1/2", "1-3"), ("7/0-2", "0-2/7"), ("4/0-3", "0-4"), ("", ""), ("2-2", "2")],
    )
    def test_a_choice_has_one_text(self, text, canonical):
        assert chosen(f"ops:classes={text}").parameters["classes"] == canonical
        assert chosen(chosen(f"ops:classes={text}").full_text).parameters["classes"] == canonical

    @pytest.mark.parametrize("text", ["a", "4-0", "1;2", "-1", "1-", "1//2", "/", " ", "1.5", "9999999"])
    def test_bad_choices(self, text):
        with pytest.raises(UserError, match="write class numbers and ranges, separated by slashes"):
            chosen(f"ops:classes={text}") if text.strip() else select(attacks, "ops", {"ops": {"classes": text}})

    @pytest.mark.parametrize(
        "text", ["ops:classes=1/3", "lsp:classes=1/3", "ar:classes=1/3", "ops:craft_on=all:classes=1/3"]
    )
    def test_only_their_images_change(self, tiny, make_context, text):
        poisoned, mask = crafted(text, tiny.train, make_context)
        assert torch.equal(mask, torch.isin(tiny.train.labels, torch.tensor([1, 3])))
        changed = (poisoned.images != tiny.train.images).flatten(1).any(dim=1)
        assert not changed[~mask].any()
        assert changed[mask].double().mean() > 0.9

    def test_with_a_rate_and_stratified(self, tiny, make_context):
        _, mask = crafted("lsp:classes=0-3:poison_rate=0.5:stratified=yes", tiny.train, make_context)
        found, counts = tiny.train.labels[mask].unique(return_counts=True)
        whole = torch.bincount(tiny.train.labels)[:4]
        assert found.tolist() == [0, 1, 2, 3]
        assert int(mask.sum()) == int(whole.sum()) // 2
        assert ((counts - whole / 2).abs() <= 1).all()

    def test_without_classes_the_same_images_are_drawn_as_before(self, tiny, make_context):
        _, mask = crafted("lsp:poison_rate=0.5", tiny.train, make_context)
        generator = make_context(0, "lsp").generator("poison-set")
        rows = torch.randperm(len(tiny.train), generator=generator)[: len(tiny.train) // 2]
        assert torch.equal(mask.nonzero().flatten(), rows.sort().values)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("ops:classes=3/12", "attack 'ops:classes=3/12': classes=3/12: there is no class 12; choose from 0..9"),
            ("lsp+ops:classes=12", "classes is '' for lsp"),
            ("lsp:poison_rate=0.0001", "poison_rate 0.0001 of 96 images is no image"),
        ],
    )
    def test_a_choice_that_cannot_be_is_refused_before_any_work(self, tmp_path, text, message):
        with pytest.raises(UserError, match=message):
            run_matrix(text, "none", "linear", preset="demo", dataset="shapes:train=96:test=32", store=tmp_path / "s")
        assert not (tmp_path / "s" / "artifacts").exists()

    def test_a_class_without_images(self, tiny, make_context):
        few = tiny.train.take((tiny.train.labels != 2).nonzero().flatten())
        with pytest.raises(ValueError, match=r"no image of class \[2\]"):
            crafted("lsp:classes=1-2", few, make_context)

    def test_the_stored_mask_is_that_of_the_classes(self, tmp_path):
        frame = run_matrix(
            "ops:classes=0-1", "none", "linear", preset="demo", dataset="shapes:train=96:test=32", store=tmp_path / "s"
        )
        row = frame[frame.attack == "ops"].iloc[0]
        mask = Store(tmp_path / "s").read("poison", row.poison_key)["mask"]
        labels = loading.load("shapes:train=96:test=32", tmp_path).train.labels
        assert torch.equal(mask, labels < 2)
        assert row.score_poisoned_images == int((labels < 2).sum())


@pytest.mark.parametrize("text", ["lsp:eps=4.0", "ar:eps=4.0"])
def test_large_l2_budgets_work(tiny, make_context, text):
    poisoned, _ = crafted(text, tiny.train, make_context)
    sizes = Budget("l2", 4.0).measure(tiny.train.images, poisoned.images)
    assert 2.5 < float(sizes.min()) <= float(sizes.max()) <= Budget("l2", 4.0).allowed((3, 32, 32))
    assert float(sizes.mean()) > 3.5
