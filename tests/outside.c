// A program without Python that records another process for the tests: see Outside in tests/py/bind.py.
//
//   outside PID RATE CAPTURE DEPTH OPCODES
//
// It answers with a line, "0" or "RESULT DETAIL", to its start and to each line of its input:
//   snapshot FILE, reset FILE (a snapshot that starts anew), stop FILE, dump FILE, pause, resume
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define PYPROF_DLL
#include "../pyprof.h"

int main(int argc, char **argv)
{
    char line[4096];
    pyprof *session = NULL;
    pyprof_config config;
    int result;
    if (argc < 6) return fprintf(stderr, "outside: see its source\n"), 2;
    memset(&config, 0, sizeof config);
    config.pid = atoll(argv[1]);
    config.rate_hz = atof(argv[2]);
    config.capture = atoi(argv[3]);
    config.max_depth = (uint32_t)atoi(argv[4]);
    config.opcodes = atoi(argv[5]);
    config.max_cpu = 1e6;
    result = config.rate_hz > 0 ? (int)pyprof_start(&config, &session) : 0;
    printf("%d %s\n", result, result ? pyprof_last_error() : "");
    fflush(stdout);
    while (result == 0 && fgets(line, sizeof line, stdin)) {
        char *file = strchr(line, ' ');
        pyprof_snapshot_options options;
        pyprof_profile *profile = NULL;
        memset(&options, 0, sizeof options);
        line[strcspn(line, "\n")] = 0;
        if (file) *file++ = 0;
        options.reset = strcmp(line, "reset") == 0;
        if (strcmp(line, "pause") == 0) result = (int)pyprof_pause(session);
        else if (strcmp(line, "resume") == 0) result = (int)pyprof_resume(session);
        else if (strcmp(line, "dump") == 0) result = (int)pyprof_dump(config.pid, NULL, &profile);
        else if (strcmp(line, "stop") == 0) result = (int)pyprof_stop(session, &profile);
        else result = (int)pyprof_snapshot(session, &options, &profile);
        if (result == 0 && profile) result = (int)pyprof_save(profile, file, NULL);
        printf("%d %s\n", result, result ? pyprof_last_error() : "");
        fflush(stdout);
        pyprof_profile_free(profile);
    }
    return 0;
}
