// A plugin that carries the profiler: copies of it are loaded and unloaded by plugins.c. BIG_TLS makes one
// that has so many bytes of thread-local memory besides.
#define _GNU_SOURCE
#define PYPROF_IMPLEMENTATION
#include "../../pyprof.h"
#include <string.h>
#include "plugin.h"

#define EXPORT __attribute__((visibility("default")))
#ifdef BIG_TLS
static __thread volatile char big[BIG_TLS];
#endif
static pyprof *session;

EXPORT int plugin_start(int heap, int capture)
{
    pyprof_config c;
    memset(&c, 0, sizeof c);
    c.rate_hz = 1000;
    c.heap = heap;
    c.capture = capture;
    c.max_bytes = 8 << 20;
#ifdef BIG_TLS
    big[0] = big[BIG_TLS - 1] = 1;
#endif
    return pyprof_start(&c, &session);
}

EXPORT long plugin_stop(void)
{
    pyprof_profile *profile;
    pyprof_stats stats = { 0 };
    if (pyprof_stop(session, &profile) != PYPROF_OK) return -1;
    pyprof_profile_stats(profile, &stats);
    pyprof_profile_free(profile);
    return (long)stats.samples;
}

EXPORT const char *plugin_error(void) { return pyprof_last_error(); }
