// One program for all modes of the fault campaign but those that load plugins: see campaign.h.
//
//   campaign MODE [WORDS...]     campaign alone lists the modes, and what is right in each
#include "campaign.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

// ---- telling ----------------------------------------------------------------------------------------------
enum { SHARED_BYTES = 4096, MOST_TOLD = 20 };
// Run.py reads it: 8 bytes, then the text
typedef struct { atomic_ulong steps; char text[200]; atomic_flag taken; } progress;
static progress *shared;
static atomic_long faults_found;

static void open_progress(void)
{
    const char *path = getenv("CAMPAIGN_STATE");
    int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    int shared_with = file < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
    void *memory;
    if (file >= 0 && ftruncate(file, SHARED_BYTES) != 0) exit(WRONG);
    memory = mmap(NULL, SHARED_BYTES, PROT_READ | PROT_WRITE, shared_with, file, 0);
    if (memory == MAP_FAILED) exit(WRONG);
    shared = memory;
    if (file >= 0) close(file);
}

void still_alive(void) { atomic_fetch_add(&shared->steps, 1); }

void step(const char *format, ...)
{
    va_list list;
    if (!atomic_flag_test_and_set(&shared->taken)) {   // another thread tells its step: that will do
        va_start(list, format);
        vsnprintf(shared->text, sizeof shared->text, format, list);
        va_end(list);
        atomic_flag_clear(&shared->taken);
    }
    still_alive();
}

void files_may_grow(void)   // up to the hard limit: the output of a mode may be a file
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void tell(const char *word, const char *format, va_list list)
{
    char text[1000], at[sizeof shared->text] = "?";
    int mine = !atomic_flag_test_and_set(&shared->taken);
    if (mine) memcpy(at, shared->text, sizeof at), atomic_flag_clear(&shared->taken);
    vsnprintf(text, sizeof text, format, list);
    files_may_grow();
    printf("%s: %s   [%s]\n", word, text, at);
    fflush(stdout);
}

void wrong(const char *format, ...)
{
    va_list list;
    if (atomic_fetch_add(&faults_found, 1) >= MOST_TOLD) return;
    va_start(list, format);
    tell("wrong", format, list);
    va_end(list);
}

void fatal(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    tell("wrong", format, list);
    va_end(list);
    _exit(WRONG);
}

void cannot(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    printf("\n");
    fflush(stdout);
    _exit(CANNOT);
}

int done(const char *format, ...)
{
    va_list list;
    if (wrongs()) printf("%ld faults; ", wrongs());
    va_start(list, format);
    vprintf(format, list);
    va_end(list);
    printf("\n");
    fflush(stdout);
    return wrongs() ? WRONG : RIGHT;
}

long wrongs(void) { return atomic_load(&faults_found); }

const char *named(int result)
{
    static _Thread_local char text[600];
    const char *detail = pyprof_last_error();
    snprintf(text, sizeof text, "%s (%s)", pyprof_result_string((pyprof_result)result), result ? detail : "");
    return text;
}

// ---- time, chance, what the process holds -----------------------------------------------------------------
double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

void nap(double seconds)
{
    struct timespec left = { (time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9) };
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {}
}

unsigned below(unsigned *seed, unsigned limit) { return (unsigned)rand_r(seed) % limit; }

int entries(const char *folder, const char *prefix)
{
    DIR *list = opendir(folder);
    struct dirent *entry;
    int count = 0;
    if (!list) return -1;
    while ((entry = readdir(list)) != NULL)
        count += !prefix || strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(list);
    return count;
}

int descriptors(void) { return entries("/proc/self/fd", NULL) - 3; }
int tasks(void) { return entries("/proc/self/task", NULL) - 2; }

long resident_kib(void)
{
    long all = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &all, &resident) != 2) return 0;
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

void settled(int want_descriptors, int want_tasks)
{
    double end = now() + (wrongs() ? 0.5 : 10);   // many may come
    while ((descriptors() != want_descriptors || tasks() != want_tasks) && now() < end) nap(0.01);
    if (descriptors() != want_descriptors)
        wrong("%d descriptors are open, not %d", descriptors(), want_descriptors);
    if (tasks() != want_tasks) wrong("%d threads are left, not %d", tasks(), want_tasks);
}

const char *folder_of_campaign(void)
{
    const char *folder = getenv("CAMPAIGN_FOLDER");
    return folder ? folder : "tests/campaign";
}

// ---- Python -----------------------------------------------------------------------------------------------
static const char works[] =
    "import threading, time\n"
    "working = True\n"
    "def leaf(n): return [object() for _ in range(n)]\n"
    "def middle(n): return [leaf(3), bytearray(600), str(n) * 3]\n"
    "def spin(i):\n"
    "    kept = []\n"
    "    while working:\n"
    "        kept.append(middle(i))\n"
    "        if len(kept) > 50: kept.clear()\n"
    "        time.sleep(0.0002)\n"
    "def fresh(i):\n"
    "    n = 0\n"
    "    while working:\n"
    "        n, space = n + 1, {}\n"
    "        text = 'def f_%d(n):\\n  return [n for _ in range(20)]\\n' % (n % 97)\n"
    "        exec(compile(text, '/fresh/%d.py' % (n % 97), 'exec'), space)\n"
    "        space['f_%d' % (n % 97)](n)\n"
    "        time.sleep(0.0005)\n"
    "workers = [threading.Thread(target=spin, args=(1,)), threading.Thread(target=fresh, args=(2,))]\n"
    "for worker in workers: worker.start()\n";

void run(const char *format, ...)
{
    char code[4000];
    va_list list;
    va_start(list, format);
    vsnprintf(code, sizeof code, format, list);
    va_end(list);
    if (PyRun_SimpleString(code) != 0) fatal("Python raised an exception in: %.200s", code);
}

void python_begins(void)
{
    Py_InitializeEx(0);
    run("import sys, time\n"
        "sys.path.insert(0, %s%s%s)\n"
        "def busy(seconds=0.3):\n"
        "    end = time.perf_counter() + seconds\n"
        "    while time.perf_counter() < end: sum(range(50))\n", "'", folder_of_campaign(), "'");
}

void python_works(void) { run("%s", works); }
void python_rests(void) { run("working = False\nfor worker in workers: worker.join()\n"); }

void whole(const char *path, int needed)
{
    PyGILState_STATE gil;
    PyObject *module, *said;
    if (access(path, F_OK) != 0) {
        if (needed) wrong("%s is not there", path);
        return;
    }
    gil = PyGILState_Ensure();
    module = PyImport_ImportModule("whole");
    said = module ? PyObject_CallMethod(module, "fault", "s", path) : NULL;
    if (!said) { PyErr_Print(); fatal("cannot look at %s", path); }
    if (said != Py_None) wrong("%s: %s", path, PyUnicode_AsUTF8(said));
    Py_XDECREF(said);
    Py_XDECREF(module);
    PyGILState_Release(gil);
}

// ---- sessions ---------------------------------------------------------------------------------------------
pyprof_config config(double rate_hz, int heap)
{
    pyprof_config c;
    memset(&c, 0, sizeof c);
    c.rate_hz = rate_hz;
    c.heap = heap;
    c.max_bytes = 32 << 20;
    return c;
}

pyprof *started(const pyprof_config *c)
{
    pyprof *session = NULL;
    int result = pyprof_start(c, &session);
    if (result != PYPROF_OK) fatal("pyprof_start: %s", named(result));
    return session;
}

pyprof_profile *stopped(pyprof *session)
{
    pyprof_profile *profile = NULL;
    int result = pyprof_stop(session, &profile);
    if (result != PYPROF_OK) fatal("pyprof_stop: %s", named(result));
    return profile;
}

pyprof_profile *recorded(int functions, int heap)
{
    pyprof_config c = config(5000, heap);
    pyprof *session = started(&c);
    run("kept = []\n"
        "for i in range(%d):\n"
        "    text = 'def f_%%d(): kept.append([bytearray(40) for _ in range(50)]); busy(0.001)\\n'\n"
        "    text += 'f_%%d()\\n'\n"
        "    exec(compile(text %% (i, i), '/recorded/%%d.py' %% i, 'exec'))\n", functions);
    return stopped(session);
}

pyprof_stats stats_of(const pyprof *session)
{
    pyprof_stats stats;
    int result = pyprof_get_stats(session, &stats);
    if (result != PYPROF_OK) fatal("pyprof_get_stats: %s", named(result));
    return stats;
}

void balanced(pyprof_stats s)
{
    if (s.asked != s.samples + s.missed + s.rejected)
        wrong("asked %llu is not samples %llu + missed %llu + rejected %llu", (unsigned long long)s.asked,
              (unsigned long long)s.samples, (unsigned long long)s.missed, (unsigned long long)s.rejected);
}

void under_way(const pyprof *session)
{
    double end = now() + 1;
    while (!stats_of(session).asked && now() < end) run("busy(0.01)\n");
}

// One thread was busy: so many ticks should have been asked for it. Half of it is enough: the machine may be
// busy, too.
void honest(const pyprof *session, pyprof_stats before, double rate_hz, double seconds, const char *when)
{
    pyprof_stats after = stats_of(session);
    double ticks = rate_hz * seconds, samples = (double)(after.samples - before.samples);
    double lost = (double)(after.missed - before.missed + after.rejected - before.rejected);
    double thinned = (double)(after.thinned - before.thinned);
    double gap_s = (double)(after.gap_ns - before.gap_ns) / 1e9;
    balanced(after);
    if (samples + lost + thinned + gap_s * rate_hz < ticks / 2 && !after.degraded[0])
        wrong("%s: %.0f ticks, %.0f samples, %.0f lost, %.0f thinned, %.3f s gap, and degraded says nothing",
              when, ticks, samples, lost, thinned, gap_s);
}

// ---- child processes --------------------------------------------------------------------------------------
int ended(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) fatal("waitpid: %s", strerror(errno));
    still_alive();
    return status;
}

// ---- the table of modes -----------------------------------------------------------------------------------
static const campaign_mode *const tables[] = { faults_modes, files_modes, sandbox_modes, fork_modes,
    thread_modes,
                                               life_modes, heap_modes, signal_modes, plugin_modes };

static int words_in(const char *text)
{
    int n = *text != '\0';
    for (; *text; text++) n += *text == ' ';
    return n;
}

int main(int count, char **words)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    open_progress();
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const campaign_mode *mode = tables[t]; mode->name; mode++) {
            if (count < 2) printf("%-10s %-36s %s\n", mode->name, mode->words, mode->right);
            else if (strcmp(words[1], mode->name) == 0) {
                if (words_in(mode->words) != count - 2)
                    fatal("%s needs the words: %s", mode->name, mode->words);
                step("%s begins", mode->name);
                return mode->run(words + 2);
            }
        }
    return count < 2 ? RIGHT : WRONG;
}
