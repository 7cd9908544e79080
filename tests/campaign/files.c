// Files: saves and checkpoints that are killed, and a folder in which somebody else plants links, pipes and
// folders.
#include "campaign.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

// ---- kill -9 during a save --------------------------------------------------------------------------------
static const char *const suffixes[] = { "json", "svg", "pb.gz", "txt", "pkl", "speedscope.json", "folded" };
enum { FORMATS = sizeof suffixes / sizeof *suffixes, VERSIONS = 2 };

typedef struct { char *data; size_t size; } bytes;
typedef struct { char path[64]; bytes version[VERSIONS]; } saved_file;

static bytes contents(const char *path)   // data NULL = it cannot be read
{
    bytes b = { NULL, 0 };
    struct stat info;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got;
    if (file < 0) return b;
    if (fstat(file, &info) != 0) fatal("fstat %s", path);
    b.data = malloc((size_t)info.st_size + 1);
    while ((got = read(file, b.data + b.size, (size_t)info.st_size + 1 - b.size)) > 0) b.size += (size_t)got;
    close(file);
    return b;
}

static int same(bytes a, bytes b) { return a.data && b.data && a.size == b.size &&
    memcmp(a.data, b.data, a.size) == 0; }

static void must_save(const pyprof_profile *profile, const char *path)
{
    int result = pyprof_save(profile, path, NULL);
    if (result != PYPROF_OK) wrong("save of %s: %s", path, named(result));
}

static double reference(saved_file *file, pyprof_profile *const *versions)   // returns how long a save takes
{
    double begin = now();
    for (int v = 0; v < VERSIONS; v++) {
        bytes again;
        must_save(versions[v], file->path);
        file->version[v] = contents(file->path);
        whole(file->path, 1);
        must_save(versions[v], file->path);
        again = contents(file->path);
        if (!same(file->version[v], again)) fatal("two saves of one profile differ: %s", file->path);
        free(again.data);
    }
    if (same(file->version[0], file->version[1])) fatal("two profiles make the same file: %s", file->path);
    return (now() - begin) / (2 * VERSIONS);
}

static pid_t saves_for_ever(pyprof_profile *const *versions, const char *path)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    for (int i = 1;; i++) {
        int result = pyprof_save(versions[i % VERSIONS], path, NULL);
        if (result != PYPROF_OK) {
            printf("wrong: in the child, save of %s: %s\n", path, named(result));
            _exit(WRONG);
        }
    }
}

static void kill_one(const saved_file *file, pyprof_profile *const *versions, double wait, int alone)
{
    pid_t pid = saves_for_ever(versions, file->path);
    bytes left;
    int status;
    nap(wait);
    kill(pid, SIGKILL);
    status = ended(pid);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        wrong("the child ended with %x before it was killed", status);
    left = contents(file->path);
    if (!same(left, file->version[0]) && !same(left, file->version[1]))
        wrong("%s is torn: %zu bytes", file->path, left.size);
    free(left.data);
    must_save(versions[0], file->path);
    if (alone && entries("killed", ".pyprof") > 0)
        wrong("%d files are left beside it", entries("killed", ".pyprof"));
}

static int kill_saves(char **words)   // KILLS with|without a neighbour who saves, too
{
    long kills = atol(words[0]);
    int alone = strcmp(words[1], "without") == 0;
    pyprof_profile *versions[VERSIONS];
    saved_file files[FORMATS];
    double takes[FORMATS], begin;
    unsigned seed = 5;
    pid_t neighbour = 0;
    python_begins();
    for (int v = 0; v < VERSIONS; v++) versions[v] = recorded(60 + 10 * v, PYPROF_HEAP_EXACT);
    mkdir("killed", 0700);
    for (int i = 0; i < FORMATS; i++) {
        snprintf(files[i].path, sizeof files[i].path, "killed/a.%s", suffixes[i]);
        takes[i] = reference(&files[i], versions);
    }
    if (!alone) neighbour = saves_for_ever(versions, "killed/neighbour.json");
    begin = now();
    for (long i = 0; i < kills; i++) {
        int f = (int)(i % FORMATS);
        step("kill %ld, .%s", i, suffixes[f]);
        kill_one(&files[f], versions, takes[f] * 2.5 * below(&seed, 1000) / 1000, alone);
        if (neighbour && waitpid(neighbour, NULL, WNOHANG) != 0) fatal("the neighbour could not save");
    }
    if (neighbour) kill(neighbour, SIGKILL), ended(neighbour);
    must_save(versions[0], files[0].path);
    if (entries("killed", ".pyprof") > 0) wrong("%d files are left at the end", entries("killed", ".pyprof"));
    return done("%ld kills of saves in %d formats%s in %.0f s", kills, FORMATS, alone ? "" :
                " beside a neighbour",
                now() - begin);
}

// ---- kill -9 of programs that write checkpoints -----------------------------------------------------------
static int checkpoints(char **words)   // PATH SECONDS: records, with many checkpoints
{
    pyprof_config c = config(2000, PYPROF_HEAP_SAMPLED);
    double seconds = atof(words[1]);
    pyprof *session;
    c.checkpoint = words[0];
    c.checkpoint_s = 0.02;
    python_begins();
    session = started(&c);
    run("def work(seconds):\n"
        "    end, n, kept = time.perf_counter() + seconds, 0, []\n"
        "    while time.perf_counter() < end:\n"
        "        n, space = n + 1, {}\n"
        "        text = 'def f_%%d(): return [bytearray(5000), busy(0.001)]\\n' %% n\n"
        "        exec(compile(text, '/made/%%d.py' %% n, 'exec'), globals(), space)\n"
        "        kept.append(space['f_%%d' %% n]())\n"
        "work(%f)\n", seconds);
    pyprof_profile_free(stopped(session));
    return RIGHT;
}

enum { VICTIMS = 6 };

static pid_t victim(const char *path, const char *seconds)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    execl("/proc/self/exe", "campaign", "checkpoints", path, seconds, (char *)NULL);
    _exit(WRONG);
}

static void wait_for_all(char paths[VICTIMS][64])
{
    double end = now() + 20;
    for (int i = 0; i < VICTIMS; i++)
        while (access(paths[i], F_OK) != 0) {
            if (now() > end) fatal("no checkpoint %s after 20 s", paths[i]);
            nap(0.01);
        }
}

static int kill_checkpoints(char **words)   // KILLS
{
    long kills = atol(words[0]), done_kills = 0;
    char paths[VICTIMS][64];
    double begin = now();
    unsigned seed = 7;
    python_begins();
    mkdir("checked", 0700);
    while (done_kills < kills) {
        pid_t pids[VICTIMS];
        for (int i = 0; i < VICTIMS; i++) {
            snprintf(paths[i], sizeof paths[i], "checked/%d.json", i);
            unlink(paths[i]);
            pids[i] = victim(paths[i], "60");
        }
        step("checkpoints %ld", done_kills);
        wait_for_all(paths);
        for (int i = 0; i < VICTIMS; i++, done_kills++) {
            nap(0.001 * below(&seed, 100));
            kill(pids[i], SIGKILL);
            if (!WIFSIGNALED(ended(pids[i]))) wrong("the program ended before it was killed");
            whole(paths[i], 1);
        }
    }
    for (int i = 0; i < VICTIMS; i++) unlink(paths[i]);
    step("the last one ends by itself");
    if (ended(victim(paths[0], "3")) != 0) wrong("it ended badly");
    whole(paths[0], 1);
    if (entries("checked", ".pyprof") > 0) wrong("%d files are left", entries("checked", ".pyprof"));
    return done("%ld kills of programs with checkpoints in %.0f s", done_kills, now() - begin);
}

// ---- somebody else writes in the same folder --------------------------------------------------------------
enum { OWNER = 1000, ATTACKER = 2000 };   // user ids, where the mode runs as root
static char precious[] = "precious";
typedef struct { char folder[64], target[128], outside[PATH_MAX]; } scene;

static void plant(const char *at, const scene *s, unsigned kind)
{
    struct sockaddr_un address = { AF_UNIX, "" };
    int file;
    switch (kind) {
    case 0: (void)!symlink(s->outside, at); break;
    case 1: (void)!symlink("/nowhere/at/all", at); break;
    case 2: (void)!mkfifo(at, 0666); break;
    case 3: (void)!mkdir(at, 0777); break;
    case 4: (void)!link(s->outside, at); break;
    case 5:
        file = socket(AF_UNIX, SOCK_STREAM, 0);
        strncpy(address.sun_path, at, sizeof address.sun_path - 1);
        (void)!bind(file, (struct sockaddr *)&address, sizeof address);
        close(file);
        break;
    default:
        file = open(at, O_CREAT | O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_EXCL, 0666);
        if (file >= 0) close(file);
    }
}
enum { PLANTS = 7 };

// One that the profiler uses at this moment
static int temporary_name(const scene *s, char *out, size_t size)
{
    DIR *list = opendir(s->folder);
    struct dirent *entry;
    int found = 0;
    while (list && !found && (entry = readdir(list)) != NULL)
        if (strncmp(entry->d_name, ".pyprof", 7) == 0) {
            snprintf(out, size, "%s/%.90s", s->folder, entry->d_name);
            found = 1;
        }
    if (list) closedir(list);
    return found;
}

static void attack(const scene *s, atomic_int *over)
{
    unsigned seed = 1, kind;
    char at[192], other[192];
    for (long i = 0; !atomic_load(over); i++) {
        snprintf(at, sizeof at, "%s", s->target);
        kind = below(&seed, PLANTS + 5);
        if (below(&seed, 3) && temporary_name(s, at, sizeof at) &&
            kind < PLANTS) { if (unlink(at) != 0) rmdir(at); }
        nap(0.00002 * below(&seed, 20));
        if (kind < PLANTS) plant(at, s, kind);
        else if (kind < PLANTS + 4) { if (unlink(at) != 0) rmdir(at); }
        else {   // what was planted takes the place of another
            snprintf(other, sizeof other, "%s/planted", s->folder);
            plant(other, s, below(&seed, PLANTS));
            if (rename(other, at) != 0 && unlink(other) != 0) rmdir(other);
        }
    }
}

static void begins_as(uid_t user)
{
    if (geteuid() == 0 && (setgid((gid_t)user) != 0 || setuid(user) != 0)) fatal("setuid");
}

static void untouched(const scene *s)
{
    struct stat info;
    bytes b = contents(s->outside);
    if (b.size != sizeof precious - 1 || memcmp(b.data, precious, b.size) != 0)
        fatal("the file outside was written to");
    free(b.data);
    if (stat(s->outside, &info) != 0 || (info.st_mode & 07777) != 0644)
        fatal("the file outside has another mode");
}

static void make_scene(scene *s, int sticky)
{
    int file;
    snprintf(s->folder, sizeof s->folder, "planted");
    snprintf(s->target, sizeof s->target, "planted/profile.json");
    snprintf(s->outside, sizeof s->outside, "outside");
    if (mkdir(s->folder, 0700) != 0 || chmod(s->folder, sticky ? 01777 : 0777) != 0) fatal("mkdir");
    file = open(s->outside, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (write(file, precious, sizeof precious - 1) != sizeof precious - 1) fatal("write");
    if (geteuid() == 0 && fchown(file, OWNER, OWNER) != 0) fatal("fchown");
    fchmod(file, 0644);
    close(file);
    if (realpath("outside", s->outside) == NULL) fatal("realpath");
}

static int planted(char **words)   // SAVES sticky|open
{
    long saves = atol(words[0]), results[2] = { 0, 0 };
    int sticky = strcmp(words[1], "sticky") == 0;
    atomic_int *over = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pyprof_profile *profile;
    double begin;
    scene s;
    pid_t attacker;
    if (geteuid() != 0 && sticky) cannot("only root has two users");
    python_begins();
    profile = recorded(10, PYPROF_HEAP_OFF);
    make_scene(&s, sticky);
    chmod(".", 0755);
    attacker = fork();
    if (attacker == 0) { begins_as(ATTACKER); attack(&s, over); _exit(0); }
    begins_as(OWNER);
    begin = now();
    for (long i = 0; i < saves; i++) {
        struct stat info;
        int result;
        step("save %ld in a folder that %s", i, sticky ? "is sticky" : "all may write to");
        result = pyprof_save(profile, s.target, NULL);
        results[result != PYPROF_OK]++;
        if (result != PYPROF_OK && result != PYPROF_ERR_IO) wrong("save: %s", named(result));
        if (result == PYPROF_OK && lstat(s.target, &info) == 0 && info.st_uid == OWNER &&
            S_ISREG(info.st_mode) &&
            info.st_nlink == 1 && (info.st_mode & 077)) wrong("the file has mode %o", info.st_mode & 07777);
        if (i % 3 == 0) unlink(s.target);
        if (i % 50 == 0) untouched(&s);
    }
    atomic_store(over, 1);
    ended(attacker);
    untouched(&s);
    if (!results[0] && saves >= 1000) wrong("no save came through");
    return done("%ld saves in a folder where another user plants: %ld written, %ld refused, in %.0f s",
                saves, results[0],
                results[1], now() - begin);
}

// Each plant at the path of the output, one by one; and a crowd of leftovers
static int at_target(char **words)
{
    pyprof_profile *profile;
    scene s;
    (void)words;
    python_begins();
    profile = recorded(10, PYPROF_HEAP_OFF);
    make_scene(&s, 0);
    for (unsigned kind = 0; kind < PLANTS; kind++) {
        struct stat before, after;
        int result;
        step("plant %u at the path", kind);
        if (unlink(s.target) != 0) rmdir(s.target);
        plant(s.target, &s, kind);
        if (lstat(s.target, &before) != 0) fatal("nothing was planted");
        result = pyprof_save(profile, s.target, NULL);
        if (result != PYPROF_OK && result != PYPROF_ERR_IO) wrong("save: %s", named(result));
        if (lstat(s.target, &after) != 0) wrong("nothing is at the path any more");
        if (result == PYPROF_OK) whole(s.target, 1);
        else if (after.st_ino != before.st_ino) wrong("refused, but what was there is gone");
        if (S_ISLNK(before.st_mode) && result == PYPROF_OK && S_ISLNK(after.st_mode))
            wrong("written through a link");
        untouched(&s);
        if (entries(s.folder, ".pyprof") > 0) wrong("%d files are left", entries(s.folder, ".pyprof"));
    }
    if (unlink(s.target) != 0) rmdir(s.target);
    // Names that an older version could have left, of this process and of others
    for (int i = 0; i < 4000; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s/.pyprof-%d-%d.tmp", s.folder, i % 2 ? getpid() : 1, i / 2);
        plant(name, &s, 6);
    }
    step("4000 leftovers");
    must_save(profile, s.target);
    whole(s.target, 1);
    return done("%d plants at the path, 4000 leftovers", PLANTS);
}

const campaign_mode files_modes[] = {
    { "kill-saves", "KILLS with|without",
        "the file is the old or the new one; nothing is left after the next save", kill_saves },
    { "kill-checkpoints", "KILLS", "the last checkpoint is whole JSON, nothing is left", kill_checkpoints },
    { "checkpoints", "PATH SECONDS", "the program that is killed", checkpoints },
    { "planted", "SAVES sticky|open", "nothing outside is touched, no save hangs", planted },
    { "at-target", "", "refused or replaced, never followed", at_target },
    { NULL, NULL, NULL, NULL },
};
