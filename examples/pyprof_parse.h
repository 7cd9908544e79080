// Reads the command line of pyprof by the tables of pyprof_cli.h.
#ifndef PYPROF_PARSE_H
#define PYPROF_PARSE_H
#include "pyprof_help.h"

// ---- a word that is not known, and the one that was probably meant --------------------
static size_t cli_distance(const char *a, const char *b)   // edits: insert, delete, replace, swap two neighbours
{
    enum { LONGEST = 24 };
    size_t rows[3][LONGEST + 1], n = strlen(a), m = strlen(b), i, j;
    if (n > LONGEST || m > LONGEST) return LONGEST;
    for (j = 0; j <= m; j++) rows[0][j] = j;
    for (i = 1; i <= n; i++) {
        size_t *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (j = 1; j <= m; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best) best = last[j] + 1;
            if (now[j - 1] + 1 < best) best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best) best = before[j - 2] + 1;
            now[j] = best;
        }
    }
    return rows[n % 3][m];
}

struct cli_nearest {
    const char *word, *found;
    size_t distance;
};

static void cli_consider(struct cli_nearest *nearest, const char *name)
{
    size_t distance = cli_distance(nearest->word, name), prefix = strlen(nearest->word);
    if (prefix >= 2 && strncmp(name, nearest->word, prefix) == 0) distance = 1;
    if (distance <= 1 + strlen(name) / 3 && (!nearest->found || distance < nearest->distance)) {
        nearest->found = name;
        nearest->distance = distance;
    }
}

__attribute__((format(printf, 2, 3)))
static int cli_misuse(const struct cli_options *options, const char *format, ...)   // the status of a wrong command line
{
    const struct cli_command *command = cli_command_of(options->command);
    va_list list;
    va_start(list, format);
    cli_say(format, list);
    va_end(list);
    fprintf(stderr, "Try 'pyprof %s%s--help'.\n", command ? command->name : "", command ? " " : "");
    return CLI_USAGE;
}

// ---- one option -----------------------------------------------------------------
static int cli_number(const char *text, double *value)
{
    char *end;
    if (!isdigit((unsigned char)*text) && *text != '.') return 0;
    *value = strtod(text, &end);   // the locale is "C": nothing calls setlocale(LC_NUMERIC)
    return end != text && !*end && isfinite(*value) && !strpbrk(text, "xXpP");
}

// A metric's key in the JSON names it, too: gil_wait_ns is gil-wait.
static int cli_same(const char *name, const char *text)
{
    size_t i;
    for (i = 0; name[i]; i++)
        if (name[i] != text[i] && !(name[i] == '-' && text[i] == '_')) return 0;
    return !text[i] || strcmp(text + i, "_ns") == 0 || strcmp(text + i, "_bytes") == 0;
}

static int cli_choose(const struct cli_options *options, const struct cli_option *option, const char *text, int *value)
{
    const struct cli_name *name;
    struct cli_nearest nearest = { text, NULL, 0 };
    char all[400];
    size_t used = 0;
    for (name = option->choices; name->name; name++) {
        if (strcmp(text, name->name) == 0 || (option->choices == cli_metrics && cli_same(name->name, text))
            || (option->choices == cli_formats && (strcmp(text, name->note) == 0 || strcmp(text, name->note + 1) == 0))) {
            *value = name->value;
            return 0;
        }
        if (!name->note) continue;
        cli_consider(&nearest, name->name);
        used += (size_t)snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", name->name);
    }
    if (nearest.found) return cli_misuse(options, "--%s %s: no such word; '%s'? The words are %s", option->name, text, nearest.found, all);
    return cli_misuse(options, "--%s %s: no such word; the words are %s", option->name, text, all);
}

static int cli_pid(const struct cli_options *options, const char *text, int64_t *pid)
{
    char *end;
    long long value;
    errno = 0;
    value = strtoll(text, &end, text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10);
    if (!isdigit((unsigned char)*text) || *end || errno || value <= 0)
        return cli_misuse(options, "--pid %s: not the number of a process", text);
    *pid = value;
    return 0;
}

static int cli_set(struct cli_options *options, const struct cli_option *option, const char *text)
{
    char *place = (char *)options + option->place;
    double number = 0;
    int choice = 0, status;
    switch (option->kind) {
    case CLI_FLAG: choice = 1; break;
    case CLI_COUNT: memcpy(&choice, place, sizeof choice); choice++; break;
    case CLI_CHOICE:
        if (!text) choice = option->choices[0].value;   // --heap
        else if ((status = cli_choose(options, option, text, &choice)) != 0) return status;
        break;
    case CLI_INTEGER:
        if (!cli_number(text, &number) || number < 1 || number > 1e6 || number != floor(number))
            return cli_misuse(options, "--%s %s: not a whole number from 1 to 1000000", option->name, text);
        choice = (int)number;
        break;
    case CLI_NUMBER: case CLI_DURATION:
        if (option->kind == CLI_DURATION && strcmp(text, "unlimited") == 0) number = 0;
        else if (strcmp(option->name, "rate") == 0 && strcmp(text, "auto") == 0) number = PYPROF_RATE_AUTO;
        else if (!cli_number(text, &number) || number > 1e9 || (number <= 0 && strcmp(option->name, "from") != 0))
            return cli_misuse(options, "--%s %s: not a number above 0%s", option->name, text, strcmp(option->name, "rate") == 0 ? ", nor auto" : "");
        memcpy(place, &number, sizeof number);
        return 0;
    case CLI_PID: return cli_pid(options, text, &options->pid);
    case CLI_WORD: memcpy(place, &text, sizeof text); return 0;
    case CLI_INPUT: options->input[options->inputs++] = text; return 0;
    case CLI_OUTPUT:
        if (options->outputs == CLI_MOST_OUTPUTS) return cli_misuse(options, "more than %d times --output", CLI_MOST_OUTPUTS);
        options->output[options->outputs++] = text;
        return 0;
    case CLI_SPECIAL: return 0;
    }
    memcpy(place, &choice, sizeof choice);
    return 0;
}

static const struct cli_option *cli_find(int command, const char *name, size_t length, char letter)
{
    const struct cli_option *option;
    for (option = cli_option_table; option->name; option++) {
        if (!(option->commands & command)) continue;
        if (letter ? option->letter == letter
            : (strlen(option->name) == length && strncmp(option->name, name, length) == 0)
                || (option->also && strlen(option->also) == length && strncmp(option->also, name, length) == 0))
            return option;
    }
    return NULL;
}

static int cli_unknown(const struct cli_options *options, const char *word)   // an option, as typed
{
    const struct cli_option *option;
    struct cli_nearest nearest = { NULL, NULL, 0 };
    char name[64];
    const struct cli_command *command;
    snprintf(name, sizeof name, "%s", word + (word[1] == '-' ? 2 : 1));
    name[strcspn(name, "=")] = 0;
    nearest.word = name;
    for (option = cli_option_table; option->name; option++) {
        if (!(option->commands & options->command)) continue;
        cli_consider(&nearest, option->name);
        if (option->also) cli_consider(&nearest, option->also);
    }
    if (nearest.found && name[1]) return cli_misuse(options, "unknown option %s; --%s?", word, nearest.found);
    for (command = cli_command_table; command->bit; command++)
        if (cli_find(command->bit, name, strlen(name), 0))
            return cli_misuse(options, "unknown option %s; it belongs to pyprof %s", word, command->name);
    return cli_misuse(options, "unknown option %s", word);
}

// ---- the whole line ---------------------------------------------------------------
static void cli_defaults(struct cli_options *options)
{
    const struct cli_option *option;
    for (option = cli_option_table; option->name; option++)
        if ((option->commands & options->command) && option->initial) cli_set(options, option, option->initial);
}

// One word that begins with - (argv[*at]), and its value. -2 = go on; otherwise an exit status.
static int cli_word(struct cli_options *options, char **argv, int *at)
{
    const char *word = argv[*at], *text, *letter;
    const struct cli_option *option;
    int status;
    if (word[1] == '-') {
        size_t length = strcspn(word + 2, "=");
        option = cli_find(options->command, word + 2, length, 0);
        if (!option) return cli_unknown(options, word);
        text = word[2 + length] ? word + 2 + length + 1 : NULL;
        if (text && !option->argument) return cli_misuse(options, "--%s takes no value", option->name);
        if (!text && option->argument && option->argument[0] != '[' && !(text = argv[++*at]))
            return cli_misuse(options, "--%s needs a value: %s", option->name, option->argument);
        options->given[option - cli_option_table] = 1;
        if (option->kind == CLI_SPECIAL) letter = option->letter == 'h' ? "h" : "V";
        else return (status = cli_set(options, option, text)) != 0 ? status : -2;
    } else letter = word + 1;
    for (; *letter; letter++) {
        option = cli_find(options->command, NULL, 0, *letter);
        if (!option) return cli_unknown(options, word);
        if (*letter == 'h') return cli_explain(options->command), 0;
        if (*letter == 'V') return printf("pyprof %s\n", pyprof_version()), 0;
        text = NULL;
        options->given[option - cli_option_table] = 1;
        if (option->argument) {
            text = letter[1] ? letter + 1 + (letter[1] == '=') : argv[++*at];
            if (!text) return cli_misuse(options, "-%c needs a value: %s", *letter, option->argument);
        }
        if ((status = cli_set(options, option, text)) != 0) return status;
        if (text) break;
    }
    return -2;
}

static int cli_command_word(struct cli_options *options, const char *word)
{
    const struct cli_command *command;
    struct cli_nearest nearest = { word, NULL, 0 };
    for (command = cli_command_table; command->bit; command++) {
        if (strcmp(command->name, word) == 0) options->command = command->bit;
        cli_consider(&nearest, command->name);
    }
    if (options->command) return -2;
    if (word[0] == '-') return cli_misuse(options, "unknown option %s; options come after the command", word);
    if (nearest.found) return cli_misuse(options, "no command '%s'; '%s'?", word, nearest.found);
    return cli_misuse(options, "no command '%s'", word);
}

// -2 = the command can begin; otherwise an exit status. options->input has room for all words.
static int cli_parse(struct cli_options *options, int argc, char **argv)
{
    int at, status, plain = 0;
    if (argc < 2) {
        dup2(2, 1);
        return cli_explain(0), CLI_USAGE;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) return cli_explain(0), 0;
    if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) return printf("pyprof %s\n", pyprof_version()), 0;
    if (!strcmp(argv[1], "--man")) return cli_man(), 0;
    if ((status = cli_command_word(options, argv[1])) != -2) return status;
    cli_defaults(options);
    for (at = 2; at < argc; at++) {
        if (!plain && strcmp(argv[at], "--") == 0) plain = 1;
        else if (!plain && argv[at][0] == '-' && argv[at][1]) {
            if ((status = cli_word(options, argv, &at)) != -2) return status;
            continue;
        } else if (!(options->command & CLI_LIVE)) {
            options->input[options->inputs++] = argv[at];
            continue;
        }
        if (options->command & CLI_LIVE) {   // what follows is the program
            options->program = argv + at + plain;
            break;
        }
    }
    if (options->program && !options->program[0]) return cli_misuse(options, "no command after --");
    if (options->gil) options->query.states = PYPROF_STATES_GIL;
    if (options->idle && !options->query.states) options->query.include_idle = 1;
    return -2;
}
#endif
