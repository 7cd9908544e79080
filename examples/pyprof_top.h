// pyprof top. Not built yet.
#ifndef PYPROF_TOP_H
#define PYPROF_TOP_H
#include "pyprof_cli.h"

static int pyprof_cli_top(const struct cli_options *options)
{
    (void)options;
    return cli_fail("top is not built yet");
}
#endif
