/* SPDX-License-Identifier: MIT */
#include "common/child.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench
{

MeasureOptions parse_measure_options(const char *program, int argc, char **argv)
{
    execute_with_static_tls(argv);
    MeasureOptions options;
    for (int i = 1; i < argc; i++) {
        std::string argument = argv[i];
        if (argument == "--quick") {
            options.quick = true;
        } else if (argument == "--smoke") {
            options.smoke = true;
        } else if (argument == "--allow-missing-peers") {
            options.allow_missing = true;
        } else if (argument.compare(0, 6, "--out=") == 0) {
            options.out = argument.substr(6);
        } else if (argument == "--child") {
            options.child.assign(argv + i + 1, argv + argc);
            break;
        } else {
            std::fprintf(stderr, "usage: %s [--quick | --smoke] [--allow-missing-peers] [--out=FILE]\n", program);
            std::exit(2);
        }
    }
    return options;
}

bool run_child(const MeasureOptions &options, const std::vector<std::string> &words, std::string *output)
{
    std::vector<std::string> arguments = {"/proc/self/exe"};
    if (options.quick)
        arguments.push_back("--quick");
    if (options.smoke)
        arguments.push_back("--smoke");
    arguments.push_back("--child");
    arguments.insert(arguments.end(), words.begin(), words.end());
    std::vector<char *> pointers;
    for (std::string &argument : arguments)
        pointers.push_back(argument.data());
    pointers.push_back(nullptr);

    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) { /* several children may run at once */
        std::perror("pipe");
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        execv(pointers[0], pointers.data());
        _exit(127);
    }
    close(ends[1]);
    output->clear();
    char buffer[4096];
    for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;)
        output->append(buffer, static_cast<size_t>(n));
    close(ends[0]);
    int status = 0;
    if (child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    std::fprintf(stderr, "the measurement failed:");
    for (const std::string &word : words)
        std::fprintf(stderr, " %s", word.c_str());
    std::fprintf(stderr, "\n");
    return false;
}

bool run_child_of(const MeasureOptions &options, const std::vector<std::string> &words, const std::string &backend,
                  std::string *output)
{
    bool is_peer = std::any_of(std::begin(peers), std::end(peers),
                               [&](const Peer &peer) { return backend == peer.name; });
    if (run_child(options, words, output) || (is_peer && run_child(options, words, output)))
        return true;
    if (is_peer)
        std::fprintf(stderr, "left out: %s\n", backend.c_str());
    output->clear();
    return is_peer;
}

std::vector<std::string> find_backends(const MeasureOptions &options, bool with_none)
{
    std::vector<std::string> names = {Freelane::name()};
    for (unsigned number = 0; number < kFreelaneCall; number++) {
        PeerId id = PeerId(number);
        std::string error;
        if (!peer_fits_build(id))
            continue;
        if (load_peer(id, &error)) {
            names.push_back(peers[id].name);
            continue;
        }
        std::fprintf(stderr, "%s: %s\n", peers[id].name, error.c_str());
        if (!options.allow_missing && !is_new(id))
            return {};
    }
    if (with_none)
        names.push_back(None::name());
    return names;
}

void load_backend(const std::string &name)
{
    for (unsigned id = 0; id < kPeerCount; id++) {
        std::string error;
        if (name == peers[id].name && !load_peer(PeerId(id), &error)) {
            std::fprintf(stderr, "%s: %s\n", name.c_str(), error.c_str());
            std::exit(1);
        }
    }
}

bool write_document(const MeasureOptions &options, const std::vector<std::string> &members)
{
    FILE *file = options.out.empty() ? stdout : std::fopen(options.out.c_str(), "w");
    if (!file) {
        std::perror(options.out.c_str());
        return false;
    }
    std::fputs("{\n", file);
    for (size_t i = 0; i < members.size(); i++)
        std::fprintf(file, "  %s%s\n", members[i].c_str(), i + 1 < members.size() ? "," : "");
    std::fputs("}\n", file);
    bool good = !std::ferror(file);
    if (file != stdout)
        good &= std::fclose(file) == 0;
    if (!good)
        std::perror(options.out.empty() ? "stdout" : options.out.c_str());
    return good;
}

} // namespace bench
