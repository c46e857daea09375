/* Marker by marker, omic by omic, float32 dot and axpy: what compiled packages do in one sweep.
 *
 *     gcc -O3 -march=native -ffast-math -shared -fPIC sweep.c -o sweep.so -lm
 *
 * BayesC (one normal, inclusion integrated out): the draw is that of nnmm_pymc/kernels/markers.py.
 */
#include <math.h>
#include <stdint.h>
#include <time.h>

static float dot(const float *x, const float *r, int64_t n) {
    float sum = 0.0f;
    for (int64_t i = 0; i < n; i++) sum += x[i] * r[i];
    return sum;
}

static void axpy(float a, const float *x, float *r, int64_t n) {
    for (int64_t i = 0; i < n; i++) r[i] += a * x[i];
}

/* x: (p, n) centred genotypes; residual: (K, n); effects, uniforms, normals: (p, K). */
double sweep(const float *x, int64_t n, int64_t p, int64_t K, const double *squares, float *residual,
             const double *precision, double inclusion, double variance, double *effects,
             const double *uniforms, const double *normals) {
    clock_t start = clock();
    for (int64_t k = 0; k < K; k++) {
        float *r = residual + k * n;
        for (int64_t j = 0; j < p; j++) {
            const float *column = x + j * n;
            double old = effects[j * K + k];
            double product = precision[k] * (dot(column, r, n) + squares[j] * old);
            double curvature = precision[k] * squares[j] + 1.0 / variance;
            double mean = product / curvature;
            double log_odds = log(inclusion) - log(1.0 - inclusion) -
                              0.5 * log(variance * curvature) + 0.5 * product * mean;
            double drawn = 0.0;
            if (uniforms[j * K + k] >= 1.0 / (1.0 + exp(log_odds)))
                drawn = mean + normals[j * K + k] / sqrt(curvature);
            if (drawn != old) axpy((float)(old - drawn), column, r, n);
            effects[j * K + k] = drawn;
        }
    }
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}
