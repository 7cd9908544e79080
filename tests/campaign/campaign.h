// What the modes of the fault campaign share. A mode is one process: it embeds Python, does something to the
// profiler that no friendly host would do, and looks at what came of it.
//
// A mode tells by its exit status: 0 = right, 1 = wrong (each fault was told with `wrong`), 77 = cannot run
// here. Its last line of output is what it did, in numbers. Every step is written down where run.py sees it;
// a step that does not end is a hang, and run.py tells where all the threads of the mode and its children
// are.
#ifndef CAMPAIGN_H
#define CAMPAIGN_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <Python.h>
#define PYPROF_DLL
#include "../../pyprof.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct campaign_mode {
    const char *name, *words, *right;   // what comes after the name on the command line; what is right
    int (*run)(char **words);           // returns an exit status
} campaign_mode;

extern const campaign_mode faults_modes[], files_modes[], sandbox_modes[], fork_modes[], thread_modes[],
    life_modes[],
    heap_modes[], signal_modes[], plugin_modes[];   // each ends with a name of NULL

enum { RIGHT = 0, WRONG = 1, CANNOT = 77 };

// ---- telling ----------------------------------------------------------------------------------------------
#define FORMATTED(at) __attribute__((format(printf, at, at + 1)))
void step(const char *format, ...) FORMATTED(1);        // begins; the one before has ended
void still_alive(void);                                 // the step goes on, but it is not stuck
void wrong(const char *format, ...) FORMATTED(1);       // a fault of the profiler; the mode goes on
void fatal(const char *format, ...) FORMATTED(1);       // one after which it cannot
void cannot(const char *format, ...) FORMATTED(1);      // ends the mode: skipped
int done(const char *format, ...) FORMATTED(1);         // the last line. Returns the exit status
long wrongs(void);
void files_may_grow(void);                              // up to the hard limit of their size
const char *named(int result);                          // "PYPROF_ERR_IO (cannot write ...)"

// ---- time, chance, what the process holds -----------------------------------------------------------------
double now(void);
void nap(double seconds);
unsigned below(unsigned *seed, unsigned limit);         // a number by chance, 0 to limit - 1
int entries(const char *folder, const char *prefix);    // files that begin so; -1: no such folder
int descriptors(void);
int tasks(void);
long resident_kib(void);
void settled(int want_descriptors, int want_tasks);     // wrong() if they do not come back to that
const char *folder_of_campaign(void);                   // where these sources are

// ---- Python -----------------------------------------------------------------------------------------------
void python_begins(void);       // with busy(seconds) and whole(path) defined
void python_works(void);        // two threads that compute, allocate and make new code
void python_rests(void);        // they have ended
// A piece of Python, with the GIL; an exception is fatal
void run(const char *format, ...) FORMATTED(1);
// wrong() unless the file is whole: strict JSON, XML, gzip, pickle..., by its suffix. needed: it must exist.
// No GIL held.
void whole(const char *path, int needed);

// ---- sessions ---------------------------------------------------------------------------------------------
pyprof_config config(double rate_hz, int heap);         // the rest is 0, max_bytes is small
pyprof *started(const pyprof_config *config);           // fatal if it cannot
pyprof_profile *stopped(pyprof *session);               // fatal if it cannot
// A profile of so many functions, of a session now ended
pyprof_profile *recorded(int functions, int heap);
pyprof_stats stats_of(const pyprof *session);
void under_way(const pyprof *session);                  // waits for its first tick, a second at most
// wrong() if the session seems perfect, though it saw less than it should have in so many seconds of busy
// Python.
void honest(const pyprof *session, pyprof_stats before, double rate_hz, double seconds, const char *when);
void balanced(pyprof_stats stats);

// ---- child processes --------------------------------------------------------------------------------------
// Waits for it; a child that hangs is found by run.py. Returns the status of waitpid
int ended(pid_t pid);

#endif
