// Symmetric positive definite systems of equations, in double. Matrices are n x n by rows.
#pragma once

#include <cstdint>
#include <vector>

namespace qhv {

double dot(const double* a, const double* b, std::int64_t count);
/// y += factor x
void add_multiple(double factor, const double* x, double* y, std::int64_t count);

/// The lower triangle L with L L^T = a, in place of it; false if a is not positive definite. What is above
/// the diagonal stays as it is and is not looked at.
bool factorize(std::vector<double>& a, std::int64_t n, int threads);

/// x with L L^T x = b, in place of b.
void solve(const std::vector<double>& l, std::int64_t n, double* b);

std::vector<double> transposed(const std::vector<double>& a, std::int64_t n);

}  // namespace qhv
