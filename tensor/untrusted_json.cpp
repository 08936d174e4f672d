#include "tensor/untrusted_json.h"

namespace qhv {

using nlohmann::json;

json parse_untrusted_json(std::string_view text, const std::string& path, const char* what,
                          const json::parser_callback_t& check) {
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const json::parse_error& error) {
    // Its own text repeats what it read, which may be long and is not ours to print.
    file_error(path, what, " is not valid JSON (at byte ", error.byte, " of ", text.size(), ")");
  } catch (const json::exception&) {
    file_error(path, what, " is not valid JSON (a number is out of range)");
  }
}

json parse_untrusted_json(std::string_view text, const std::string& path, const char* what, int most_levels) {
  return parse_untrusted_json(text, path, what, [&](int depth, json::parse_event_t event, const json&) {
    using Event = json::parse_event_t;
    if ((event == Event::object_start || event == Event::array_start) && depth >= most_levels)
      file_error(path, what, " is nested too deeply");
    return true;
  });
}

}  // namespace qhv
