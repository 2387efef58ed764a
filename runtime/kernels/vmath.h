/*===- vmath.h - exp, tanh, erf, sine and cosine without libm --------------===//
 *
 * Kernels call no library. exp is within 2 ulp, tanh and the gate functions
 * within a few 1e-7 of their largest value, sine and cosine (in f64) within 1e-12
 * for arguments up to a million.
 *===----------------------------------------------------------------------===*/
#ifndef QPLAN_KERNELS_VMATH_H
#define QPLAN_KERNELS_VMATH_H

#include "simd.h"

/* Below -87.3 the result is 0: subnormal results are not worth their time. */
QK_INLINE v16f vexp(v16f x) {
  v16f clamped = vmin(vmax(x, (v16f)-87.3f), (v16f)88.7f);
  v16f n = vround(clamped * 0x1.715476p+0f);
  v16f r = vfma(n, (v16f)-0x1.62e4p-1f, clamped);
  r = vfma(n, (v16f)-0x1.7f7d1c0000000p-20f, r);
  v16f p = (v16f)1.9875691500e-4f;
  p = vfma(p, r, (v16f)1.3981999507e-3f);
  p = vfma(p, r, (v16f)8.3334519073e-3f);
  p = vfma(p, r, (v16f)4.1665795894e-2f);
  p = vfma(p, r, (v16f)1.6666665459e-1f);
  p = vfma(p, r, (v16f)5.0000001201e-1f);
  p = vfma(p, r * r, r) + 1.0f;
  /* Two factors, as 2^128 is no f32. */
  v16i e = vtoint(n), half = e >> 1;
  p = p * (v16f)((half + 127) << 23) * (v16f)((e - half + 127) << 23);
  return x < -87.3f ? (v16f)0.0f : p;
}

/* 2^x for x <= 127, relative error below 1e-7; 0 from -127 down. */
QK_INLINE v16f vexp2(v16f x) {
  x = vmax(x, (v16f)-127.0f);
  v16f shifted = x + 12582912.0f; /* the low bits hold the nearest integer */
  v16f r = x - (shifted - 12582912.0f);
  v16f p = (v16f)1.537958306e-4f;
  p = vfma(p, r, (v16f)1.340532792e-3f);
  p = vfma(p, r, (v16f)9.618374519e-3f);
  p = vfma(p, r, (v16f)5.550312996e-2f);
  p = vfma(p, r, (v16f)2.402264774e-1f);
  p = vfma(p, r, (v16f)6.931472421e-1f);
  p = vfma(p, r, (v16f)1.0f);
  return (v16f)((v16u)p + ((v16u)shifted << 23));
}

QK_INLINE v16f vtanh(v16f x) {
  v16f a = vabs(x), z = x * x;
  v16f p = (v16f)-5.70498872745e-3f;
  p = vfma(p, z, (v16f)2.06390887954e-2f);
  p = vfma(p, z, (v16f)-5.37397155531e-2f);
  p = vfma(p, z, (v16f)1.33314422036e-1f);
  p = vfma(p, z, (v16f)-3.33332819422e-1f);
  v16f small = vfma(p * z, x, x);
  v16f large = 1.0f - 2.0f / (vexp(vmin(a, (v16f)20.0f) * 2.0f) + 1.0f);
  large = x < 0.0f ? -large : large;
  return a < 0.625f ? small : large;
}

/* 1 - erf for x >= 0, relative error about 5e-7. */
QK_INLINE v16f verfcPositive(v16f x) {
  v16f t = 1.0f / vfma(x, (v16f)0.5f, (v16f)1.0f);
  v16f p = (v16f)0.17087277f;
  p = vfma(p, t, (v16f)-0.82215223f);
  p = vfma(p, t, (v16f)1.48851587f);
  p = vfma(p, t, (v16f)-1.13520398f);
  p = vfma(p, t, (v16f)0.27886807f);
  p = vfma(p, t, (v16f)-0.18628806f);
  p = vfma(p, t, (v16f)0.09678418f);
  p = vfma(p, t, (v16f)0.37409196f);
  p = vfma(p, t, (v16f)1.00002368f);
  p = vfma(p, t, (v16f)-1.26551223f);
  return t * vexp(vfma(-x, x, p));
}

QK_INLINE v16f verf(v16f x) {
  v16f a = vmin(vabs(x), (v16f)10.0f), z = x * x;
  /* Taylor terms (-1)^n 2/sqrt(pi) / (n! (2n + 1)), enough below 1. */
  v16f p = (v16f)1.48071929e-8f;
  p = vfma(p, z, (v16f)-1.63658447e-7f);
  p = vfma(p, z, (v16f)1.64621144e-6f);
  p = vfma(p, z, (v16f)-1.49256503e-5f);
  p = vfma(p, z, (v16f)1.20553330e-4f);
  p = vfma(p, z, (v16f)-8.54832702e-4f);
  p = vfma(p, z, (v16f)5.22397763e-3f);
  p = vfma(p, z, (v16f)-2.68661706e-2f);
  p = vfma(p, z, (v16f)1.12837917e-1f);
  p = vfma(p, z, (v16f)-3.76126389e-1f);
  v16f small = x * vfma(p, z, (v16f)1.12837917f);
  v16f large = 1.0f - verfcPositive(a);
  large = x < 0.0f ? -large : large;
  return a < 1.0f ? small : large;
}

/* x * Phi(x); for negative x through erfc, so that the tail keeps its digits. */
QK_INLINE v16f vgeluErf(v16f x) {
  v16f a = vabs(x) * 0x1.6a09e6p-1f;
  v16f tail = verfcPositive(vmin(a, (v16f)10.0f));
  v16f phi = x < 0.0f ? tail : 2.0f - tail;
  phi = a < 1.0f ? verf(x * 0x1.6a09e6p-1f) + 1.0f : phi;
  return x * 0.5f * phi;
}

/* Gates: enum qk_activation. */
QK_INLINE v16f vactivate(int64_t kind, v16f x) {
  switch (kind) {
  case QK_SILU:
    return x / (vexp(-x) + 1.0f);
  case QK_GELU_TANH: {
    v16f u = x * vfma(x * x, (v16f)(0.7978845608f * 0.044715f), (v16f)0.7978845608f);
    /* 0.5 x (1 + tanh u) = x / (1 + exp(-2u)): the tail keeps its digits. */
    return x / (vexp(u * -2.0f) + 1.0f);
  }
  case QK_GELU_ERF:
    return vgeluErf(x);
  default:
    return vmax(x, (v16f)0.0f);
  }
}

/* Sine and cosine of |x| < 1e6. */
QK_INLINE void vsincos(v16d x, v16d *sine, v16d *cosine) {
  v16d n = (x * 0x1.45f306dc9c883p-1 + 0x1.8p52) - 0x1.8p52; /* x * 2/pi, rounded */
  v16d r = x - n * 0x1.921fb544p+0;                          /* exact: the constant has 32 bits */
  r = r - n * 0x1.0b4611a626331p-34;
  v16d z = r * r;
  v16d s = (v16d)1.6059043836821613e-10;
  s = s * z - 2.5052108385441720e-08;
  s = s * z + 2.7557319223985893e-06;
  s = s * z - 1.9841269841269841e-04;
  s = s * z + 8.3333333333333332e-03;
  s = s * z - 1.6666666666666666e-01;
  s = s * z * r + r;
  v16d c = (v16d)2.0876756987868099e-09;
  c = c * z - 2.7557319223985888e-07;
  c = c * z + 2.4801587301587302e-05;
  c = c * z - 1.3888888888888889e-03;
  c = c * z + 4.1666666666666664e-02;
  c = c * z * z - z * 0.5 + 1.0;
  v16l q = __builtin_convertvector(n, v16l);
  v16l odd = (q & 1) != 0;
  v16d a = odd ? c : s, b = odd ? s : c;
  *sine = (q & 2) != 0 ? -a : a;
  *cosine = ((q + 1) & 2) != 0 ? -b : b;
}

#endif /* QPLAN_KERNELS_VMATH_H */
