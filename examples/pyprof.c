// Shows:  the command pyprof: other programs recorded, watched and dumped; recordings shown, compared, converted.
// Build:  cc -O2 examples/pyprof.c -o build/pyprof -pthread -ldl -lm
// Run:    build/pyprof record -o app.svg -- python3 app.py       build/pyprof --help has the rest
// Prints: pyprof: 2.0 s of app.py (pid 4242): 200 samples, 0 lost; wrote app.svg
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"
#include "pyprof_parse.h"
#include "pyprof_record.h"
#include "pyprof_saved.h"
#include "pyprof_dump.h"
#include "pyprof_top.h"

static int cli_help(struct cli_options *options)   // of the command that is named
{
    int status;
    if (options->inputs == 0) return cli_explain(0), 0;
    options->command = 0;
    status = cli_command_word(options, options->input[0]);
    if (status != -2) return status;
    cli_explain(options->command);
    return 0;
}

// Descriptors 0 to 2 are open from here on: a file of ours that got one of these numbers would get our messages, too.
static void cli_open_standard(void)
{
    int fd;
    do fd = open("/dev/null", O_RDWR); while (fd >= 0 && fd <= 2);
    if (fd > 2) close(fd);
}

int main(int argc, char **argv)
{
    struct cli_options options;
    int status;
    cli_open_standard();
    memset(&options, 0, sizeof options);
    options.input = calloc((size_t)argc + 1, sizeof *options.input);
    if (!options.input) return cli_fail("no memory");
    status = cli_parse(&options, argc, argv);
    if (status == -2 && options.native && !options.quiet)
        fputs("pyprof: --native: C functions that Python calls are shown by name; C frames below them are not unwound\n", stderr);
    if (status == -2) switch (options.command) {
    case CLI_RECORD: status = cli_record(&options); break;
    case CLI_TOP: status = pyprof_cli_top(&options); break;
    case CLI_DUMP: status = pyprof_cli_dump(&options); break;
    case CLI_REPORT: status = cli_report(&options); break;
    case CLI_FLAMEGRAPH: case CLI_CONVERT: status = cli_convert(&options); break;
    case CLI_DIFF: status = cli_diff(&options); break;
    case CLI_MERGE: status = cli_merge(&options); break;
    case CLI_COMPLETION:
        status = cli_complete(&options);
        if (status) status = cli_misuse(&options, "for which shell? pyprof completion bash, zsh or fish");
        break;
    case CLI_HELP: status = cli_help(&options); break;
    }
    free(options.input);
    if ((fflush(stdout) != 0 || ferror(stdout)) && !status) status = errno == EPIPE ? CLI_FAILED : cli_fail("cannot write standard output: %s", strerror(errno));
    return status;
}
