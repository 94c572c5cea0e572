// A CUDA driver without a GPU, to try what the lab does with drivers of all kinds: old ones, broken
// ones, ones whose kernels fault. Memory of the device is memory of the host, and launches do
// nothing. It has the functions that the lab calls and no others, so that a call of another one is
// an error of the loader.
//
//     STUB_VERSION     the CUDA version that it says, as 12040; 13000 unless set
//     STUB_DEVICES     how many devices it has; 1 unless set
//     STUB_SM          their compute capability, as 90; 90 unless set
//     STUB_MEMORY      bytes of memory of a device; 8 GiB unless set
//     STUB_FAULT       a kernel whose launch faults: waiting for it, and every call after that,
//                      gives CUDA_ERROR_ILLEGAL_ADDRESS
//     STUB_HANG        a kernel that never ends: queries give CUDA_ERROR_NOT_READY for ever
//     STUB_REFUSE      the error that loading an ELF image gives, as 209
//     STUB_REFUSE_PTX  the error that loading a text gives, as 218
//     STUB_LOG         a file that gets a line of each load, kernel and launch:
//                      `load elf 4711` (bytes), `load ptx`, `kernel NAME elf|ptx`, `launch NAME`

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
};

// What was loaded: an ELF file or a text, and whether it is the former.
struct module {
    char *bytes;
    size_t size;
    int is_elf;
};

struct function {
    char name[512];
};

struct node {
    struct function *function;
    struct node *next;
};

// A graph, or one that can be launched: the functions of its launches, the last one first.
struct graph {
    struct node *nodes;
};

// A fault is under way from the launch on; it is seen by the next call that waits.
static int faults, dead, hangs;
static uint64_t used, launches;
static struct {
    uint64_t address, bytes;
} allocations[1 << 16];

static long number(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value && *value ? atol(value) : otherwise;
}

static void log_line(const char *what, const char *of, long count) {
    const char *path = getenv("STUB_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file)
        return;
    if (count >= 0)
        fprintf(file, "%s %s %ld\n", what, of, count);
    else
        fprintf(file, "%s %s\n", what, of);
    fclose(file);
}

// Of a call that waits for nothing.
#define ALIVE                                                                                      \
    if (dead)                                                                                      \
    return ILLEGAL_ADDRESS

// Of a call that waits for what was launched.
static CUresult settled(void) {
    if (faults)
        dead = 1;
    ALIVE;
    return hangs ? NOT_READY : SUCCESS;
}

static uint64_t memory(void) { return (uint64_t)number("STUB_MEMORY", 8L << 30); }

CUresult cuDriverGetVersion(int *version) {
    *version = (int)number("STUB_VERSION", 13000);
    return SUCCESS;
}

CUresult cuInit(unsigned flags) {
    (void)flags;
    return number("STUB_DEVICES", 1) > 0 ? SUCCESS : NO_DEVICE;
}

static const char *name_of(CUresult error) {
    switch (error) {
    case SUCCESS: return "CUDA_SUCCESS";
    case INVALID_VALUE: return "CUDA_ERROR_INVALID_VALUE";
    case OUT_OF_MEMORY: return "CUDA_ERROR_OUT_OF_MEMORY";
    case NO_DEVICE: return "CUDA_ERROR_NO_DEVICE";
    case INVALID_DEVICE: return "CUDA_ERROR_INVALID_DEVICE";
    case INVALID_IMAGE: return "CUDA_ERROR_INVALID_IMAGE";
    case 209: return "CUDA_ERROR_NO_BINARY_FOR_GPU";
    case 218: return "CUDA_ERROR_INVALID_PTX";
    case 222: return "CUDA_ERROR_UNSUPPORTED_PTX_VERSION";
    case NOT_FOUND: return "CUDA_ERROR_NOT_FOUND";
    case NOT_READY: return "CUDA_ERROR_NOT_READY";
    case ILLEGAL_ADDRESS: return "CUDA_ERROR_ILLEGAL_ADDRESS";
    default: return NULL;
    }
}

CUresult cuGetErrorName(CUresult error, const char **name) {
    *name = name_of(error);
    return *name ? SUCCESS : INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
    *text = error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : "stub";
    return name_of(error) ? SUCCESS : INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *count) {
    *count = (int)number("STUB_DEVICES", 1);
    return SUCCESS;
}

CUresult cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return ordinal < number("STUB_DEVICES", 1) ? SUCCESS : INVALID_DEVICE;
}

CUresult cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    switch (attribute) {
    case 1: *value = 1024; break;                              // threads of a block
    case 16: *value = 132; break;                              // multiprocessors
    case 75: *value = (int)number("STUB_SM", 90) / 10; break;  // compute capability
    case 76: *value = (int)number("STUB_SM", 90) % 10; break;
    case 97: *value = 232448; break;                           // shared memory of a block, at most
    default: *value = 0;
    }
    return SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, int device) {
    (void)device;
    snprintf(name, (size_t)length, "Stub");
    return SUCCESS;
}

CUresult cuDeviceGetUuid_v2(unsigned char *uuid, int device) {
    memset(uuid, 0x5B, 16);
    (void)device;
    return SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, int device) {
    (void)device;
    *bytes = memory();
    return SUCCESS;
}

static int context;

CUresult cuDevicePrimaryCtxRetain(void **retained, int device) {
    (void)device;
    *retained = &context;
    return SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    ALIVE;
    return SUCCESS;
}

CUresult cuCtxGetCurrent(void **current) {
    ALIVE;
    *current = &context;
    return SUCCESS;
}

CUresult cuCtxSetCurrent(void *current) {
    (void)current;
    ALIVE;
    return SUCCESS;
}

CUresult cuMemGetInfo_v2(size_t *free, size_t *total) {
    ALIVE;
    *total = memory();
    *free = memory() - used;
    return SUCCESS;
}

CUresult cuMemAlloc_v2(uint64_t *address, size_t bytes) {
    ALIVE;
    if (bytes > memory() - used)
        return OUT_OF_MEMORY;
    for (size_t i = 0; i < sizeof allocations / sizeof *allocations; i++)
        if (!allocations[i].bytes) {
            void *host = aligned_alloc(256, (bytes + 255) / 256 * 256);
            if (!host)
                return OUT_OF_MEMORY;
            memset(host, 0, bytes);
            allocations[i].address = *address = (uint64_t)(uintptr_t)host;
            allocations[i].bytes = bytes;
            used += bytes;
            return SUCCESS;
        }
    return OUT_OF_MEMORY;
}

CUresult cuMemFree_v2(uint64_t address) {
    CUresult result = settled();
    for (size_t i = 0; !result && i < sizeof allocations / sizeof *allocations; i++)
        if (allocations[i].bytes && allocations[i].address == address) {
            free((void *)(uintptr_t)address);
            used -= allocations[i].bytes;
            allocations[i].bytes = 0;
            return SUCCESS;
        }
    return result ? result : INVALID_VALUE;
}

CUresult cuMemHostAlloc(void **host, size_t bytes, unsigned flags) {
    (void)flags;
    ALIVE;
    *host = calloc(1, bytes);
    return *host ? SUCCESS : OUT_OF_MEMORY;
}

CUresult cuMemFreeHost(void *host) {
    CUresult result = settled();
    if (!result)
        free(host);
    return result;
}

CUresult cuMemcpyHtoD_v2(uint64_t device, const void *host, size_t bytes) {
    CUresult result = settled();
    if (!result)
        memcpy((void *)(uintptr_t)device, host, bytes);
    return result;
}

CUresult cuMemcpyDtoH_v2(void *host, uint64_t device, size_t bytes) {
    CUresult result = settled();
    if (!result)
        memcpy(host, (const void *)(uintptr_t)device, bytes);
    return result;
}

CUresult cuMemcpyHtoDAsync_v2(uint64_t device, const void *host, size_t bytes, void *stream) {
    (void)stream;
    return cuMemcpyHtoD_v2(device, host, bytes);
}

CUresult cuMemcpyDtoHAsync_v2(void *host, uint64_t device, size_t bytes, void *stream) {
    (void)stream;
    return cuMemcpyDtoH_v2(host, device, bytes);
}

// Bytes of an ELF file of 64 bits: to the end of its section headers, which come last.
static size_t elf_bytes(const unsigned char *elf) {
    uint64_t offset;
    uint16_t size, count;
    memcpy(&offset, elf + 0x28, 8);
    memcpy(&size, elf + 0x3A, 2);
    memcpy(&count, elf + 0x3C, 2);
    return offset + (size_t)size * count;
}

CUresult cuModuleLoadDataEx(void **loaded, const void *data, unsigned options, int *names,
                            void **values) {
    ALIVE;
    int is_elf = !memcmp(data, "\177ELF", 4);
    size_t size = is_elf ? elf_bytes(data) : strlen(data);
    if (is_elf)
        log_line("load", "elf", (long)size);
    else
        log_line("load", "ptx", -1);
    long refused = number(is_elf ? "STUB_REFUSE" : "STUB_REFUSE_PTX", SUCCESS);
    if (refused) {
        // The log of errors, whose size is the option after.
        if (options >= 2 && names[0] == 5 && names[1] == 6)
            snprintf(values[0], (size_t)(uintptr_t)values[1], "the stub was told to");
        return (CUresult)refused;
    }
    struct module *module = malloc(sizeof *module);
    module->bytes = malloc(size + 1);
    memcpy(module->bytes, data, size);
    module->bytes[size] = 0;
    module->size = size;
    module->is_elf = is_elf;
    *loaded = module;
    return SUCCESS;
}

// Whether the bytes hold a string and then one that ends it.
static int holds(const struct module *module, const char *text, const char *ends) {
    size_t length = strlen(text);
    for (size_t i = 0; i + length < module->size; i++)
        if (!memcmp(module->bytes + i, text, length) &&
            (strchr(ends, module->bytes[i + length]) || !module->bytes[i + length]))
            return 1;
    return 0;
}

CUresult cuModuleGetFunction(void **found, void *loaded, const char *name) {
    ALIVE;
    struct module *module = loaded;
    struct function *function = malloc(sizeof *function);
    // A section of an ELF file, an entry of a text.
    snprintf(function->name, sizeof function->name, module->is_elf ? ".text.%s" : ".entry %s",
             name);
    if (!holds(module, function->name, module->is_elf ? "" : "( \n"))
        return NOT_FOUND;
    snprintf(function->name, sizeof function->name, "%s", name);
    char line[600];
    snprintf(line, sizeof line, "%s %s", name, module->is_elf ? "elf" : "ptx");
    log_line("kernel", line, -1);
    *found = function;
    return SUCCESS;
}

CUresult cuModuleUnload(void *loaded) {
    CUresult result = settled();
    if (result)
        return result;
    struct module *module = loaded;
    free(module->bytes);
    free(module);
    return SUCCESS;
}

CUresult cuFuncGetAttribute(int *value, int attribute, void *function) {
    (void)function;
    ALIVE;
    *value = attribute == 0 ? 1024 : attribute == 4 ? 32 : 0;  // threads of a block; registers
    return SUCCESS;
}

CUresult cuFuncSetAttribute(void *function, int attribute, int value) {
    (void)function, (void)attribute, (void)value;
    ALIVE;
    return SUCCESS;
}

CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, void *function, int threads,
                                                     size_t shared) {
    (void)function, (void)threads, (void)shared;
    ALIVE;
    *blocks = 2;
    return SUCCESS;
}

static void launched(const struct function *function) {
    launches++;
    const char *fault = getenv("STUB_FAULT"), *hang = getenv("STUB_HANG");
    log_line("launch", function->name, -1);
    faults |= fault && !strcmp(fault, function->name);
    hangs |= hang && !strcmp(hang, function->name);
}

CUresult cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                        unsigned by, unsigned bz, unsigned shared, void *stream, void **parameters,
                        void **extra) {
    (void)gx, (void)gy, (void)gz, (void)bx, (void)by, (void)bz;
    (void)shared, (void)stream, (void)parameters, (void)extra;
    ALIVE;
    launched(function);
    return SUCCESS;
}

CUresult cuStreamCreate(void **stream, unsigned flags) {
    (void)flags;
    ALIVE;
    *stream = malloc(1);
    return SUCCESS;
}

CUresult cuStreamDestroy_v2(void *stream) {
    ALIVE;
    free(stream);
    return SUCCESS;
}

CUresult cuStreamQuery(void *stream) {
    (void)stream;
    return settled();
}

// Captures are cuBLAS', which is not tried.
CUresult cuStreamBeginCapture_v2(void *stream, int mode) {
    (void)stream, (void)mode;
    return INVALID_VALUE;
}

CUresult cuStreamEndCapture(void *stream, void **graph) {
    (void)stream, (void)graph;
    return INVALID_VALUE;
}

CUresult cuEventCreate(void **event, unsigned flags) {
    (void)flags;
    ALIVE;
    *event = calloc(1, sizeof(uint64_t));
    return SUCCESS;
}

CUresult cuEventDestroy_v2(void *event) {
    ALIVE;
    free(event);
    return SUCCESS;
}

CUresult cuEventRecord(void *event, void *stream) {
    (void)stream;
    ALIVE;
    *(uint64_t *)event = launches;
    return SUCCESS;
}

CUresult cuEventQuery(void *event) {
    (void)event;
    return settled();
}

// As drivers before CUDA 12.8: without the _v2.
CUresult cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    CUresult result = settled();
    // Each launch takes a tenth of a millisecond.
    *milliseconds = 0.1f * (float)(*(uint64_t *)end - *(uint64_t *)start);
    return result;
}

CUresult cuGraphCreate(void **graph, unsigned flags) {
    (void)flags;
    ALIVE;
    *graph = calloc(1, sizeof(struct graph));
    return SUCCESS;
}

// Of CUDA_KERNEL_NODE_PARAMS, the function comes first.
CUresult cuGraphAddKernelNode_v2(void **added, void *graph, void *const *before, size_t count,
                                 void *const *parameters) {
    (void)before, (void)count;
    ALIVE;
    struct graph *nodes = graph;
    struct node *node = malloc(sizeof *node);
    node->function = parameters[0];
    node->next = nodes->nodes;
    nodes->nodes = node;
    *added = node;
    return SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(void **made, void *graph, unsigned long long flags) {
    (void)flags;
    ALIVE;
    struct graph *copy = malloc(sizeof *copy);
    *copy = *(struct graph *)graph;
    *made = copy;
    return SUCCESS;
}

static void launch_before(const struct node *node) {
    if (!node)
        return;
    launch_before(node->next);
    launched(node->function);
}

CUresult cuGraphLaunch(void *graph, void *stream) {
    (void)stream;
    ALIVE;
    launch_before(((struct graph *)graph)->nodes);
    return SUCCESS;
}

CUresult cuGraphExecDestroy(void *graph) {
    ALIVE;
    free(graph);
    return SUCCESS;
}

// Its nodes are those of what was made of it too.
CUresult cuGraphDestroy(void *graph) {
    ALIVE;
    free(graph);
    return SUCCESS;
}
