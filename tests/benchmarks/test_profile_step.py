import pytest

from benchmarks.profile_step import Instruction, read_costs, read_instructions, rows_of

PROGRAM = """
%called (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  ROOT %inner.1 = f32[8]{0} negate(%x), metadata={op_name="jit(step)/block_0/neg"}
}

ENTRY %main (a: f32[8]) -> (f32[8], s32[]) {
  %a = f32[8]{0} parameter(0)
  %conv.1 = f32[8,4]{1,0} fusion(%a), kind=kCustom, metadata={op_name="jit(step)/block_1/conv"}
  %conv.2 = f32[8,4]{1,0} fusion(%conv.1), kind=kCustom, metadata={op_name="jit(step)/block_2/conv"}
  %copy.7 = f32[4,8]{1,0} copy(%conv.2)
  %count = s32[] constant(3)
  ROOT %all = (f32[4,8], /*index=1*/s32[]) tuple(%copy.7, %count), metadata={op_name="jit(s)/end"}
}
"""


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


def test_an_instruction_without_a_place_has_that_of_its_user():
    instructions = read_instructions(PROGRAM)
    assert instructions["inner.1"] == Instruction("f32[8]", "block_0/neg")
    assert instructions["conv.2"] == Instruction("f32[8,4]", "block_2/conv")
    assert instructions["copy.7"] == Instruction("f32[4,8]", "end")
    assert instructions["all"].result == "(f32[4,8], s32[])"
    assert instructions["count"].place == "end"
    assert instructions["a"].place == "block_1/conv"


def test_layers_that_differ_in_their_numbers_are_one_row():
    events = [event("conv.1", 0, 3000), event("conv.2", 4000, 5000), event("copy.7", 9000, 2000)]
    events += [event("unknown.3", 12000, 10000)]
    rows = rows_of(read_costs(events), read_instructions(PROGRAM), top=2, num_steps=2)
    assert [(row["operation"], row["where"], row["number"]) for row in rows] == [
        ("unknown", "-", 1),
        ("conv", "block_*/conv", 2),
        ("all others", "-", 1),
    ]
    assert [row["ms per step"] for row in rows] == pytest.approx([5, 4, 1])
    assert [row["of all"] for row in rows] == ["50.0%", "40.0%", "10.0%"]
    assert rows[1]["result"] == "f32[8,4]"
