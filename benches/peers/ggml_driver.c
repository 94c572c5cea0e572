/* Products and quantisers of ggml behind plain functions, for ggml.py.
 *
 * ggml's libraries are loaded before this one, with global symbols. A weight lies where a model of
 * llama.cpp would have it: repacked, if ggml repacks its type on this CPU. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

struct product {
    ggml_backend_t backend;
    struct ggml_context *weights, *rest;
    ggml_backend_buffer_t weight_buffer, buffer;
    struct ggml_cgraph *graph;
    struct ggml_tensor *y;
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Values whose range changes from block to block. */
static float *values(size_t count, uint32_t seed) {
    float *made = malloc(count * sizeof *made);
    for (size_t i = 0; made && i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        made[i] = ldexpf((float)(seed >> 8) / 16777216.0f - 0.5f, (int)(i / 32 % 16) - 8);
    }
    return made;
}

/* Quantises rows with the CPU's function, as activations are; or with the reference's. */
static void quantize_rows(enum ggml_type type, const float *x, char *to, int64_t rows,
                          int64_t cols) {
    ggml_from_float_t from_float = ggml_get_type_traits_cpu(type)->from_float;
    size_t bytes = ggml_row_size(type, cols);
    for (int64_t row = 0; row < rows; row++) {
        if (from_float) {
            from_float(x + row * cols, to + row * bytes, cols);
        } else {
            ggml_quantize_chunk(type, x + row * cols, to + row * bytes, 0, 1, cols, NULL);
        }
    }
}

static void *procedure(ggml_backend_dev_t device, const char *name) {
    return ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(device), name);
}

/* The first of the device's own layouts that takes the product, or the plain one. */
static ggml_backend_buffer_type_t layout_of(ggml_backend_dev_t device, struct ggml_tensor *weight,
                                            const struct ggml_tensor *product) {
    ggml_backend_dev_get_extra_bufts_t extra =
        (ggml_backend_dev_get_extra_bufts_t)procedure(device, "ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t *layouts = extra ? extra(device) : NULL;
    for (; layouts && *layouts; layouts++) {
        weight->buffer = ggml_backend_buft_alloc_buffer(*layouts, 0);
        int is_taken = ggml_backend_dev_supports_op(device, product);
        ggml_backend_buffer_free(weight->buffer);
        weight->buffer = NULL;
        if (is_taken) {
            return *layouts;
        }
    }
    return ggml_backend_dev_buffer_type(device);
}

void product_close(struct product *product) {
    ggml_backend_buffer_free(product->buffer);
    ggml_backend_buffer_free(product->weight_buffer);
    ggml_free(product->rest);
    ggml_free(product->weights);
    ggml_backend_free(product->backend);
    free(product);
}

/* y = x W^T of f32 x [tokens, cols]; NULL without a CPU backend or memory. `layout` is the name of
 * where W lies. */
struct product *product_open(int type, int64_t rows, int64_t cols, int64_t tokens, int threads,
                             const char **layout) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    struct product *product = device ? calloc(1, sizeof *product) : NULL;
    if (!product) {
        return NULL;
    }
    product->backend = ggml_backend_dev_init(device, NULL);
    ggml_backend_set_n_threads_t set_threads =
        (ggml_backend_set_n_threads_t)procedure(device, "ggml_backend_set_n_threads");
    set_threads(product->backend, threads);
    struct ggml_init_params room = {8 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL, true};
    product->weights = ggml_init(room);
    product->rest = ggml_init(room);
    struct ggml_tensor *w = ggml_new_tensor_2d(product->weights, type, cols, rows);
    struct ggml_tensor *x = ggml_new_tensor_2d(product->rest, GGML_TYPE_F32, cols, tokens);
    product->y = ggml_mul_mat(product->rest, w, x);
    ggml_backend_buffer_type_t place = layout_of(device, w, product->y);
    *layout = ggml_backend_buft_name(place);
    product->weight_buffer = ggml_backend_alloc_ctx_tensors_from_buft(product->weights, place);
    product->graph = ggml_new_graph(product->rest);
    ggml_build_forward_expand(product->graph, product->y);
    product->buffer = ggml_backend_alloc_ctx_tensors(product->rest, product->backend);
    float *dense = values((size_t)(rows * cols), 1), *inputs = values((size_t)(tokens * cols), 2);
    char *packed = malloc(ggml_row_size(type, cols) * (size_t)rows);
    int is_whole = product->weight_buffer && product->buffer && dense && inputs && packed;
    if (is_whole) {
        quantize_rows(type, dense, packed, rows, cols);
        ggml_backend_tensor_set(w, packed, 0, ggml_nbytes(w));
        ggml_backend_tensor_set(x, inputs, 0, ggml_nbytes(x));
    }
    free(packed);
    free(inputs);
    free(dense);
    if (!is_whole) {
        product_close(product);
        return NULL;
    }
    return product;
}

/* Seconds of all runs; negative if one failed. */
double product_run(struct product *product, int runs) {
    double start = now();
    for (int run = 0; run < runs; run++) {
        if (ggml_backend_graph_compute(product->backend, product->graph) != GGML_STATUS_SUCCESS) {
            return -1.0;
        }
    }
    return now() - start;
}

/* The first `count` elements of y, as a check. */
void product_result(struct product *product, float *to, int64_t count) {
    ggml_backend_tensor_get(product->y, to, 0, (size_t)count * sizeof *to);
}

/* What product_result should be about, of the values before quantisation; and the root of the sum
 * of its terms' squares, which errors of terms are fractions of. */
double product_expected(int64_t cols, int64_t row, int64_t rows, double *size) {
    float *dense = values((size_t)(rows * cols), 1), *x = values((size_t)cols, 2);
    double sum = 0, squares = 0;
    for (int64_t col = 0; dense && x && col < cols; col++) {
        double term = (double)dense[row * cols + col] * (double)x[col];
        sum += term;
        squares += term * term;
    }
    free(dense);
    free(x);
    *size = sqrt(squares);
    return sum;
}

struct quantizer {
    enum ggml_type type;
    int64_t rows, cols;
    float *x;
    char *to;
};

void quantizer_close(struct quantizer *quantizer) {
    free(quantizer->x);
    free(quantizer->to);
    free(quantizer);
}

/* f32 [rows, cols] to a type; NULL without memory. */
struct quantizer *quantizer_open(int type, int64_t rows, int64_t cols) {
    struct quantizer *quantizer = calloc(1, sizeof *quantizer);
    if (!quantizer) {
        return NULL;
    }
    quantizer->type = type;
    quantizer->rows = rows;
    quantizer->cols = cols;
    quantizer->x = values((size_t)(rows * cols), 3);
    quantizer->to = malloc(ggml_row_size(type, cols) * (size_t)rows);
    if (!quantizer->x || !quantizer->to) {
        quantizer_close(quantizer);
        return NULL;
    }
    return quantizer;
}

/* Seconds of all runs, rows shared among threads. */
double quantizer_run(struct quantizer *quantizer, int runs, int threads) {
    int64_t rows = quantizer->rows, cols = quantizer->cols;
    size_t bytes = ggml_row_size(quantizer->type, cols);
    double start = now();
    for (int run = 0; run < runs; run++) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t row = 0; row < rows; row++) {
            quantize_rows(quantizer->type, quantizer->x + row * cols,
                          quantizer->to + row * bytes, 1, cols);
        }
    }
    return now() - start;
}
