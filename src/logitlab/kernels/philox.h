/* Philox4x32-10 (Salmon, Moraes, Dror and Shaw, 2011), the words that draw.py names alike. */
#ifndef LOGITLAB_PHILOX_H
#define LOGITLAB_PHILOX_H

#include <stdint.h>

/* 53 random bits of one place, as an integer below 2**53. */
static inline uint64_t random_bits(uint32_t key_a, uint32_t key_c, uint32_t token,
                                   uint64_t sequence, uint32_t position)
{
    uint32_t a = token, b = position, c = (uint32_t)sequence, d = (uint32_t)(sequence >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t product_a = (uint64_t)a * 0xD2511F53u;
        uint64_t product_c = (uint64_t)c * 0xCD9E8D57u;
        a = (uint32_t)(product_c >> 32) ^ b ^ key_a;
        b = (uint32_t)product_c;
        c = (uint32_t)(product_a >> 32) ^ d ^ key_c;
        d = (uint32_t)product_a;
        key_a += 0x9E3779B9u;
        key_c += 0xBB67AE85u;
    }
    return ((uint64_t)a << 32 | b) >> 11;
}

/* Uniforms in [0, 1) for `count` places of one key. */
static inline void fill_uniforms(const uint64_t *key, const uint64_t *sequence,
                                 const uint64_t *position, uint32_t token, double *out,
                                 int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        out[i] = (double)random_bits((uint32_t)key[0], (uint32_t)key[1], token, sequence[i],
                                     (uint32_t)position[i]) *
                 0x1p-53;
}

#endif
