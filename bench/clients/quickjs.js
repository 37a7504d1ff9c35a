// SPDX-License-Identifier: MIT
// Rounds of QuickJS's own benchmark, the functions of its microbench.js which allocate, and of its example pi_bigint.js.

function all(functions, n) {
    let operations = 0;
    for (const each of functions)
        operations += each(n);
    return operations;
}

const programs = {
    objects: () => all([prop_create, prop_clone, prop_delete], 1000),
    arrays: () => all([array_prop_create, array_slice, array_length_decr, array_push, array_pop], 60),
    maps: () => all([map_set_string, map_set_int, map_set_bigint, map_delete, weak_map_set, weak_map_delete], 12),
    strings: () =>
        all([string_build1, string_build1x, string_build2c, string_build2, string_build3, string_build4], 30) +
        all([regexp_ascii, regexp_utf16], 10) +
        all([int_to_string, int_toString, float_to_string, float_toFixed, float_toPrecision], 1500),
    large: () => all([string_build_large1, string_build_large2], 3) + all([bigint64_arith, bigint256_arith], 20),
    pi: () => Number(calc_pi(40000n) & 0xffffffffn),
};
