// pyprof record.
#ifndef PYPROF_RECORD_H
#define PYPROF_RECORD_H
#include <dirent.h>
#include <sys/ioctl.h>
#include <termios.h>
#include "pyprof_files.h"
#include "pyprof_run.h"

enum cli_end { CLI_GOES_ON, CLI_BY_TIME, CLI_BY_SIGNAL, CLI_BY_TARGET };
struct cli_recording {
    struct cli_options *options;
    struct cli_child child;
    pyprof *session;               // NULL: the command records itself, into folder
    double begin, deadline;        // of this recording; deadline 0 = none
    enum cli_end end;
    int signals;                   // to end the recording, so far
    int ended;                     // set by the sampler's thread: the process has ended
    char folder[4096];             // with the preload library; "" = it is not used
    // ---- progress, on a terminal
    int shows, shown;              // shown: the line stands there
    double next_look, next_top;
    char hottest[300];
};

// ---- progress -----------------------------------------------------------------------------
static int cli_may_show(const struct cli_options *options)
{
    return !options->quiet && isatty(2) && !(getenv("TERM") && strcmp(getenv("TERM"), "dumb") == 0);
}

static int cli_columns(void)
{
    struct winsize size;
    return ioctl(2, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col : 80;
}

// A program that draws on the screen, or edits a line, has its terminal for itself.
static int cli_terminal_is_taken(void)
{
    struct termios mode;
    return tcgetattr(2, &mode) == 0 && !(mode.c_lflag & ICANON);
}

// The bytes of a text that fit into so many columns: wide characters take two, combining ones none.
static int cli_fit(const char *text, int columns)
{
    int i = 0;
    while (text[i]) {
        unsigned char c = (unsigned char)text[i];
        int n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        int wide = n == 4 || (n == 3 && c >= 0xe1) ? 2 : 1;   // an upper bound will do
        if (columns < wide) break;
        columns -= wide;
        i += n;
    }
    return i;
}

static void cli_clear_progress(struct cli_recording *r)
{
    if (r->shown) fputs("\r\033[K", stderr);
    r->shown = 0;
}

// The function that ran most in the last seconds.
static void cli_find_hottest(struct cli_recording *r)
{
    pyprof_snapshot_options last;
    pyprof_profile *profile;
    pyprof_query query = r->options->query;
    pyprof_row *rows = calloc(2, sizeof *rows);
    size_t count = 0;
    pyprof_info info;
    double begin = cli_now();
    memset(&last, 0, sizeof last);
    last.last_s = 3;
    r->hottest[0] = 0;
    if (rows && pyprof_snapshot(r->session, &last, &profile) == PYPROF_OK) {
        int64_t all = 0;
        if (pyprof_profile_info(profile, &info) == PYPROF_OK) all = info.total[PYPROF_WALL_NS] - info.total[PYPROF_WAIT_NS];
        if (pyprof_top(profile, &query, rows, sizeof *rows, 1, &count) == PYPROF_OK && count && all > 0) {
            int64_t self = rows[0].self[PYPROF_WALL_NS] - rows[0].self[PYPROF_WAIT_NS];
            const char *file = rows[0].file ? rows[0].file : "";
            if (self > 0) snprintf(r->hottest, sizeof r->hottest, "%.0f %% in %s%s%.100s", 100 * (double)self / (double)all, rows[0].qualname,
                                   *file ? " of " : "", strrchr(file, '/') ? strrchr(file, '/') + 1 : file);
            cli_clean(r->hottest);
        }
        pyprof_profile_free(profile);
    }
    free(rows);
    r->next_top = cli_now() + 1 + 20 * (cli_now() - begin);   // it may cost a twentieth of our time
}

static void cli_show_progress(struct cli_recording *r)
{
    char line[600];
    pyprof_stats stats;
    int used = snprintf(line, sizeof line, "pyprof: %.1f s", cli_now() - r->begin), colors = !getenv("NO_COLOR") || !*getenv("NO_COLOR");
    if (!r->shows || (r->child.pid && cli_terminal_is_taken())) return;
    if (r->session && pyprof_get_stats(r->session, &stats) == PYPROF_OK) {
        if (cli_now() >= r->next_top) cli_find_hottest(r);
        used += snprintf(line + used, sizeof line - (size_t)used, ", %llu samples, %llu lost%s%s", (unsigned long long)stats.samples,
                         (unsigned long long)(stats.missed + stats.rejected), *r->hottest ? ", " : "", r->hottest);
    }
    else if (!r->folder[0]) used += snprintf(line + used, sizeof line - (size_t)used, ", no Python in %.100s yet", r->options->program ? r->options->program[0] : "it");
    snprintf(line + used, sizeof line - (size_t)used, " (Ctrl-C ends)");
    fprintf(stderr, "\r%s%.*s%s\033[K%s", colors ? "\033[2m" : "", cli_fit(line, cli_columns() - 1), line, colors ? "\033[0m" : "", r->child.pid ? "\r" : "");
    r->shown = 1;
}

// ---- until it ends --------------------------------------------------------------------------
// A signal that is meant for us alone is passed on to the command; Ctrl-C on a terminal reaches both.
static void cli_take_signal(struct cli_recording *r, int number, const siginfo_t *info)
{
    if (number == SIGCHLD) return;
    if (number == SIGHUP) r->shows = 0;
    if (r->child.pid && !cli_has_ended(&r->child) && info->si_code <= 0) kill(r->child.pid, number);
    r->end = CLI_BY_SIGNAL;
    if (++r->signals < 2) return;
    cli_clear_progress(r);
    _exit(128 + number);   // at once
}

static void cli_take_event(void *user, pyprof *session, pyprof_event event, const char *detail)
{
    (void)session, (void)detail;
    if (event == PYPROF_EVENT_ENDED) __atomic_store_n(&((struct cli_recording *)user)->ended, 1, __ATOMIC_RELEASE);
}

static int cli_target_ended(struct cli_recording *r)
{
    if (r->child.pid) return cli_has_ended(&r->child);
    if (__atomic_load_n(&r->ended, __ATOMIC_ACQUIRE)) return 1;
    return kill((pid_t)r->options->pid, 0) != 0 && errno == ESRCH;
}

// Waits until a time, at most a tenth of a second, and notes what happened meanwhile.
static void cli_tick(struct cli_recording *r, double until)
{
    double now = cli_now(), next = now + 0.1;
    siginfo_t info;
    int number;
    if (until > 0 && until < next) next = until;
    number = cli_wait_signal(next, &info);
    if (number) cli_take_signal(r, number, &info);
    if (r->end == CLI_GOES_ON && cli_target_ended(r)) r->end = CLI_BY_TARGET;
    if (r->end == CLI_GOES_ON && r->deadline > 0 && cli_now() >= r->deadline) r->end = CLI_BY_TIME;
    if (!r->shows || cli_now() < r->next_look) return;
    cli_show_progress(r);
    r->next_look = cli_now() + 0.25;
}

static void cli_begin_time(struct cli_recording *r)
{
    r->begin = cli_now();
    r->deadline = r->options->duration_s > 0 ? r->begin + r->options->duration_s : 0;
    r->next_look = r->begin + 0.5;
    r->next_top = r->begin + 1;
}

static int cli_attach(struct cli_recording *r)   // an exit status
{
    pyprof_config config = cli_config(r->options, r->child.pid ? r->child.pid : r->options->pid);
    pyprof_result result;
    double begin = cli_now(), tried;
    config.timeline_s = (double)CLI_ALL_TIME;
    config.duration_s = r->options->duration_s;
    config.on_event.fn = cli_take_event;
    config.on_event.user = r;
    cli_begin_time(r);
    for (;;) {
        tried = cli_now();
        result = cli_session(&config, &r->session);
        if (result == PYPROF_OK || !r->child.pid || !cli_too_early(result, tried - begin) || r->end != CLI_GOES_ON) break;
        for (tried = cli_next_try(begin, tried); r->end == CLI_GOES_ON && cli_now() < tried;) cli_tick(r, tried);
    }
    cli_clear_progress(r);
    if (result == PYPROF_OK) {
        cli_begin_time(r);
        return 0;
    }
    if (r->end == CLI_BY_SIGNAL) return cli_fail("nothing was recorded: no Python was found in %s until then", r->options->program[0]);
    // The memory of a process that ends is gone before the process can be waited for.
    if (r->child.pid && (result == PYPROF_ERR_NO_PROCESS || cli_has_ended(&r->child))) return cli_fail("%s has ended, and no Python was found in it%s", r->options->program[0],
        r->options->subprocesses ? "" : "; --subprocesses follows the processes that it starts");
    return cli_fail("%s", pyprof_last_error());
}

// ---- memory: by the preload library, in the command itself -------------------------------------
static int cli_find_library(char *path, size_t capacity)   // beside the program, or where make install puts it
{
    static const char *const places[] = { "libpyprof.so", "../lib/libpyprof.so", "../lib/pyprof/libpyprof.so" };
    char self[4096];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    size_t i;
    if (length <= 0) return 0;
    self[length] = 0;
    *strrchr(self, '/') = 0;
    for (i = 0; i < sizeof places / sizeof places[0]; i++)
        if ((size_t)snprintf(path, capacity, "%s/%s", self, places[i]) < capacity && access(path, R_OK) == 0) return 1;
    return 0;
}

static int cli_start_preloaded(struct cli_recording *r)
{
    static char names[8][8400];
    char library[4200], *variables[9];
    const char *temporary = getenv("TMPDIR"), *before = getenv("LD_PRELOAD");
    int i;
    if (!cli_find_library(library, sizeof library)) return cli_fail("no libpyprof.so beside this program or in ../lib: make examples builds it");
    if (strpbrk(library, ": ")) return cli_fail("%s: LD_PRELOAD takes no path with a blank or a colon", library);
    snprintf(r->folder, sizeof r->folder, "%.4000s/pyprof-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(r->folder)) {
        cli_fail("cannot make the folder %s: %s", r->folder, strerror(errno));
        r->folder[0] = 0;
        return CLI_FAILED;
    }
    snprintf(names[0], sizeof names[0], "LD_PRELOAD=%s%s%.2000s", library, before && *before ? ":" : "", before ? before : "");
    snprintf(names[1], sizeof names[1], "PYPROF_OUT=%s/run", r->folder);
    snprintf(names[2], sizeof names[2], "PYPROF_TRIGGER=%s/switch", r->folder);
    snprintf(names[3], sizeof names[3], "PYPROF_HEAP=%s", r->options->heap == PYPROF_HEAP_EXACT ? "exact" : r->options->heap ? "sampled" : "off");
    if (r->options->rate_hz < 0) snprintf(names[4], sizeof names[4], "PYPROF_RATE=auto");
    else snprintf(names[4], sizeof names[4], "PYPROF_RATE=%g", r->options->rate_hz);
    snprintf(names[5], sizeof names[5], "PYPROF_FORMATS=json");
    snprintf(names[6], sizeof names[6], "PYPROF_QUIET=1");
    snprintf(names[7], sizeof names[7], "PYPROF_TIMELINE=%ld", CLI_ALL_TIME);
    for (i = 0; i < 8; i++) variables[i] = names[i];
    variables[8] = NULL;
    setenv("PROFILING", "1", 1);
    unsetenv("PYPROF_RUN");
    cli_begin_time(r);
    return cli_start(r->options->program, variables, &r->child);
}

static int cli_name_compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The files that end like this in the folder, sorted, the first process's first; the caller frees them.
static char **cli_list_folder(const char *folder, const char *end, size_t *count)
{
    DIR *directory = opendir(folder);
    struct dirent *entry;
    char **names = NULL, **more, path[8400];
    *count = 0;
    while (directory && (entry = readdir(directory)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (length < strlen(end) || entry->d_name[0] == '.' || strcmp(entry->d_name + length - strlen(end), end) != 0) continue;
        if (!(more = realloc(names, (*count + 1) * sizeof *names))) break;
        names = more;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (!(names[*count] = strdup(path))) break;
        ++*count;
    }
    if (directory) closedir(directory);
    if (*count) qsort(names, *count, sizeof *names, cli_name_compare);
    for (size_t i = 1; i < *count; i++) {   // run_profile.json comes after run.4242_profile.json
        char *first = names[i];
        if (strcmp(cli_base(first), "run_profile.json") != 0) continue;
        memmove(names + 1, names, i * sizeof *names);
        names[0] = first;
    }
    return names;
}

static void cli_remove_folder(const char *folder)
{
    size_t count, i;
    char **names = cli_list_folder(folder, "", &count);
    for (i = 0; i < count; i++) {
        unlink(names[i]);
        free(names[i]);
    }
    free(names);
    rmdir(folder);
}

// The processes of the command write their files now, not at their ends. What the file says when the library starts
// does not count for it, so it is said again.
static void cli_ask_for_files(struct cli_recording *r)
{
    char path[4200], result[4200];
    struct stat asked, info;
    double begin = cli_now(), next = begin;
    FILE *file;
    snprintf(path, sizeof path, "%s/switch", r->folder);
    snprintf(result, sizeof result, "%s/run_profile.json", r->folder);
    memset(&asked, 0, sizeof asked);
    while (!cli_has_ended(&r->child) && cli_now() < begin + 10) {
        siginfo_t signal;
        int number;
        if (cli_now() >= next && (file = fopen(path, "w")) != NULL) {
            fputs("stop\n", file);
            fclose(file);
            if (!asked.st_mtim.tv_sec && stat(path, &asked) != 0) return;
            next += 0.5;
        }
        number = cli_wait_signal(cli_now() + 0.02, &signal);
        if (number) cli_take_signal(r, number, &signal);
        if (stat(result, &info) == 0 && (info.st_mtim.tv_sec > asked.st_mtim.tv_sec
            || (info.st_mtim.tv_sec == asked.st_mtim.tv_sec && info.st_mtim.tv_nsec > asked.st_mtim.tv_nsec))) return;
    }
}

static pyprof_profile *cli_load_folder(struct cli_recording *r)
{
    size_t count, i, loaded = 0;
    char **names = cli_list_folder(r->folder, "_profile.json", &count);
    pyprof_profile **all = calloc(count + 1, sizeof *all), *made = NULL;
    pyprof_merge_options how;
    memset(&how, 0, sizeof how);
    for (i = 0; all && i < count; i++)
        if (r->options->subprocesses || i == 0)
            loaded += (all[loaded] = cli_load(names[i])) != NULL;
    if (loaded == 1) made = all[0];
    else if (loaded && pyprof_merge((const pyprof_profile *const *)all, loaded, &how, &made) != PYPROF_OK) {
        cli_fail("%s", pyprof_last_error());
        made = NULL;
    } else if (!count) cli_fail("no recording was made: no Python was found in %s", r->options->program[0]);
    for (i = 0; all && i < loaded && loaded > 1; i++) pyprof_profile_free(all[i]);
    for (i = 0; i < count; i++) free(names[i]);
    free(names);
    free(all);
    return made;
}

// ---- what was recorded ------------------------------------------------------------------------
static void cli_default_output(struct cli_recording *r, const pyprof_profile *profile)
{
    static char name[400];
    pyprof_info info;
    struct tm local;
    time_t now = time(NULL);
    char when[32] = "", *at;
    if (r->options->outputs) return;
    pyprof_profile_info(profile, &info);
    if (localtime_r(&now, &local)) strftime(when, sizeof when, "%Y%m%d-%H%M%S", &local);
    snprintf(name, sizeof name, "%.200s-%s%s", info.program && *info.program ? info.program : "python", when,
             cli_suffix_of(r->options->format ? r->options->format : PYPROF_FORMAT_SVG));
    cli_clean(name);
    for (at = name; *at; at++) if (*at == '/' || *at == '%') *at = '_';
    if (name[0] == '.' || name[0] == '-') name[0] = '_';
    r->options->output[r->options->outputs++] = name;
}

// pyprof: 12.3 s of app.py (pid 4242): 1230 samples, 3 lost (0.2 %); wrote app.svg, app.json
static int cli_write_recording(struct cli_recording *r, const pyprof_profile *profile)
{
    char line[9000], name[4200], who[40];
    pyprof_info info;
    pyprof_stats stats;
    size_t used;
    int i, status = 0, wrote = 0;
    cli_default_output(r, profile);
    pyprof_profile_info(profile, &info);
    pyprof_profile_stats(profile, &stats);
    if (info.recordings > 1) snprintf(who, sizeof who, "%zu processes", info.recordings);
    else snprintf(who, sizeof who, "pid %lld", (long long)info.pid);
    used = (size_t)snprintf(line, sizeof line, "pyprof: %.2f s of %.200s (%s): %llu samples, %llu lost (%.1f %%)", info.duration_s,
                            info.program ? info.program : "?", who, (unsigned long long)stats.samples,
                            (unsigned long long)(stats.missed + stats.rejected),
                            stats.asked ? 100 * (double)(stats.missed + stats.rejected) / (double)stats.asked : 0);
    for (i = 0; i < r->options->outputs; i++) {
        if (cli_save(r->options, profile, r->options->output[i]) != 0) { status = CLI_FAILED; continue; }
        cli_written_name(profile, r->options->output[i], name, sizeof name);
        if (used < sizeof line) used += (size_t)snprintf(line + used, sizeof line - used, "%s%s", wrote++ ? ", " : "; wrote ", strcmp(name, "-") ? name : "standard output");
    }
    cli_clean(line);
    if (!r->options->quiet) fprintf(stderr, "%s\n", line);
    if (stats.degraded[0] && !r->options->quiet) cli_tell("%s", stats.degraded);
    if (status && !wrote) {   // a recording cannot be made again
        snprintf(name, sizeof name, "%s/pyprof-%ld-%ld.json", getenv("TMPDIR") && *getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (long)info.pid, (long)time(NULL));
        if (pyprof_save(profile, name, NULL) == PYPROF_OK) cli_fail("the recording is in %s", name);
    }
    return status;
}

static void cli_await_command(struct cli_recording *r)   // and passes signals on
{
    siginfo_t info;
    int number;
    if (!r->child.pid) return;
    while (!cli_has_ended(&r->child)) {
        number = cli_wait_signal(cli_now() + 0.5, &info);
        if (number) cli_take_signal(r, number, &info);
    }
    cli_reap(&r->child);
}

static int cli_finish(struct cli_recording *r)   // an exit status
{
    pyprof_profile *profile = NULL;
    int status = 0;
    sigset_t interrupt;
    cli_clear_progress(r);
    if (r->folder[0] && !cli_has_ended(&r->child)) cli_ask_for_files(r);
    if (r->signals) {   // a second Ctrl-C need not wait for files
        sigemptyset(&interrupt);
        sigaddset(&interrupt, SIGINT);
        sigprocmask(SIG_UNBLOCK, &interrupt, NULL);
    }
    if (!r->folder[0] && pyprof_stop(r->session, &profile) != PYPROF_OK) status = cli_fail("%s", pyprof_last_error());
    if (r->folder[0] && !(profile = cli_load_folder(r))) status = CLI_FAILED;
    if (profile) status = cli_write_recording(r, profile);
    pyprof_profile_free(profile);
    if (r->folder[0] && !cli_has_ended(&r->child) && r->end != CLI_BY_TARGET) cli_await_command(r);
    if (r->folder[0]) cli_remove_folder(r->folder);
    sigprocmask(SIG_BLOCK, &cli_waited, NULL);
    return status;
}

static int cli_record(struct cli_options *options)
{
    struct cli_recording *r;
    int status;
    if (options->pid && options->program) return cli_misuse(options, "either --pid or a command, not both");
    if (!options->pid && !options->program) return cli_misuse(options, "record what? --pid PID, or a command");
    if (options->heap && options->pid) return cli_misuse(options, "--heap needs a command: memory is recorded in the process itself, from its start");
    if ((status = cli_check_outputs(options)) != 0) return status;
    if (!options->outputs && access(".", W_OK) != 0) return cli_fail("cannot write into this folder: %s; -o FILE tells where", strerror(errno));
    if (!(r = calloc(1, sizeof *r))) return cli_fail("no memory");
    r->options = options;
    r->shows = cli_may_show(options);
    cli_hold_signals();
    signal(SIGPIPE, SIG_IGN);
    if (options->heap) status = cli_start_preloaded(r);
    else {
        if (options->program) status = cli_start(options->program, NULL, &r->child);
        if (!status) status = cli_attach(r);
    }
    if (!status) while (r->end == CLI_GOES_ON) cli_tick(r, r->deadline);
    if (!status) status = cli_finish(r);
    else if (r->folder[0]) cli_remove_folder(r->folder);
    cli_await_command(r);
    if (options->program && r->child.status) status = r->child.status;
    free(r);
    return status;
}
#endif
