// campaign_tsan: the modes and the profiler in one program, which ThreadSanitizer sees into.
#define PYPROF_DLL
#define PYPROF_IMPLEMENTATION
#include "../../pyprof.h"
