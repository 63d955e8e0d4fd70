from pipelines.wording import some


def test_long_lists_name_the_first_and_count_the_rest() -> None:
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefgh")) == "a, b, c, d, e and 3 more"
    assert some([1, 2, 3], most=1) == "1 and 2 more"
    assert some([]) == ""
