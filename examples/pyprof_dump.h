// pyprof dump. Not built yet.
#ifndef PYPROF_DUMP_H
#define PYPROF_DUMP_H
#include "pyprof_cli.h"

static int pyprof_cli_dump(const struct cli_options *options)
{
    (void)options;
    return cli_fail("dump is not built yet");
}
#endif
