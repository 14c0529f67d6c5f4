from benchmarks.profile_step import read_costs


def event(name, start, duration, thread=1):
    args = {"hlo_op": name}
    return {"ph": "X", "pid": 1, "tid": thread, "ts": start, "dur": duration, "args": args}


def test_an_operation_does_not_count_what_it_calls():
    costs = read_costs(
        [
            event("inner", 2, 3),
            event("loop", 0, 10),
            event("inner", 6, 2),
            event("after", 10, 1),
            event("loop", 3, 4, thread=2),
            {"ph": "X", "pid": 1, "tid": 1, "ts": 0, "dur": 50, "args": {}},
        ]
    )
    found = {name: (cost.own, cost.calls) for name, cost in costs.items()}
    assert found == {"inner": (5, 2), "loop": (5 + 4, 2), "after": (1, 1)}


def test_streams_of_a_gpu_count_once():
    stream = {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": "Stream #1"}}
    costs = read_costs([stream, event("conv", 0, 4), event("conv", 0, 4, thread=9)])
    assert (costs["conv"].own, costs["conv"].calls) == (4, 1)
