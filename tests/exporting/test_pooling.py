from cannabis_ml.exporting.pooling import Operator, from_pooling_on


def operators(*kinds):
    """One after the other: operator i reads tensor i and gives tensor i + 1."""
    return [Operator(kind, [i], [i + 1]) for i, kind in enumerate(kinds)]


def test_all_from_the_last_pooling_on():
    graph = operators("Cast", "Conv", "ReduceMean", "Conv", "ReduceMean", "Conv", "Reshape", "Gemm")
    assert from_pooling_on(graph, stem=1, embedding=7) == {4, 5, 6}


def test_what_only_gives_shapes_does_not_hide_the_pooling():
    graph = operators("Shape", "Conv", "ReduceMean")
    graph[0] = Operator("Shape", ["photos"], ["n"])
    graph.append(Operator("Reshape", [3, "n"], ["embedding"]))
    assert from_pooling_on(graph, stem=1, embedding="embedding") == {0, 2, 3}


def test_nothing_where_a_way_leads_past_all_pooling():
    graph = operators("Cast", "Conv", "ReduceMean")
    graph.append(Operator("Add", [2, 3], ["embedding"]))
    assert from_pooling_on(graph, stem=1, embedding="embedding") == set()
