// llama.cpp's own converter and grammar, as a program: one JSON schema a line in, one line of JSON out.
//
// It does what llama-server does with a schema before the first token: reads it, makes a grammar, parses that and puts
// the sampler's first stacks up. Then it walks the grammar at random and counts stacks, because each costs the sampler a
// look at the whole vocabulary for every token. A schema that kills it kills llama-server too.
//
// `cargo xtask schemas` builds it from the source package that it names.

#include "common.h"
#include "json-schema-to-grammar.h"
#include "llama-grammar.h"
#include "llama-impl.h"
#include "llama-vocab.h"

#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <random>
#include <string>
#include <sys/resource.h>
#include <unistd.h>

// What the grammar wants of the rest of llama.cpp. It never asks: these grammars name no tokens.
const std::string & llama_vocab::token_to_piece(llama_token) const { abort(); }
bool llama_vocab::is_eog(llama_token) const { abort(); }
int32_t llama_vocab::tokenize(const char *, int32_t, llama_token *, int32_t, bool, bool) const { abort(); }
void llama_log_internal(ggml_log_level, const char *, ...) {}
extern "C" void ggml_abort(const char * file, int line, const char * fmt, ...) {
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, fmt, args);
    va_end(args);
    abort();
}

// Three helpers of common.cpp, which would bring all of llama.cpp with it.
std::string string_repeat(const std::string & text, size_t times) {
    std::string out;
    for (size_t n = 0; n < times; n++) {
        out += text;
    }
    return out;
}
std::string string_join(const std::vector<std::string> & parts, const std::string & separator) {
    std::string out;
    for (size_t n = 0; n < parts.size(); n++) {
        out += (n > 0 ? separator : "") + parts[n];
    }
    return out;
}
std::vector<std::string> string_split(const std::string & text, const std::string & separator) {
    std::vector<std::string> parts;
    size_t begin = 0;
    for (size_t end = text.find(separator); end != std::string::npos; end = text.find(separator, begin)) {
        parts.push_back(text.substr(begin, end - begin));
        begin = end + separator.size();
    }
    parts.push_back(text.substr(begin));
    return parts;
}

namespace {

constexpr int SECONDS_PER_SCHEMA = 20;
constexpr rlim_t MAX_MEMORY = 2ULL << 30;
constexpr int WALKS = 6;
constexpr int STEPS = 160;

long peak_kib() {
    rusage usage {};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

long now_kib() {
    long pages = 0;
    long resident = 0;
    FILE * file = fopen("/proc/self/statm", "r");
    if (file != nullptr) {
        if (fscanf(file, "%ld %ld", &pages, &resident) != 2) {
            resident = 0;
        }
        fclose(file);
    }
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

// A character that `element` takes; for an exclusion, any that is not excluded.
uint32_t some_character(const llama_grammar_element * element, std::mt19937 & random) {
    if (element->type == LLAMA_GRETYPE_CHAR_NOT || element->type == LLAMA_GRETYPE_CHAR_ANY) {
        return "abcxyz019 -_:/"[random() % 14];
    }
    std::vector<std::pair<uint32_t, uint32_t>> ranges;
    for (const auto * at = element; ; at++) {
        if (at != element && at->type != LLAMA_GRETYPE_CHAR_ALT) {
            break;
        }
        uint32_t upper = at->value;
        if (at[1].type == LLAMA_GRETYPE_CHAR_RNG_UPPER) {
            upper = at[1].value;
            ranges.emplace_back(at->value, upper);
            at++;
        } else {
            ranges.emplace_back(at->value, upper);
        }
    }
    const auto & range = ranges[random() % ranges.size()];
    return range.first + random() % (range.second - range.first + 1);
}

// The most stacks that were seen on some ways through the grammar.
size_t walk(llama_grammar & grammar, uint32_t seed) {
    std::mt19937 random(seed);
    const llama_grammar_stacks start = grammar.stacks;
    size_t most = start.size();
    for (int n = 0; n < WALKS; n++) {
        grammar.stacks = start;
        for (int step = 0; step < STEPS && !grammar.stacks.empty(); step++) {
            const auto & stack = grammar.stacks[random() % grammar.stacks.size()];
            if (stack.empty()) {
                break;
            }
            llama_grammar_accept(&grammar, some_character(stack.back(), random));
            most = std::max(most, grammar.stacks.size());
        }
    }
    return most;
}

std::string line_for(const std::string & text) {
    using clock = std::chrono::steady_clock;
    const auto seconds = [](clock::time_point since) {
        return std::chrono::duration<double>(clock::now() - since).count();
    };
    const auto begin = clock::now();
    std::string made;
    try {
        made = json_schema_to_grammar(common_json::parse(text));
    } catch (const std::exception & error) {
        return "{\"error\":" + common_json(std::string(error.what())).dump() + "}";
    }
    const double converted = seconds(begin);
    const auto parse_begin = clock::now();
    llama_grammar * grammar =
        llama_grammar_init_impl(nullptr, made.c_str(), "root", false, nullptr, 0, nullptr, 0);
    if (grammar == nullptr) {
        return "{\"error\":\"the grammar is not taken\"}";
    }
    const double parsed = seconds(parse_begin);
    const size_t n_rules = grammar->rules.size();
    const auto walk_begin = clock::now();
    const size_t most = walk(*grammar, static_cast<uint32_t>(text.size()));
    const double walked = seconds(walk_begin);
    llama_grammar_free_impl(grammar);
    char line[400];
    snprintf(line, sizeof line,
             "{\"grammar_bytes\":%zu,\"rules\":%zu,\"stacks\":%zu,\"convert_s\":%.6f,\"parse_s\":%.6f,"
             "\"walk_s\":%.6f,\"peak_kib\":%ld,\"now_kib\":%ld}",
             made.size(), n_rules, most, converted, parsed, walked, peak_kib(), now_kib());
    return line;
}

} // namespace

int main(int argc, char **) {
    const rlimit memory { MAX_MEMORY, MAX_MEMORY };
    setrlimit(RLIMIT_AS, &memory);
    std::string text;
    while (std::getline(std::cin, text)) {
        alarm(SECONDS_PER_SCHEMA); // its default action ends the process
        if (argc > 1) {
            std::cout << json_schema_to_grammar(common_json::parse(text)) << std::endl;
        } else {
            std::cout << line_for(text) << std::endl;
        }
        alarm(0);
    }
}
