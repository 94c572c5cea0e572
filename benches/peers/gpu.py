"""torch and Triton on a GPU, as peers of `mxlab bench`.

    pip install torch
    mxlab bench --device cuda --peer benches/peers/gpu.py

`python gpu.py check` compares what they compute with torch in f32 instead; on a machine without a GPU Triton interprets
(TRITON_INTERPRET=1).
"""

import os
import sys

import torch

HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU else "cpu"
if not HAS_GPU:
    os.environ["TRITON_INTERPRET"] = "1"

import triton  # noqa: E402: it reads the environment when it is loaded
import triton.language as tl  # noqa: E402
from protocol import case, serve  # noqa: E402

WEIGHTS = [[4096, 4096], [14336, 4096]]
TOKENS = [1, 16, 64, 4096]
TENSORS = [[8192, 8192]]
E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6]

torch.set_grad_enabled(False)


class Weights:
    """MXFP4 [rows, cols]: two codes a byte along columns, the lower half first; a scale for each 32."""

    def __init__(self, rows, cols):
        self.codes = torch.randint(0, 256, (rows, cols // 2), dtype=torch.uint8, device=DEVICE)
        self.scales = torch.randint(120, 124, (rows, cols // 32), dtype=torch.uint8, device=DEVICE)

    def dense(self):
        table = torch.tensor(E2M1 + [-x for x in E2M1], dtype=torch.bfloat16, device=self.codes.device)
        rows = self.codes.shape[0]
        pairs = torch.stack([self.codes & 15, self.codes >> 4], dim=-1)
        values = table[pairs.int()].view(rows, -1, 32)
        scales = torch.exp2(self.scales.float() - 127).to(torch.bfloat16)
        return (values * scales[..., None]).view(rows, -1)


@triton.jit
def half(code):
    """E2M1 to f32."""
    exponent = (code >> 1) & 3
    mantissa = (code & 1).to(tl.float32)
    size = tl.where(exponent == 0, mantissa * 0.5, (1 + mantissa * 0.5) * (1 << exponent).to(tl.float32) * 0.5)
    return tl.where((code & 8) != 0, -size, size)


@triton.jit
def mxfp4_linear_kernel(
    x, codes, scales, y, tokens, rows, cols, TOKENS: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
    OPERAND: tl.constexpr,
):
    """y [tokens, rows] = x [tokens, cols] W^T, tile by tile; columns go by in even and odd ones, as codes do."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    pair = tl.arange(0, COLS // 2)
    total = tl.zeros((TOKENS, ROWS), dtype=tl.float32)
    for first in range(0, cols, COLS):
        packed = tl.load(codes + row[:, None] * (cols // 2) + first // 2 + pair[None, :]).to(tl.int32)
        block = tl.load(scales + row[:, None] * (cols // 32) + (first + 2 * pair[None, :]) // 32)
        scale = tl.exp2(block.to(tl.float32) - 127)
        at = x + token[:, None] * cols + first + 2 * pair[None, :]
        is_there = token[:, None] < tokens
        even = tl.load(at, mask=is_there, other=0.0).to(OPERAND)
        odd = tl.load(at + 1, mask=is_there, other=0.0).to(OPERAND)
        low = (half(packed & 15) * scale).to(OPERAND)
        high = (half(packed >> 4) * scale).to(OPERAND)
        total = tl.dot(even, tl.trans(low), total)
        total = tl.dot(odd, tl.trans(high), total)
    at = y + token[:, None] * rows + row[None, :]
    tl.store(at, total.to(tl.bfloat16), mask=token[:, None] < tokens)


def triton_linear(x, weights, y):
    tokens, cols = x.shape
    rows = weights.codes.shape[0]
    tile = 16 if tokens <= 16 else 64
    # The interpreter has no products of bf16.
    operand = tl.bfloat16 if HAS_GPU else tl.float32
    grid = (rows // 64, triton.cdiv(tokens, tile))
    mxfp4_linear_kernel[grid](
        x, weights.codes, weights.scales, y, tokens, rows, cols, TOKENS=tile, ROWS=64, COLS=128,
        OPERAND=operand, num_stages=3
    )


def compiled_linear():
    def linear(x, weights):
        return torch.nn.functional.linear(x, weights.dense())

    return torch.compile(linear, dynamic=False)


def in_turn(make):
    """`run(n)` of the functions that `make` makes, in turn, in a graph: as many as have buffers beyond the L2."""
    functions = make()
    for function in functions:
        function()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for function in functions:
            function()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def run(runs):
        replays = -(-runs // len(functions))
        start.record()
        for _ in range(replays):
            graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 * runs / (replays * len(functions))

    return run


def copies(bytes):
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    return max(1, min(256, -(-4 * l2 // bytes)))


def activations(tokens, cols):
    return torch.randn(tokens, cols, device=DEVICE).to(torch.bfloat16)


def products(rows, cols, tokens):
    operations = 2 * rows * cols * tokens
    moved = 2 * tokens * (rows + cols)
    dense, packed = 2 * rows * cols + moved, rows * cols // 2 + rows * cols // 32 + moved

    def by_torch():
        def make():
            for _ in range(copies(dense)):
                x, weight = activations(tokens, cols), Weights(rows, cols).dense()
                yield lambda x=x, weight=weight: torch.nn.functional.linear(x, weight)

        return in_turn(lambda: list(make()))

    def by_triton():
        def make():
            for _ in range(copies(packed)):
                x, weights = activations(tokens, cols), Weights(rows, cols)
                y = torch.empty(tokens, rows, dtype=torch.bfloat16, device=DEVICE)
                yield lambda x=x, weights=weights, y=y: triton_linear(x, weights, y)

        return in_turn(lambda: list(make()))

    def by_compiler():
        linear = compiled_linear()

        def make():
            for _ in range(min(8, copies(packed))):
                x, weights = activations(tokens, cols), Weights(rows, cols)
                yield lambda x=x, weights=weights: linear(x, weights)

        return in_turn(lambda: list(make()))

    yield case("torch_linear_bf16", rows, cols, tokens, dense, operations), by_torch
    yield case("triton_linear_mxfp4", rows, cols, tokens, packed, operations), by_triton
    yield case("torch_compile_linear_mxfp4", rows, cols, tokens, packed, operations), by_compiler


def quantise(x):
    """bf16 to MXFP4: floor of the exponent of the largest, elements to nearest even."""
    blocks = x.float().view(-1, 32)
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    exponent = (torch.floor(torch.log2(largest.clamp(min=2.0**-126))) - 2).clamp(-127, 127)
    scaled = (blocks / torch.exp2(exponent)).abs().clamp(max=6)
    step = torch.exp2(torch.floor(torch.log2(scaled.clamp(min=1))) - 1)
    size = torch.round(scaled / step) * step
    code = torch.bucketize(size, torch.tensor(E2M1, device=x.device)).to(torch.uint8)
    code = torch.where(blocks < 0, code | 8, code).view(-1, 2)
    return code[:, 0] | (code[:, 1] << 4), (exponent + 127).to(torch.uint8)


def quantisers(rows, cols):
    bytes = 2 * rows * cols + rows * cols // 2 + rows * cols // 32

    def by_compiler():
        compiled = torch.compile(quantise, dynamic=False)
        xs = [activations(rows, cols) for _ in range(copies(bytes))]
        return in_turn(lambda: [lambda x=x: compiled(x) for x in xs])

    yield case("torch_compile_quantize_mxfp4", rows, cols, bytes=bytes), by_compiler


def list_cases(shapes, tokens):
    for rows, cols in shapes or WEIGHTS:
        for count in tokens or TOKENS:
            yield from products(rows, cols, count)
    for rows, cols in shapes or TENSORS:
        yield from quantisers(rows, cols)


def check():
    for tokens in (1, 5, 70):
        weights, x = Weights(128, 256), activations(tokens, 256)
        y = torch.empty(tokens, 128, dtype=torch.bfloat16, device=DEVICE)
        triton_linear(x, weights, y)
        expected = x.float() @ weights.dense().float().T
        error = ((y.float() - expected).abs() / expected.abs().amax()).max().item()
        assert error < 0.01, error
        print(f"{tokens} tokens: {error:.5f}")
    x = activations(4, 64)
    codes, scales = quantise(x)
    again = Weights(4, 64)
    again.codes, again.scales = codes.view(4, 32), scales.view(4, 2)
    error = (again.dense().float() - x.float()).abs().max().item()
    assert error < x.float().abs().max().item() / 4, error
    print(f"quantised: {error:.3f} at most")


if sys.argv[1:] == ["check"]:
    check()
elif not HAS_GPU:
    sys.exit("no GPU for torch")
else:
    serve("torch and Triton on a GPU", {"torch": torch.__version__, "triton": triton.__version__}, list_cases)
