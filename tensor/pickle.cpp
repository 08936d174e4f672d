#include "tensor/pickle.h"

#include <bit>
#include <map>

#include "tensor/bytes.h"
#include "tensor/pickle_opcodes.h"
#include "tensor/untrusted.h"

namespace qhv {
namespace {

/// A value may take 100 times the bytes of its opcode, so the pickle itself must be small. That of a network
/// has about 200 bytes for each tensor.
constexpr std::size_t kMaxPickle = 4 << 20;
constexpr int kMaxProtocol = 5;
constexpr std::string_view kOrderedDict = "collections.OrderedDict";

class PickleReader {
 public:
  PickleReader(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
               const std::string& where)
      : bytes_(bytes), allowed_(allowed), where_(where) {}

  Pickle read() {
    if (bytes_.size() > kMaxPickle)
      file_error(where_, "a pickle of ", bytes_.size(), " bytes, at most ", kMaxPickle);
    do {
      opcode_at_ = at_;
    } while (step(take<std::uint8_t>()));
    if (at_ != bytes_.size()) file_error(where_, bytes_.size() - at_, " bytes after the end of the pickle");
    if (stack_.size() != 1 || !marks_.empty()) malformed("STOP with ", stack_.size(), " values on the stack");
    result_.root = stack_[0];
    return std::move(result_);
  }

 private:
  template <typename... Parts>
  [[noreturn]] void malformed(const Parts&... parts) const {
    file_error(where_, "malformed pickle at byte ", opcode_at_, ": ", parts...);
  }

  // Bytes of the program.

  std::string_view take_bytes(std::uint64_t count) {
    if (count > bytes_.size() - at_) malformed("it ends early");
    const auto* begin = reinterpret_cast<const char*>(bytes_.data() + at_);
    at_ += count;
    return {begin, count};
  }
  template <std::unsigned_integral UInt>
  UInt take() {
    const std::size_t begin = at_;
    take_bytes(sizeof(UInt));
    return load_le<UInt>(bytes_.data() + begin);
  }
  std::string_view take_line() {
    const std::string_view rest(reinterpret_cast<const char*>(bytes_.data()) + at_, bytes_.size() - at_);
    const std::size_t length = rest.find('\n');
    if (length == rest.npos) malformed("it ends early");
    at_ += length + 1;
    return rest.substr(0, length);
  }
  std::string take_text(std::uint64_t length) {
    const std::string_view text = take_bytes(length);
    if (!is_utf8(text)) malformed("a string that is not UTF-8");
    return std::string(text);
  }
  /// LONG1: two's complement, little-endian, its length before it.
  std::int64_t take_long() {
    const auto length = take<std::uint8_t>();
    const std::string_view digits = take_bytes(length);
    if (length > 8) malformed("an integer of ", int(length), " bytes, at most 8");
    std::uint64_t value = length > 0 && (digits.back() & 0x80) ? ~std::uint64_t{0} : 0;
    for (std::size_t i = length; i-- > 0;) value = value << 8 | static_cast<unsigned char>(digits[i]);
    return std::int64_t(value);
  }
  /// The only big-endian number of the format.
  double take_float() {
    std::uint64_t bits = 0;
    for (const char c : take_bytes(8)) bits = bits << 8 | static_cast<unsigned char>(c);
    return std::bit_cast<double>(bits);
  }

  // The stack. Values below the last mark are out of reach until that is removed.

  void push(PickleValue value) {
    stack_.push_back(int(result_.values.size()));
    result_.values.push_back(std::move(value));
  }
  void require_values(std::size_t count) const {
    if (stack_.size() - (marks_.empty() ? 0 : marks_.back()) < count)
      malformed("too few values on the stack");
  }
  int pop() {
    require_values(1);
    const int id = stack_.back();
    stack_.pop_back();
    return id;
  }
  std::vector<int> pop_values(std::size_t count) {
    require_values(count);
    const auto begin = stack_.end() - std::ptrdiff_t(count);
    std::vector<int> items(begin, stack_.end());
    stack_.erase(begin, stack_.end());
    return items;
  }
  std::vector<int> pop_to_mark() {
    if (marks_.empty()) malformed("no mark on the stack");
    std::vector<int> items = pop_values(stack_.size() - marks_.back());
    marks_.pop_back();
    return items;
  }
  /// A value that must be of this kind.
  template <typename T>
  T& value(int id) {
    PickleValue& value = result_.values[std::size_t(id)];
    if (T* found = std::get_if<T>(&value)) return *found;
    malformed("expected ", kind_name(T{}), ", found ", kind_name(value));
  }
  template <typename T>
  T& top() {
    require_values(1);
    return value<T>(stack_.back());
  }

  // What the opcodes do.

  void append(const std::vector<int>& items) {
    auto& list = top<PickleList>().items;
    list.insert(list.end(), items.begin(), items.end());
  }
  void set_items(const std::vector<int>& items) {
    if (items.size() % 2 != 0) malformed("a key without a value");
    auto& dict = top<PickleDict>().items;
    for (std::size_t i = 0; i < items.size(); i += 2) dict.emplace_back(items[i], items[i + 1]);
  }
  void get(std::uint32_t key) {
    const auto found = memo_.find(key);
    if (found == memo_.end()) malformed("nothing was stored under ", key);
    stack_.push_back(found->second);
  }
  void put(std::uint32_t key) {
    require_values(1);
    memo_[key] = stack_.back();
  }
  void global(std::string_view module, std::string_view name) {
    const std::string full = concat(module, '.', name);
    if (full == kOrderedDict) return push(PickleGlobal{kOrderedDict});
    for (const std::string_view one : allowed_)
      if (full == one) return push(PickleGlobal{one});
    file_error(where_, "the pickle names ", in_quotes(full), " at byte ", opcode_at_,
               ", which no state_dict needs (save model.state_dict() alone)");
  }
  void global_by_lines() {
    const auto module = take_line();
    global(module, take_line());
  }
  void global_by_stack() {
    const int name = pop(), module = pop();
    global(value<std::string>(module), value<std::string>(name));
  }
  void reduce() {
    const int arguments = pop(), function = pop();
    const bool plain = value<PickleTuple>(arguments).items.empty();
    if (value<PickleGlobal>(function).name != kOrderedDict) return push(PickleCall{function, arguments});
    if (!plain) malformed("an OrderedDict with arguments is not supported");
    push(PickleDict{});
  }
  void build() {
    pop();
    top<PickleDict>();
  }

  /// Runs one opcode; false at the end of the program.
  bool step(std::uint8_t opcode) {
    // clang-format off
    switch (opcode) {
      case kProto:
        if (const int version = take<std::uint8_t>(); version > kMaxProtocol)
          malformed("protocol ", version, ", at most ", kMaxProtocol);
        break;
      case kFrame:  // only says how much could be read ahead
        if (take<std::uint64_t>() > bytes_.size() - at_) malformed("it ends early");
        break;
      case kStop: return false;
      case kMark: marks_.push_back(stack_.size()); break;

      case kNone: push(PickleNone{}); break;
      case kNewTrue: push(true); break;
      case kNewFalse: push(false); break;
      case kBinInt: push(std::int64_t(std::int32_t(take<std::uint32_t>()))); break;
      case kBinInt1: push(std::int64_t(take<std::uint8_t>())); break;
      case kBinInt2: push(std::int64_t(take<std::uint16_t>())); break;
      case kLong1: push(take_long()); break;
      case kBinFloat: push(take_float()); break;
      case kShortBinUnicode: push(take_text(take<std::uint8_t>())); break;
      case kBinUnicode: push(take_text(take<std::uint32_t>())); break;
      case kBinUnicode8: push(take_text(take<std::uint64_t>())); break;

      case kEmptyTuple: push(PickleTuple{}); break;
      case kTuple1: push(PickleTuple{pop_values(1)}); break;
      case kTuple2: push(PickleTuple{pop_values(2)}); break;
      case kTuple3: push(PickleTuple{pop_values(3)}); break;
      case kTuple: push(PickleTuple{pop_to_mark()}); break;
      case kEmptyList: push(PickleList{}); break;
      case kAppend: append(pop_values(1)); break;
      case kAppends: append(pop_to_mark()); break;
      case kEmptyDict: push(PickleDict{}); break;
      case kSetItem: set_items(pop_values(2)); break;
      case kSetItems: set_items(pop_to_mark()); break;

      case kBinPut: put(take<std::uint8_t>()); break;
      case kLongBinPut: put(take<std::uint32_t>()); break;
      case kMemoize: put(std::uint32_t(memo_.size())); break;
      case kBinGet: get(take<std::uint8_t>()); break;
      case kLongBinGet: get(take<std::uint32_t>()); break;

      case kGlobal: global_by_lines(); break;
      case kStackGlobal: global_by_stack(); break;
      case kReduce: reduce(); break;
      case kBuild: build(); break;
      case kBinPersId: push(PicklePersistent{pop()}); break;
      default:
        file_error(where_, "pickle opcode ", unsupported_opcode_name(opcode), " at byte ", opcode_at_,
                   " is not supported");
    }
    // clang-format on
    return true;
  }

  std::span<const std::byte> bytes_;
  std::span<const std::string_view> allowed_;
  const std::string& where_;
  std::size_t at_ = 0, opcode_at_ = 0;
  Pickle result_;
  std::vector<int> stack_;
  std::vector<std::size_t> marks_;
  std::map<std::uint32_t, int> memo_;  // not hashed: whoever made the file could make its keys collide
};

}  // namespace

const char* kind_name(const PickleValue& value) {
  struct Name {
    const char* operator()(PickleNone) const { return "None"; }
    const char* operator()(bool) const { return "a bool"; }
    const char* operator()(std::int64_t) const { return "an integer"; }
    const char* operator()(double) const { return "a float"; }
    const char* operator()(const std::string&) const { return "a string"; }
    const char* operator()(const PickleTuple&) const { return "a tuple"; }
    const char* operator()(const PickleList&) const { return "a list"; }
    const char* operator()(const PickleDict&) const { return "a dict"; }
    const char* operator()(PickleGlobal) const { return "a function"; }
    const char* operator()(PickleCall) const { return "the result of a call"; }
    const char* operator()(PicklePersistent) const { return "a stored object"; }
  };
  return std::visit(Name{}, value);
}

Pickle parse_pickle(std::span<const std::byte> bytes, std::span<const std::string_view> allowed,
                    const std::string& where) {
  return PickleReader(bytes, allowed, where).read();
}

}  // namespace qhv
