"""torch and torchao on the CPU, as peers of `mxlab bench`.

    pip install torch torchao
    mxlab bench --device cpu --threads 1 --peer benches/peers/cpu.py

With `--isa avx2` torch, oneDNN and MKL are kept to AVX2 too, by MXLAB_ISA.
"""

import importlib.metadata
import os

if os.environ.get("MXLAB_ISA") == "avx2":
    os.environ.update(ATEN_CPU_CAPABILITY="avx2", ONEDNN_MAX_CPU_ISA="AVX2", MKL_ENABLE_INSTRUCTIONS="AVX2")

import torch
from protocol import by_clock, case, serve

WEIGHTS = [[8192, 2048]]
TOKENS = [1, 16, 512]
TENSORS = [[16384, 1024]]

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
torch.set_grad_enabled(False)


def product(dtype, rows, cols, tokens):
    def make_ready():
        weight = torch.randn(rows, cols, dtype=torch.float32).to(dtype)
        x = torch.randn(tokens, cols, dtype=torch.float32).to(dtype)
        return by_clock(lambda: torch.nn.functional.linear(x, weight))

    width = torch.finfo(dtype).bits // 8
    name = {torch.float32: "torch_linear_f32", torch.bfloat16: "torch_linear_bf16"}[dtype]
    bytes = width * (rows * cols + tokens * (rows + cols))
    operands = {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    operations, written = 2 * rows * cols * tokens, width * rows * tokens
    return case(name, rows, cols, tokens, bytes, operations, written, operands), make_ready


def to_mx(rows, cols):
    def make_ready():
        from torchao.prototype.mx_formats.mx_tensor import to_mx as quantise

        x = torch.randn(rows, cols)
        return by_clock(lambda: quantise(x, torch.float4_e2m1fn_x2, 32))

    written = rows * cols // 2 + rows * cols // 32
    return case("torchao_to_mx_fp4_k32", rows, cols, bytes=4 * rows * cols + written, written=written), make_ready


def list_cases(shapes, tokens):
    for rows, cols in shapes or WEIGHTS:
        for count in tokens or TOKENS:
            for dtype in (torch.float32, torch.bfloat16):
                yield product(dtype, rows, cols, count)
    if have_torchao:
        for rows, cols in shapes or TENSORS:
            yield to_mx(rows, cols)


versions = {"torch": torch.__version__}
try:
    versions["torchao"] = importlib.metadata.version("torchao")
    have_torchao = True
except importlib.metadata.PackageNotFoundError:
    have_torchao = False

serve("torch on the CPU", versions, list_cases)
