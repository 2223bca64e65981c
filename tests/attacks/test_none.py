from attacks.none import NoAttack


def test_the_clean_baseline_is_the_training_set_itself(smooth_set, make_context) -> None:
    train = smooth_set()
    assert NoAttack().poison(train, make_context()) is train
    assert NoAttack().budget.radius == 0
