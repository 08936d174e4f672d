// Compiled for CPUs with AVX512-VNNI and AVX512-VBMI; see integer_rows.h for what each kernel computes.
#include <cstring>
#include <immintrin.h>

#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/integer_rows.h"
#include "tensor/kernels/vnni_depthwise.h"
#include "tensor/kernels/vnni_gemm.h"
#include "tensor/kernels/vnni_rows.h"

constexpr IntegerKernels vnni_table() {
  IntegerKernels table = plain_table("vnni", [] {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
  });
  table.gemm = gemm;
  table.depthwise = depthwise;
  table.requantize_u8 = requantize_u8;
  table.requantize_i16 = requantize<std::int16_t>;
  table.requantize_i32 = requantize<std::int32_t>;
  table.add_u8 = add<std::uint8_t>;
  table.add_i16 = add<std::int16_t>;
  table.look_up_u8 = look_up_u8;
  table.softmax = softmax;
  table.normalize = normalize;
  table.moments = moments;
  table.row_sum = row_sum;
  table.pack_rows = pack_rows;
  table.pack_columns = pack_columns;
  table.look_up_i16 = look_up_i16;
  table.rescale_table = rescale_table;
  return table;
}

}  // namespace

extern const IntegerKernels kIntegerKernelsVnni = vnni_table();

}  // namespace qhv
