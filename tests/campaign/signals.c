// Hosts that use SIGURG, the signal of PYPROF_CAPTURE_SIGNAL: their handlers are called once for each signal
// of theirs, never for ours, whoever installed first, chained or not, in the middle of sessions and after
// them.
#include "campaign.h"

static struct sigaction below_it;       // whom the handler calls in turn
static atomic_long calls;

static void plain(int number) { (void)number; atomic_fetch_add(&calls, 1); }

static void chained(int number, siginfo_t *info, void *context)
{
    atomic_fetch_add(&calls, 1);
    if (below_it.sa_flags & SA_SIGINFO) below_it.sa_sigaction(number, info, context);
    else if (below_it.sa_handler != SIG_DFL && below_it.sa_handler != SIG_IGN) below_it.sa_handler(number);
}

static void install(int chains)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    if (chains) action.sa_sigaction = chained, action.sa_flags = SA_SIGINFO | SA_RESTART;
    else action.sa_handler = plain, action.sa_flags = SA_RESTART;
    sigaction(SIGURG, &action, chains ? &below_it : NULL);
}

static pyprof *signal_session(void)
{
    pyprof_config c = config(1000, PYPROF_HEAP_OFF);
    c.capture = PYPROF_CAPTURE_SIGNAL;
    return started(&c);
}

// The kernel drops a signal that finds one of its kind pending, which once in a long while is the sampler's: then the
// host's is not there, and they are raised again.
static void raises(long count, int heard, const char *when)
{
    long called = 0;
    for (int tries = 0; tries < 3; tries++) {
        long before = atomic_load(&calls);
        for (long i = 0; i < count; i++) raise(SIGURG);
        called = atomic_load(&calls) - before;
        if (called == (heard ? count : 0)) return;
        if (called != count - 1) break;
    }
    wrong("%s: %ld signals, %ld calls of the host's handler", when, count, called);
}

static void during(const char *when, long count, int heard)
{
    step("%s", when);
    raises(count, heard, when);
    run("busy(0.05)\n");
}

// ORDER: letters, in turn. b e: a session begins, ends; p c: the host installs a
static int one_order(char **words)
// Handler, plain or chained; r: the host raises; u: it restores what was below
{
    pyprof *sessions[8] = { NULL };
    int open = 0, heard = 0, raised = 0;
    struct sigaction first;
    sigaction(SIGURG, NULL, &first);
    python_begins();
    for (const char *letter = words[0]; *letter; letter++) {
        step("%.*s", (int)(letter - words[0] + 1), words[0]);
        switch (*letter) {
        case 'b': sessions[open++] = signal_session(); break;
        case 'e': pyprof_profile_free(stopped(sessions[--open])); break;
        case 'p': install(0); heard = 1; break;
        case 'c': install(1); heard = 1; break;
        case 'u': sigaction(SIGURG, &below_it, NULL); heard = 0; break;
        default: during(words[0], 20, heard); raised = 1;
        }
        run("busy(0.02)\n");
    }
    during("at the end", 20, heard);
    while (open) pyprof_profile_free(stopped(sessions[--open]));
    during("without a session", 20, heard);
    if (!raised) fatal("the order raises nothing");
    return done("%s", words[0]);
}

static atomic_int over;

static void *raiser(void *target)   // signals from outside at a high rate, while sessions begin and end
{
    while (!atomic_load(&over)) { pthread_kill(*(pthread_t *)target, SIGURG); nap(0.0002); }
    return NULL;
}

static int storm(char **words)   // SESSIONS
{
    long count = atol(words[0]);
    pthread_t self = pthread_self(), thread;
    double begin = now();
    unsigned seed = 11;
    python_begins();
    python_works();
    install(0);
    pthread_create(&thread, NULL, raiser, &self);
    for (long i = 0; i < count; i++) {
        pyprof *session;
        step("session %ld", i);
        if (i < count / 3 && below(&seed, 3) == 0) install(0);
        session = signal_session();
        run("busy(0.01)\n");
        if (i == count / 3) install(1);   // once: a handler that chains to itself is the host's own fault
        balanced(stats_of(session));
        pyprof_profile_free(stopped(session));
    }
    atomic_store(&over, 1);
    pthread_join(thread, NULL);
    if (!atomic_load(&calls)) wrong("the host's handler was never called");
    python_rests();
    return done("%ld sessions, the host's handler was called %ld times, in %.0f s", count,
                atomic_load(&calls), now() - begin);
}

const campaign_mode signal_modes[] = {
    { "sigurg", "ORDER", "the host's handler is called once for each of its signals", one_order },
    { "sigurg-storm", "SESSIONS", "no recursion, no crash, no lost handler", storm },
    { NULL, NULL, NULL, NULL },
};
