from benchmarks.gpu_kernels import Kernel, parse

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_add (a: f32[4,2], b: bf16[8]) -> f32[4,2] {
  %a = f32[4,2]{1,0} parameter(0)
  ROOT %sum = f32[4,2]{1,0} add(%a, %a)
}

%body (t: (s32[], f32[4,2])) -> (s32[], f32[4,2]) {
  %t = (s32[], f32[4,2]{1,0}) parameter(0)
  %x.1 = f32[4,2]{1,0} get-tuple-element(%t), index=1
  %copy.1 = f32[4,2]{1,0} copy(%x.1), metadata={op_name="f(%x.1)"}
  ROOT %next = (s32[], f32[4,2]{1,0}) tuple(%i, %copy.1)
}

ENTRY %main (x: f32[4,2], k: bf16[8], m: pred[16]) -> f32[4,2] {
  %x = f32[4,2]{1,0} parameter(0)
  %k = bf16[8]{0} parameter(1)
  %m = pred[16]{0} parameter(2)
  %zero = s32[] constant(0)
  %fusion.1 = f32[4,2]{1,0} fusion(%x, /*index=1*/%k), kind=kLoop, calls=%fused_add
  %conv.2 = (bf16[8]{0}, u8[0]{0}) custom-call(%k, %m), custom_call_target="__cudnn$convForward"
  %start = (s32[], f32[4,2]{1,0}) tuple(%zero, %fusion.1)
  %loop = (s32[], f32[4,2]{1,0}) while(%start), body=%body, config={"known_trip_count":{"n":"3"}}
  ROOT %end = f32[4,2]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_kernels_count_what_they_read_and_write():
    assert parse(PROGRAM) == [
        Kernel("fusion.1", "fusion", 32 + 16 + 32, 1),
        Kernel("conv.2", "__cudnn$convForward", 16 + 16 + 16, 1),
        Kernel("copy.1", "copy", 64, 3),
    ]
    assert [kernel.is_convolution for kernel in parse(PROGRAM)] == [False, True, False]
