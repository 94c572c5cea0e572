"""ggml on the CPU, as a peer of `mxlab bench`: products and quantisers of its block types.

    pip install libggml-python==0.20.2
    mxlab bench --device cpu --threads 1 --peer benches/peers/ggml.py

A C compiler (`cc`, or what CC names) builds the driver when the peer starts. Without one, or without
the package, cases are listed and `not run`.

The package's CPU library is built for AVX2. MXLAB_GGML_CPU names the CPU library of another build,
such as libggml-cpu-zen4.so of the npm package @node-llama-cpp/linux-x64; libggml-base and libggml
are taken from its folder.
"""

import ctypes
import glob
import importlib.util
import os
import subprocess
import tempfile

from protocol import case, serve

WEIGHTS = [[8192, 2048]]
TOKENS = [1, 16, 512]
TENSORS = [[16384, 1024]]
# ggml's number of a type, elements and bytes of a block.
TYPES = {"mxfp4": (39, 32, 17), "nvfp4": (40, 64, 36), "q4_0": (2, 32, 18), "q8_0": (8, 32, 34)}
THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))
HERE = os.path.dirname(os.path.abspath(__file__))


class NotRun(Exception):
    def __str__(self):
        return f"not run: {self.args[0]}"


def package():
    """The folder of libggml-python."""
    spec = importlib.util.find_spec("libggml")
    if spec is None or not spec.submodule_search_locations:
        raise NotRun("needs libggml; pip install libggml-python==0.20.2")
    return spec.submodule_search_locations[0]


def load_libraries(root):
    """Loads ggml with global symbols; the CPU library last, as a backend if it is one of its own."""
    other = os.environ.get("MXLAB_GGML_CPU")
    folder = os.path.dirname(os.path.abspath(other)) if other else os.path.join(root, "lib64")

    def load(pattern):
        found = sorted(glob.glob(os.path.join(folder, pattern)))
        if not found:
            raise NotRun(f"found no {pattern} in {folder}")
        return ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)

    base = load("libggml-base.so")
    cpu = ctypes.CDLL(other, mode=ctypes.RTLD_GLOBAL) if other else load("libggml-cpu.so")
    registry = load("libggml*[.]v*.so" if other else "libggml.so")
    if other:
        registry.ggml_backend_load.restype = ctypes.c_void_p
        if not registry.ggml_backend_load(os.fsencode(other)):
            raise NotRun(f"ggml does not load {other}: this CPU lacks what it is built for")
    cpu.ggml_cpu_init()
    base.ggml_version.restype = ctypes.c_char_p
    versions["ggml"] = base.ggml_version().decode()
    versions["cpu library"] = os.path.basename(other) if other else "libggml-cpu.so"


def build(root):
    """The driver, compiled."""
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "driver.so")
        compiler = os.environ.get("CC", "cc")
        command = [compiler, "-O2", "-fopenmp", "-shared", "-fPIC", "-I", os.path.join(root, "include")]
        command += [os.path.join(HERE, "ggml_driver.c"), "-o", library, "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError:
            raise NotRun(f"needs a C compiler; found no {compiler}") from None
        except subprocess.CalledProcessError as error:
            raise NotRun(f"{compiler} does not build the driver: {error.stderr[-500:]}") from None
        driver = ctypes.CDLL(library)
    size, handle = ctypes.c_int64, ctypes.c_void_p
    signatures = {
        "product_open": (handle, [ctypes.c_int, size, size, size, ctypes.c_int, ctypes.c_void_p]),
        "product_run": (ctypes.c_double, [handle, ctypes.c_int]),
        "product_result": (None, [handle, ctypes.c_void_p, size]),
        "product_expected": (ctypes.c_double, [size, size, size, ctypes.c_void_p]),
        "product_close": (None, [handle]),
        "quantizer_open": (handle, [ctypes.c_int, size, size]),
        "quantizer_run": (ctypes.c_double, [handle, ctypes.c_int, ctypes.c_int]),
        "quantizer_close": (None, [handle]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(driver, name)
        function.restype, function.argtypes = result, arguments
    return driver


class Runner:
    """`run(n)` of a handle of the driver, which is closed with it."""

    def __init__(self, handle, run, close):
        if not handle:
            raise MemoryError("ggml has no CPU backend, or no memory for the case")
        self.handle, self.run, self.close = handle, run, close

    def __call__(self, runs):
        seconds = self.run(self.handle, runs)
        if seconds < 0:
            raise RuntimeError("ggml failed to compute the graph")
        return seconds

    def __del__(self):
        if self.handle:
            self.close(self.handle)


def check(handle, rows, cols):
    """Refuses a product that is not even near."""
    result = (ctypes.c_float * 8)()
    driver.product_result(handle, result, 8)
    size = ctypes.c_double()
    for row, found in enumerate(result):
        expected = driver.product_expected(cols, row, rows, ctypes.byref(size))
        if not abs(found - expected) < 0.5 * size.value:
            raise RuntimeError(f"row {row} is {found}, not about {expected}")


def ready():
    if failed:
        raise failed


def product(name, rows, cols, tokens):
    number, block, bytes_of_block = TYPES[name]

    def make_ready():
        ready()
        layout = ctypes.c_char_p()
        handle = driver.product_open(number, rows, cols, tokens, THREADS, ctypes.byref(layout))
        runner = Runner(handle, driver.product_run, driver.product_close)
        runner(1)
        if rows >= 8:
            check(handle, rows, cols)
        return runner

    weights = rows * cols // block * bytes_of_block
    moved = weights + 4 * tokens * (rows + cols)
    operations = 2 * rows * cols * tokens
    return case(
        f"ggml_matmul_{name}", rows, cols, tokens, moved, operations, written=4 * tokens * rows, arithmetic="int8"
    ), make_ready


def quantizer(name, rows, cols):
    number, block, bytes_of_block = TYPES[name]

    def make_ready():
        ready()
        handle = driver.quantizer_open(number, rows, cols)
        return Runner(handle, lambda handle, runs: driver.quantizer_run(handle, runs, THREADS), driver.quantizer_close)

    written = rows * cols // block * bytes_of_block
    return case(f"ggml_quantize_{name}", rows, cols, bytes=4 * rows * cols + written, written=written), make_ready


def list_cases(shapes, tokens):
    for rows, cols in shapes or WEIGHTS:
        for count in tokens or TOKENS:
            for name, (_, block, _) in TYPES.items():
                if cols % block == 0:
                    yield product(name, rows, cols, count)
    for rows, cols in shapes or TENSORS:
        for name in ("mxfp4", "q4_0", "q8_0"):
            if cols % TYPES[name][1] == 0:
                yield quantizer(name, rows, cols)


versions, failed, driver = {}, None, None
try:
    root = package()
    load_libraries(root)
    driver = build(root)
except NotRun as error:
    failed = error

serve("ggml on the CPU", versions, list_cases)
