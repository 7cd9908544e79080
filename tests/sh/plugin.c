// A plugin with a copy of the library of its own.
#define PYPROF_IMPLEMENTATION
#include "pyprof.h"

int plugin_start(void);
long plugin_stop(void);   // -> samples

static pyprof *session;

int plugin_start(void)
{
    pyprof_config config = { .rate_hz = 1000 };
    return pyprof_start(&config, &session);
}

long plugin_stop(void)
{
    pyprof_profile *profile;
    pyprof_stats stats;
    if (pyprof_stop(session, &profile) || pyprof_profile_stats(profile, &stats)) return -1;
    pyprof_profile_free(profile);
    return (long)stats.samples;
}
