#include "experiments/gnuplot.h"

#include <cerrno>
#include <cstring>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tensor/check.h"

namespace qhv {
namespace {

/// A file without a name, in memory. With one for each stream nobody waits for anybody, as with pipes.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& text = "") : fd_(::memfd_create("gnuplot", MFD_CLOEXEC)) {
    if (fd_ < 0 || ::write(fd_, text.data(), text.size()) != ssize_t(text.size()) ||
        ::lseek(fd_, 0, SEEK_SET))
      file_error("gnuplot", "no memory for its input and output (", std::strerror(errno), ")");
  }
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int fd() const { return fd_; }
  std::string text() const {
    std::string all;
    char part[4096];
    for (ssize_t n; (n = ::pread(fd_, part, sizeof part, off_t(all.size()))) > 0;)
      all.append(part, std::size_t(n));
    return all;
  }

 private:
  int fd_;
};

/// Starts gnuplot on these files and waits for it. Returns its wait status.
int run_on(const MemoryFile& in, const MemoryFile& out, const MemoryFile& err) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.fd(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.fd(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, err.fd(), STDERR_FILENO);
  std::string program = "gnuplot", no_user_settings = "--default-settings", locale = "LC_ALL=C";
  char* const arguments[] = {program.data(), no_user_settings.data(), nullptr};
  char* const environment[] = {locale.data(), nullptr};
  pid_t child = 0;
  const int reason = ::posix_spawnp(&child, program.c_str(), &actions, nullptr, arguments, environment);
  ::posix_spawn_file_actions_destroy(&actions);
  if (reason != 0)
    file_error("gnuplot", "cannot be started (", std::strerror(reason), "); Debian's package is gnuplot-nox");
  int status = 0;
  while (::waitpid(child, &status, 0) < 0)
    if (errno != EINTR) file_error("gnuplot", "was lost (", std::strerror(errno), ")");
  return status;
}

}  // namespace

std::string run_gnuplot(const std::string& script) {
  const MemoryFile in(script), out, err;
  const int status = run_on(in, out, err);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) file_error("gnuplot", "failed: ", err.text());
  return out.text();
}

std::string gnuplot_quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + "'";
}

void require_gnuplot() { run_gnuplot("set terminal svg\n"); }

}  // namespace qhv
