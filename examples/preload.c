// Shows:  profiling a program that nobody prepared for it.
// Build:  cc -shared -fPIC -O2 examples/preload.c -o build/libpyprof.so -pthread -ldl
// Run:    PROFILING=1 LD_PRELOAD=$PWD/build/libpyprof.so python3 app.py
// Prints: the pid at the start, the names of the files at the end: /tmp/app_profile.json, .svg and .txt.
//         PYPROF_OUT=PREFIX puts them elsewhere.
//
// Child processes inherit both variables. Those with Python write files of their own, /tmp/app.PID_profile.json and so on;
// those without (sh, env, git) start nothing and say nothing. Python may come late, as a plugin of a server.
// The files are complete however the program ends by itself: exit, _exit, exec, a signal it sends to itself. After a
// signal from outside that it does not catch they are what they were at the last checkpoint (1, 2, 4, 8... s).
#define PYPROF_PRELOAD            // exit, exec, fork, wait, kill and dlopen
#define PYPROF_INTERPOSE_MALLOC   // buffers of C extensions are told with the Python line that caused them
#define PYPROF_IMPLEMENTATION
#include "../pyprof.h"
