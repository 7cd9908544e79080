// pyprof dump: what every thread of a process does now, what it waits for, and which thread has that.
#ifndef PYPROF_DUMP_H
#define PYPROF_DUMP_H
#include <dirent.h>
#include "pyprof_cli.h"

struct dump_local { size_t depth; const char *name, *value; int masked, sure; };   // depth: of its frame, from the root

struct dump_thread {
    pyprof_thread about;
    pyprof_frame *frames;          // root first
    size_t depth;
    int listed, gil, waits, unknown;
    pyprof_wait wait;              // kind NULL = it does not wait
    uint64_t holder;               // thread that has what it waits for; 0 = unknown
    struct dump_local *locals;
    size_t local_count;
};

struct dump_task { uint64_t thread_id; pyprof_frame *frames; size_t depth; uint64_t count; };

struct dump {
    int64_t pid;
    pyprof_info info;
    pyprof_stats stats;
    struct dump_thread *threads;
    size_t thread_count;
    struct dump_task *tasks;
    size_t task_count;
    const char *core;              // the file that was read instead of a process, or NULL
    int failed;                    // no memory
};

// ---- collecting -----------------------------------------------------------------
static void *dump_grow(struct dump *d, void *items, size_t count, size_t size)   // room for one more
{
    void *more;
    if (count & (count - 1)) return items;       // room is always a power of two
    more = realloc(items, (count ? 2 * count : 1) * size);
    if (!more) d->failed = 1;
    return more ? more : items;
}

static struct dump_thread *dump_thread_of(struct dump *d, const pyprof_thread *thread)
{
    struct dump_thread *found;
    size_t i;
    for (i = 0; thread && i < d->thread_count; i++)
        if (d->threads[i].about.thread_id == thread->thread_id && d->threads[i].about.interpreter == thread->interpreter)
            return &d->threads[i];
    if (!thread) return NULL;
    d->threads = (struct dump_thread *)dump_grow(d, d->threads, d->thread_count, sizeof *d->threads);
    if (d->failed) return NULL;
    found = &d->threads[d->thread_count++];
    memset(found, 0, sizeof *found);
    found->about = *thread;
    return found;
}

static pyprof_frame *dump_frames(struct dump *d, const pyprof_item *item)
{
    pyprof_frame *frames = (pyprof_frame *)malloc((item->depth + 1) * sizeof *frames);
    if (!frames) d->failed = 1;
    else if (item->depth) memcpy(frames, item->stack, item->depth * sizeof *frames);
    return frames;
}

static void dump_see_state(struct dump *d, const pyprof_item *item)   // the last one of a thread counts
{
    struct dump_thread *thread = dump_thread_of(d, item->thread);
    if (!thread) return;
    free(thread->frames);
    thread->frames = dump_frames(d, item);
    thread->depth = thread->frames ? item->depth : 0;
    thread->gil = item->self[PYPROF_GIL_SAMPLES] > 0;
    thread->waits = item->self[PYPROF_WAIT_SAMPLES] > 0;
    thread->unknown = item->self[PYPROF_UNKNOWN_NS] > 0;
    thread->listed = 1;
}

static void dump_see_local(struct dump *d, const pyprof_item *item)
{
    struct dump_thread *thread = dump_thread_of(d, item->thread);
    struct dump_local *local;
    if (!thread) return;
    thread->locals = (struct dump_local *)dump_grow(d, thread->locals, thread->local_count, sizeof *thread->locals);
    if (d->failed) return;
    local = &thread->locals[thread->local_count++];
    local->depth = item->depth;
    local->name = item->local->name;
    local->value = item->local->value;
    local->masked = item->local->masked;
    local->sure = item->local->sure;
}

static int dump_see(void *user, const pyprof_item *item)
{
    struct dump *d = (struct dump *)user;
    struct dump_thread *thread;
    struct dump_task *task;
    switch (item->kind) {
    case PYPROF_ITEM_STATE: dump_see_state(d, item); break;
    case PYPROF_ITEM_LOCAL: dump_see_local(d, item); break;
    case PYPROF_ITEM_WAIT:
        thread = dump_thread_of(d, item->thread);
        if (!thread) break;
        thread->wait = *item->wait;
        thread->holder = item->other ? item->other->thread_id : 0;
        break;
    case PYPROF_ITEM_TASK:
        d->tasks = (struct dump_task *)dump_grow(d, d->tasks, d->task_count, sizeof *d->tasks);
        if (d->failed) break;
        task = &d->tasks[d->task_count++];
        task->thread_id = item->thread->thread_id;
        task->frames = dump_frames(d, item);
        task->depth = task->frames ? item->depth : 0;
        task->count = item->count;
        break;
    default: break;
    }
    return d->failed;
}

static void dump_free(struct dump *d)
{
    size_t i;
    for (i = 0; i < d->thread_count; i++) {
        free(d->threads[i].frames);
        free(d->threads[i].locals);
    }
    for (i = 0; i < d->task_count; i++) free(d->tasks[i].frames);
    free(d->threads);
    free(d->tasks);
}

static int64_t dump_pid;   // of qsort: its main thread comes first

static int dump_by_thread(const void *a, const void *b)
{
    const struct dump_thread *x = (const struct dump_thread *)a, *y = (const struct dump_thread *)b;
    int x_main = (int64_t)x->about.thread_id == dump_pid, y_main = (int64_t)y->about.thread_id == dump_pid;
    if (x_main != y_main) return y_main - x_main;
    if (x->about.thread_id != y->about.thread_id) return x->about.thread_id < y->about.thread_id ? -1 : 1;
    return x->about.interpreter < y->about.interpreter ? -1 : x->about.interpreter > y->about.interpreter;
}

static const struct dump_thread *dump_find(const struct dump *d, uint64_t thread_id)   // NULL = none
{
    size_t i;
    for (i = 0; i < d->thread_count; i++)
        if (d->threads[i].about.thread_id == thread_id) return &d->threads[i];
    return NULL;
}

static int dump_has_ended(const struct dump_thread *thread)   // did it get the signal that ended the process?
{
    return thread->wait.kind && strcmp(thread->wait.kind, "ended") == 0;
}

static const struct dump_thread *dump_gil_holder(const struct dump *d)   // NULL = none
{
    size_t i;
    for (i = 0; i < d->thread_count; i++)
        if (d->threads[i].gil) return &d->threads[i];
    return NULL;
}

// ---- what /proc tells of the process ---------------------------------------------------
static void dump_read(int64_t pid, const char *name, char *text, size_t capacity)   // "" = unreadable
{
    char path[64];
    FILE *file;
    size_t size = 0;
    snprintf(path, sizeof path, "/proc/%lld/%s", (long long)pid, name);
    file = fopen(path, "r");
    if (file) {
        size = fread(text, 1, capacity - 1, file);
        fclose(file);
    }
    text[size] = 0;
    while (size-- > 0) if (!text[size]) text[size] = ' ';   // between arguments
    size = strlen(text);
    while (size && (text[size - 1] == ' ' || text[size - 1] == '\n')) text[--size] = 0;
}

static void dump_program(int64_t pid, char *text, size_t capacity)   // the file that it runs
{
    char path[64];
    ssize_t size;
    snprintf(path, sizeof path, "/proc/%lld/exe", (long long)pid);
    size = readlink(path, text, capacity - 1);
    text[size > 0 ? size : 0] = 0;
}

// A state in which the process cannot run at all; NULL = it has none.
static const char *dump_halted(int64_t pid)
{
    char text[1024], *at;
    dump_read(pid, "stat", text, sizeof text);
    at = strrchr(text, ')');
    if (!at || !at[1]) return NULL;
    return at[2] == 'T' ? "stopped by a signal (SIGSTOP or SIGTSTP): SIGCONT lets it go on"
        : at[2] == 't' ? "stopped by a debugger" : at[2] == 'Z' ? "it has ended" : NULL;
}

// ---- text ------------------------------------------------------------------------------
static void dump_print(const char *text) { cli_print(stdout, text); }

static void dump_print_seconds(int64_t ns)
{
    if (ns >= 100000000000) printf("%lld s", (long long)(ns / 1000000000));
    else printf("%lld.%lld s", (long long)(ns / 1000000000), (long long)(ns / 100000000 % 10));
}

static void dump_print_thread(const struct dump *d, uint64_t thread_id)
{
    const struct dump_thread *thread = dump_find(d, thread_id);
    printf("%llu", (unsigned long long)thread_id);
    if (!thread) return;
    printf(" \"");
    dump_print(thread->about.name);
    putchar('"');
}

static void dump_print_what(const pyprof_wait *wait)   // "waits for lock <_thread.lock object at 0x7f...>"
{
    static const struct { const char *kind, *words; } said[] = {
        { "sleep", "sleeps" }, { "CPU", "waits for a CPU" }, { "stopped", "is stopped" }, { "socket", "waits: " }, { "pipe", "waits: " },
        { "file", "waits: " }, { "file lock", "waits: " }, { "poll", "waits: " }, { "call", "waits: " }, { "memory", "waits: " },
        { "futex", "waits for a lock that is not Python's, or was not found" }, { "GIL", "waits for the GIL" },
        { "thread", "waits for the end of " }, { "threads", "waits for the end of other threads" }, { "child", "waits for a child process " },
    };
    size_t i, count = sizeof said / sizeof said[0];
    for (i = 0; i < count && strcmp(wait->kind, said[i].kind) != 0; i++) {}
    if (i < count) fputs(said[i].words, stdout);
    else {
        fputs("waits for ", stdout);
        dump_print(wait->kind);
        if (*wait->what) putchar(' ');
    }
    if (strcmp(wait->kind, "threads") != 0) dump_print(wait->what);
}

static void dump_print_wait(const struct dump *d, const struct dump_thread *thread)
{
    const pyprof_wait *wait = &thread->wait;
    if (strcmp(wait->kind, "unknown") == 0 || strcmp(wait->kind, "ended") == 0) return;
    fputs("    ", stdout);
    dump_print_what(wait);
    if (wait->waited_ns >= 0) {
        fputs(", for ", stdout);
        dump_print_seconds(wait->waited_ns);
    }
    if (wait->timed) fputs(", with a timeout", stdout);
    if (thread->holder) {
        fputs(strcmp(wait->how, "join") == 0 ? ": thread " : ", held by thread ", stdout);
        dump_print_thread(d, thread->holder);
    } else if (strcmp(wait->kind, "lock") == 0) fputs(", its holder is unknown", stdout);
    putchar('\n');
}

static void dump_print_frame(const pyprof_frame *frame)
{
    fputs("    ", stdout);
    dump_print(frame->kind == PYPROF_KIND_PYTHON && *frame->qualname ? frame->qualname : frame->name);
    if (frame->file && *frame->file) {
        fputs(" (", stdout);
        dump_print(frame->file);
        if (frame->line > 0) printf(":%d", (int)frame->line);
        putchar(')');
    }
    putchar('\n');
}

static void dump_print_locals(const struct dump_thread *thread, size_t depth)
{
    size_t i;
    int any = 0;
    for (i = 0; i < thread->local_count; i++) {
        const struct dump_local *local = &thread->locals[i];
        if (local->depth != depth) continue;
        if (!any++) printf("        Locals%s:\n", local->sure ? "" : " (the thread runs: they may have changed meanwhile)");
        fputs("            ", stdout);
        dump_print(local->name);
        fputs(": ", stdout);
        dump_print(local->value);
        putchar('\n');
    }
}

static void dump_print_stack(const struct dump *d, const struct dump_thread *thread)
{
    size_t i;
    printf("Thread %llu (%s%s): \"", (unsigned long long)thread->about.thread_id,
           thread->unknown ? "unknown" : thread->waits ? "idle" : "active", thread->gil ? "+gil" : "");
    dump_print(thread->about.name);
    putchar('"');
    if (thread->about.interpreter > 0) printf(" of interpreter %lld", (long long)thread->about.interpreter);
    putchar('\n');
    if (thread->wait.kind) dump_print_wait(d, thread);
    for (i = thread->depth; i-- > 0;) {
        const pyprof_frame *frame = &thread->frames[i];
        if (frame->kind == PYPROF_KIND_WAIT || frame->kind == PYPROF_KIND_THREAD || frame->kind == PYPROF_KIND_PROCESS) continue;
        dump_print_frame(frame);
        dump_print_locals(thread, i + 1);
    }
}

static void dump_print_gil(const struct dump *d)
{
    const struct dump_thread *holder = dump_gil_holder(d);
    if (!holder) return;
    fputs("GIL: held by thread ", stdout);
    dump_print_thread(d, holder->about.thread_id);
    if (holder->wait.kind && holder->wait.waited_ns >= 0) {
        fputs(", which waits without giving it back, for ", stdout);
        dump_print_seconds(holder->wait.waited_ns);
        fputs(" at least", stdout);
    }
    putchar('\n');
}

static void dump_print_ended(const struct dump *d)   // the signal that ended the process of a core file
{
    size_t i;
    for (i = 0; i < d->thread_count; i++) {
        if (!dump_has_ended(&d->threads[i])) continue;
        fputs("Ended by ", stdout);
        dump_print(d->threads[i].wait.what);
        fputs(", in thread ", stdout);
        dump_print_thread(d, d->threads[i].about.thread_id);
        putchar('\n');
    }
}

static void dump_print_deadlock(const struct dump *d, const struct dump_thread *first)
{
    const struct dump_thread *thread = first;
    size_t i = 0;
    printf("\nDEADLOCK %d: no thread of this ring can go on\n", first->wait.deadlock);
    do {
        printf("    %s thread ", i ? "|->" : "+->");
        dump_print_thread(d, thread->about.thread_id);
        fputs("\n    |       ", stdout);
        dump_print_what(&thread->wait);
        printf(", which the %s thread %s\n", thread->holder == first->about.thread_id ? "first" : "next",
               strcmp(thread->wait.how, "join") == 0 ? "is" : "has");
        thread = dump_find(d, thread->holder);
    } while (thread && thread != first && ++i < d->thread_count);
    puts("    +-- and so on");
}

static void dump_print_task(const struct dump *d, const struct dump_task *task)
{
    size_t i;
    int any = 0;
    for (i = 0; i < task->depth; i++) {
        const pyprof_frame *frame = &task->frames[i];
        if (frame->kind == PYPROF_KIND_TASK) {
            fputs("\nTask \"", stdout);
            dump_print(frame->name);
            fputs("\" of thread ", stdout);
            dump_print_thread(d, task->thread_id);
            if (task->count > 1) printf(", %llu of them", (unsigned long long)task->count);
            puts(" awaits");
            any = 1;
        }
    }
    for (i = task->depth; any && i-- > 0 && task->frames[i].kind != PYPROF_KIND_TASK;) dump_print_frame(&task->frames[i]);
}

static void dump_text(const struct dump *d)
{
    char command[4096] = "", program[4096] = "";
    const char *halted = d->core ? NULL : dump_halted(d->pid);
    size_t i, k;
    if (!d->core) {
        dump_read(d->pid, "cmdline", command, sizeof command);
        dump_program(d->pid, program, sizeof program);
    } else {
        fputs("Core file ", stdout);
        dump_print(d->core);
        putchar('\n');
    }
    printf("Process %lld: ", (long long)d->pid);
    dump_print(*command ? command : d->info.program);
    printf("\nPython v%s%s", d->info.python, d->info.free_threaded ? " free-threaded" : "");
    if (*program) {
        fputs(" (", stdout);
        dump_print(program);
        putchar(')');
    }
    putchar('\n');
    if (halted) printf("State: %s\n", halted);
    dump_print_ended(d);
    dump_print_gil(d);
    if (*d->stats.degraded) {
        fputs("Note: ", stdout);
        dump_print(d->stats.degraded);
        putchar('\n');
    }
    for (i = 0; i < d->thread_count; i++) {
        putchar('\n');
        dump_print_stack(d, &d->threads[i]);
    }
    for (i = 0; i < d->task_count; i++) dump_print_task(d, &d->tasks[i]);
    for (i = 0; i < d->thread_count; i++) {
        for (k = 0; k < i && d->threads[k].wait.deadlock != d->threads[i].wait.deadlock; k++) {}
        if (d->threads[i].wait.deadlock && k == i) dump_print_deadlock(d, &d->threads[i]);
    }
}

// ---- JSON ------------------------------------------------------------------------------
// What comes from /proc may be anything: bytes that are not ASCII are shown as \x9f.
static void dump_json_bytes(const char *key, const char *bytes)
{
    char text[4 * 4096 + 1];
    size_t size = 0;
    for (; *bytes && size + 5 < sizeof text; bytes++) {
        if ((unsigned char)*bytes < 0x80) text[size++] = *bytes;
        else size += (size_t)snprintf(text + size, 5, "\\x%02x", (unsigned char)*bytes);
    }
    text[size] = 0;
    cli_json_text(key, text);
}

static void dump_json_seconds(const char *key, int64_t ns)
{
    if (ns < 0) printf("\"%s\":null", key);
    else printf("\"%s\":%lld.%03lld", key, (long long)(ns / 1000000000), (long long)(ns / 1000000 % 1000));
}

static void dump_json_frame(const pyprof_frame *frame)
{
    putchar('{');
    cli_json_text("name", frame->name);
    putchar(',');
    cli_json_text("qualname", frame->qualname && *frame->qualname ? frame->qualname : frame->name);
    putchar(',');
    cli_json_text("file", frame->file ? frame->file : "");
    printf(",\"line\":%d", (int)frame->line);
}

static void dump_json_locals(const struct dump_thread *thread, size_t depth)
{
    size_t i;
    int any = 0;
    for (i = 0; i < thread->local_count; i++) {
        const struct dump_local *local = &thread->locals[i];
        if (local->depth != depth) continue;
        fputs(any++ ? ",{" : ",\"locals\":[{", stdout);
        cli_json_text("name", local->name);
        putchar(',');
        cli_json_text("value", local->value);
        printf(",\"masked\":%s,\"sure\":%s}", local->masked ? "true" : "false", local->sure ? "true" : "false");
    }
    if (any) putchar(']');
}

static void dump_json_frames(const struct dump_thread *thread)   // innermost first
{
    size_t i;
    int any = 0;
    fputs(",\"frames\":[", stdout);
    for (i = thread->depth; i-- > 0;) {
        int kind = thread->frames[i].kind;
        if (kind == PYPROF_KIND_WAIT || kind == PYPROF_KIND_THREAD || kind == PYPROF_KIND_PROCESS) continue;
        fputs(any++ ? ",\n      " : "\n      ", stdout);
        dump_json_frame(&thread->frames[i]);
        dump_json_locals(thread, i + 1);
        putchar('}');
    }
    putchar(']');
}

static void dump_json_wait(const struct dump_thread *thread)
{
    const pyprof_wait *wait = &thread->wait;
    if (!wait->kind) { fputs(",\"wait\":null", stdout); return; }
    fputs(",\n     \"wait\":{", stdout);
    cli_json_text("kind", wait->kind);
    putchar(',');
    cli_json_text("what", wait->what);
    if (thread->holder) printf(",\"holder\":%llu,", (unsigned long long)thread->holder);
    else fputs(",\"holder\":null,", stdout);
    cli_json_text("how", wait->how);
    putchar(',');
    dump_json_seconds("waited_s", wait->waited_ns);
    printf(",\"timed\":%s,\"deadlock\":%d}", wait->timed ? "true" : "false", wait->deadlock);
}

static void dump_json_deadlocks(const struct dump *d)
{
    size_t i, k, steps;
    int any = 0;
    fputs(",\n \"deadlocks\":[", stdout);
    for (i = 0; i < d->thread_count; i++) {
        const struct dump_thread *thread = &d->threads[i];
        for (k = 0; k < i && d->threads[k].wait.deadlock != thread->wait.deadlock; k++) {}
        if (!thread->wait.deadlock || k != i) continue;
        fputs(any++ ? ",[" : "[", stdout);
        for (steps = 0; thread && steps < d->thread_count; steps++) {
            printf("%s%llu", steps ? "," : "", (unsigned long long)thread->about.thread_id);
            if (thread->holder == d->threads[i].about.thread_id) break;
            thread = dump_find(d, thread->holder);
        }
        putchar(']');
    }
    putchar(']');
}

static void dump_json_task(const struct dump_task *task)
{
    size_t i, k;
    for (i = task->depth; i > 0 && task->frames[i - 1].kind != PYPROF_KIND_TASK; i--) {}
    printf("{\"thread_id\":%llu,\"count\":%llu,", (unsigned long long)task->thread_id, (unsigned long long)task->count);
    cli_json_text("name", i ? task->frames[i - 1].name : "");
    fputs(",\"frames\":[", stdout);
    for (k = task->depth; k-- > i;) {
        if (k + 1 < task->depth) putchar(',');
        dump_json_frame(&task->frames[k]);
        putchar('}');
    }
    fputs("]}", stdout);
}

static void dump_json_ended(const struct dump *d)
{
    size_t i;
    for (i = 0; i < d->thread_count && !dump_has_ended(&d->threads[i]); i++) {}
    if (i == d->thread_count) { fputs(",\"ended\":null", stdout); return; }
    fputs(",\"ended\":{", stdout);
    cli_json_text("signal", d->threads[i].wait.what);
    printf(",\"thread_id\":%llu}", (unsigned long long)d->threads[i].about.thread_id);
}

static void dump_json(const struct dump *d)
{
    char command[4096] = "", program[4096] = "";
    const char *halted = d->core ? NULL : dump_halted(d->pid);
    const struct dump_thread *holder = dump_gil_holder(d);
    size_t i;
    if (!d->core) {
        dump_read(d->pid, "cmdline", command, sizeof command);
        dump_program(d->pid, program, sizeof program);
    }
    printf("{\"pid\":%lld,", (long long)d->pid);
    dump_json_bytes("command", command);
    putchar(',');
    dump_json_bytes("executable", program);
    putchar(',');
    cli_json_text("program", d->info.program);
    putchar(',');
    cli_json_text("python", d->info.python);
    printf(",\"free_threaded\":%s,", d->info.free_threaded ? "true" : "false");
    cli_json_text("halted", halted ? halted : "");
    putchar(',');
    cli_json_text("degraded", d->stats.degraded);
    if (d->core) {
        putchar(',');
        dump_json_bytes("core", d->core);
        dump_json_ended(d);
    }
    if (holder) printf(",\n \"gil_holder\":%llu", (unsigned long long)holder->about.thread_id);
    else fputs(",\n \"gil_holder\":null", stdout);
    fputs(",\n \"threads\":[", stdout);
    for (i = 0; i < d->thread_count; i++) {
        const struct dump_thread *thread = &d->threads[i];
        printf("%s\n    {\"thread_id\":%llu,\"ident\":%llu,\"interpreter\":%lld,", i ? "," : "",
               (unsigned long long)thread->about.thread_id, (unsigned long long)thread->about.ident, (long long)thread->about.interpreter);
        cli_json_text("name", thread->about.name);
        printf(",\"active\":%s,\"gil\":%s,\"unknown\":%s", thread->waits ? "false" : "true", thread->gil ? "true" : "false",
               thread->unknown ? "true" : "false");
        dump_json_wait(thread);
        dump_json_frames(thread);
        putchar('}');
    }
    putchar(']');
    dump_json_deadlocks(d);
    fputs(",\n \"tasks\":[", stdout);
    for (i = 0; i < d->task_count; i++) {
        fputs(i ? ",\n    " : "\n    ", stdout);
        dump_json_task(&d->tasks[i]);
    }
    fputs("]}", stdout);
}

// ---- the command ---------------------------------------------------------------------------
static int dump_one(const struct cli_options *options, int64_t pid)   // 0 = done
{
    pyprof_dump_options wanted;
    pyprof_query all;
    pyprof_profile *profile;
    struct dump d;
    pyprof_result result;
    memset(&wanted, 0, sizeof wanted);
    memset(&all, 0, sizeof all);
    memset(&d, 0, sizeof d);
    wanted.locals = options->locals ? options->secrets ? PYPROF_LOCALS_ALL : PYPROF_LOCALS_MASKED : PYPROF_LOCALS_OFF;
    wanted.max_value = options->locals > 1 ? 1000 : 0;
    all.include_idle = 1;
    all.states = PYPROF_STATES_ALL;
    wanted.core = d.core = options->core;
    wanted.executable = options->executable;
    result = pyprof_dump(pid, &wanted, &profile);
    if (result != PYPROF_OK) return cli_fail("%s", pyprof_last_error());
    result = pyprof_visit(profile, &all, dump_see, &d);
    if (result == PYPROF_OK) result = pyprof_profile_info(profile, &d.info);
    d.pid = dump_pid = d.core ? d.info.pid : pid;
    if (result == PYPROF_OK) result = pyprof_profile_stats(profile, &d.stats);
    if (result == PYPROF_OK && !d.failed) {
        if (d.thread_count) qsort(d.threads, d.thread_count, sizeof *d.threads, dump_by_thread);
        if (options->json) dump_json(&d);
        else dump_text(&d);
    }
    dump_free(&d);
    pyprof_profile_free(profile);
    if (d.failed) return cli_fail("no memory");
    return result == PYPROF_OK ? 0 : cli_fail("%s", pyprof_last_error());
}

// Its child processes, those of its children, and so on, up to `room` of them. Returns how many.
static size_t dump_children(int64_t pid, int64_t *found, size_t count, size_t room)
{
    char name[64], text[8192], *at, *end;
    struct dirent *entry;
    DIR *folder;
    snprintf(name, sizeof name, "/proc/%lld/task", (long long)pid);
    folder = opendir(name);
    while (folder && (entry = readdir(folder)) != NULL) {
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "task/%.20s/children", entry->d_name);
        dump_read(pid, name, text, sizeof text);
        for (at = text; count < room; at = end) {
            int64_t child = strtoll(at, &end, 10);
            if (end == at || child <= 0) break;
            found[count++] = child;
            count = dump_children(child, found, count, room);
        }
    }
    if (folder) closedir(folder);
    return count;
}

static int pyprof_cli_dump(const struct cli_options *options)
{
    int64_t children[1024];
    size_t count, i;
    int status, any = 0;
    if (options->core && options->pid) return cli_fail("dump: --pid and --core cannot be used together");
    if (options->executable && !options->core) return cli_fail("dump: --executable is for --core only");
    if (!options->pid && !options->core) return cli_fail("dump: which process? pyprof dump --pid PID, or --core FILE");
    if (!options->subprocesses || options->core) {
        status = dump_one(options, options->pid);
        if (options->json && status == 0) putchar('\n');
    } else {
        count = dump_children(options->pid, children, 0, sizeof children / sizeof children[0]);
        if (options->json) putchar('[');
        status = dump_one(options, options->pid);
        any = status == 0;
        for (i = 0; i < count; i++) {
            if (any) fputs(options->json ? ",\n" : "\n", stdout);
            any = dump_one(options, children[i]) == 0;   // one without Python is told and left out
        }
        if (options->json) puts("]");
    }
    if (fflush(stdout) != 0 && status == 0) status = cli_fail("cannot write: %s", strerror(errno));
    return status;
}
#endif
