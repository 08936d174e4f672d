// Compiled for CPUs with AVX512-VNNI and AVX512-VBMI, and AMX-INT8 for the products of one of two tables; see
// integer_rows.h for what each kernel computes.
#include <cpuid.h>
#include <cstring>
#include <immintrin.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "tensor/kernels/integer_kernels.h"

namespace qhv {
namespace {

#include "tensor/kernels/amx_gemm.h"
#include "tensor/kernels/integer_rows.h"
#include "tensor/kernels/vnni_depthwise.h"
#include "tensor/kernels/vnni_rows.h"

bool has_vnni() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

/// Linux saves the 8 KiB of tiles only for a process that asked for it.
bool may_use_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

/// Not every supported compiler's __builtin_cpu_supports knows AMX: leaf 7, bits 24 and 25 of EDX.
bool has_amx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return has_vnni() && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 24 & 3) == 3 &&
         may_use_tiles();
}

constexpr IntegerKernels vnni_table() {
  IntegerKernels table = plain_table("vnni", has_vnni);
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
  table.multiply_adds = multiply_adds;
  table.macs_of_round = kChains * 64;
  return table;
}

constexpr IntegerKernels amx_table() {
  IntegerKernels table = vnni_table();
  table.name = "amx";
  table.is_supported = has_amx;
  table.gemm = gemm_by_tiles;
  table.multiply_adds = multiply_adds_of_tiles;
  table.macs_of_round = 4 * kTileMacs;
  return table;
}

}  // namespace

extern const IntegerKernels kIntegerKernelsVnni = vnni_table();
extern const IntegerKernels kIntegerKernelsAmx = amx_table();

}  // namespace qhv
